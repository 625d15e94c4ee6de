"""What a number of a word problem stands for: its unit, and how it is made from the quantities the problem gives.

A quantity is written as a polynomial in the given quantities ("boxes x box_price + singles x single_price"), so
that two ways of computing the same thing are recognised as the same, whatever numbers happen to be equal.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import product

from data_builders.arithmetic.expressions import Name, Node, Number

Unit = tuple[tuple[str, int], ...]  # (("box", -1), ("dollar", 1)) is dollars per box; () is a pure number
Monomial = tuple[tuple[str, int], ...]
Polynomial = tuple[tuple[Monomial, Fraction], ...]


@dataclass(frozen=True)
class Quantity:
    """Unit and polynomial; either is None where it is not known (or makes no sense)."""

    unit: Unit | None
    polynomial: Polynomial | None


def parse_unit(text: str) -> Unit:
    """`box`, `dollar/box`, `box*day`, or the empty text for a pure number.

    Raises:
        ValueError: for anything that is not words joined by * and /.
    """
    parts = text.replace("*", " * ").replace("/", " / ").split()
    if not all(part in "*/" if i % 2 else part.isidentifier() for i, part in enumerate(parts)):
        raise ValueError(f"unit {text!r} is not words joined by * or /, as in dollar/box")
    powers = Counter()
    for sign, word in zip(["*", *parts[1::2]], parts[::2], strict=False):
        powers[word] += 1 if sign == "*" else -1
    return _clean(powers)


def given(name: str, unit: Unit) -> Quantity:
    """A quantity that the problem states."""
    return Quantity(unit, ((((name, 1),), Fraction(1)),))


def pure(value: Fraction) -> Quantity:
    """A number without unit, such as the 2 of "half"."""
    return Quantity((), _polynomial({(): value}))


def combine(op: str, left: Quantity, right: Quantity) -> Quantity:
    """`left op right`. The unit is None where unlike units are added or subtracted."""
    polynomial = _combine_polynomials(op, left.polynomial, right.polynomial)
    return Quantity(_combine_units(op, left.unit, right.unit), polynomial)


def read(node: Node, quantities: Mapping[str, Quantity]) -> Quantity:
    """The quantity that a problem's own expression stands for; its plain numbers are pure."""
    if isinstance(node, Number):
        return pure(node.value)
    if isinstance(node, Name):
        return quantities[node.name]
    return combine(node.op, read(node.left, quantities), read(node.right, quantities))


def is_part(part: Polynomial, whole: Polynomial) -> bool:
    """Whether `part` is made of terms of `whole`, none of them more often than there."""
    available = dict(whole or ())
    return bool(part) and all(m in available and 0 < c / available[m] <= 1 for m, c in part)


def symbols(polynomial: Polynomial) -> set[str]:
    """The given quantities that a polynomial uses."""
    return {name for monomial, _ in polynomial for name, _ in monomial}


def _combine_units(op: str, left: Unit | None, right: Unit | None) -> Unit | None:
    if left is None or right is None:
        return None
    if op in "+-":
        return left if left == right else None
    return _multiply(left, right if op == "*" else _inverse(right))


def _combine_polynomials(op: str, left: Polynomial | None, right: Polynomial | None) -> Polynomial | None:
    if left is None or right is None:
        return None
    if op in "+-":
        total = Counter(dict(left))
        for monomial, c in right:
            total[monomial] += c if op == "+" else -c
        return _polynomial(total)
    if op == "/":
        if len(right) != 1:
            return None
        monomial, c = right[0]
        right = ((_inverse(monomial), 1 / c),)
    total = Counter()
    for (m1, c1), (m2, c2) in product(left, right):
        total[_multiply(m1, m2)] += c1 * c2
    return _polynomial(total)


def _inverse(one: Monomial) -> Monomial:
    return tuple((name, -power) for name, power in one)


def _multiply(one: Monomial, other: Monomial) -> Monomial:
    powers = Counter(dict(one))
    for name, power in other:
        powers[name] += power
    return _clean(powers)


def _clean(powers: Mapping[str, int]) -> Unit:
    return tuple(sorted((name, power) for name, power in powers.items() if power))


def _polynomial(total: Mapping[Monomial, Fraction]) -> Polynomial:
    return tuple(sorted((m, c) for m, c in total.items() if c))
