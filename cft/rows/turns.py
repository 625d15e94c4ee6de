"""The mask of a conversation: trained is what the assistant writes in its turns, and the end-of-turn token.

A turn begins where the template's generation prompt ends, as the model is asked when it is used, and ends with the
first end-of-turn token. So tool calls are trained as the template writes them; tool results, the words around turns and
white space behind them are not trained. A row whose mask would not be exact is refused, saying what the template did.
"""

import json
from collections.abc import Iterator
from functools import partial
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any

from cft.errors import TrainError
from cft.models.template import apply_template

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SHOWN = 60  # characters of a text in a message
OTHER_TEMPLATE = "Set model.chat_template to a file of one that does, or take another model"
A_ROW_A_TURN = (
    f'Set "turns": "each" in the row: it becomes a row for each turn, as the model is asked. Or: {OTHER_TEMPLATE}'
)


def turn_parts(row: dict, tokenizer: "PreTrainedTokenizerBase") -> list[tuple[bool, list[int]]]:
    """The ids of a conversation in runs that are masked (False) and trained (True) by turns, a masked one first.

    Args:
        row: of `messages`, `tools` and `turns`, as `cft.rows.load_rows` reads it.

    Raises:
        TrainError: the template changes an earlier turn when a later one is added, leaves out a text, a call, a result
            or a tool, or does not end a turn; or tokens span the border of a turn.
        ModelError: the template refuses the conversation.
    """
    if tokenizer.chat_template is None:
        raise TrainError("has several turns, but the model has no chat template. Set model.chat_template, to plain say")
    messages = [{key: value for key, value in m.items() if value not in (None, [])} for m in row["messages"]]
    tools, last, stop = row.get("tools") or [], row.get("turns") == "last", tokenizer.eos_token
    chat = partial(apply_template, tokenizer, tools=tools or None, tokenize=False)
    text, thoughts = chat(messages), reads_thoughts(tokenizer)
    turns = [i for i, message in enumerate(messages) if message["role"] == "assistant"][-1 if last else 0 :]
    starts = [_start(text, chat(messages[:i], add_generation_prompt=True), i, last) for i in turns]
    borders, done = [0], 0
    for i, start, limit in zip(turns, starts, [*starts[1:], len(text)], strict=True):
        end = text.find(stop, start, limit) + len(stop)
        if end < start:
            raise TrainError(
                f"{_name(messages, i)}: the chat template does not end it in {stop!r} but goes on "
                f"{text[start:limit][-SHOWN:]!r}, so that the model would not learn to stop. {OTHER_TEMPLATE}"
            )
        read = [("tools", said) for tool in ([] if done else tools) for said in _tool_texts(tool)]
        read += [(_name(messages, j), said) for j in range(done, i) for said in _texts(messages[j], answered=True)]
        written = [(_name(messages, i), said) for said in _texts(messages[i], thoughts=thoughts)]
        if where := next((where for where, said in written if stop in said), None):
            raise TrainError(f"{where}: holds the end-of-turn token {stop!r}, which would end it. Write it otherwise")
        _check_all_there(text[borders[-1] : start], read)
        _check_all_there(text[start:end], written)
        borders, done = [*borders, start, end], i + 1
    parts = _tokens(text, [*borders, len(text)], tokenizer)
    return [(number % 2 == 1, ids) for number, ids in enumerate(parts)]


def reads_thoughts(tokenizer: "PreTrainedTokenizerBase") -> bool:
    """Whether the chat template has a place for `reasoning_content` of a message; else it is left out."""
    return "reasoning_content" in str(tokenizer.chat_template)


def _name(messages: list[dict], i: int) -> str:
    return f"message {i + 1} ({messages[i]['role']})"


def _start(text: str, asked: str, i: int, last: bool) -> int:
    """Where message i begins in the text: behind the prompt that asks for it, if that is the beginning of the text."""
    if text.startswith(asked):
        return len(asked)
    at = next((k for k, pair in enumerate(zip(text, asked, strict=False)) if pair[0] != pair[1]), len(text))
    raise TrainError(
        f"message {i + 1} (assistant): the chat template rewrites what stands before it. When the model is asked it "
        f"goes on {asked[at : at + SHOWN]!r}, in the whole conversation {text[at : at + SHOWN]!r}. "
        + (OTHER_TEMPLATE if last else A_ROW_A_TURN)
    )


def _check_all_there(text: str, wanted: list[tuple[str, str]]) -> None:
    """TrainError if what the template made of some messages lacks one of their texts. White space does not count.

    Each text found is taken out, the longest first, so that none is found within another: a call that is left out is
    not found in the words that announce it.

    Args:
        wanted: the texts, each behind the name of its message.
    """
    text = _packed(text)
    for where, want in sorted(wanted, key=lambda one: -len(_packed(one[1]))):
        forms = (want, json.dumps(want, ensure_ascii=False)[1:-1], json.dumps(want)[1:-1], repr(want)[1:-1])
        found = next((form for form in map(_packed, forms) if form in text), None)
        if found is None:
            fix = A_ROW_A_TURN if "</think>" in want else OTHER_TEMPLATE
            raise TrainError(f"{where}: the chat template does not write {want.strip()[:SHOWN]!r} as it is. {fix}")
        text = text.replace(found, "\0", 1) if found else text


def _texts(message: dict, *, answered: bool = False, thoughts: bool = False) -> Iterator[str]:
    """The texts of a message, of an `answered` one without thoughts: templates leave out those of earlier turns."""
    yield message["content"].rpartition("</think>")[2] if answered else message["content"]
    yield message.get("reasoning_content", "") if thoughts else ""
    for call in message.get("tool_calls", []):
        yield call["function"]["name"]
        yield from _leaves(call["function"]["arguments"])


def _packed(text: str) -> str:
    return "".join(text.split())


def _tool_texts(tool: dict) -> tuple[str, str]:
    return tool["function"]["name"], tool["function"].get("description") or ""


def _leaves(value: Any) -> Iterator[str]:
    """The texts and numbers in arguments, and their keys. How a template writes true or null is its own affair."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from (key, *_leaves(item))
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    elif not isinstance(value, bool) and value is not None:
        yield value if isinstance(value, str) else json.dumps(value)


def _tokens(text: str, borders: list[int], tokenizer: "PreTrainedTokenizerBase") -> list[list[int]]:
    """The ids of the text, in parts between the borders (characters). TrainError if a token spans one of them."""
    encode = partial(tokenizer, add_special_tokens=False)
    whole = encode(text=text)["input_ids"]
    parts = encode(text=[text[a:b] for a, b in pairwise(borders)])["input_ids"]
    if list(chain.from_iterable(parts)) == whole:
        return parts
    # Some tokenizers write the beginning of a text otherwise (SentencePiece's space): all from the beginning, slowly
    begun = [encode(text=text[:border])["input_ids"] for border in borders]
    for border, ids in zip(borders, begun, strict=True):
        if whole[: len(ids)] != ids:
            raise TrainError(
                f"the prompt of a turn tokenises differently than in front of it, at "
                f"{text[max(0, border - 20) : border + 20]!r}. Let no turn of the assistant begin with white space, or "
                "set model.chat_template to one that renders both alike"
            )
    return [whole[len(a) : len(b)] for a, b in pairwise(begun)]
