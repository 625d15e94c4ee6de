r"""How an answer is written down: one spelling for it, its words, and the lists and brackets it is made of.

Nothing here computes; `eval.grading` decides equality. Texts are short (`eval.grading.grader.MAX_CHARACTERS`).
"""

import re
import unicodedata
from dataclasses import dataclass

_SYMBOLS = {
    "−": "-", "–": "-", "—": "-", "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "÷": "/", "∞": r"\infty ",
    "π": r"\pi ", "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "±": r"\pm ", "∓": r"\mp ", "∪": r"\cup ", "∩": r"\cap ",
    "∈": r"\in ", "°": r"^\circ ", "º": r"^\circ ", "∅": r"\emptyset ", "θ": r"\theta ", "≈": r"\approx ",
    "⩽": r"\le ", "⩾": r"\ge ", "。": ".", "、": ",", "’": "'", "′": "'",
    "¢": r"\text{cents}", "…": r"\ldots ", "\u200b": "", "\ufeff": "",
    "½": r"\frac{1}{2}", "⅓": r"\frac{1}{3}", "⅔": r"\frac{2}{3}", "¼": r"\frac{1}{4}", "¾": r"\frac{3}{4}",
}  # fmt: skip
_FULL_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}  # （１，２） to (1,2)
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
# In this order: what is written, and the one way to write it.
_SPELLINGS = [
    (re.compile(pattern), spelling)
    for pattern, spelling in [
        (r"\\+f?box(?:ed)?\s*\{", "{"),
        (r"\\(?:text)?color\s*\{[A-Za-z]+\}", ""),
        (r"\\mathrm\s*\{([ie])\}", r"\1"),
        (r"(\\(?:text|mathrm) ?\{[^{}]*[A-Za-z])\^\{(-?\d)\}", r"\1^\2"),
        (r"\\text\{\\?\$\}|\bUSD\s*(?=\d)", r"\\$"),
        (r"(?:\\\\\s*)+$", ""),
        (r"\\(?:text(?:bf|it|rm|normal|sf|tt|up)?|mbox|hbox|mathrm) ?\{ ?([^{}]*?) ?\}", r"\\text{\1}"),
        (r"\\(?:mathbf|mathit|boldsymbol|bm)\s*\{([^{}]*)\}", r"\1"),
        (r"\\operatorname\s*\{([A-Za-z]+)\}", r"\\\1 "),
        (r"\\(?:[bB]ig+[lrm]?|left|right|displaystyle|limits|[lL]arge|LARGE|[hH]uge|normalsize|small)(?![A-Za-z])", ""),
        (r"\\(?:[dtc]|nice|s)frac(?![A-Za-z])", r"\\frac"),
        (r"\{([^{}]+)\\choose(?![A-Za-z])([^{}]+)\}|^([^{}]+)\\choose(?![A-Za-z])([^{}]+)$", r"\\binom{\1\3}{\2\4}"),
        (
            r"\(? ?\\begin\{(array|small(?:matrix))\}(?:\{[lcr| ]*\})?(.*?)\\end\{\1\} ?\)?",
            r"\\begin{pmatrix}\2\\end{pmatrix}",
        ),
        (r"\\varnothing(?![A-Za-z])|\\\{\s*\\\}", r"\\emptyset "),
        (r"(?<=\d)\s*[xX]\s*(?=10\s*\^)", r"\\times "),
        (r"\\!\s*", ""),
        (r"(?<=\d)\s*\{,\}\s*(?=\d)", ""),
        (r"(?<=\d)\\,(?=\d{3}(?!\d))", ""),
        (r"(?<!\\)\\(?:[,;: ]|q?quad(?![A-Za-z]))|~", " "),
        (r"\\leq(?![A-Za-z])|<=", r"\\le "),
        (r"\\geq(?![A-Za-z])|>=", r"\\ge "),
        (r"\\neq(?![A-Za-z])|!=", r"\\ne "),
        (r"\\lt(?![A-Za-z])", "<"),
        (r"\\gt(?![A-Za-z])", ">"),
        (r"\\lbrace(?![A-Za-z])", r"\\{"),
        (r"\\rbrace(?![A-Za-z])", r"\\}"),
        (r"\\degrees?(?![A-Za-z])|\^\s*\{\s*\\circ\s*\}|\^\s*\\circ(?![A-Za-z])", r"^\\circ "),
        (r"\*\*(?=[\w({-])", "^"),
        (r"(?<=\d)_(\d+)|_([A-Za-z0-9])", r"_{\1\2}"),
        (r"(?<![A-Za-z\\])pi(?![A-Za-z])", r"\\pi "),
        (r"(?<![A-Za-z\\])sqrt\s*\(([^()]*)\)", r"\\sqrt{\1}"),
        (r"√\s*\(([^()]*)\)", r"\\sqrt{\1}"),
        (r"√\s*(\d+|[A-Za-z])", r"\\sqrt{\1}"),
        (r"(?<!\\)%|\\text\{per ?cent\}|(?<=\d)\s*per ?cent$", r"\\%"),
        (r"\\text\{,?\s*(?:and|or)\}", " ; "),
    ]
]
_JOINING_WORD = re.compile(r"(?<=[\s\w})]),?\s+(?:and|or)\s+")
_TURNED = {"<": ">", ">": "<", r"\le": r"\ge", r"\ge": r"\le"}
_NAME = (
    r"(?:m?\\angle ?|\\overline|\\vec)?(?:\\text\{[^{}]*\}|\\?[A-Za-z]+'*|\{[A-Za-z]+\}|\([A-Za-z](?:[,;][A-Za-z])*\))"
    r"(?:_\{?\w+\}?)?(?:\([A-Za-z0-9,; ]*\))?"
)
_IS_NAME = re.compile(_NAME)
_MEMBER_OF = re.compile(rf"{_NAME} ?\\in ?(?![A-Za-z])")
_SHORT_WORDS = {"yes", "no", "true", "false", "odd", "none", "never", "all"}
_NO_WORDS = {"sin", "cos", "tan", "cot", "sec", "csc", "log", "exp", "sqrt", "frac", "infty", "infinity",
             "theta", "alpha", "beta", "gamma", "delta", "lambda"}  # fmt: skip
_MATRIX = re.compile(r"\\begin\{([pb]?matrix)\}((?:(?!\\begin).)*)\\end\{\1\}", re.DOTALL)
_BRACKETS = re.compile(r"(\\\{|\\langle ?|[(\[])(.*)(\\\}|\\rangle|[)\]])", re.DOTALL)
_TOKEN = re.compile(r"\\[A-Za-z]+|\\.|.", re.DOTALL)
_DEPTH = dict.fromkeys(("(", "[", "{", r"\{", r"\langle", r"\begin"), 1) | dict.fromkeys(
    (")", "]", "}", r"\}", r"\rangle", r"\end"), -1
)


@dataclass(frozen=True)
class Structure:
    """Several elements and what holds them.

    Attributes:
        kind: "list" (no brackets), "{}", "()", an interval's "[]", "(]" or "[)", or "matrix N" with N columns.
    """

    kind: str
    elements: tuple[str, ...]


def normalise(text: str) -> str:
    r"""One spelling of an answer: spaces, dollar signs, `\left`, `\dfrac`, `\text` and its kin, and Unicode set right.

    A comma followed by a space, "and" and "or" become `;`: they separate a list, never the thousands of a number.
    """
    text = _unwrap(" ".join(text.translate(_FULL_WIDTH).split()))
    text = re.sub("[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+", lambda match: f"^{{{match[0].translate(_SUPERSCRIPTS)}}}", text)
    for sign, latex in _SYMBOLS.items():
        text = text.replace(sign, latex)
    if not text.isascii():
        text = "".join(str(unicodedata.decimal(c)) if unicodedata.category(c) == "Nd" else c for c in text)
    for pattern, spelling in _SPELLINGS:
        text = pattern.sub(spelling, text)
    text = _unwrap(text)
    if re.search(r"\d|\\(?!text)", text) or _wordless(text):
        text = _JOINING_WORD.sub(" ; ", text)
    text = re.sub(r", ?;|, ", ";", " ".join(text.split()))
    text = re.sub(r"(?<![A-Za-z0-9]) | (?![A-Za-z0-9])", "", text)  # a space stays between two letters or digits
    text = _unwrap(re.sub(r"(?<!\.)[.,;]$", "", text.lstrip("=")))
    inner = re.fullmatch(r"\\text\{([^{}]*)\}", text)
    if inner and (re.search(r"\d", inner[1]) or _wordless(inner[1])):
        return normalise(inner[1])  # \text{5 apples}, \text{(C)}
    return text


def _wordless(text: str) -> bool:
    return not re.search("[A-Za-z]{2}", re.sub(r"\b(?:and|or)\b", "", text))


def _unwrap(text: str) -> str:
    r"""Without what may stand round a whole answer: `$…$`, `\(…\)`, `\[…\]`, `**…**`, `{…}`, a last full stop."""
    while True:
        before, text = text, text.strip()
        if len(text) > 1 and text.endswith(".") and not text.endswith(".."):
            text = text[:-1]
        for opening, closing in (
            ("$$", "$$"),
            ("$", "$"),
            (r"\(", r"\)"),
            (r"\[", r"\]"),
            ("**", "**"),
            ("`", "`"),
            ("{", "}"),
        ):
            inner = text[len(opening) : len(text) - len(closing)]
            if (
                text.startswith(opening)
                and text.endswith(closing)
                and inner
                and not inner.endswith("\\")
                and (opening == "{" or opening not in inner.replace(r"\$", ""))
                and closed(inner)
            ):
                text = inner
        if text == before:
            return text


def nesting(text: str) -> int:
    """Most brackets that are open at once."""
    depth = deepest = 0
    for token in _TOKEN.findall(text):
        depth += _DEPTH.get(token, 0)
        deepest = max(deepest, depth)
    return deepest


def closed(text: str) -> bool:
    """Whether every bracket of a text is opened and closed inside it; any closing bracket closes any opening one."""
    depth = 0
    for token in _TOKEN.findall(text):
        depth += _DEPTH.get(token, 0)
        if depth < 0:
            return False
    return depth == 0


def split(text: str, separators: str) -> list[str]:
    r"""Pieces of a text between separators that stand in no bracket; the whole text where brackets do not match.

    Args:
        separators: single signs, or one command such as `\cup`. An `=` of `<=`, `:=` or `==` does not separate.
    """
    if not closed(text):
        return [text]
    marks = {separators} if separators.startswith("\\") else set(separators)
    pieces, depth, tokens = [""], 0, ["", *_TOKEN.findall(text), ""]
    for before, token, after in zip(tokens, tokens[1:], tokens[2:], strict=False):
        depth += _DEPTH.get(token, 0)
        compound = token == "=" and (before in ("<", ">", "!", ":", "=") or after == "=")
        if token in marks and depth == 0 and not compound:
            pieces.append("")
        else:
            pieces[-1] += token
    return [piece.strip() for piece in pieces]


def words(text: str) -> str | None:
    r"""An answer in words (`\text{even}`, Evelyn) in small letters; None for mathematics."""
    wrapped = re.fullmatch(r"\\text\{([^{}]*)\}", text)
    bare = re.fullmatch(r"[A-Za-z][A-Za-z' .-]*", text) and (
        text.casefold() in _SHORT_WORDS
        or (re.search("[A-Za-z]{4}", text) and not _NO_WORDS.intersection(text.casefold().split()))
    )
    return plain(text) if wrapped or bare else None


def plain(text: str) -> str:
    r"""A text without `\text{}`, in small letters, its spaces single."""
    return " ".join(re.sub(r"\\text\{([^{}]*)\}", r" \1 ", text).casefold().split()).strip(" .")


def is_name(text: str) -> bool:
    r"""Whether a text only names a value: `x`, `f(x)`, `\text{Area}`, `(x,y)`."""
    return bool(_IS_NAME.fullmatch(text))


def without_membership(text: str) -> str:
    r"""`[0,1]` for `x\in[0,1]`."""
    return _MEMBER_OF.sub("", text, count=1) if _MEMBER_OF.match(text) else text


def as_interval(text: str) -> str | None:
    r"""`(-\infty,3]` for `x\le3`, `[2,5)` for `2\le x<5`; None for any other text."""
    chain = re.split(r"(<|>|\\[lg]e(?![A-Za-z]) ?)(?!=)", text)
    if len(chain) == 5 and chain[1][:2].strip() in (">", r"\g"):
        chain = [chain[4], _TURNED[chain[3].strip()], chain[2], _TURNED[chain[1].strip()], chain[0]]
    elif len(chain) == 3 and is_name(chain[2]):
        chain = [chain[2], _TURNED[chain[1].strip()], chain[0]]
    sides = [part.strip() for part in chain]
    if len(sides) == 5 and is_name(sides[2]) and {sides[1], sides[3]} <= {"<", r"\le"}:
        return ("(" if sides[1] == "<" else "[") + f"{sides[0]},{sides[4]}" + (")" if sides[3] == "<" else "]")
    if len(sides) != 3 or not is_name(sides[0]):
        return None
    return {
        "<": rf"(-\infty,{sides[2]})",
        r"\le": rf"(-\infty,{sides[2]}]",
        ">": rf"({sides[2]},\infty)",
        r"\ge": rf"[{sides[2]},\infty)",
    }[sides[1]]


def without_parentheses(text: str) -> str:
    """`x` for `(x)`; a tuple keeps its own."""
    while text.startswith("(") and text.endswith(")") and closed(text[1:-1]) and bracketed(text) is None:
        text = text[1:-1]
    return text


def bare_list(text: str) -> Structure | None:
    r"""Elements that stand without brackets, `a\pm b` as two of them; None where there is only one."""
    pieces = split(text, ",;")
    thousands = len(pieces) > 1 and ";" not in text and any(re.match(r"0\d", piece) for piece in pieces[1:])
    if thousands or not all(pieces):
        return None
    elements = []
    for piece in pieces:
        if piece.count(r"\pm") + piece.count(r"\mp") == 1 and bracketed(piece) is None:
            elements += [re.sub(r"\\(?:pm|mp) ?", sign, piece).removeprefix("+") for sign in "+-"]
        else:
            elements.append(piece)
    return Structure("list", tuple(elements)) if len(elements) > 1 else None


def bracketed(text: str) -> Structure | None:
    """A matrix, set, tuple or interval that is the whole text."""
    if matrix := _MATRIX.fullmatch(text):
        rows = [[cell.strip() for cell in split(row, "&")] for row in re.split(r"\\\\", matrix[2]) if row.strip()]
        widths = {len(row) for row in rows}
        return Structure(f"matrix {widths.pop()}", tuple(c for row in rows for c in row)) if len(widths) == 1 else None
    match = _BRACKETS.fullmatch(text)
    if not match or (match[1] == r"\{") != (match[3] == r"\}") or not closed(match[2]):
        return None
    inner = bare_list(match[2])
    if match[1] == r"\{":
        return Structure("{}", inner.elements if inner else (match[2],))
    kind = "()" if match[1].startswith(r"\langle") else match[1] + match[3]
    return Structure(kind, inner.elements) if inner and len(split(match[2], ",;")) > 1 else None
