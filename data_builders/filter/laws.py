"""Laws in letters that a critique states and that are none: `(a + b)² = a² + b²`, `∫ xⁿ dx = xⁿ⁺¹/n + C`."""

import re
from collections.abc import Iterator
from fractions import Fraction

from data_builders.arithmetic.equations import Equation, equations
from data_builders.arithmetic.expressions import Name, Node, Operation
from data_builders.arithmetic.identities import difference, follows, polynomial, same, same_value, value, variables
from data_builders.filter.sentences import clause, disowned

_NOT_A_LAW = re.compile(
    r"\b(?:not|n't|n’t|no|confus\w+|mix\w*|forg\w+|drop\w*|lost|los\w+|ignor\w+|student\w*|your?|equation|satisf\w+|solv\w+|set|let|when|with)\b"
)
_LAW = re.compile(
    r"\b(?:rules?|laws?|formulas?|formulae|identit\w+|theorem|propert\w+|in general|always|for "
    r"(?:all|any|every)|recall|binomial)\b"
)
_CALCULUS = (
    re.compile(r"(?P<anti>\\int|∫)\s*(?P<of>[^=∫_\n]{1,60}?)\s*(?:\\,)?\s*d(?P<x>[a-z])\s*=\s*(?P<is>[^=\n$,;]{1,60})"),
    re.compile(
        r"(?P<anti>\b\B)?(?:\\frac\{d\}\{d|d/d)(?P<x>[a-z])\}?\s*(?:\\left)?\(?(?P<of>[^=\n]{1,40}?)\)?\s*=\s*(?P<is>[^=\n.,;$]{1,60})"
    ),
    re.compile(
        r"\b(?P<anti>anti)?derivative of \$?(?P<of>(?P<x>)[^$,;.\n]{1,30}?)\$? is \$?(?P<is>[^$,;.\n]{1,40})",
        re.IGNORECASE,
    ),
)


def false_law(equation: Equation, others: list[Equation], text: str, stated: bool = False) -> bool:
    """Whether an equation in letters is stated as a law and is none.

    No law is claimed by an equation to be solved or by a condition: what holds for the values that the text gives its
    letters, or follows from other equations of text, question and candidate.
    """
    if "omega" in variables(equation.left) or same(equation.left, equation.right) is not False:
        return False
    if _NOT_A_LAW.search(clause(text, equation.start)) and not _LAW.search(clause(text, equation.start)):
        return False
    values = {}
    for other in others:
        for name, number in ((other.left, other.right), (other.right, other.left)):
            if _is_name(name) and not variables(number):
                values.setdefault(name.name, []).append(value(number))
    names = sorted(variables(equation.left))
    if len(names) == 1 and any(
        (sides := (value(equation.left, {names[0]: v}), value(equation.right, {names[0]: v})))
        and None not in sides
        and same_value(*sides)
        for v in values.get(names[0], [])
        if v is not None
    ):
        return False
    claimed = difference(equation.left, equation.right)
    if claimed is not None:
        conditions = [o for o in others if not _is_solution(o)]
        known = [d for o in conditions if (d := difference(o.left, o.right)) and d != claimed]
        if follows(claimed, known):
            return False
    sentence = text[max(0, equation.start - 120) : equation.start]
    before, after = re.split(r"[.;!?](?=\s)|[\n|]", sentence)[-1], text[equation.end : equation.end + 20]
    stated = stated and any(map(_lettered_exponent, (equation.left, equation.right)))
    return stated or bool(_LAW.search(f"{before} … {after}".casefold())) or _shaped_as_law(equation)


def _is_name(node: Node) -> bool:
    return isinstance(node, Name)


def _is_solution(equation: Equation) -> bool:
    """Whether an equation is x = 2: several such would exclude each other."""
    sides = (equation.left, equation.right), (equation.right, equation.left)
    return any(_is_name(one) and not variables(other) for one, other in sides)


def _shaped_as_law(equation: Equation) -> bool:
    """Whether two sides look like one expression in two forms: multiplied out they share terms, but one is not."""
    left, right = polynomial(equation.left), polynomial(equation.right)
    if left is None or right is None:
        return len(variables(equation.left)) > 1 and (_has_law(equation.left) or _has_law(equation.right))
    there = dict(right)
    shared = {m for m, c in left if m and there.get(m) == c}
    if {m for m, _ in left} == there.keys() and len(there) > 1:  # (1 + p)(1 − p) = 1 + p²
        shared |= {m for m, c in left if there[m] == c}
    return (bool(shared) and _unexpanded(equation.left) != _unexpanded(equation.right)) or _merged_powers(equation)


def _has_law(node: Node) -> bool:
    """Whether an expression holds a root or another function, letters in an exponent, or a sum below a fraction bar."""
    if not isinstance(node, Operation):
        return False
    here = (
        node.op in ("sqrt", "log", "ln", "exp")
        or (node.op in ("sin", "cos", "tan") and _is_sum(node.left))
        or (node.op == "^" and variables(node.right))
        or (node.op == "/" and _is_sum(node.right))
    )
    return bool(here) or _has_law(node.left) or (node.right is not node.left and _has_law(node.right))


def _lettered_exponent(node: Node) -> bool:
    if not isinstance(node, Operation):
        return False
    return (
        (node.op == "^" and bool(variables(node.right)))
        or _lettered_exponent(node.left)
        or _lettered_exponent(node.right)
    )


def _is_sum(node: Node) -> bool:
    return isinstance(node, Operation) and node.op in "+-"


def _unexpanded(node: Node) -> bool:
    """Whether an expression holds a sum of letters to a power, or times something with letters."""
    if not isinstance(node, Operation):
        return False
    if node.op in "*^" and variables(node):
        sides = (node.left, node.right) if node.op == "*" else (node.left,)
        if any(_is_sum(side) and variables(side) for side in sides):
            return True
    return _unexpanded(node.left) or (node.right is not node.left and _unexpanded(node.right))


def _merged_powers(equation: Equation) -> bool:
    """`x² · x³ = x⁶`, `(2x)² = 2x²`: single terms, one of them a product of powers or a power of a product."""
    single = all(len(polynomial(side) or ()) == 1 for side in (equation.left, equation.right))
    left = equation.left
    if not single or not isinstance(left, Operation) or left.op not in "*^/":
        return False
    if left.op == "^":
        return isinstance(left.left, Operation) and bool(variables(left.left))
    return bool(variables(left.left) & variables(left.right)) and any(
        isinstance(side, Operation) and side.op == "^" for side in (left.left, left.right)
    )


def false_calculus(text: str) -> Iterator[str]:
    """Antiderivatives and derivatives that are none, by slopes at a few points."""
    for pattern in _CALCULUS:
        for match in pattern.finditer(text):
            sides = [equations(f"0 = {match[name].strip()}") for name in ("of", "is")]
            if not all(sides) or disowned(text, match.start(), match.end()):
                continue
            of, slope = (found[-1].right for found in sides)
            letters = sorted(variables(of) | variables(slope))
            x = match["x"] or next(iter(letters), "x")
            if match["anti"]:
                of, slope = slope, of
            if _is_slope(slope, of, x, {name: Fraction(n) for n, name in enumerate(letters, 3)}) is False:
                yield match[0]


def _is_slope(slope: Node, of: Node, x: str, values: dict[str, Fraction]) -> bool | None:
    """Whether one expression is the derivative of another by the letter `x`; None where neither can be computed."""
    agree = []
    for at in (1.5, 2.25):
        ends = [value(of, values | {x: at + step}) for step in (-1e-5, 1e-5)]
        there = value(slope, values | {x: at})
        if None not in (*ends, there):
            agree.append(abs((ends[1] - ends[0]) / 2e-5 - there) <= 1e-4 * max(1, abs(there)))
    return any(agree) if agree else None
