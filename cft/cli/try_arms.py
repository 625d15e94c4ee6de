"""`cft try`: one question to the base and to the adapter, their answers side by side as they come.

One loaded base serves both. They are decoded in turn, a token each, every one with its own KV cache and the adapter
switched on or off in between: the tokens are those of `cft.models.generate.generate` for each alone.
"""

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from typing import Literal

from rich import box
from rich.live import Live
from rich.table import Table

from cft.devices import out_of_memory_as
from cft.errors import EvalError, RunError
from cft.models.decoding import choose, make_cache, step, stop_token_ids
from cft.models.generate import prompt_ids
from cft.models.packed import packed_linears
from cft.recipe.load import load_recipe
from cft.runs import Run
from cft.terminal import Terminal, Text
from cft.weights.adapter import adapter_identity
from data_builders.prompts import messages, solve_prompt
from eval.answering.arms import Models
from eval.grading import grade, is_cut_off, last_box

NARROWEST = 80  # columns of a terminal, for two answers beside each other
REDRAW_SECONDS = 0.1
TABLE_LINES = 7  # lines of the table beside the answers: head, rules, what is said below, and the cursor's own
UNFINISHED = "\ufffd"  # what a character decodes to until all of its tokens are there


@dataclass(frozen=True)
class Said:
    """What an arm has written so far."""

    text: str = ""
    tokens: int = 0  # the end-of-sequence token included
    finish_reason: Literal["stop", "length"] | None = None  # None: it goes on


@dataclass
class Trial:
    """A run's model, ready to be asked."""

    models: Models
    max_new_tokens: int
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0
    gold: str | None = None

    @property
    def arms(self) -> list[str]:
        return ["base", *self.models.adapters]

    @cached_property
    def stops(self) -> set[int]:
        return stop_token_ids(self.models.loaded, self.models.tokenizer)

    def prompt_ids(self, question: str) -> list[int]:
        """The tokens of the prompt. Raises EvalError if it is empty, no text, or leaves no room for an answer."""
        if not question.strip():
            raise EvalError("the question is empty. Write one, or give - to read it from standard input.")
        try:
            question.encode()
        except UnicodeEncodeError:
            raise EvalError("the question is not UTF-8. Give it in a file: cft try RUN - < FILE.") from None
        limit = self.max_new_tokens
        (ids,) = prompt_ids(self.models.tokenizer, [messages(solve_prompt(question))])
        context = self.models.loaded.config.get_text_config().max_position_embeddings
        room = context - len(ids)
        if limit > room:
            fix = f"Give --max-new-tokens {room} at most." if room > 0 else "Shorten the question."
            raise EvalError(
                f"the question takes {len(ids)} tokens with its prompt and the answer may take {limit}: "
                f"{len(ids) + limit} together, but the model reads {context}. {fix}"
            )
        return ids

    def write(self, arm: str, prompt_ids: list[int]) -> Iterator[Said]:
        """The answer of an arm, one token longer each time; other arms may write between. Raises EvalError."""
        import torch

        model = self.models.loaded
        device = model.device
        generator = torch.Generator(device).manual_seed(self.seed)
        cache = make_cache(model, len(prompt_ids) + self.max_new_tokens)
        inputs = torch.tensor([prompt_ids], device=device)
        said, written = Said(), []
        while said.finish_reason is None:
            done = len(prompt_ids) + len(written)  # positions, those of `inputs` included
            fault = EvalError("out of memory. Ask something shorter, or lower --max-new-tokens.")
            with out_of_memory_as(fault), self.models.answering_as(arm) as answering, torch.inference_mode():
                mask = torch.ones((1, done), dtype=torch.long, device=device)
                positions = torch.arange(done - inputs.shape[1], done, device=device)[None]
                logits, cache = step(answering, inputs, mask, positions, cache)
                inputs = choose(logits, self.temperature, self.top_k, self.top_p, generator)[:, None]
            written.append(int(inputs))
            text = self.models.tokenizer.decode(written, skip_special_tokens=True)
            ended = "stop" if written[-1] in self.stops else "length" if len(written) == self.max_new_tokens else None
            said = Said(text, len(written), ended)
            yield said

    def judged(self, said: Said) -> dict:
        """What --json prints of an arm. An answer that hit the limit behind a complete box is graded by that box."""
        answer = last_box(said.text) or None
        facts = {"text": said.text, "tokens": said.tokens, "finish_reason": said.finish_reason, "answer": answer}
        if self.gold is None or said.finish_reason is None:
            return facts
        cut = is_cut_off(said.text, said.finish_reason)
        return facts | {"outcome": grade(self.gold, said.text, truncated=cut).outcome}


def open_trial(
    run: Run,
    *,
    base_only: bool = False,
    gold: str | None = None,
    temperature: float = 0.0,
    seed: int | None = None,
    max_new_tokens: int | None = None,
) -> Trial:
    """The trial of a run; nothing is loaded before the first question. Raises CFTError for a damaged or missing part.

    Args:
        temperature: 0 is greedy; above 0 both sample with the recipe's eval.top_k and eval.top_p.
        seed, max_new_tokens: None for the recipe's.
    """
    if gold is not None and not gold.strip():
        raise EvalError("--gold is empty. Give the right answer, or leave --gold out.")
    recipe = load_recipe(str(run.recipe))
    if not base_only:
        if not run.adapter.is_dir():
            raise RunError(
                f"{run.path}: has no adapter. Train it first (`cft train {recipe.name}`, or the recipe's file), or ask "
                "only the base: --base-only."
            )
        adapter_identity(run.adapter)
    return Trial(
        Models(recipe.model, {} if base_only else {"adapter": run.adapter}, together=True),
        max_new_tokens=max_new_tokens or recipe.eval.max_new_tokens,
        temperature=temperature,
        top_k=recipe.eval.top_k,
        top_p=recipe.eval.top_p,
        seed=recipe.seed if seed is None else seed,
        gold=gold,
    )


def ask(trial: Trial, question: str, console: Terminal | None = None) -> dict:
    """Ask all arms, show their answers on `console` as they come, and return what --json prints.

    In two columns on a terminal with room for them, else one after the other and, where it is no terminal, as plain
    text. What was written is left there when Ctrl-C stops it.

    Returns:
        {"question", "gold"?, arm: {"text", "tokens", "finish_reason", "answer", "outcome"?}, ...}
    """
    ids = trial.prompt_ids(question)
    streams = {arm: trial.write(arm, ids) for arm in trial.arms}
    with packed_linears(trial.models.loaded, rows=1):
        if console is None:
            said = {arm: deque(stream, maxlen=1).pop() for arm, stream in streams.items()}
        elif len(streams) > 1 and console.is_terminal and not console.is_dumb_terminal and console.width >= NARROWEST:
            said = show_beside(trial, streams, console)
        else:
            said = show_in_turn(trial, streams, console)
    gold = {} if trial.gold is None else {"gold": trial.gold}
    return {"question": question} | gold | {arm: trial.judged(answer) for arm, answer in said.items()}


def show_in_turn(trial: Trial, streams: dict[str, Iterator[Said]], console: Terminal) -> dict[str, Said]:
    """One answer after the other, each as it comes, under the name of its arm."""
    said = {}
    for arm, stream in streams.items():
        console.print(Text(arm, style="bold"))
        shown = ""
        try:
            for said[arm] in stream:
                # Half a character waits for the rest of it.
                text = said[arm].text if said[arm].finish_reason else said[arm].text.rstrip(UNFINISHED)
                console.out(text[len(shown) :], end="")
                shown = text
        finally:
            console.out("")
        console.print(status(trial, said[arm]), end="\n\n")
    return said


def show_beside(trial: Trial, streams: dict[str, Iterator[Said]], console: Terminal) -> dict[str, Said]:
    """All answers at once, one a column; while they grow only their last lines that the screen has room for."""
    said = dict.fromkeys(streams, Said())
    drawn = time.monotonic()
    try:
        with Live(console=console, auto_refresh=False, transient=True) as live:
            for latest in zip_longest(*streams.values()):  # a token of each arm that has not ended yet
                said |= {arm: one for arm, one in zip(streams, latest, strict=True) if one}
                if time.monotonic() - drawn > REDRAW_SECONDS:
                    live.update(columns(trial, said, console, max(3, console.height - TABLE_LINES)), refresh=True)
                    drawn = time.monotonic()
    finally:
        console.print(columns(trial, said, console))
    return said


def columns(trial: Trial, said: dict[str, Said], console: Terminal, lines: int | None = None) -> Table:
    """A table of the answers so far; of each its last `lines`, or all."""
    width = (console.width - 3 * (len(said) - 1)) // len(said)
    table = Table(box=box.MINIMAL, show_edge=False, show_footer=True, pad_edge=False)
    cells = []
    for arm, answer in said.items():
        footer = Text(f"{answer.tokens} tokens", style="dim") if lines else status(trial, answer)
        table.add_column(Text(arm), footer, width=width, overflow="fold")
        wrapped = Text(answer.text).wrap(console, width, overflow="fold")
        cells.append(Text("\n").join(wrapped[-lines:] if lines else wrapped))
    table.add_row(*cells)
    return table


def status(trial: Trial, said: Said) -> Text:
    """How an answer ended, in words: tokens, reason, the answer in its box, its grade."""
    ended = {"stop": "ended by itself", "length": "hit the token limit", None: "stopped"}[said.finish_reason]
    facts = trial.judged(said)
    found = "no box" if facts["answer"] is None else f"answer {' '.join(facts['answer'].split())}"
    length = "1 token" if said.tokens == 1 else f"{said.tokens} tokens"
    line = Text(f"{length}, {ended}, {found}", style="dim")
    if "outcome" in facts:
        right = facts["outcome"] == "correct"
        line.append(f", {facts['outcome'].replace('_', ' ')}", style="bold green" if right else "bold red")
    return line
