r"""Equality of two normalised answers by the rules of `eval.grading`: structure first, math-verify for the rest."""

import atexit
import math
import os
import re
from collections import defaultdict
from collections.abc import Sequence

from cft.errors import EvalError
from eval.grading.effort import beyond_evaluation
from eval.grading.notation import congruence, linear, renamings, vector
from eval.grading.quantity import based, in_radians, quantity, ratio, times_of_day, tower
from eval.grading.structure import (
    POINT,
    Structure,
    as_interval,
    bare_list,
    bracketed,
    choice,
    is_name,
    is_of_event,
    names_value,
    plain,
    same_words,
    split,
    without_membership,
    without_parentheses,
    words,
)
from eval.grading.units import NO_UNIT
from eval.grading.worker import Worker

MAX_ELEMENTS = 50
LIMIT_SECONDS = 10.0  # of math-verify, for one pair of answers
MAX_LATE = 3  # answers of one shape that took all of that, none of them decided: further ones are not tried

_SET_OR_RELATION = re.compile(r"[<>]|\\(?:le|ge|ne|cup|cap|setminus|in|mathbb)(?![A-Za-z])")
_RELATION = re.compile(r"[<>=]|\\(?:le|ge|ne)(?![A-Za-z])")
_SURELY_INTERVAL = re.compile(r"[\[\]<>]|\\(?:infty|cup|le|ge)(?![A-Za-z])")
# What math-verify reads over or reads wrongly: where these differ, the answers do.
_READ_OVER = re.compile(
    r"(?<!\\log)(?<!\\sum)(?<!\\int)(?<!\\prod)_\{?\w+\}?|'|:|\.\.\.|\d \d|\\%"
    r"|\\(?:approx|sim|[lc]?dots|equiv|pmod|bmod|mod|to|rightarrow|underline|hat|bar)(?![A-Za-z])"
)
_LETTERS = re.compile("[A-J]+")
_ONE_IN_BRACKETS = re.compile(r"\[[^,;\[\]]*\]")
_ALL_REALS = r"(-\infty,\infty)"
_CHOOSE = re.compile(r"^C\((\d+)[,;](\d+)\)$")
_FACTORIAL = re.compile(r"(\d{2,18})!")
_late: defaultdict[str, float] = defaultdict(float)  # by shape; minus infinity where one was decided
_worker = Worker()
atexit.register(_worker.stop)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_worker.forget_after_fork)


class UndecidedError(Exception):
    """Equality could not be decided."""


class Comparison:
    """One pair of answers, and the time that is left for math-verify on it."""

    def __init__(self) -> None:
        self.seconds_left = LIMIT_SECONDS

    def equal(self, gold: str, answer: str) -> bool:
        """Whether two normalised texts are equal."""
        gold, answer = (without_parentheses(without_membership(text)) for text in (gold, answer))
        if gold == answer:
            return True
        choices = choice(gold), choice(answer)
        if any(choices):
            return self._equal_choices(gold, answer, *choices)
        if (same := self._equal_notations(gold, answer)) is not None:
            return same
        if words(gold) is not None or words(answer) is not None:
            return same_words(gold, answer)
        quantities = quantity(gold), quantity(answer)
        times = [times_of_day(each) for each in quantities]
        if all(times):  # 3:30 is 3:30 PM, and so is 15:30, but one is not the other
            half_stated = any(each.unit != NO_UNIT for each in quantities)
            return times[0] == times[1] or (half_stated and bool(times[0] & times[1]))
        if all(each.value is not None for each in quantities):
            return quantities[0].same_amount(quantities[1])
        ratios = ratio(gold), ratio(answer)
        for share, number in zip(ratios, reversed(quantities), strict=True):
            if share is not None and number.value is not None:
                return not number.unit.measures and share == number.value
        if based(gold) or based(answer):
            return based(gold) == based(answer)
        towers = tower(gold), tower(answer)
        if None not in towers and towers[0][0] == towers[1][0]:
            return self.equal(towers[0][1], towers[1][1])
        if any(each.value is not None for each in quantities) and any(text and _is_large(*text) for text in towers):
            return False  # a number that can be written down is none of these
        factorials = _FACTORIAL.fullmatch(gold), _FACTORIAL.fullmatch(answer)
        if all(factorials):
            return int(factorials[0][1]) == int(factorials[1][1])
        intervals = as_interval(gold), as_interval(answer)
        if any(intervals):
            return self._equal_intervals(gold, answer, *intervals)
        return self._equal_lists(gold, answer)

    def _equal_notations(self, gold: str, answer: str) -> bool | None:
        """Texts that say one thing in two notations, or with other letters; None where they do not."""
        congruences = congruence(gold), congruence(answer)
        if any(congruences):
            one, other = (held or linear(text) for held, text in zip(congruences, (gold, answer), strict=True))
            if one and other:
                return one[1:] == other[1:] and (one[0] == other[0] or "" in (one[0], other[0]))
        vectors = vector(gold), vector(answer)
        if any(vectors):
            others = [bracketed(text) for text, found in zip((gold, answer), vectors, strict=True) if not found]
            axes = "ijk"[: len(others[0].elements)] if others and others[0] else "ijk"
            if None not in others and all(set(found or "") <= set(axes) for found in vectors):
                tuples = [f"({';'.join(found.get(axis, '0') for axis in axes)})" if found else "" for found in vectors]
                return self.equal(tuples[0] or gold, tuples[1] or answer)
        chosen = [_CHOOSE.sub(r"\\binom{\1}{\2}", text) for text in (gold, answer)]
        if (chosen[0] != gold) != (chosen[1] != answer) and not any(map(bracketed, chosen)):
            return self.equal(*chosen)
        pairs = renamings(gold, answer)
        return None if pairs is None else any(self.equal(*pair) for pair in pairs)

    def _equal_choices(
        self, gold: str, answer: str, held: tuple[str, str] | None, given: tuple[str, str] | None
    ) -> bool:
        r"""`\text{(B)}42` is equal to its letter and to what follows it; of two choices both must be equal."""
        if held and given:
            return held[0] == given[0] and (not held[1] or not given[1] or self.equal(held[1], given[1]))
        letter, value = held or given
        other = answer if held else gold
        if re.fullmatch(r"[A-Z]|\\text\{[A-Z]\}", other):
            return letter == plain(other).upper()
        return bool(value) and self.equal(value, other)

    def _equal_intervals(
        self, gold: str, answer: str, held: tuple[str, str] | None, given: tuple[str, str] | None
    ) -> bool:
        """Texts of which at least one is an inequality in one name, `x<3`; of two the names must be the same."""
        if held and given:
            if held[0] != given[0]:
                return self._math_verify(gold, answer)  # x<y, y>x
            return self.equal(held[1], given[1])
        other = answer if held else gold
        if _RELATION.search(other):
            return self._equal_expressions(gold, answer)
        return self.equal(held[1] if held else gold, given[1] if given else answer)

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
                if is_of_event(gold_parts[0]) and is_of_event(answer_parts[0]):
                    return False  # P(X=2) and P(X=3)
                return self._math_verify(gold, answer)
            if not is_name(gold_parts[0]):
                return len(answer_parts) > 1 and self._math_verify(gold, answer)
            gold = gold_parts[-1]
        if len(answer_parts) > 1:
            names = is_name if answer_parts[-1] == "0" else names_value  # x-2y=0 is a line and not 0
            named = [part for part in answer_parts[:-1] if names(part)]
            values = [answer_parts.pop(), *(part for part in answer_parts if part not in named)]
            return all(self.equal(gold, value) for value in values)
        if len(gold_parts) > 1:
            return self.equal(gold, answer)
        return self._equal_structures(gold, answer, gold_list or bracketed(gold), answer_list or bracketed(answer))

    def _equal_structures(self, gold: str, answer: str, held: Structure | None, given: Structure | None) -> bool:
        """Texts without a top-level `=`, and what brackets hold them."""
        if held and given:
            return self._equal_elements(held, given)
        if not held and not given:
            if bool(_ONE_IN_BRACKETS.fullmatch(gold)) != bool(_ONE_IN_BRACKETS.fullmatch(answer)):
                return False
            return self._equal_expressions(gold, answer)
        single = held or given
        other = answer if held else gold
        if other == r"\mathbb{R}":
            return (gold if held else answer) == _ALL_REALS
        if single.kind == "()" and (point := POINT.fullmatch(other)):
            return self.equal(gold if held else point[1], answer if given else point[1])
        if _LETTERS.fullmatch(other) and all(map(_LETTERS.fullmatch, single.elements)):
            return single.kind == "list" and sorted(single.elements) == sorted(other)  # choices A, C written as AC
        intervals = [as_interval(element) for element in single.elements]
        if single.kind == "list" and None not in intervals and len({name for name, _ in intervals}) == 1:
            union = [interval for _, interval in intervals]
            if r"\cup" in other:
                return self._equal_unordered(split(other, r"\cup"), union)
            return self._math_verify(*(r"\cup".join(union) if text != other else other for text in (gold, answer)))
        if single.kind == "{}" and len(single.elements) == 1:
            if r"\emptyset" in single.elements or single.elements[0].startswith(r"\{"):
                return False  # a set in a set
            return self.equal(single.elements[0] if held else gold, single.elements[0] if given else answer)
        if _SET_OR_RELATION.search(other) and (_SURELY_INTERVAL.search(gold) or _RELATION.search(other)):
            return self._math_verify(gold, answer)
        return single.kind.startswith("matrix") and "matrix}" in other and self._math_verify(gold, answer)

    def _equal_elements(self, gold: Structure, answer: Structure) -> bool:
        """A list is a set, and a tuple in the same order; other kinds equal only their own."""
        kinds = {gold.kind, answer.kind}
        if len(kinds) > 1 and kinds not in ({"list", "{}"}, {"list", "()"}, {"matrix 1", "()"}):
            return False
        if len(gold.elements) != len(answer.elements) or len(gold.elements) > MAX_ELEMENTS:
            return False
        sets = [sorted(element.startswith(r"\{") for element in each.elements) for each in (gold, answer)]
        if sets[0] != sets[1]:
            return False  # a set in a set
        if kinds <= {"list", "{}"} and not _values_need_order(gold.elements, answer.elements):
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
        if radians := in_radians(gold_quantity, answer_quantity):
            return self.equal(*radians)
        if not gold_quantity.unit.agrees(answer_quantity.unit, convert=False):
            return False
        if (gold_quantity.body, answer_quantity.body) != (gold, answer):
            return self.equal(gold_quantity.body, answer_quantity.body)
        return self._math_verify(gold, answer)

    def _math_verify(self, gold: str, answer: str) -> bool:
        """Ask the worker, where math-verify can be trusted with these two."""
        if r"\text" in gold + answer:
            if plain(gold) != plain(answer) and r"\text" in gold:
                raise UndecidedError  # words and mathematics mixed: beyond this grader
            return plain(gold) == plain(answer)
        if sorted(_READ_OVER.findall(gold)) != sorted(_READ_OVER.findall(answer)) or re.search(r"\d \d", gold + answer):
            return False
        shape = _shape(answer)
        too_late = self.seconds_left <= 0 or _late.get(shape, 0) >= MAX_LATE
        if too_late or beyond_evaluation(gold) or beyond_evaluation(answer):
            raise UndecidedError
        try:
            verdict, seconds = _worker.ask(_for_math_verify(gold), _for_math_verify(answer), self.seconds_left)
        except (RuntimeError, OSError) as error:
            raise EvalError(f"cannot grade: {error}") from error
        self.seconds_left -= seconds
        if verdict is not None:
            _late[shape] = -math.inf
        elif self.seconds_left <= 0:
            _late[shape] += 1
        if verdict is None:
            raise UndecidedError
        return verdict and not _letters_change_case(gold, answer)


def _shape(text: str) -> str:
    """A text with all numbers alike and repeated pieces once: what takes too long in one does in the next."""
    return re.sub(r"(.{1,30}?)\1+", r"\1", re.sub(r"\d+", "0", text), flags=re.DOTALL)


def _is_large(base: int, exponent: str) -> bool:
    return beyond_evaluation(f"{base}^{{{exponent}}}")


def _values_need_order(gold: Sequence[str], answer: Sequence[str]) -> bool:
    """Whether gold values carry names that differ (`a=2, b=3`), so that `3,2` without names is another answer."""
    names = [parts[0] for parts in (split(element, "=") for element in gold) if len(parts) > 1 and is_name(parts[0])]
    return len(set(names)) == len(gold) and not any("=" in element for element in answer)


def _join_thousands(text: str) -> str:
    return re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)


def _for_math_verify(text: str) -> str:
    r"""A normalised text as math-verify reads it rightly: decimals as fractions, and no number straight before `(`.

    It rounds decimals to six places, takes `5(2)` for a mixed number (7), `;` for nothing, and sees the imaginary unit
    in `2 i` but not in `2i`.
    """
    text = _join_thousands(text).replace(";", ",").replace(r"\$", "").replace("$", "")
    text = re.sub(r"(?<![\d.])(\d+(?:\.\d+)?)\^\\circ ?", r"{\\left(\\frac{\1\\pi}{180}\\right)}", text)
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
    return any(letter.swapcase() in gold_letters | answer_letters for letter in gold_letters ^ answer_letters)
