"""Before training: read the examples, tokenise them as TRL will, refuse what would be cut, dropped or not learnt.

TRL's own defaults damage rows without a word: a row above `max_length` loses its end-of-sequence token, a prompt above
it loses the row. So training takes the very rows that are checked here.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cft.errors import ModelError, TrainError
from cft.files import listed
from cft.rows import TokenRow, ends, load_rows, reads_thoughts, tokenize_row
from cft.terminal import Terminal, Text
from cft.train.loop.defaults import DEFAULT_MAX_LENGTH

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from cft.recipe.blocks import Recipe


@dataclass(frozen=True)
class Preflight:
    """The tokenised rows, all of them fit for training."""

    rows: list[TokenRow]
    max_length: int
    thoughts_left_out: int = 0  # messages with `reasoning_content`, for which the chat template has no place

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
            **({"thoughts_left_out": self.thoughts_left_out} if self.thoughts_left_out else {}),
        }


def preflight(rows: list[dict], tokenizer: "PreTrainedTokenizerBase", max_length: int | None) -> Preflight:
    """Tokenise all rows and check each.

    Args:
        max_length: most tokens a row may have, None for no limit but the tokenizer's own `model_max_length`.

    Raises:
        TrainError: one, naming every row that is too long, has nothing to train on or does not end in the
            end-of-sequence token, each with its number, id and fix; or a pad token that is missing or is that token.
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
        except (ModelError, TrainError) as error:
            faults.append(where + str(error))
            continue
        tokenised.append(tokens)
        if "prompt" in row and (fault := completion_fault(row, tokens, tokenizer)):
            faults.append(where + fault)
        if len(tokens.input_ids) > limit:
            faults.append(f"{where}has {len(tokens.input_ids)} tokens, above the limit of {limit}")
    if faults:
        longest = max((len(row.input_ids) for row in tokenised), default=0)
        fix = ""
        if limit < longest <= tokenizer.model_max_length:
            fix = f"\nNothing is cut silently. Allow the longest row with train.args.max_length={longest}."
        elif longest > limit:
            fix = (
                f"\nNothing is cut silently, and this model takes at most {tokenizer.model_max_length} tokens. Leave "
                "the long rows out, or take a model with a longer context."
            )
        raise TrainError(f"{len(faults)} fault(s) in {len(rows)} training rows\n  {listed(faults)}{fix}")
    trained = [m for row in rows for m in row.get("messages", [])[-1 if row.get("turns") == "last" else 0 :]]
    thoughts = [message for message in trained if message.get("reasoning_content")]
    return Preflight(tokenised, limit, 0 if reads_thoughts(tokenizer) else len(thoughts))


def completion_fault(row: dict, tokens: TokenRow, tokenizer: "PreTrainedTokenizerBase") -> str | None:
    """What is wrong with a completion's tokens; of a conversation `tokenize_row` has seen to it."""
    if not "".join(message["content"] for message in row["completion"]).strip() or not tokens.trained:
        return "its completion is empty; give it a text or leave the row out"
    if not ends(tokens, tokenizer):
        return (
            f"ends in {tokenizer.decode(tokens.trained[-4:])!r}, not in the end-of-sequence token "
            f"{tokenizer.eos_token!r}: the model would not learn to stop; set model.chat_template=plain"
        )
    if lost := untrained(row, tokens, tokenizer):
        return (
            f"what is trained is not its completion: the chat template changes or leaves out text of {lost!r}; set "
            "model.chat_template=plain, or write the completion as the template does"
        )
    return None


def show_row(row: TokenRow, tokenizer: "PreTrainedTokenizerBase", console: Terminal) -> None:
    """Print one row with all its special tokens: the trained tokens bright, all that is only read dim."""
    read, trained = row.counts
    console.rule(f"row {row.id}: {read} prompt tokens (dim), {trained} trained tokens (bright)", align="left")
    text = Text()
    for bright, ids in row.parts:
        text.append(tokenizer.decode(ids), style="bold green not dim" if bright else "dim")
    console.print(text, soft_wrap=True)
    console.rule()


def preflight_run(recipe: "Recipe", examples: Path, row: int, console: Terminal | None) -> dict:
    """Check the examples as training will and, given a console, print row number `row`. Loads no model.

    Returns:
        the counts of `Preflight.summary`, and the row: {"id", "prompt", "trained", "prompt_tokens", "trained_tokens",
        "parts": [{"trained", "text"}]}, "prompt" being what stands before the first trained token, "prompt_tokens" all
        that are only read;
        of reinforcement learning see `cft.train.rollouts.prompts.preflight_prompts`, of self-distillation
        `cft.train.rollouts.taught.preflight_taught`.

    Raises:
        DataError, TrainError: see `load_rows` and `preflight`; or there is no such row.
    """
    from cft.models.load import load_tokenizer

    tokenizer = load_tokenizer(recipe.model)
    if recipe.train.method in ("sdft", "sdpo"):
        from cft.train.rollouts.taught import preflight_taught  # TRL is slow to load

        return preflight_taught(recipe, examples, tokenizer, row, console)
    if recipe.train.method == "grpo":
        from cft.train.rollouts.prompts import preflight_prompts

        return preflight_prompts(recipe, examples, tokenizer, row, console)
    checked = preflight(load_rows(examples), tokenizer, recipe.train.args.get("max_length", DEFAULT_MAX_LENGTH))
    if not 0 <= row < checked.n:
        raise TrainError(f"--row {row}: there are {checked.n} rows, numbered 0 to {checked.n - 1}.")
    shown = checked.rows[row]
    if console:
        show_row(shown, tokenizer, console)
    read, trained = shown.counts
    return checked.summary() | {
        "row": {
            "id": shown.id,
            "prompt": tokenizer.decode(shown.input_ids[: shown.start]),
            "trained": tokenizer.decode(shown.trained),
            "prompt_tokens": read,
            "trained_tokens": trained,
            "parts": [{"trained": trained, "text": tokenizer.decode(ids)} for trained, ids in shown.parts],
        }
    }


def untrained(row: dict, tokens: TokenRow, tokenizer: "PreTrainedTokenizerBase") -> str | None:
    """The beginning of the first message of the completion whose text is not trained as it is; None if all are.

    White space does not count. The prompt may hold the first words of the completion, such as the opening of a thought.
    """

    def text_of(ids: list[int]) -> str:
        return "".join(tokenizer.decode(ids, clean_up_tokenization_spaces=False).split())

    start = len(tokens.input_ids) - len(tokens.trained)
    prompt, trained, place = text_of(tokens.input_ids[:start]), text_of(tokens.trained), None
    for message in row["completion"]:
        # Back and forth through the tokenizer: some change characters that they have no tokens for
        content = text_of(tokenizer(message["content"], add_special_tokens=False)["input_ids"])
        if place is None:
            trained, place = prompt[max(0, len(prompt) - len(content)) :] + trained, 0
        found = trained.find(content, place)
        if found < 0:
            return message["content"].strip()[:60]
        place = found + len(content)
    return None
