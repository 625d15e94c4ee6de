"""Whether two expressions with letters are the same: as polynomials exactly, else at fixed rational points."""

import math
from collections.abc import Iterable, Mapping
from fractions import Fraction
from itertools import product

from data_builders.arithmetic.expressions import Name, Node, Number, Operation, leaves
from data_builders.arithmetic.quantities import Polynomial, Quantity, combine, given, pure, symbols

MAX_EXPONENT = 60
MAX_SIZE = 10**40
_POINTS = ((2, 3, 5, 7), (3, 2, 7, 5), (Fraction(5, 2), Fraction(7, 3), 4, 6), (4, 5, 2, 3))
_FUNCTIONS = {"sin": math.sin, "cos": math.cos, "tan": math.tan, "log": math.log, "ln": math.log, "exp": math.exp}
_CONSTANTS = {"π": math.pi, "°": 1}
Value = Fraction | float | complex


def variables(node: Node) -> set[str]:
    """The letters of an expression; ° is one, π is none."""
    return {leaf.name for leaf in leaves(node) if isinstance(leaf, Name)} - {"π"}


def value(node: Node, values: Mapping[str, Value] | None = None) -> Value | None:
    """What an expression is worth: exact where it can be, None where it is undefined, complex or too large."""
    if isinstance(node, Number):
        return node.value
    if isinstance(node, Name):
        return (values or {}).get(node.name, _CONSTANTS.get(node.name))
    left = value(node.left, values)
    right = left if node.right is node.left else value(node.right, values)
    if left is None or right is None or (not isinstance(left, complex) and abs(left) > MAX_SIZE):
        return None
    try:
        return _operate(node.op, left, right)
    except (ZeroDivisionError, OverflowError, ValueError, TypeError):
        return None


def _operate(op: str, left: Value, right: Value) -> Value | None:
    match op:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
        case "/" | "%":
            return left / right
        case "^":
            if abs(right) > MAX_EXPONENT:
                return None
            if isinstance(right, Fraction) and right.denominator == 1:
                return left ** int(right)
            return float(left) ** float(right) if left > 0 else None
        case "sqrt":
            return _root(left) if left >= 0 else None
        case "!":
            return Fraction(math.factorial(int(left))) if left == int(left) and 0 <= left <= 30 else None
        case "binomial":
            small = left == int(left) and right == int(right) and right >= 0 and 0 <= left <= 100
            return Fraction(math.comb(int(left), int(right))) if small else None
    return _FUNCTIONS[op](left)


def _root(number: Fraction | float) -> Fraction | float:
    if isinstance(number, Fraction):
        above, below = math.isqrt(number.numerator), math.isqrt(number.denominator)
        if above**2 == number.numerator and below**2 == number.denominator:
            return Fraction(above, below)
    return math.sqrt(number)


def same_value(left: Value, right: Value) -> bool:
    """Exactly for fractions, to nine digits for roots and the like."""
    if isinstance(left, Fraction) and isinstance(right, Fraction):
        return left == right
    return abs(left - right) <= 1e-9 * max(abs(left), abs(right), 1)


def same(left: Node, right: Node) -> bool | None:
    """Whether two expressions agree for all values of their letters; None where that cannot be told.

    The letter i may be the imaginary unit: what holds for that is the same too.
    """
    names = sorted(variables(left) | variables(right))
    first, second = polynomial(left), polynomial(right)
    if first is not None and second is not None and "i" not in names:
        return first == second
    agree = []
    for point in _POINTS:
        values = dict(zip(names, map(Fraction, point * (1 + len(names) // 4)), strict=False))
        for options in (values, values | {"i": 1j}) if "i" in names else (values,):
            sides = value(left, options), value(right, options)
            if None not in sides:
                agree.append((same_value(*sides), options is values))
    for plain in (True, False):
        kind = [equal for equal, usual in agree if usual is plain]
        if kind and all(kind):
            return True
    return False if len(agree) > 1 else None


def polynomial(node: Node, most: int = 60) -> Polynomial | None:
    """The expression multiplied out; None where it holds roots, letters below a fraction bar and the like."""
    if isinstance(node, Number):
        return pure(node.value).polynomial
    if isinstance(node, Name):
        return None if node.name == "π" else given(node.name, ()).polynomial
    left, right = polynomial(node.left, most), polynomial(node.right, most)
    if left is None or right is None or node.op not in "+-*/%^" or len(left) * len(right) > most:
        return None
    if node.op == "^":
        exponent = value(node.right)
        if variables(node.right) or not isinstance(exponent, Fraction) or exponent not in range(9):
            return None
        power = pure(Fraction(1)).polynomial
        for _ in range(int(exponent)):
            power = _combine("*", power, left) if power is not None and len(power) * len(left) <= most else None
        return power
    if node.op in "/%" and (not right or len(right) > 1):
        return None
    return _combine("/" if node.op == "%" else node.op, left, right)


def _combine(op: str, left: Polynomial, right: Polynomial) -> Polynomial | None:
    return combine(op, Quantity(None, left), Quantity(None, right)).polynomial


def difference(left: Node, right: Node) -> Polynomial | None:
    """`left − right` multiplied out."""
    return polynomial(Operation("-", left, right))


def follows(claimed: Polynomial, known: Iterable[Polynomial]) -> bool:
    """Whether `claimed = 0` follows from `known = 0` by adding multiples of them, each times a letter or a number."""
    letters = [given(name, ()).polynomial for name in sorted(symbols(claimed))][:6]
    rows = [dict(p) for p in known]
    rows += [dict(times) for p, letter in product(known, letters) if (times := _combine("*", p, letter))]
    rest, reduced = dict(claimed), []
    for row in rows[:120]:
        for lead, base in reduced:
            _take_off(row, lead, base)
        if row:
            lead = max(row)
            reduced.append((lead, row))
    for lead, base in reduced:
        _take_off(rest, lead, base)
    return not rest


def _take_off(row: dict, lead: object, base: dict) -> None:
    """Subtract the multiple of `base` that removes the monomial `lead` from `row`."""
    factor = row.get(lead, 0) / base[lead]
    if factor:
        for monomial, number in base.items():
            row[monomial] = row.get(monomial, 0) - factor * number
            if not row[monomial]:
                del row[monomial]
