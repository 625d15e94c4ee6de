"""The false statements that a critique makes itself: what must never train, however right its verdict and its box.

Read are calculations, in signs and in words ("half of 85 is 43.5", "one third is about 36 %"), laws in letters
("(a + b)² = a² + b²"), conversions of units ("a minute has 100 seconds"), antiderivatives, and true equations that are
denied ("7 × 7 is not 49"). Words in quotes are the student's, and so is what stands in the candidate or is disowned.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

from data_builders.arithmetic.claims import Claim, claims
from data_builders.arithmetic.equations import Equation, equations
from data_builders.arithmetic.expressions import Name, Node, Number, Operation, leaves, show
from data_builders.arithmetic.identities import same, same_value, value, variables
from data_builders.arithmetic.markup import QUOTE, fold
from data_builders.arithmetic.units import conversion, in_units
from data_builders.arithmetic.wordings import counted, worded
from data_builders.filter.laws import false_calculus, false_law
from data_builders.filter.sentences import disowned

CLOSE_ENOUGH = Fraction(2, 100)  # of an estimate with ≈
_FACTORS = tuple(Fraction(f) ** s for f in (10, 60, 100, 1000, 3600, 24, 7, 12) for s in (1, -1))
_DENIAL = re.compile(r"\s(?:is not|isn't|isn’t|are not|does not equal|is never)\s|(?:≠|\\neq?(?![a-z]))")
_CALLED_FALSE = re.compile(
    r"[\s,;.)$\\]{0,4}but (?:that|this|it) is (?:not (?:what|true|so|right|correct)|wrong|false|incorrect)\b"
)
_ADDED_TO = re.compile(r"\b(?:plus|minus|times|over)\s+(?:the\s+)?\Z")  # "three plus the square root of two, about 4.4"
_VERB = re.compile(r"\b(?:is|equals|gives|makes)\b")
_VERB_OR_UNIT = re.compile(r"\\text|[a-z]{2}")  # 60 min / 1 h = 1
_OF_ANOTHER = re.compile(r"\b(?:than|of|to|in|on|by|for|from|at|over|with|between|after|above|below|digit|place)\W*\Z")
_LETTERED = re.compile(r"\d[mghsl]\b|per ?cent|÷ ?\d+ ?/")  # 4s may be a letter times four, 12 ÷ 2/3 is 12 ÷ (2/3)
_MODULUS = re.compile(r"(?:\b|\\[pb])mod(?:ulo|ulus)?\W{1,3}(\d{1,9})")
_COMPARED = re.compile(r"[^.;,\n]{0,60}\bmod")
_BULLET = re.compile(r"^[ \t]*[-*•+][ \t]+", re.MULTILINE)
_BASE = re.compile(r"\bbase\b|_\d")
_CONGRUENT = re.compile(r"≡|\\equiv|\bmod(?:ulo|ulus)?\W{1,3}[a-z]")
_ANGLE_FUNCTION = re.compile("'(?:sin|cos|tan)'")


def false_calculations(text: str, candidate: str, question: str = "") -> list[str]:
    """The excerpts of a critique that state something false, word forms written as signs."""
    words = _BULLET.sub("• ", QUOTE.sub(" … ", text))
    own, theirs, signs, written = worded(words), worded(candidate), counted(words), fold(candidate)
    not_own = {what for _, what in _false_claims(counted(candidate))} | {_pair(e) for e in equations(theirs)}
    false = [(excerpt, what) for excerpt, what in _false_claims(signs) if fold(excerpt) not in written]
    false += _false_equations(own, equations(worded(question)))
    own_ones = [excerpt for excerpt, what in false if what not in not_own]
    return own_ones + list(_false_denials(signs)) + list(false_calculus(own))


def _pair(equation: Equation) -> tuple[str, str]:
    return str(equation.left), str(equation.right)


def _false_claims(text: str) -> Iterator[tuple[str, tuple]]:
    """Calculations with numbers, with the units and words that may stand in them."""
    for claim in claims(text, both_ways=True):
        excerpt = text[claim.start : claim.end]
        if not claim.slip or _misread(claim, excerpt, text):
            continue
        congruent = _modular(text, claim.start, claim.true, claim.value)
        if not (congruent or disowned(text, claim.start, claim.end)):
            yield excerpt, (show(claim.expression), claim.value)


def _misread(claim: Claim, excerpt: str, text: str) -> bool:
    """Whether a claim may be a part of something else: "the digit of 4^4 is 2", `12 : 3/4 = 16`, `60 min / 1 h = 1`."""
    before = text[max(0, claim.start - 30) : claim.start]
    listed = _OF_ANOTHER.search(before) or re.match(r",? and \d", text[claim.end : claim.end + 8])
    goes_on = re.match(r"\s*(?:\\cdot|\\times|[×·*])", text[claim.end : claim.end + 8])  # 4 · 8 = 4 · 1 (mod 7)
    part = (_VERB.search(excerpt) and listed) or re.search(r"\d : \Z", before)
    part = part or (goes_on and _MODULUS.search(_line(text, claim.start)))
    return bool(part or _LETTERED.search(excerpt) or (claim.value == 1 and _VERB_OR_UNIT.search(excerpt)))


def _false_equations(text: str, stated: list[Equation]) -> Iterator[tuple[str, tuple]]:
    found = equations(text)
    for equation in found:
        part = _ADDED_TO.search(text[max(0, equation.start - 20) : equation.start])
        if part or ("°" in (text_of := str(equation)) and _ANGLE_FUNCTION.search(text_of)):
            continue
        names = variables(equation.left), variables(equation.right)
        if not names[0] and in_units(names[1]):
            equation = _without_unit(equation)
            names = set(), variables(equation.right)
        if names == (set(), set()):
            false = _false_number(equation) or _not_congruent(equation, text)
        elif worths := conversion(equation.left, equation.right):
            false = _false_conversion(equation, *worths)
        elif names[0] == names[1]:
            others = [*stated, *(e for e in found if e.chain != equation.chain)]
            identity = any(e.chain == equation.chain and same(e.left, e.right) for e in found)
            false = not _COMPARED.match(text, equation.end) and false_law(equation, others, text, identity)
        else:
            false = False
        sides = value(equation.left), value(equation.right)
        if (
            false
            and not (not names[0] and _modular(text, equation.start, *sides))
            and not disowned(text, equation.start, equation.end)
        ):
            yield text[equation.start : equation.end], _pair(equation)


def _line(text: str, start: int) -> str:
    return text[max(0, text.rfind("\n", 0, start)) : start + 300].split("\n\n")[0]


def _modular(text: str, start: int, left: object, right: object) -> bool:
    """Whether two numbers are congruent by a modulus of their line, or are written in another base."""
    line = _line(text, start)
    moduli = [int(n) for n in _MODULUS.findall(line) if int(n)]
    whole = all(isinstance(side, Fraction) and side.denominator == 1 for side in (left, right))
    if _BASE.search(line) or not moduli:
        return bool(_BASE.search(line) or _CONGRUENT.search(line))
    return not whole or any((left - right) % n == 0 for n in moduli)


def _not_congruent(equation: Equation, text: str) -> bool:
    """Whether two numbers differ that are compared by a modulus right behind them: 23 ≡ 4 (mod 7)."""
    modulus = re.match(r"[\s$\\(]*mod(?:ulo)?\s(\d{1,9})\b", text[equation.end : equation.end + 20])
    left, right = value(equation.left), value(equation.right)
    return bool(modulus and int(modulus[1]) and None not in (left, right)) and (left - right) % int(modulus[1]) != 0


def _false_number(equation: Equation) -> bool:
    if "op='log'" in str(equation):
        return False  # of base 10, or e
    left, right = value(equation.left), value(equation.right)
    if left is None or right is None or same_value(left, right):
        return False
    if _literal(equation.left) and _literal(equation.right):
        return _percent(equation.left) != _percent(equation.right) and not (
            _whole(equation.left) or _whole(equation.right)
        )
    for one, other in ((equation.left, equation.right), (equation.right, equation.left)):
        if _percent(one) and _whole(other):
            return False  # "15 % = 12": fifteen percent of something
    return not any(_close(*pair, equation.about) for pair in ((left, equation.right), (right, equation.left)))


def _without_unit(equation: Equation) -> Equation:
    """`0.75 · 60 = 45 min` as `0.75 · 60 = 45`, where more is calculated than a change of units."""
    right = equation.right
    if not (isinstance(right, Operation) and isinstance(right.left, Number) and right.op == "*"):
        return equation
    left, number = value(equation.left), right.left.value
    if (
        left is None
        or not left
        or not number
        or any(same_value(left / number, f) for f in _FACTORS)
        or _literal(equation.left)
    ):
        return equation
    return replace(equation, right=right.left)


def _false_conversion(equation: Equation, left: Fraction | float, right: Fraction | float) -> bool:
    if not (_quantity(equation.left) and _quantity(equation.right)):
        return False
    rate = left / right
    if same_value(rate, Fraction(1)) or (
        _literal(equation.left) and variables(equation.left) == variables(equation.right)
    ):
        return False
    for side, share in ((equation.right, rate), (equation.left, 1 / rate)):
        number = side.left if isinstance(side, Operation) and side.op == "*" else side
        if isinstance(number, Number) and _close(number.value * share, number, equation.about):
            return False
    return abs(rate - 1) > CLOSE_ENOUGH / 2 if equation.about else True


def _quantity(node: Node) -> bool:
    """Whether an expression is a number of units, or a sum of such: what no sloppy `90 min ÷ 60` is."""
    if not isinstance(node, Operation):
        return isinstance(node, Name)
    if node.op == "+":
        return _quantity(node.left) and _quantity(node.right)
    if node.op == "*":
        return not variables(node.left) and not any(
            isinstance(leaf, Number) for leaf in leaves(node.right) if node.right is leaf
        )
    return node.op == "/" and _quantity(node.left) and not any(isinstance(leaf, Number) for leaf in leaves(node.right))


def _close(true: Fraction | float, literal: Node, about: bool) -> bool:
    """Whether a number, as written, is `true` rounded or cut at its last digit; with ≈ also if it is near."""
    if not isinstance(true, Fraction | float):
        return False
    if about and value(literal) is not None and abs(true - value(literal)) <= CLOSE_ENOUGH * abs(true):
        return True
    scale = 100 if _percent(literal) else 1
    number = literal.left if scale == 100 else literal
    if not isinstance(number, Number):
        return False
    off, places = abs(true * scale - number.value), 0
    while places < 6 and (number.value * 10**places).denominator != 1:
        places += 1
    if places:
        exact = isinstance(true, Fraction) and (100 * true * scale).denominator == 1 and not about
        return not exact and off < Fraction(1, 10**places)
    unit = 1
    while about and number.value and number.value % (10 * unit) == 0:
        unit *= 10
    return (about or scale == 100) and off <= Fraction(unit, 2)


def _literal(node: Node) -> bool:
    if isinstance(node, Operation) and node.op == "*":
        return isinstance(node.left, Number) and bool(variables(node.right))
    return isinstance(node, Number) or _percent(node)


def _percent(node: Node) -> bool:
    return isinstance(node, Operation) and node.op == "%"


def _whole(node: Node) -> bool:
    """Whether an expression is about numbers above one, which no percentage stands for."""
    worth = value(node)
    return worth is None or (isinstance(node, Number) and worth.denominator == 1) or abs(worth) > 1


def _false_denials(text: str) -> Iterator[str]:
    """True equations of which the text says that they do not hold."""
    for claim in claims(text):
        if not claim.slip and _CALLED_FALSE.match(text, claim.end):
            yield f"{text[claim.start : claim.end]} is called false"
    for match in _DENIAL.finditer(text):
        before = re.split(r"[.;!?\n]\s", text[max(0, match.start() - 120) : match.start()])[-1]
        equation = f"{before} = {text[match.end() : match.end() + 30]}"
        for claim in claims(equation):
            if claim.start < len(before) < claim.end and not claim.slip:
                yield f"{before[claim.start :]} is not {claim.value}"
