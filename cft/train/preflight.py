"""Before training: read the examples, tokenise them as TRL will, refuse what would be cut, dropped or not learnt.

TRL's own defaults damage rows without a word: a row above `max_length` loses its end-of-sequence token, a prompt above
it loses the row. So training takes the very rows that are checked here.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cft.errors import DataError, TrainError
from cft.files import read_jsonl
from cft.train.defaults import DEFAULT_MAX_LENGTH

if TYPE_CHECKING:
    from rich.console import Console
    from transformers import PreTrainedTokenizerBase

    from cft.recipe import Recipe

IGNORED = -100  # label of a token that is not trained on
SHOWN_FAULTS = 10


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


@dataclass(frozen=True)
class Preflight:
    """The tokenised rows, all of them fit for training."""

    rows: list[TokenRow]
    max_length: int

    @property
    def n(self) -> int:
        return len(self.rows)

    @property
    def completion_tokens(self) -> int:
        """Tokens of one epoch that carry loss."""
        return sum(len(row.trained) for row in self.rows)

    @property
    def prompt_tokens(self) -> int:
        return sum(len(row.input_ids) for row in self.rows) - self.completion_tokens

    @property
    def longest(self) -> TokenRow:
        return max(self.rows, key=lambda row: len(row.input_ids))

    def summary(self) -> dict:
        """The counts, as JSON."""
        return {
            "rows": self.n,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "longest_tokens": len(self.longest.input_ids),
            "longest_id": self.longest.id,
            "max_length": self.max_length,
        }


def load_rows(path: Path) -> list[dict]:
    """The examples in `path`: {"id", "prompt": [messages], "completion": [messages]}; other keys are kept unread.

    Raises:
        DataError: naming every line that is damaged, is no such row, or repeats an id.
    """
    faults, rows, first_line = [], [], {}
    for number, row in read_jsonl(path):
        fault = _row_fault(row)
        if not fault and row["id"] in first_line:
            fault = f"id {row['id']!r} stands on line {first_line[row['id']]} already; remove one of them"
        if fault:
            faults.append(f"line {number}: {fault}")
        else:
            first_line[row["id"]] = number
            rows.append(row)
    if faults:
        raise DataError(f"{path}: {len(faults)} faulty row(s)\n  " + _listed(faults))
    return rows


def _row_fault(row: dict) -> str | None:
    if not isinstance(row.get("id"), str):
        return f"`id` is {row.get('id')!r}; give each row a string of its own"
    for key in ("prompt", "completion"):
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
    `cft.generation.render` writes the prompt, and the end-of-sequence token is appended.

    Raises:
        TrainError: if the prompt alone does not tokenise to the beginning of prompt and completion, so that the model
            would be asked in another form than it was trained on.
    """
    if tokenizer.chat_template is None:
        from cft.generation import render

        prompt = render(tokenizer, row["prompt"])
        completion = "\n\n".join(message["content"] for message in row["completion"])
        completion += "" if completion.endswith(tokenizer.eos_token) else tokenizer.eos_token
        prompt_ids = tokenizer(text=prompt)["input_ids"]
        ids = tokenizer(text=prompt + completion)["input_ids"]
    else:
        render_ids = {"tokenize": True, "return_dict": True}
        chat = tokenizer.apply_chat_template
        prompt_ids = chat(row["prompt"], add_generation_prompt=True, **render_ids)["input_ids"]
        ids = chat(row["prompt"] + row["completion"], **render_ids)["input_ids"]
    n = len(prompt_ids)
    if ids[:n] != prompt_ids:
        raise TrainError(
            "the prompt alone tokenises differently than in front of its completion. Let the completion not begin with "
            "white space, or set model.chat_template to one that renders both alike"
        )
    return TokenRow(row["id"], ids, [IGNORED] * n + ids[n:])


def preflight(rows: list[dict], tokenizer: "PreTrainedTokenizerBase", max_length: int | None) -> Preflight:
    """Tokenise all rows and check each.

    Args:
        max_length: most tokens a row may have, None for no limit but the tokenizer's own `model_max_length`.

    Raises:
        TrainError: one, naming every row that is too long, has nothing to train on or does not end in the
            end-of-sequence token, each with its number, id and mend; or a pad token that is missing or is that token.
    """
    faults, tokenised = [], []
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id == tokenizer.eos_token_id:
        faults.append(
            f"the tokenizer pads with {tokenizer.pad_token!r}, which is "
            f"{'nothing' if tokenizer.pad_token is None else 'its end-of-sequence token'}; set another pad_token"
        )
    limit = min(max_length or tokenizer.model_max_length, tokenizer.model_max_length)
    for number, row in enumerate(rows):
        where = f"row {number} ({row['id']}): "
        try:
            tokens = tokenize_row(row, tokenizer)
        except TrainError as error:
            faults.append(where + str(error))
            continue
        tokenised.append(tokens)
        text = "".join(message["content"] for message in row["completion"])
        if not text.strip() or not tokens.trained:
            faults.append(f"{where}its completion is empty; give it a text or leave the row out")
        elif not ends(tokens, tokenizer):
            faults.append(
                f"{where}ends in {tokenizer.decode(tokens.trained[-4:])!r}, not in the end-of-sequence token "
                f"{tokenizer.eos_token!r}: the model would not learn to stop; set model.chat_template=plain"
            )
        if len(tokens.input_ids) > limit:
            faults.append(f"{where}has {len(tokens.input_ids)} tokens, above the limit of {limit}")
    if faults:
        longest = max((len(row.input_ids) for row in tokenised), default=0)
        mend = ""
        if limit < longest <= tokenizer.model_max_length:
            mend = f"\nNothing is cut unsaid. Allow the longest row with train.args.max_length={longest}."
        elif longest > limit:
            mend = (
                f"\nNothing is cut unsaid, and this model takes at most {tokenizer.model_max_length} tokens. Leave the "
                "long rows out, or take a model with a longer context."
            )
        raise TrainError(f"{len(faults)} fault(s) in {len(rows)} training rows\n  {_listed(faults)}{mend}")
    return Preflight(tokenised, limit)


def ends(row: TokenRow, tokenizer: "PreTrainedTokenizerBase") -> bool:
    """Whether the last trained token is the end-of-sequence token. Templates may put white space after it."""
    trained = list(row.trained)
    while trained and not tokenizer.decode(trained[-1:]).strip():
        trained.pop()
    return bool(trained) and trained[-1] == tokenizer.eos_token_id


def show_row(row: TokenRow, tokenizer: "PreTrainedTokenizerBase", console: "Console") -> None:
    """Print one row with all its special tokens: the prompt dim, the trained tokens bright."""
    from rich.text import Text

    trained = len(row.trained)
    start = len(row.input_ids) - trained
    console.rule(Text(f"row {row.id}: {start} prompt tokens (dim), {trained} trained tokens (bright)"), align="left")
    text = Text(tokenizer.decode(row.input_ids[:start]), style="dim")
    text.append(tokenizer.decode(row.input_ids[start:]), style="bold green not dim")
    console.print(text, soft_wrap=True)
    console.rule()


def preflight_run(recipe: "Recipe", examples: Path, row: int, console: "Console | None") -> dict:
    """Check the examples as training will and, given a console, print row number `row`. Loads no model.

    Returns:
        the counts of `Preflight.summary`, and the row: {"id", "prompt", "trained", "prompt_tokens", "trained_tokens"}.

    Raises:
        DataError, TrainError: see `load_rows` and `preflight`; or there is no such row.
    """
    from cft.models import load_tokenizer

    tokenizer = load_tokenizer(recipe.model)
    checked = preflight(load_rows(examples), tokenizer, recipe.train.args.get("max_length", DEFAULT_MAX_LENGTH))
    if not 0 <= row < checked.n:
        raise TrainError(f"--row {row}: there are {checked.n} rows, numbered 0 to {checked.n - 1}.")
    shown = checked.rows[row]
    if console:
        show_row(shown, tokenizer, console)
    start = len(shown.input_ids) - len(shown.trained)
    return checked.summary() | {
        "row": {
            "id": shown.id,
            "prompt": tokenizer.decode(shown.input_ids[:start]),
            "trained": tokenizer.decode(shown.trained),
            "prompt_tokens": start,
            "trained_tokens": len(shown.trained),
        }
    }


def _listed(faults: list[str]) -> str:
    more = f"\n  ... and {len(faults) - SHOWN_FAULTS} more" if len(faults) > SHOWN_FAULTS else ""
    return "\n  ".join(faults[:SHOWN_FAULTS]) + more
