r"""The grading rules of Qwen2.5-Math's evaluation, written for comparison; nothing else of the project uses them.

Source: QwenLM/Qwen2.5-Math, `evaluation/parser.py` (what is read out of a response, how it is spelled) and
`evaluation/grader.py` (equality). Kept with their faults: a factor of 100 and a relative error of 1e-4 are forgiven,
lone letters are taken for units. Differences: only units of one word, a few number words instead of the
package word2number, and `latex2sympy2_extended` instead of latex2sympy2, which needs a third version of antlr4.
"""

import re
from contextlib import suppress
from math import isclose
from typing import Any

_UNIT = re.compile(
    r"(^|\W)(?:[acdghlmots]|"
    r"ab|acre|am|apple|are|bc|by|cc|cm|coin|cube|cubic|day|decrease|deg|degree|dm|east|excess|feet|ft|"
    r"gain|gal|gallon|gm|hectare|hour|hr|inch|inches|increase|kg|km|kmh|kmph|lb|less|liter|litre|loss|"
    r"lt|man|mark|men|meter|metre|mile|min|minute|minw|mm|month|more|mp|mph|mt|mtr|noon|number|ohm|"
    r"per|percent|pie|pm|prime|profit|pure|ratio|rd|rise|rounds|rs|rupee|sec|second|soldier|sq|square|"
    r"st|Surface|th|tile|toy|unit|way|west|woman|women|yard|year|yr"
    r")s?($|\W)"
)
_WORDS = {
    "zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
    "ten": 10, "eleven": 11, "twelve": 12, "fifteen": 15, "twenty": 20, "thirty": 30, "fifty": 50, "hundred": 100,
}  # fmt: skip
_BEFORE_UNITS = [
    (r"\n|\\!", ""), (r"\\begin\{array\}\{.*?\}", r"\\begin{pmatrix}"), (r"\\end\{array\}", r"\\end{pmatrix}"),
    ("bmatrix", "pmatrix"), ("[td]frac", "frac"), (r"\\neq", r"\\ne"), (r"\\leq", r"\\le"), (r"\\geq", r"\\ge"),
    (r"\\left|\\right", ""), (r"\\([{}])", r"\1"),
]  # fmt: skip
_AFTER_WORDS = [
    (r"\\text\{(.*?)\}", r"\1"), (r"[xyz](?:=|\\in|\\to)", ""), (r"\\emptyset", "{}"),
    (r"\(-\\infty,\\infty\)", r"\\mathbb{R}"), (r"\\?%", ""), (r" \.", " 0."), (r"\{\.", "{0."),
    ("infinity", r"\\infty"), (r"and|\\mathbf", ""), (r"\\mbox{.*?}", ""),
]  # fmt: skip
_FRACTION = re.compile(r"\\frac(?!\{)(.)(?:(?=\{)|(.))")


def extract(response: str) -> str:
    """What is taken for the answer: the last box, what follows "he answer is", or else the last number."""
    if "final answer is $" in response and "$. I hope" in response:
        found = response.split("final answer is $", 1)[1].split("$. I hope", 1)[0]
    elif "boxed" in response:
        found = _boxed(response.split("boxed")[-1])
    elif "he answer is" in response:
        found = response.split("he answer is")[-1]
    else:
        found = (re.findall(r"-?\d*\.?\d+", response.replace(",", "")) or [""])[-1]
    found = re.sub(r"\n\s*", "", found.strip()).removeprefix(":")
    return spell(found.removesuffix(".").removesuffix("/"))


def _boxed(text: str) -> str:
    if not text.startswith("{"):
        return text.split("$")[0]
    depth = 0
    for place, sign in enumerate(text):
        depth += {"{": 1, "}": -1}.get(sign, 0)
        if depth == 0:
            return text[1:place]
    return text[1:]  # a box without end goes to the end of the text


def spell(text: str) -> str:
    """`strip_string`: an answer without units, dollar signs, spaces and the like."""
    text = _replace(text.strip(), _BEFORE_UNITS).rstrip(".")
    text = re.sub(r"\\text{.*?}$", "", text).strip() or text
    for _ in range(2):
        text = _UNIT.sub(r"\1\2", text) or text
    text = re.sub(r"\^\{\\circ\}|\^\\circ|\\?\$|\\[()]", "", text)
    text = _replace(str(_WORDS.get(text.strip().lower(), text)), _AFTER_WORDS)
    if r"\infty" not in text:
        text = text.replace("inf", r"\infty")
    if "i" not in text:
        text = text.replace("j", "i")
    text = re.sub(r"(\d+)\.0*(\D|$)", r"\1\2", text)
    text = "0" + text if text.startswith(".") else text
    name, sign, value = text.partition("=")
    if sign and "=" not in value and len(name) <= 2:
        text = value
    text = re.sub(r"\\sqrt(\w+)", r"\\sqrt{\1}", text).replace(" ", "")
    text = _FRACTION.sub(lambda match: rf"\frac{{{match[1]}}}" + (f"{{{match[2]}}}" if match[2] else ""), text)
    return re.sub(r"^(-?\d+)/(-?\d+)$", r"\\frac{\1}{\2}", text)


def _replace(text: str, pairs: list[tuple[str, str]]) -> str:
    for pattern, spelling in pairs:
        text = re.sub(pattern, spelling, text)
    return text


def equal(answer: str, gold: str) -> bool:
    """`math_equal`: equal as text, letter, number, list, matrix, equation or expression of sympy."""
    answer, gold = answer.strip(), gold.strip()
    if answer.lower() == gold.lower():
        return True
    if gold in tuple("ABCDE") and (re.findall(r"\b[A-E]\b", answer.upper()) or [answer])[-1] == gold:
        return True
    one, other = _number(answer), _number(gold)
    if one is not None and other is not None:
        return any(isclose(one, other * factor, rel_tol=1e-4) for factor in (0.01, 1, 100))
    if not answer:
        return False
    bare = [re.sub(r"[{}()]", "", text) for text in _without_outer(answer, gold)]
    if bare[0].lower() == bare[1].lower():
        return True
    if _all_equal(_elements(answer), _elements(gold)) or _all_equal(_cells(answer), _cells(gold)):
        return True
    sides = answer.split("="), gold.split("=")
    counts = [len(side) for side in sides]
    if counts == [2, 2]:
        first, second = (f"{left.strip()} - ({right.strip()})" for left, right in sides)
        if _symbolic(first, second) or _symbolic(f"-({first})", second):
            return True
    elif counts == [2, 1] and len(sides[0][0].strip()) <= 2:
        return equal(sides[0][1], gold) or _symbolic(answer, gold)
    elif counts == [1, 2] and len(sides[1][0].strip()) <= 2:
        return equal(answer, sides[1][1]) or _symbolic(answer, gold)
    return _symbolic(answer, gold)


def _number(text: str) -> float | None:
    text = text.replace(",", "")
    with suppress(ValueError):
        return float(text)
    with suppress(ValueError):
        if text.endswith("%"):
            return float(text.rstrip("%").rstrip("\\")) / 100
    return None


def _without_outer(answer: str, gold: str) -> tuple[str, str]:
    square = answer.startswith("[") and answer.endswith("]") and not gold.startswith("(")
    round_ = answer.startswith("(") and answer.endswith(")") and not gold.startswith("[")
    return (answer.strip("[]()"), gold.strip("[]()")) if square or round_ else (answer, gold)


def _elements(text: str) -> list[str]:
    return text[1:-1].split(",") if re.match(r"[(\[].+[)\]]", text) else []


def _cells(text: str) -> list[str]:
    match = re.fullmatch(r"\\begin\{[pb]matrix\}(.*)\\end\{[pb]matrix\}", text, re.DOTALL)
    rows = [row.strip() for row in match[1].split(r"\\") if row.strip()] if match else []
    return [cell for row in rows for cell in (*row.split("&"), "")][:-1]  # "" ends a row, so that shapes are compared


def _all_equal(answers: list[str], golds: list[str]) -> bool:
    return len(answers) == len(golds) > 0 and all(map(equal, answers, golds))


def _symbolic(answer: str, gold: str) -> bool:
    from sympy import N, simplify

    one, other = _parse(answer), _parse(gold)
    tests = [
        lambda: str(one) == str(other) or one == other,
        lambda: one.equals(other) or simplify(one - other) == 0,
        lambda: abs(one.lhs - one.rhs).equals(abs(other.lhs - other.rhs)),
        lambda: isclose(float(N(other)), float(N(one)), rel_tol=1e-4),
        lambda: one.shape == other.shape and _rounded(one).equals(_rounded(other)),
    ]
    for test in tests:
        with suppress(Exception):
            if test():
                return True
    return False


def _rounded(matrix: Any) -> Any:
    return matrix.applyfunc(lambda value: round(value, 3))


def _parse(text: str) -> Any:
    """What the first of three parsers makes of a text; the text where none reads it."""
    from latex2sympy2_extended import latex2sympy
    from sympy.parsing.latex import parse_latex
    from sympy.parsing.sympy_parser import parse_expr

    for parser in (parse_latex, parse_expr, latex2sympy):
        for spelling in (text.replace(r"\\", "\\"), text):
            with suppress(Exception):
                return parser(spelling)
    return text
