"""Rows as ids and labels: a prompt and its completion, or the turns of a conversation."""

from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING

from cft.errors import TrainError
from cft.models.generate import render
from cft.models.template import apply_template
from cft.rows.turns import turn_parts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


IGNORED = -100  # label of a token that is not trained on


@dataclass(frozen=True)
class TokenRow:
    """One example as the model will see it."""

    id: str
    input_ids: list[int]  # (T,)
    labels: list[int]  # (T,) the same ids, IGNORED on all that the model does not write

    @property
    def trained(self) -> list[int]:
        return [label for label in self.labels if label != IGNORED]

    @property
    def start(self) -> int:
        """The place of the first token that is trained on."""
        return next((place for place, label in enumerate(self.labels) if label != IGNORED), len(self.labels))

    @property
    def parts(self) -> list[tuple[bool, list[int]]]:
        """The ids in runs that are trained on (True) or not, in their order."""
        places = groupby(range(len(self.labels)), lambda place: self.labels[place] != IGNORED)
        return [(trained, [self.input_ids[place] for place in run]) for trained, run in places]

    @property
    def counts(self) -> tuple[int, int]:
        """Tokens that are only read, and those that are trained."""
        trained = len(self.trained)
        return len(self.input_ids) - trained, trained


def tokenize_row(row: dict, tokenizer: "PreTrainedTokenizerBase") -> TokenRow:
    """One example as ids and labels: a conversation as `turn_parts` masks it; a prompt and its completion as TRL 1.16.

    With a chat template the conversation is rendered whole. Without one, prompt and completion are plain text as
    `cft.models.generate.render` writes the prompt, and the end-of-sequence token is appended.

    Raises:
        TrainError: if the prompt alone does not tokenise to the beginning of prompt and completion, so that the model
            would be asked in another form than it was trained on; or the mask of a conversation is not exact.
    """
    if "prompt" not in row:
        parts = turn_parts(row, tokenizer)
        labels = [label for trained, ids in parts for label in (ids if trained else [IGNORED] * len(ids))]
        return TokenRow(row["id"], [i for _, ids in parts for i in ids], labels)
    if tokenizer.chat_template is None:
        prompt = render(tokenizer, row["prompt"])
        completion = "\n\n".join(message["content"] for message in row["completion"])
        completion += "" if completion.endswith(tokenizer.eos_token) else tokenizer.eos_token
        prompt_ids = tokenizer(text=prompt)["input_ids"]
        ids = tokenizer(text=prompt + completion)["input_ids"]
    else:
        chat = partial(apply_template, tokenizer, tokenize=True, return_dict=True)
        prompt_ids = chat(row["prompt"], add_generation_prompt=True)["input_ids"]
        ids = chat(row["prompt"] + row["completion"])["input_ids"]
    n = len(prompt_ids)
    if ids[:n] != prompt_ids:
        raise TrainError(
            "the prompt alone tokenises differently than in front of its completion. Let the completion not begin with "
            "white space, or set model.chat_template to one that renders both alike"
        )
    return TokenRow(row["id"], ids, [IGNORED] * n + ids[n:])


def ends(row: TokenRow, tokenizer: "PreTrainedTokenizerBase") -> bool:
    """Whether the last trained token is the end-of-sequence token. Templates may put white space after it."""
    trained = list(row.trained)
    while trained and not tokenizer.decode(trained[-1:]).strip():
        trained.pop()
    return bool(trained) and trained[-1] == tokenizer.eos_token_id
