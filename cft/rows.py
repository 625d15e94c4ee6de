"""Training rows: examples as they are read, and as ids and labels. The one place that masks."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from cft.errors import TrainError
from cft.files import faulty, read_jsonl
from cft.models.generate import render
from cft.models.template import apply_template

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


IGNORED = -100  # label of a token that is not trained on


@dataclass(frozen=True)
class TokenRow:
    """One example as the model will see it."""

    id: str
    input_ids: list[int]  # (T,)
    labels: list[int]  # (T,) the same ids, IGNORED on the prompt

    @property
    def trained(self) -> list[int]:
        return [label for label in self.labels if label != IGNORED]

    @property
    def counts(self) -> tuple[int, int]:
        """Tokens of the prompt, and those that are trained."""
        trained = len(self.trained)
        return len(self.input_ids) - trained, trained


def load_rows(path: Path, *, completions: bool = True) -> list[dict]:
    """The examples in `path`: {"id", "prompt": [messages], "completion": [messages]}; other keys are kept unread.

    Args:
        completions: whether rows have one; else they are prompts, for methods that train on the model's own.

    Raises:
        DataError: naming every line that is damaged, is no such row, or repeats an id.
    """
    faults, rows, first_line = [], [], {}
    for number, row in read_jsonl(path):
        fault = _row_fault(row, ("prompt", "completion") if completions else ("prompt",))
        if not fault and row["id"] in first_line:
            fault = f"id {row['id']!r} stands on line {first_line[row['id']]} already; remove one of them"
        if fault:
            faults.append(f"line {number}: {fault}")
        else:
            first_line[row["id"]] = number
            rows.append(row)
    if faults:
        raise faulty(path, faults, "faulty row(s)")
    return rows


def _row_fault(row: dict, keys: tuple[str, ...]) -> str | None:
    if not isinstance(row.get("id"), str):
        return f"`id` is {row.get('id')!r}; give each row a string of its own"
    for key in keys:
        messages = row.get(key)
        if not isinstance(messages, list) or not messages:
            return f"`{key}` is {messages!r:.60}; it must be a list of messages, at least one"
        for message in messages:
            texts = (message.get("role"), message.get("content")) if isinstance(message, dict) else (None,)
            if not all(isinstance(text, str) for text in texts):
                return f'`{key}` holds {message!r:.60}; a message is {{"role": "...", "content": "..."}}'
    return None


def tokenize_row(row: dict, tokenizer: "PreTrainedTokenizerBase") -> TokenRow:
    """One example as ids and labels, token for token what TRL 1.16 makes of it.

    With a chat template the conversation is rendered whole. Without one, prompt and completion are plain text as
    `cft.models.generate.render` writes the prompt, and the end-of-sequence token is appended.

    Raises:
        TrainError: if the prompt alone does not tokenise to the beginning of prompt and completion, so that the model
            would be asked in another form than it was trained on.
    """
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
