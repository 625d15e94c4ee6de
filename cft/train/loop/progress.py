"""Training's progress: a bar on a terminal, a line now and then elsewhere, and the speed of each step in the log."""

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import datasets
from rich.progress import BarColumn, Progress
from transformers import TrainerCallback

from cft.models.fetch import quiet
from cft.terminal import Terminal, text_column
from cft.words import duration

# What a step of reinforcement learning shows instead of its loss, which says nothing: TRL's key, name, format
SHOWN = [
    ("reward", "reward", ".2f"),
    ("entropy", "entropy", ".2f"),
    ("completions/mean_length", "length", ".0f"),
    ("completions/clipped_ratio", "cut off", ".0%"),
    ("clip_ratio/region_mean", "clipped", ".1%"),
    ("frac_reward_zero_std", "no signal", ".0%"),
    ("self_distillation/distillation_loss", "from its teacher", ".3f"),
]
LINES = 20  # about so many lines are printed where there is no terminal


@contextmanager
def only_our_progress() -> Iterator[None]:
    """Keep the libraries' bars, warnings and notices of coming renames away from our own output."""
    hidden = datasets.are_progress_bars_disabled()
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        datasets.disable_progress_bars()
        try:
            yield
        finally:
            if not hidden:
                datasets.enable_progress_bars()


class TrainProgress(TrainerCallback):
    """Step, loss, tokens a second (all tokens but padding), time left. Stop it with `close`, whatever happens."""

    def __init__(self, console: Terminal) -> None:
        self.console, self.bar, self.known = console, None, {}

    def on_train_begin(self, args, state, control, **kwargs):
        self.first_step, self.parts = state.global_step, args.gradient_accumulation_steps
        self.start = self.last = time.monotonic()
        self.first_tokens = self.last_tokens = state.num_input_tokens_seen
        if self.console.is_terminal:
            columns = text_column("train"), BarColumn(), text_column("{task.fields[text]}")
            self.bar = Progress(*columns, console=self.console, transient=True)
            self.task = self.bar.add_task("", total=state.max_steps, completed=state.global_step, text="first step")
            self.bar.start()

    def on_substep_end(self, args, state, control, **kwargs):
        if self.bar:
            self.bar.advance(self.task, 1 / self.parts)

    def on_log(self, args, state, control, logs=None, **kwargs):
        if "loss" not in (logs or {}):
            return
        now, tokens = time.monotonic(), int(state.num_input_tokens_seen)
        seconds, done = now - self.last, state.global_step - self.first_step
        speed = (tokens - self.last_tokens) / max(seconds, 1e-9)
        state.log_history[-1].update(tokens=tokens, seconds=round(seconds, 3), tokens_per_second=round(speed, 1))
        left = (now - self.start) / done * (state.max_steps - state.global_step)
        self.last, self.last_tokens = now, tokens
        step = f"step {state.global_step}/{state.max_steps}"
        self.known |= logs  # of the steps that share a generation only the first one logs what it is like
        shown = [f"{name} {self.known[key]:{form}}" for key, name, form in SHOWN if self.known.get(key) is not None]
        shown = shown if "completions/mean_length" in self.known else [f"loss {logs['loss']:.3f}"]
        if not speed:  # of the steps that share a generation the first one counts its tokens
            speed = (tokens - self.first_tokens) / max(now - self.start, 1e-9)
        text = "  ".join([step, *shown, f"{speed:.0f} tokens/s", f"{duration(left)} left"])
        if self.bar:
            self.bar.update(self.task, completed=state.global_step, text=text)
        elif state.global_step % max(1, state.max_steps // LINES) == 0 or state.global_step == state.max_steps:
            self.console.print(text)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The bar off the screen, and the clock stopped, while something else than training runs."""
        begun = time.monotonic()
        if self.bar:
            self.bar.stop()
        try:
            yield
        finally:
            away = time.monotonic() - begun
            self.start, self.last = self.start + away, self.last + away
            if self.bar:
                self.bar.start()

    def close(self) -> None:
        """Take the bar off the screen."""
        if self.bar:
            self.bar.stop()
            self.bar = None
