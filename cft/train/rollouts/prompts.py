"""The rows of the methods that train on the model's own completions: prompts, checked before anything is sampled."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import datasets

from cft.devices import pick_device
from cft.errors import TrainError
from cft.files import faulty, listed
from cft.models.generate import prompt_ids, render
from cft.rows import load_rows
from cft.terminal import Terminal, Text
from cft.train.loop.defaults import rollout_defaults

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from cft.recipe.blocks import Recipe


COLUMNS = {"problem": str, "answer": str, "majority": str, "incorrect": str, "correct": bool}  # that rewards read


@dataclass(frozen=True)
class PromptRows:
    """Rows of examples.jsonl, whose prompts leave room for a completion."""

    rows: list[dict[str, Any]]
    lengths: list[int]  # tokens of each prompt
    max_completion_length: int

    def summary(self) -> dict[str, Any]:
        """The counts, as JSON."""
        longest = max(self.lengths)
        return {
            "rows": len(self.rows),
            "prompt_tokens": sum(self.lengths),
            "longest_tokens": longest + self.max_completion_length,
            "longest_id": self.rows[self.lengths.index(longest)]["id"],
            "max_completion_length": self.max_completion_length,
        }

    def row(self, number: int) -> dict[str, Any]:
        """Row `number`; raises TrainError if there is none."""
        if not 0 <= number < len(self.rows):
            raise TrainError(f"--row {number}: there are {len(self.rows)} rows, numbered 0 to {len(self.rows) - 1}.")
        return self.rows[number]

    def in_order(self, count: int, seed: int) -> list[dict[str, Any]]:
        """`count` rows: all of them in one random order after another, so that each is drawn as often as the others.

        Right and wrong candidates take turns, so that the mean reward of a generation of verdicts on an even number of
        rows is their balanced accuracy.

        TRL's sampler draws an order for each epoch, drops what does not fill a generation (one row may be all), and
        after a resume starts again with the first order.
        """
        orders, passes = random.Random(seed), math.ceil(count / len(self.rows))
        sides = [[row for row in self.rows if row.get("correct") is value] for value in (True, False, None)]
        drawn = [zip_longest(*(orders.sample(side, len(side)) for side in sides if side)) for _ in range(passes)]
        return [row for one in drawn for rows in one for row in rows if row][:count]


def prompt_rows(examples: Path, tokenizer: "PreTrainedTokenizerBase", max_completion_length: int) -> PromptRows:
    """Read the prompts and count their tokens.

    Raises:
        DataError, TrainError: a row is damaged, or a prompt leaves no room for a completion.
    """
    rows = load_rows(examples, completions=False)
    judged = any("candidate" in row for row in rows)  # a verdict, not an answer
    check_columns(examples, rows, needed=("problem", "answer", *(["correct"] if judged else [])))
    return fitting(rows, [row["prompt"] for row in rows], tokenizer, max_completion_length)


def check_columns(examples: Path, rows: list[dict[str, Any]], needed: Sequence[str] = ()) -> None:
    """Raise DataError where a row lacks what completions are compared with, or has it as something else than COLUMNS.

    Args:
        needed: columns that no row may lack.
    """
    faults = []
    for row in rows:
        for key, kind in COLUMNS.items():
            value, word = row.get(key), "true or false" if kind is bool else "text"
            if not isinstance(value, kind) and (key in needed or value is not None):
                faults.append(f"row {row['id']}: `{key}` is {value!r:.60}; it must be {word}")
        if not any(message["content"].strip() for message in row["prompt"]):
            faults.append(f"row {row['id']}: `prompt` is empty; give it a text")
    if faults:
        raise faulty(examples, faults, "faulty row(s)")


def data_set(rows: list[dict[str, Any]]) -> datasets.Dataset:
    """The rows as TRL takes them; TrainError where a column of theirs holds values of several types."""
    try:
        return datasets.Dataset.from_list(rows)
    except (TypeError, ValueError) as error:  # of pyarrow
        raise TrainError(
            f"examples.jsonl: a column holds values of several types ({error}). Make them alike."
        ) from None


def preflight_prompts(
    recipe: "Recipe", examples: Path, tokenizer: "PreTrainedTokenizerBase", number: int, console: Terminal | None
) -> dict[str, Any]:
    """Check the prompts as training will and, given a console, print that of row `number`.

    Returns:
        the counts of `PromptRows.summary`, and the row: {"id", "prompt"}.

    Raises:
        DataError, TrainError: as `prompt_rows`; or there is no such row.
    """
    args = rollout_defaults(pick_device(), recipe.model.dtype, recipe.train.args) | recipe.train.args
    checked = prompt_rows(examples, tokenizer, args["max_completion_length"])
    row = checked.row(number)
    shown = {"id": row["id"], "prompt": render(tokenizer, row["prompt"])}
    if console:
        show_prompt(console, f"row {row['id']}: the prompt; the completions are the model's own", shown["prompt"])
    return checked.summary() | {"row": shown}


def show_prompt(console: Terminal, title: str, text: str) -> None:
    """Print a prompt between two rules."""
    console.rule(title, align="left")
    console.print(Text(text, style="dim"), soft_wrap=True)
    console.rule()


def fitting(
    rows: list[dict[str, Any]],
    prompts: list[list[dict[str, str]]],
    tokenizer: "PreTrainedTokenizerBase",
    max_completion_length: int,
    more: int = 0,
) -> PromptRows:
    """The rows, with the tokens of the longest prompt that is read for each.

    Args:
        prompts: these, as messages.
        max_completion_length: most tokens that come behind a prompt.
        more: tokens that each prompt may have beside these messages.

    Raises:
        TrainError: a prompt leaves no room for them.
    """
    lengths = [len(ids) + more for ids in prompt_ids(tokenizer, prompts)]
    limit = tokenizer.model_max_length
    faults = [
        f"row {number} ({row['id']}): {length} tokens and a completion of {max_completion_length} are more than {limit}"
        for number, (row, length) in enumerate(zip(rows, lengths, strict=True))
        if length + max_completion_length > limit
    ]
    if faults:
        raise TrainError(
            f"{len(faults)} of {len(rows)} prompts are too long for the model\n  {listed(faults)}\n"
            "Lower train.args.max_completion_length, or leave them out; nothing is cut silently."
        )
    return PromptRows(rows, lengths, max_completion_length)
