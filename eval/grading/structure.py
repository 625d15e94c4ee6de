r"""What an answer is made of: lists and brackets, names of values, intervals, words. Nothing here computes."""

import re
from dataclasses import dataclass

from eval.grading.units import singular

_TURNED = {"<": ">", ">": "<", r"\le": r"\ge", r"\ge": r"\le"}
_NAME = (
    r"(?:m?\\angle ?|\\overline|\\vec)?(?:\\text\{[^{}]*\}|\\?[A-Za-z]+'*|\{[A-Za-z]+\}|\([A-Za-z](?:[,;][A-Za-z])*\))"
    r"(?:_\{?\w+\}?)?(?:(?:\^\{-1\})?\([A-Za-z0-9,; ]*\))?"
)
_OF_EVENT = re.compile(r"(?:\\?Pr?|\\mathbb\{[PE]\}|E|\\text\{(?:P|Pr|Prob|Var|E)\})[(\[](?:[^()]|\([^()]*\))*[)\]]")
_SET_OF = re.compile(rf"\\\{{{_NAME}(?:\\in ?\\mathbb\{{R\}})? ?(?:\\mid(?![A-Za-z])|\\vert(?![A-Za-z])|[:|])(.+)\\\}}")
_IN_WORDS = re.compile(r"(?:\\text\{[^{}]*\}|[A-Za-z' .,-])+")
# A letter with its index, and what else may stand in an expression that names its value: 100m+n, [ABC], V_1:V_2.
_LETTER = re.compile(r"[A-Za-z](?:_\{?\w+\}?)?(?:\(\d+\))?")
_FUNCTION_OF_NAME = re.compile(
    rf"\\(?:sin|cos|tan|cot|sec|csc|log|ln)(?![A-Za-z]) ?\(?{_NAME}\)?|\|(?:[zw]|\\(?:vec|overline) ?\{{?\w+\}}?)\|"
)
_SUM_OR_PRODUCT = re.compile(r"[a-z](?:\+?[a-z])+")
_OF_LETTERS = re.compile(
    r"(?:[\w+*/^:|\[\](){},; '!=<>-]"
    r"|\\(?:frac|cdot|times|sqrt|angle|triangle|overline|vec|cap|cup|mid|lim|to)(?![A-Za-z]))+"
)
_LEAD = r"(?:the )?(?:correct )?(?:(?:option|choice|answer)(?: is)?:? ?)"
_CHOICE = re.compile(
    rf"\\text\{{(?P<lead>{_LEAD})?\(?(?P<letter>[A-J])(?P<close>[).:]*)(?: ?(?P<words>[^{{}}]+))?\}}"
    r"(?P<rest>(?![,;_]).*)"
    rf"|(?P<lead2>{_LEAD})\(?(?P<letter2>[A-J])\)?"
    r"|\(?(?P<letter3>[A-J])[).:] ?(?P<rest3>(?=-?\d|\\frac|\\sqrt|\\\$|\\text).+)",
    re.DOTALL | re.IGNORECASE,
)
POINT = re.compile(r"[A-Z](\(.*\))", re.DOTALL)
_IS_NAME = re.compile(_NAME)
_MEMBER_OF = re.compile(rf"{_NAME} ?\\in ?(?![A-Za-z])")
_SHORT_WORDS = {"yes", "no", "true", "false", "odd", "none", "never", "all"}
_NO_WORDS = {"sin", "cos", "tan", "cot", "sec", "csc", "log", "exp", "sqrt", "frac", "infty", "infinity",
             "theta", "alpha", "beta", "gamma", "delta", "lambda"}  # fmt: skip
_MATRIX = re.compile(r"\\begin\{([pb]?matrix)\}((?:(?!\\begin).)*)\\end\{\1\}", re.DOTALL)
_BRACKETS = re.compile(r"(\\\{|\\langle ?|[(\[])(.*)(\\\}|\\rangle|[)\]])", re.DOTALL)
_TRANSPOSED = re.compile(r"([(\[].*[)\]]|\\begin.*\\end\{[pb]?matrix\})\^\{?(?:T|\\top|\\text\{T\}|t)\}?", re.DOTALL)
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


def tokens(text: str) -> list[str]:
    """LaTeX commands and single signs."""
    return _TOKEN.findall(text)


def nesting(text: str) -> int:
    """Most brackets that are open at once."""
    depth = deepest = 0
    for token in tokens(text):
        depth += _DEPTH.get(token, 0)
        deepest = max(deepest, depth)
    return deepest


def closed(text: str) -> bool:
    """Whether every bracket of a text is opened and closed inside it; any closing bracket closes any opening one."""
    depth = 0
    for token in tokens(text):
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
    pieces, depth, signs = [""], 0, ["", *tokens(text), ""]
    for before, token, after in zip(signs, signs[1:], signs[2:], strict=False):
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


def wordy(text: str) -> bool:
    """Whether a text is words and nothing else, though perhaps several of them in a list."""
    return _IN_WORDS.fullmatch(text) is not None


def choice(text: str) -> tuple[str, str] | None:
    r"""Letter and value of a choice with its value or a word that says so: `\text{(B) }42`, `\text{Option B}`."""
    match = _CHOICE.fullmatch(text)
    if match is None:
        return None
    letter = match["letter"] or match["letter2"] or match["letter3"]
    value = (match["words"] or "") + (match["rest"] or match["rest3"] or "")
    marked = match["lead"] or match["close"] or not match["letter"]
    told_apart = re.match(r"-?\d|\\frac|\\sqrt|\\\$", match["rest"] or "") and not match["words"]
    if not letter.isupper() or not (marked or told_apart):
        return None
    return letter, rf"\text{{{value}}}" if match["words"] and not match["rest"] else value


def bare_words(text: str) -> str:
    """Words without "there are", articles and plural: `There are no solutions.` is `no solution`."""
    found = re.sub(r"^(?:there (?:is|are|exists?) )?(?:(?:an?|the) (?=[a-z]{3}))?", "", plain(text))
    return " ".join(singular(word) if len(word) > 3 else word for word in found.split())


def same_words(one: str, other: str) -> bool:
    """Whether words are the same but for articles and plurals; `a line` is not `lines`."""
    plains = plain(one), plain(other)
    one_thing = [re.match("an? ", text) is not None for text in plains]
    number_differs = any(one_thing) and not all(one_thing) and plains[one_thing.index(False)].endswith("s")
    if number_differs and not plains[one_thing.index(True)].endswith("s"):
        return False
    return bare_words(one) == bare_words(other)


def plain(text: str) -> str:
    r"""A text without `\text{}`, in small letters, its spaces single."""
    return " ".join(re.sub(r"\\text\{([^{}]*)\}", r" \1 ", text).casefold().split()).strip(" .")


def is_name(text: str) -> bool:
    r"""Whether a text only names a value: `x`, `f(x)`, `\text{Area}`, `(x,y)`."""
    return bool(_IS_NAME.fullmatch(text)) or is_of_event(text)


def is_of_event(text: str) -> bool:
    r"""Whether a text is a probability, an expectation or a variance: `P(X=2)`, `E[X]`, `\text{Var}(X)`."""
    return bool(_OF_EVENT.fullmatch(text))


def names_value(text: str) -> bool:
    r"""`is_name`, and expressions that are only asked for their value: `100m+n`, `[ABC]`, `x+y`, `\cos A`.

    One letter with a number (`2x`) or a curve in x and y has to be solved: its value is no answer.
    """
    if is_name(text) or _FUNCTION_OF_NAME.fullmatch(text) or _SUM_OR_PRODUCT.fullmatch(text):
        return True
    text = re.sub(r"^\\text\{[^{}]* of\}", "", text)
    letters = set(_LETTER.findall(re.sub(r"\\[A-Za-z]+", "", text)))
    if letters <= {"x", "y", "z"} and ":" not in text:
        return False
    return _OF_LETTERS.fullmatch(text) is not None and len(letters) > 1


def without_membership(text: str) -> str:
    r"""`[0,1]` for `x\in[0,1]`, `x>5` for `\{x\mid x>5\}`."""
    if match := _SET_OF.fullmatch(text):
        return match[1]
    return _MEMBER_OF.sub("", text, count=1) if _MEMBER_OF.match(text) else text


def as_interval(text: str) -> tuple[str, str] | None:
    r"""`x` and `(-\infty,3]` for `x\le3`, `x` and `[2,5)` for `2\le x<5`; None for any other text."""
    chain = re.split(r"(<|>|\\[lg]e(?![A-Za-z]) ?)(?!=)", text)
    if len(chain) == 5 and chain[1][:2].strip() in (">", r"\g"):
        chain = [chain[4], _TURNED[chain[3].strip()], chain[2], _TURNED[chain[1].strip()], chain[0]]
    elif len(chain) == 3 and is_name(chain[2]):
        chain = [chain[2], _TURNED[chain[1].strip()], chain[0]]
    sides = [part.strip() for part in chain]
    if len(sides) == 5 and is_name(sides[2]) and {sides[1], sides[3]} <= {"<", r"\le"}:
        opening, closing = "(" if sides[1] == "<" else "[", ")" if sides[3] == "<" else "]"
        return sides[2], f"{opening}{sides[0]},{sides[4]}{closing}"
    if (
        len(sides) == 3
        and sides[1] in ("<", r"\le")
        and (bars := re.fullmatch(rf"\|({_NAME})\|(\d+)", sides[0] + sides[2]))
    ):
        return as_interval(rf"-{bars[2]}{chain[1]}{bars[1]}{chain[1]}{bars[2]}")
    if len(sides) != 3 or not is_name(sides[0]):
        return None
    return sides[0], {
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
    if (turned := _TRANSPOSED.fullmatch(text)) and (row := bracketed(turned[1])) and row.kind in (
        "()", "[]", f"matrix {len(row.elements)}",
    ):  # fmt: skip
        return Structure("matrix 1", row.elements)
    match = _BRACKETS.fullmatch(text)
    if not match or (match[1] == r"\{") != (match[3] == r"\}") or not closed(match[2]):
        return None
    inner = bare_list(match[2])
    if match[1] == r"\{":
        return Structure("{}", inner.elements if inner else (match[2],))
    kind = "()" if match[1].startswith(r"\langle") else match[1] + match[3]
    return Structure(kind, inner.elements) if inner and len(split(match[2], ",;")) > 1 else None
