"""Small true steps that show what an expression is worth, as one would do it in the head."""

from collections.abc import Iterator

from data_builders.arithmetic.expressions import SYMBOLS, Name, Node, Number, Operation, evaluate, leaves, show, terms
from data_builders.problems import Step


def work_out(node: Node) -> Iterator[str]:
    """Ways to see what an expression is worth, in small true steps."""
    numbers = _naturals(node)
    if numbers is None or not isinstance(node, Operation):
        return
    if len(numbers) > 2:
        parts = _parts(node)
        if parts is not None:
            total, told = (
                parts[0][1],
                [f"{show(part)} = {value}" for part, value in parts if isinstance(part, Operation)],
            )
            for _, number in parts[1:]:
                result = total + number if node.op == "+" else total * number
                told.append(f"{total} {SYMBOLS[node.op]} {number} = {result}")
                total = result
            yield ", ".join(told)
        return
    a, b = numbers
    if node.op == "+":
        tens, ones = b // 10 * 10, b % 10
        if tens and ones:
            yield f"{a} + {tens} = {a + tens} and {a + tens} + {ones} = {a + b}"
        if a % 10 and b % 10 and a >= 10 and b >= 10:
            high, low = a // 10 * 10, a % 10
            yield f"the tens give {high} + {tens} = {high + tens}, the ones give {low} + {ones} = {low + ones}"
    elif node.op == "-" and a >= b:
        yield f"{a - b} + {b} = {a}"
    elif node.op == "*":
        big, small = max(a, b), min(a, b)
        tens, ones = big // 10 * 10, big % 10
        if tens and ones and small > 1:
            parts = f"{tens} × {small} = {tens * small} and {ones} × {small} = {ones * small}"
            yield f"{parts}, together {big * small}"
    elif node.op == "/" and b and a % b == 0:
        yield f"{a // b} × {b} = {a}"


def _naturals(node: Node) -> list[int] | None:
    if isinstance(node, Number):
        return [int(node.value)] if node.value.denominator == 1 and node.value >= 0 else None
    sides = [_naturals(node.left), _naturals(node.right)]  # type: ignore[union-attr]
    return sides[0] + sides[1] if all(sides) else None


def _parts(node: Operation) -> list[tuple[Node, int]] | None:
    """The terms of a sum, or the factors of a product, with their values; None where one is no natural number."""
    if node.op == "+" and all(sign == "+" for sign, _ in terms(node)):
        parts = [(term, evaluate(term)) for _, term in terms(node)]
    elif _is_product(node):
        parts = [(leaf, leaf.value) for leaf in leaves(node)]
    else:
        return None
    natural = all(value is not None and value.denominator == 1 and value >= 0 for _, value in parts)
    return [(part, int(value)) for part, value in parts] if natural else None


def _is_product(node: Node) -> bool:
    return isinstance(node, Number) or (node.op == "*" and _is_product(node.left) and _is_product(node.right))


def inverse_check(step: Step) -> str:
    """The last step turned round, as a check: `361 − 161 = 200`; "" where it does nothing that can be turned."""
    node = step.expression
    if not isinstance(node, Operation):
        return ""
    values = {leaf.name: v for leaf, (v, _) in zip(leaves(node), step.operands, strict=True) if isinstance(leaf, Name)}
    first, second = (Number(evaluate(side, values)) for side in (node.left, node.right))
    turned = Operation({"+": "-", "-": "+", "*": "/", "/": "*"}[node.op], Number(step.value), second)
    return f"{show(turned)} = {show(first)}" if evaluate(turned) is not None else ""
