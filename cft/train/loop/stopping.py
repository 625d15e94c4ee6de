"""SIGTERM, which schedulers send some seconds before they kill: training finishes its step, saves it, and ends."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from transformers import TrainerCallback

from cft.errors import Terminated
from cft.terminal import Terminal
from cft.train.loop import ranks


class SaveOnTerm(TrainerCallback):
    """Saves a checkpoint at the end of the step in which SIGTERM came, and ends the training.

    Where several steps train on the same rollouts (`every` of them), only the last of them can be gone on from.
    """

    def __init__(self, console: Terminal, every: int = 1) -> None:
        self.console, self.every, self.requested = console, every, False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take SIGTERM until the context ends; a second one stops at once. Only a main thread can."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGTERM, self._on_signal)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def _on_signal(self, number, frame) -> None:
        if self.requested:
            raise Terminated
        self.requested = True
        saved = "and saved" if self.every == 1 else "and saved, if it is the last on its rollouts"
        self.console.print(f"SIGTERM: this step is finished {saved}, then training stops")

    def on_step_end(self, args, state, control, **kwargs):
        self.requested = ranks.any_of(self.requested)  # all processes end with the same step
        if self.requested:
            control.should_save = state.global_step % self.every == 0
            control.should_training_stop = True
