"""Gold answers as data sets write them, and the texts beside them: read rightly, or refused in words."""

import ast
import math
import re
import warnings
from decimal import Decimal
from typing import Any

from cft.words import damage
from eval.grading import last_box

MOST_CHARACTERS = 2000  # of a gold answer
_SENTENCE = re.compile(r"^(?:the |my )?(?:final |correct )?answer(?: is|:| =)[: ]*", re.IGNORECASE)


def read_text(value: Any, *, gold: bool = False) -> str:
    """A text of a row, without white space around it.

    Raises:
        ValueError: in words that follow the name of its key: another type, nothing in it, or a damaged text.
    """
    if isinstance(value, str) and (fault := damage(value, gold=gold)):
        raise ValueError(fault)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"is {value!r:.60}; write a text" + " or a number" * gold)
    return value.strip()


def read_gold(value: Any, after: str = "####") -> str:
    r"""The answer that the grader compares with; several that belong together become one list, in any order.

    `after`: the answer is the number behind the last of these marks where there is one, as in GSM8K. Taken off are a
    box, `$` and `\(` around mathematics, `The answer is`, a full stop, and the spelling of Python and NumPy.

    Raises:
        ValueError: as `read_text`, or it cannot be told which part of it is the answer.
    """
    if isinstance(value, list) and value:
        return ", ".join(read_gold(part, after) for part in value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"is {value}, which is no number")
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = f"{Decimal(repr(value)):f}"
    text = read_text(value, gold=True)
    if re.fullmatch(r"""\[\s*(['"]).*\1\s*,?\s*\]""", text, re.DOTALL):
        return read_gold(_list(text), after)
    _, mark, number = text.rpartition(after)
    text = number.strip().replace(",", "") if mark else _SENTENCE.sub("", text, count=1)
    boxes = re.findall(r"\\(?:boxed|fbox)\b", text)
    if len(boxes) > 1:
        raise ValueError("has several boxes; write a list of the answers")
    gold = clean((last_box(text) or "") if boxes else text)
    if gold.lower() in ("", "nan", "null", "n/a"):
        raise ValueError(f"is {gold!r}, as of a missing value; write the answer" if gold else "is empty")
    if len(gold) > MOST_CHARACTERS:
        raise ValueError(f"has {len(gold):,} characters, but an answer is short; write only the answer")
    return gold


def _list(text: str) -> list[Any]:
    """The list that a text is in Python's spelling: `['12', '3']`."""
    try:
        with warnings.catch_warnings(action="ignore"):  # '\sqrt' is no escape of Python's
            return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise ValueError(f"is {text!r:.60}, a list written as text; write a list, or the answer alone") from None


def clean(gold: str) -> str:
    r"""A gold answer without what is no part of it: `$` and `\(` around mathematics, bold, a full stop, `np.`."""
    gold = re.sub(r"(?<!\\)\$([^$]*?)(?<!\\)\$", r"\1", gold.strip())
    gold = re.sub(r"^\*\*([^*]+)\*\*$", r"\1", re.sub(r"(?<!\\)\\[()\[\]]", "", gold.strip()))
    gold = re.sub(r"\bnp\.(?=[a-z]+\()", r"\\", gold)
    return re.sub(r"(?<=\d)\.(?=/)", "", gold).strip().removesuffix(".").strip()
