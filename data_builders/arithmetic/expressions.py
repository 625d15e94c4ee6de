"""Exact arithmetic on small expressions: trees of + - * / over fractions. Nothing else is ever evaluated."""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

MAX_NODES = 40
MAX_DIGITS = 15
SYMBOLS = {"+": "+", "-": "−", "*": "×", "/": "/"}
PRECEDENCE = {"+": 1, "-": 1, "*": 2, "/": 2}


@dataclass(frozen=True)
class Number:
    """A number as it stands in an expression."""

    value: Fraction


@dataclass(frozen=True)
class Name:
    """A named quantity of a problem."""

    name: str


@dataclass(frozen=True)
class Operation:
    """`left op right`, with op one of + - * /."""

    op: str
    left: "Node"
    right: "Node"


Node = Number | Name | Operation


def parse(expression: str) -> Node:
    """The tree of a Python-style expression of numbers, names, + - * / and parentheses.

    Raises:
        ValueError: in words, for anything else, and for expressions or numbers beyond the size limits.
    """
    try:
        tree = ast.parse(expression.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ValueError(f"{expression!r} is not an arithmetic expression") from None
    if sum(1 for _ in ast.walk(tree)) > 3 * MAX_NODES:
        raise ValueError(f"{expression[:40]!r}... is too long: at most {MAX_NODES} numbers and operations")
    return _convert(tree, expression)


def _convert(tree: ast.expr, expression: str) -> Node:
    ops = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
    if isinstance(tree, ast.BinOp) and type(tree.op) in ops:
        return Operation(ops[type(tree.op)], _convert(tree.left, expression), _convert(tree.right, expression))
    if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.USub) and isinstance(tree.operand, ast.Constant):
        return Number(-_convert(tree.operand, expression).value)
    if isinstance(tree, ast.Name):
        return Name(tree.id)
    if isinstance(tree, ast.Constant) and type(tree.value) in (int, float):
        text = ast.get_source_segment(expression.strip(), tree)
        if len(text) <= MAX_DIGITS and set(text) <= set("0123456789."):
            return Number(Fraction(text))
        raise ValueError(f"the number {text[:40]!r} in {expression!r} is not plain, or has over {MAX_DIGITS} digits")
    raise ValueError(f"{expression!r} may only hold numbers, names, + - * / and parentheses")


def evaluate(node: Node, values: Mapping[str, Fraction] | None = None) -> Fraction | None:
    """The exact value; None where it divides by zero.

    Raises:
        KeyError: for a name that `values` lacks.
    """
    if isinstance(node, Number):
        return node.value
    if isinstance(node, Name):
        return (values or {})[node.name]
    left, right = evaluate(node.left, values), evaluate(node.right, values)
    if left is None or right is None or (node.op == "/" and right == 0):
        return None
    return {"+": left.__add__, "-": left.__sub__, "*": left.__mul__, "/": left.__truediv__}[node.op](right)


def leaves(node: Node) -> Iterator[Number | Name]:
    """The numbers and names of an expression from left to right."""
    if isinstance(node, Operation):
        yield from leaves(node.left)
        yield from leaves(node.right)
    else:
        yield node


def with_values(node: Node, values: Mapping[str, Fraction]) -> Node:
    """The same expression with every name replaced by its value."""
    if isinstance(node, Operation):
        return Operation(node.op, with_values(node.left, values), with_values(node.right, values))
    return Number(values[node.name]) if isinstance(node, Name) else node


def terms(node: Node) -> list[tuple[str, Node]]:
    """The expression as a sum: `(sign, term)` from left to right, signs "+" or "-"."""
    if isinstance(node, Operation) and node.op in "+-":
        right = terms(node.right) if node.op == "+" else [(node.op, node.right)]
        return terms(node.left) + right
    return [("+", node)]


def show_number(value: Fraction) -> str:
    """`7`, `18.5`, `−86`, or `1/3` where the decimals do not end."""
    sign, size = ("−" if value < 0 else ""), abs(value)
    if size.denominator == 1:
        return f"{sign}{size.numerator}"
    places = next((n for n in range(1, 21) if (size * 10**n).denominator == 1), None)
    if places and size.denominator <= 10**6:
        whole, part = divmod(int(size * 10**places), 10**places)
        return f"{sign}{whole}.{part:0{places}d}"
    return f"{sign}{size.numerator}/{size.denominator}"


def show(node: Node) -> str:
    """The expression for a reader: `(14 + 7) × 9`."""
    if isinstance(node, Number):
        return show_number(node.value)
    if isinstance(node, Name):
        return node.name
    left, right = show(node.left), show(node.right)
    level = PRECEDENCE[node.op]
    if isinstance(node.left, Operation) and PRECEDENCE[node.left.op] < level:
        left = f"({left})"
    below = PRECEDENCE[node.right.op] if isinstance(node.right, Operation) else 3
    if below < level or (below == level and (node.op in "-/" or node.right.op == "/")):
        right = f"({right})"
    return f"{left} {SYMBOLS[node.op]} {right}"
