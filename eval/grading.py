r"""The one grader: is the answer in the last box of a response equal to the gold answer?

What counts as equal:
- Numbers exactly: 033 = 33, 0.5 = 1/2 = \frac12, 1,000 = 1000, 1\frac45 = 9/5, and 0.333 ≠ 1/3.
- A unit may be left out, also \%, \$ and degrees: 50\% = 50, but 50\% ≠ 0.5. Two measures that differ are unequal
  (5 cents ≠ 5 dollars); words that are no measure (apples) are ignored. A base may not be left out: 2516_8 ≠ 2516.
- Words in any case (\text{even} = Even), single letters and variables in their own: C = \text{(C)} ≠ c, R^2 ≠ r^2.
- A name may be left out on one side: x = 5 is 5. An answer `a = b` without a name is right when both sides are.
- A list without brackets equals a set, and itself in any order, and a tuple only in the tuple's order. Tuples, sets,
  closed and half-open intervals are never each other. \pm stands for both values.
- All else is equal when math-verify says so (`eval.grading_worker`), except where it is known to be too kind.
"""

import atexit
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from cft.errors import EvalError
from cft.files import content_id
from eval.grading_worker import Worker
from eval.quantity import based, quantity
from eval.spelling import (
    Structure,
    bare_list,
    bracketed,
    is_name,
    nesting,
    normalise,
    plain,
    split,
    without_membership,
    without_parentheses,
    words,
)

MAX_CHARACTERS = 2000  # a longer text is equal to itself and otherwise not decided
MAX_NESTING = 30
MAX_ELEMENTS = 50
MAX_FAILURES = 2  # undecided comparisons of one answer with others of its question
RULES = ("grading.py", "grading_worker.py", "quantity.py", "spelling.py")  # what decides a grade
LIMIT_SECONDS = 10.0  # of math-verify, for one pair of answers

Outcome = Literal["correct", "wrong", "no_answer", "truncated", "ungradable"]

_BOX = re.compile(r"\\+boxed\s*\{|\\.|[{}]", re.DOTALL)
_SET_OR_RELATION = re.compile(r"[<>]|\\(?:le|ge|ne|cup|cap|setminus|in|mathbb)(?![A-Za-z])")
_SURELY_INTERVAL = re.compile(r"[\[\]<>]|\\(?:infty|cup|le|ge)(?![A-Za-z])")
# What math-verify reads over or reads wrongly: where these differ, the answers do.
_READ_OVER = re.compile(
    r"(?<!\\log)(?<!\\sum)(?<!\\int)(?<!\\prod)_\{?\w+\}?|'|:|\.\.\.|\d \d|\\%"
    r"|\\(?:approx|sim|[lc]?dots|equiv|pmod|bmod|mod|to|rightarrow|underline|hat|bar)(?![A-Za-z])"
)
_worker = Worker()
atexit.register(_worker.stop)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_worker.forget_after_fork)


@dataclass(frozen=True)
class Grade:
    """What became of a response.

    Attributes:
        outcome: "ungradable" where the gold is empty or equality could not be decided.
        answer: content of the last box; None where there is none or it is empty.
    """

    outcome: Outcome
    answer: str | None


def grade(gold: str, response: str, *, truncated: bool = False) -> Grade:
    """Grade the last box of a response; `truncated` says that it hit the token limit, and decides the outcome."""
    answer = last_box(response) or None
    if truncated:
        return Grade("truncated", answer)
    if not gold.strip():
        return Grade("ungradable", answer)
    if answer is None:
        return Grade("no_answer", None)
    equal = same_answer(gold, answer)
    return Grade("ungradable" if equal is None else "correct" if equal else "wrong", answer)


@cache
def grader_identity() -> str:
    """A short hash of the code that grades, and of math-verify's version: answers graded under another one may differ."""
    files = [Path(__file__).with_name(name) for name in RULES]
    return content_id([file.read_text(encoding="utf-8") for file in files], version("math-verify"))


def last_box(text: str) -> str | None:
    r"""Content of the last complete `\boxed{...}`, the outer one of nested boxes; None where there is none.

    Only what follows `</think>` is looked at. A box needs braces: `\boxed5` is none, `\boxed {5}` is one.
    """
    text = text.rpartition("</think>")[2]
    open_braces: list[int | None] = []  # where the content of a box begins; None for any other brace
    content = None
    for match in _BOX.finditer(text):
        if match[0] == "}":
            begin = open_braces.pop() if open_braces else None
            if begin is not None:
                content = text[begin : match.start()].strip()
        elif match[0].endswith("{") and match[0] != r"\{":
            open_braces.append(match.end() if "boxed" in match[0] else None)
    return content


def same_answer(gold: str, answer: str) -> bool | None:
    """Whether an answer equals the gold answer by this module's rules; None where that could not be decided in time.

    Raises:
        EvalError: the grading process cannot be started.
    """
    gold, answer = gold.strip(), answer.strip()
    if not gold:
        return None
    if gold == answer:
        return True
    if _too_large(gold) or _too_large(answer):
        return None
    return _decide(normalise(gold), normalise(answer))


def same_answer_groups(answers: Sequence[str | None]) -> list[int | None]:
    """For each of one question's sampled answers the index of the first sample with an equal answer (`same_answer`).

    Answers of one spelling are compared once. What cannot be decided counts as unequal, and an answer of which two
    comparisons failed is compared no more, so that answers nobody can evaluate cost little.

    Args:
        answers: contents of the last boxes (`Grade.answer`), None or "" where there is none: those have no group.

    Raises:
        EvalError: the grading process cannot be started.
    """
    groups: list[int | None] = []
    group_of: dict[str, int] = {}  # by spelling
    leaders: dict[int, str] = {}
    failures: Counter[int] = Counter()
    for index, answer in enumerate(answers):
        answer = (answer or "").strip()
        if not answer:
            groups.append(None)
            continue
        readable = not _too_large(answer)
        spelling = normalise(answer) if readable else answer
        if spelling not in group_of:
            group_of[spelling] = index
            for leader, text in leaders.items() if readable else ():
                if failures[index] >= MAX_FAILURES or failures[leader] >= MAX_FAILURES:
                    continue
                equal = same_answer(text, answer)
                if equal:
                    group_of[spelling] = leader
                    break
                if equal is None:
                    failures.update((index, leader))
            else:
                if readable:
                    leaders[index] = answer
        groups.append(group_of[spelling])
    return groups


def _too_large(text: str) -> bool:
    return len(text) > MAX_CHARACTERS or nesting(text) > MAX_NESTING


class _UndecidedError(Exception):
    """Equality could not be decided."""


@lru_cache(maxsize=4096)
def _decide(gold: str, answer: str) -> bool | None:
    try:
        return bool(gold and answer) and _Comparison().equal(gold, answer)
    except (_UndecidedError, RecursionError):
        return None


class _Comparison:
    """One pair of answers, and the time that is left for math-verify on it."""

    def __init__(self) -> None:
        self.seconds_left = LIMIT_SECONDS

    def equal(self, gold: str, answer: str) -> bool:
        """Whether two normalised texts are equal."""
        gold, answer = without_parentheses(without_membership(gold)), without_parentheses(without_membership(answer))
        if gold == answer:
            return True
        if words(gold) is not None or words(answer) is not None:
            return plain(gold) == plain(answer)
        gold_quantity, answer_quantity = quantity(gold), quantity(answer)
        values = gold_quantity.value, answer_quantity.value
        if None not in values:
            return values[0] == values[1] and _units_agree(gold_quantity.unit, answer_quantity.unit)
        if based(gold) or based(answer):
            return based(gold) == based(answer)
        return self._equal_lists(gold, answer)

    def _equal_lists(self, gold: str, answer: str) -> bool:
        """Texts of which at least one is no number."""
        gold_list, answer_list = bare_list(gold), bare_list(answer)
        if bool(gold_list) != bool(answer_list):  # 1,000\pi and 1000\pi: thousands after all?
            joined = _join_thousands(gold), _join_thousands(answer)
            if joined != (gold, answer) and not any(map(bare_list, joined)):
                return self.equal(*joined)
        gold_parts = [gold] if gold_list else split(gold, "=")
        answer_parts = [answer] if answer_list else split(answer, "=")
        if len(gold_parts) > 1:
            if len(answer_parts) > 1 and answer_parts[0] != gold_parts[0]:
                return self._math_verify(gold, answer)
            if not is_name(gold_parts[0]):
                return len(answer_parts) > 1 and self._math_verify(gold, answer)
            gold = gold_parts[-1]
        if len(answer_parts) > 1:
            values = [answer_parts.pop(), *(part for part in answer_parts if not is_name(part))]
            return all(self.equal(gold, value) for value in values)
        if len(gold_parts) > 1:
            return self.equal(gold, answer)
        return self._equal_structures(gold, answer, gold_list or bracketed(gold), answer_list or bracketed(answer))

    def _equal_structures(self, gold: str, answer: str, held: Structure | None, given: Structure | None) -> bool:
        """Texts without a top-level `=`, and what brackets hold them."""
        if held and given:
            return self._equal_elements(held, given)
        if not held and not given:
            return self._equal_expressions(gold, answer)
        single = held or given
        if single.kind == "{}" and len(single.elements) == 1:
            return self.equal(single.elements[0] if held else gold, single.elements[0] if given else answer)
        if _SET_OR_RELATION.search(answer if held else gold) and _SURELY_INTERVAL.search(gold):
            return self._math_verify(gold, answer)
        return False

    def _equal_elements(self, gold: Structure, answer: Structure) -> bool:
        """A list is a set, and a tuple in the same order; other kinds equal only their own."""
        kinds = {gold.kind, answer.kind}
        if len(kinds) > 1 and kinds not in ({"list", "{}"}, {"list", "()"}):
            return False
        if len(gold.elements) != len(answer.elements) or len(gold.elements) > MAX_ELEMENTS:
            return False
        if kinds <= {"list", "{}"}:
            return self._equal_unordered(gold.elements, answer.elements)
        return all(self.equal(g, a) for g, a in zip(gold.elements, answer.elements, strict=True))

    def _equal_unordered(self, gold: Sequence[str], answer: Sequence[str]) -> bool:
        rest = list(answer)
        for element in gold:
            match = next((a for a in rest if self.equal(element, a)), None)
            if match is None:
                return False
            rest.remove(match)
        return True

    def _equal_expressions(self, gold: str, answer: str) -> bool:
        """Texts that are neither numbers nor lists."""
        gold_union, answer_union = split(gold, r"\cup"), split(answer, r"\cup")
        if len(gold_union) == len(answer_union) > 1 and self._equal_unordered(gold_union, answer_union):
            return True
        gold_quantity, answer_quantity = quantity(gold), quantity(answer)
        if gold_quantity.scale != 1 or answer_quantity.scale != 1:
            return False
        if not _units_agree(gold_quantity.unit, answer_quantity.unit):
            return False
        if (gold_quantity.body, answer_quantity.body) != (gold, answer):
            return self.equal(gold_quantity.body, answer_quantity.body)
        return self._math_verify(gold, answer)

    def _math_verify(self, gold: str, answer: str) -> bool:
        """Ask the worker, where math-verify can be trusted with these two."""
        if r"\text" in gold + answer:
            if plain(gold) != plain(answer) and r"\text" in gold:
                raise _UndecidedError  # words and mathematics mixed: beyond this grader
            return plain(gold) == plain(answer)
        if sorted(_READ_OVER.findall(gold)) != sorted(_READ_OVER.findall(answer)) or re.search(r"\d \d", gold + answer):
            return False
        if self.seconds_left <= 0:
            raise _UndecidedError
        try:
            verdict, seconds = _worker.ask(_for_math_verify(gold), _for_math_verify(answer), self.seconds_left)
        except (RuntimeError, OSError) as error:
            raise EvalError(f"cannot grade: {error}") from error
        self.seconds_left -= seconds
        if verdict is None:
            raise _UndecidedError
        return verdict and not _letters_change_case(gold, answer)


def _units_agree(gold: str, answer: str) -> bool:
    """Either unit may be missing; two that are given must be the same."""
    return not gold or not answer or gold == answer


def _join_thousands(text: str) -> str:
    return re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)


def _for_math_verify(text: str) -> str:
    r"""A normalised text as math-verify reads it rightly: decimals as fractions, and no number straight before `(`.

    It rounds decimals to six places, takes `5(2)` for a mixed number (7), `;` for nothing, and sees the imaginary unit
    in `2 i` but not in `2i`.
    """
    text = _join_thousands(text).replace(";", ",").replace(r"\$", "")
    text = re.sub(
        r"(?<![\d.])(\d*)\.(\d+)",
        lambda match: rf"{{\left(\frac{{{int(match[1] + match[2])}}}{{{10 ** len(match[2])}}}\right)}}",
        text,
    )
    text = re.sub(r"(?<![\d_])(\d+)(?=\(|\{\\left)", r"\1\\cdot ", text)
    return re.sub(r"(?<=\d)i(?![A-Za-z])", " i", re.sub(r"(?<=\d) (?=[A-Za-z])", "", text))


def _letters_change_case(gold: str, answer: str) -> bool:
    """Whether a letter of one text stands in the other only in the other case; math-verify takes R for r."""
    gold_letters, answer_letters = (set(re.sub(r"\\[A-Za-z]+|[^A-Za-z]", "", text)) for text in (gold, answer))
    return any(letter.swapcase() in answer_letters - gold_letters for letter in gold_letters - answer_letters)
