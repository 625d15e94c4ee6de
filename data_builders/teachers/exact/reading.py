"""Reads a candidate's expressions as quantities of the problem: 37 -> the single muffins sold on Monday.

A number may stand for several things, so every expression has several readings; the kindest counts.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice, product

from data_builders.arithmetic.expressions import Name, Node, Number, Operation, leaves
from data_builders.arithmetic.quantities import Quantity, combine, given, is_part, pure, symbols
from data_builders.problems import Problem, Step

MAX_READINGS = 200
UNKNOWN = Quantity(None, None)


@dataclass(frozen=True)
class Source:
    """What one number of a candidate may stand for."""

    value: Fraction
    quantity: Quantity
    says: str  # a noun phrase, or "" where there is none
    origin: str  # given | claim (the candidate worked it out) | step (it did not, but the number fits) | pure
    sound: bool = True  # False for what rests on a mistake


@dataclass(frozen=True)
class Clash:
    """Two operands that do not belong together: unlike units in a sum, or a price on the wrong goods."""

    op: str
    left: "Reading"
    right: "Reading"


@dataclass(frozen=True)
class Reading:
    """One way to understand an expression."""

    node: Node
    quantity: Quantity
    says: str
    sources: tuple[Source, ...]
    clashes: tuple[Clash, ...] = ()
    parts: tuple[Quantity, ...] = ()  # the quantities of all its sub-expressions


class Reader:
    """Knows the quantities of one problem, and those that the candidate has worked out so far (`learn`)."""

    def __init__(self, problem: Problem) -> None:
        self.steps = [*problem.steps, *problem.other_steps]
        self.whole = problem.steps[-1].quantity
        operations = [node for step in self.steps for node in each_operation(step.expression)]
        self.subtracts = any(node.op == "-" for node in operations)
        used = {leaf.name for step in self.steps for leaf in leaves(step.expression) if isinstance(leaf, Name)}
        self.unused = {g.name for g in problem.given} - used
        self._units = {g.unit for g in problem.given} | {step.quantity.unit for step in self.steps} | {()}
        self._pure = {(n.op, leaf.value) for n in operations for leaf in (n.left, n.right) if isinstance(leaf, Number)}
        self._given = {g.name: g.value for g in problem.given}
        self._sources = [Source(g.value, given(g.name, g.unit), g.says, "given") for g in problem.given]

    def learn(self, value: Fraction, quantity: Quantity, says: str, sound: bool) -> None:
        """From now on `value` may stand for what the candidate just worked out."""
        self._sources.append(Source(value, quantity, says, "claim", sound))

    def read(self, node: Node) -> Reading | None:
        """The kindest reading; None where a number of the expression stands for nothing.

        Where readings equally kind differ and none is part of a known way to the answer, the quantity is unknown.
        """
        readings = sorted(islice(self._readings(node), MAX_READINGS), key=self._cost)
        if not readings:
            return None
        best = readings[0]
        rivals = {r.quantity.polynomial for r in readings if self._cost(r)[:3] == self._cost(best)[:3]}
        if len(rivals) > 1 and not self.known(best.quantity):
            return Reading(node, UNKNOWN, "", best.sources, best.clashes)
        return best

    def sources(self, value: Fraction, op: str = "", right: bool = False) -> list[Source]:
        """All that a number may stand for as the left or right operand of `op`."""
        found = [s for s in self._sources if s.value == value]
        if not any(s.origin == "claim" for s in found):
            found += [Source(value, s.quantity, s.says, "step") for s in self.steps if s.value == value]
        if (op, value) in self._pure and (right or op == "*"):
            found.append(Source(value, pure(value), "", "pure"))
        if not found and value in {number for _, number in self._pure}:
            found.append(Source(value, pure(value), "", "pure"))  # the 2 of "half", put to another use
        return found

    def within_reach(self, value: Fraction) -> bool:
        """Whether one operation on two known numbers gives `value`, so that it may have been done in the head."""
        values = {s.value for s in self._sources}
        return any(value in (a + b, a * b) for a in values for b in values)

    def known(self, quantity: Quantity) -> bool:
        """Whether a quantity is a step of a known way to the answer, or a part of the answer itself."""
        part = quantity.unit == self.whole.unit and is_part(quantity.polynomial, self.whole.polynomial)
        return part or self.step_of(quantity) is not None

    def step_of(self, quantity: Quantity) -> Step | None:
        """The step that a quantity is, however it was worked out."""
        if quantity.polynomial is None:
            return None
        return next((s for s in self.steps if s.quantity.polynomial == quantity.polynomial), None)

    def true_value(self, quantity: Quantity) -> Fraction:
        """What a quantity with a polynomial is really worth."""
        total = Fraction(0)
        for monomial, worth in quantity.polynomial:
            for name, power in monomial:
                worth *= self._given[name] ** power
            total += worth
        return total

    def _cost(self, reading: Reading) -> tuple:
        polynomial = reading.quantity.polynomial
        return (
            len(reading.clashes),
            sum(clash.op in "*/" for clash in reading.clashes),
            not self.known(reading.quantity),
            bool(polynomial and symbols(polynomial) & self.unused),
            sum(s.origin == "step" for s in reading.sources),
            polynomial is None,
        )

    def _readings(self, node: Node, op: str = "", right: bool = False) -> Iterator[Reading]:
        if isinstance(node, Number):
            for source in self.sources(node.value, op, right):
                yield Reading(node, source.quantity, source.says, (source,), (), (source.quantity,))
            return
        sides = (self._readings(side, node.op, side is node.right) for side in (node.left, node.right))
        for left, after in product(*(list(islice(side, MAX_READINGS)) for side in sides)):
            quantity = combine(node.op, left.quantity, after.quantity)
            clashes = left.clashes + after.clashes
            if left.quantity.unit is not None and after.quantity.unit is not None:
                unlike = node.op in "+-" and quantity.unit is None
                senseless = node.op in "*/" and op not in ("*", "/") and quantity.unit not in self._units
                if unlike or senseless:
                    clashes += (Clash(node.op, left, after),)
                    quantity = UNKNOWN
            step = self.step_of(quantity)
            parts = (*left.parts, *after.parts, quantity)
            yield Reading(node, quantity, step.says if step else "", left.sources + after.sources, clashes, parts)


def each_operation(node: Node) -> Iterator[Operation]:
    """All operations inside an expression, itself first."""
    if isinstance(node, Operation):
        yield node
        yield from each_operation(node.left)
        yield from each_operation(node.right)


def answer_value(answer: str | None) -> Fraction | None:
    """A boxed answer as a number, dollar signs and the like removed; None where it is none."""
    cleaned = re.sub(r"\\text\s*\{[^{}]*\}|\\[$,;! ]|[$,\s]|dollars?", "", answer or "").rstrip(".")
    return Fraction(cleaned) if re.fullmatch(r"-?\d{1,15}(?:\.\d{1,6})?", cleaned) else None


def operation(step: Step) -> str:
    """The sign that a step does last, or "" where it only names something."""
    return getattr(step.expression, "op", "")
