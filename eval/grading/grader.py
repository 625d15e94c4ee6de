r"""The one grader: is the answer in the last box of a response equal to the gold answer?

What counts as equal:
- Numbers exactly: 033 = 33, 0.5 = 1/2 = \frac12, 1,000 = 1000, 3{,}14 = 3.14, 1\frac45 = 9/5, 0.(3) = 1/3,
  1.5\times10^3 = 1500, and 0.333 ≠ 1/3; of numbers that are no fractions 300 digits count, relative to their size.
  Digits and signs of other alphabets are read (５, ٥, −, ½, √2); numbers whose size alone says that nobody can work
  them out (`eval.grading.effort`) are compared by base and exponent, and undecided where that does not help.
- A unit, \%, \$ or degrees may be left out, and so may what is counted (apples): 50\% = 50, but 50\% ≠ 0.5. Two that
  differ are unequal (5 cents ≠ 5 dollars, km/h ≠ km, cm^2 ≠ cm^3, boys ≠ girls, AM ≠ PM), and measures of one
  dimension are converted (1.5 h = 90 min = 1 hour and 30 minutes, 75 cents = $0.75). Times of day are read on clocks
  of 12 and of 24 hours (3:30 PM = 15:30). Other words change a number and stand on both sides or make
  a difference (5 ≠ 5 below zero, loss ≠ profit). Inside a function degrees count: \sin 30^\circ = 1/2. A base may not
  be left out.
- Words in any case, without article and plural (\text{even} = Even, an ellipse = ellipse), numbers in words
  (forty-two), single letters and variables in their own case: C = \text{(C)} ≠ c, R^2 ≠ r^2. A choice with its value,
  \text{(B) } 42, is its letter and its value; \text{Option B} is B.
- A name may be left out on one side: x = 5 is 5, and so are m+n = 5, [ABC] = 5, \text{The answer is } 5, but not 2x =
  5. An answer `a = b` without a name is right when both sides are. Names that differ keep their values apart: a = 2,
  b = 3 is b = 3, a = 2 and 2, 3 but not 3, 2.
- A list without brackets equals a set, and itself in any order, and a tuple only in the tuple's order. Tuples, sets,
  closed and half-open intervals are never each other. \pm and \mp stand for both values. x < 1 is (-\infty,1) and \{y
  \mid y < 1\}; x < 1 or x > 2 is a union.
- One thing in two notations (`eval.grading.notation`): vectors in i, j, k, in angle brackets and as columns, x = 7k+3
  and x \equiv 3 \pmod 7, ratios 3:5 = 3/5, {}_5C_2. A declared parameter (k\in\mathbb{Z}), a function's argument and a
  constant of integration may have any name.
- All else is equal when math-verify says so (`eval.grading.worker`), except where it is known to be too kind.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from cft.files import content_id
from eval.grading.equality import Comparison, UndecidedError
from eval.grading.spelling import normalise
from eval.grading.structure import nesting

MAX_CHARACTERS = 2000  # a longer text is equal to itself and otherwise not decided
MAX_NESTING = 30
MAX_BETWEEN = 60  # characters between two boxes of one list
MAX_FAILURES = 2  # undecided comparisons of one answer with others of its question

Outcome = Literal["correct", "wrong", "no_answer", "truncated", "ungradable"]

_BOX = re.compile(r"(?<!\\)\\+boxed\s*\{|\\.|[{}]", re.DOTALL)
_NAMED = re.compile(r"(?<![A-Za-z\\])([A-Za-z](?:_\{?\w\}?)?)\s*=[\s$]*$")
_BETWEEN = re.compile(
    r"[\s$*.]*(?P<join>,?[\s$]*(?:\b(?:and|or)\b|\\text\{\s*(?:and|or)\s*\})|[,;&])?[\s$*-]*"
    r"(?:[A-Za-z](?:_\{?\w\}?)?\s*=[\s$]*)?"
)


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
    boxes, by_words = _last_boxes(response)
    if not equal and len(boxes) > 1:  # one value in several forms, or the last of several steps
        equal = all(same_answer(gold, box) for box in (boxes if by_words else boxes[-1:])) or equal
    return Grade("ungradable" if equal is None else "correct" if equal else "wrong", answer)


def is_cut_off(response: str, finish_reason: str) -> bool:
    """Whether a response hit the token limit ("length") without a complete box; behind one, its box is graded."""
    return finish_reason == "length" and last_box(response) is None


@cache
def grader_identity() -> str:
    """A short hash of the code that grades and of math-verify's version: another one may grade otherwise."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return content_id([file.read_text(encoding="utf-8") for file in files], version("math-verify"))


def last_box(text: str) -> str | None:
    r"""Content of the last complete `\boxed{...}`, the outer one of nested boxes; None where there is none.

    Only what follows `</think>` is looked at. A box needs braces: `\boxed5` is none, `\boxed {5}` is one. Boxes that a
    comma, "and" or "or" joins are one list: `\boxed{2} and \boxed{6}` is `2, 6`; so are boxes of names that differ
    with nothing between them: `$a = \boxed{2}$`, `$b = \boxed{6}$` is `a=2, b=6`.
    """
    boxes, _ = _last_boxes(text)
    return ", ".join(filter(None, boxes)) if boxes else None


def _last_boxes(text: str) -> tuple[list[str], bool]:
    """Contents of the last box and of those joined to it, with their names; whether words or commas join them all."""
    text = text.rpartition("</think>")[2]
    boxes = _boxes(text)
    last: list[tuple[str, str]] = []  # name, content
    by_words = True
    for place in range(len(boxes) - 1, -1, -1):
        begin, content, end = boxes[place]
        name = _NAMED.search(text, max(begin - MAX_BETWEEN, boxes[place - 1][2] if place else 0), begin)
        name = name[1] if name else ""
        if last:
            after = boxes[place + 1][0]
            between = _BETWEEN.fullmatch(text, end, after) if after - end <= MAX_BETWEEN else None
            if between is None or not (between["join"] or (name and last[-1][0] not in ("", name))):
                break
            by_words = by_words and bool(between["join"])
        last.append((name, text[content].strip()))
    names = {name for name, _ in last}
    named = 1 < len(last) == len(names) and "" not in names and not any("=" in box for _, box in last)
    return [f"{name}={box}" if named else box for name, box in reversed(last)], by_words


def _boxes(text: str) -> list[tuple[int, slice, int]]:
    """Outer complete boxes: where each begins, its content, where it ends."""
    open_braces: list[tuple[int, int] | None] = []  # where a box and its content begin; None for any other brace
    boxes: list[tuple[int, slice, int]] = []
    for match in _BOX.finditer(text):
        if match[0] == "}":
            begin = open_braces.pop() if open_braces else None
            if begin is not None:
                while boxes and boxes[-1][0] > begin[0]:
                    boxes.pop()
                boxes.append((begin[0], slice(begin[1], match.start()), match.end()))
        elif match[0].endswith("{") and match[0] != r"\{":
            open_braces.append((match.start(), match.end()) if "boxed" in match[0] else None)
    return boxes


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


@lru_cache(maxsize=4096)
def _decide(gold: str, answer: str) -> bool | None:
    try:
        return bool(gold and answer) and Comparison().equal(gold, answer)
    except (UndecidedError, RecursionError):
        return None
