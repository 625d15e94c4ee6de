"""The rows of the methods that train on the model's own completions: prompts, checked before anything is sampled."""

import math
import random
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cft.errors import TrainError
from cft.files import listed
from cft.models.generate import render
from cft.rows import load_rows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


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

    def in_order(self, count: int, seed: int) -> list[dict[str, Any]]:
        """`count` rows: all of them in one random order after another, so that each is drawn as often as the others.

        TRL's sampler draws an order for each epoch, drops what does not fill a generation (one row may be all), and
        after a resume starts again with the first order.
        """
        orders = random.Random(seed)
        passes = (orders.sample(self.rows, len(self.rows)) for _ in range(math.ceil(count / len(self.rows))))
        return [row for order in passes for row in order][:count]


def prompt_rows(examples: Path, tokenizer: "PreTrainedTokenizerBase", max_completion_length: int) -> PromptRows:
    """Read the prompts and count their tokens.

    Raises:
        DataError, TrainError: a row is damaged, or a prompt leaves no room for a completion.
    """
    rows = load_rows(examples, completions=False)
    return fitting(rows, [row["prompt"] for row in rows], tokenizer, max_completion_length)


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
    texts = [render(tokenizer, prompt) for prompt in prompts]
    added = tokenizer.chat_template is None  # else the template has written them
    lengths = [len(ids) + more for ids in tokenizer(texts, add_special_tokens=added)["input_ids"]]
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
