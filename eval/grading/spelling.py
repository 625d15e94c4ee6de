r"""How an answer is written down: one spelling for it.

Nothing here computes; `eval.grading` decides equality. Texts are short (`eval.grading.grader.MAX_CHARACTERS`).
"""

import re
import unicodedata
from functools import lru_cache

from eval.grading.number_words import number_in_words
from eval.grading.structure import bare_words, closed, tokens, wordy
from eval.grading.units import measure

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
        (r"(?<!\\)\$([^$]*)(?<!\\)\$", r"\1"),
        (r"\\+f?box(?:ed)?\s*\{", "{"),
        (r"\\\\\s*\[\d+(?:pt|em|ex|mm|cm)\]", r"\\\\"),
        (r"\{\s*\\rm(?![A-Za-z])\s*([^{}]*)\}", r"\\text{\1}"),
        (r"\\(?:bf|rm|it|sf|tt|sc|em|sl)(?![A-Za-z])\s*", ""),
        (r"\\(?:text)?color\s*\{[A-Za-z]+\}", ""),
        (r"\\mathrm\s*\{([ie])\}", r"\1"),
        *[(r"(\\(?:text|mathrm) ?\{[^{}]*[A-Za-z])\^\{(-?\d)\}", r"\1^\2")] * 3,
        (
            r"(?:\{\}|(?<![\w})\]\s]))\s*[_^]\s*\{?(\w+)\}?\s*(?:\\(?:text|mathrm) ?\{ ?C ?\}|C)\s*_\s*\{?(\w+)\}?"
            r"|(?<![\w.])(\d+)C(\d+)(?!\w)",
            r"\\binom{\1\3}{\2\4}",
        ),
        (r"\{\}\s*(?=\^)", ""),
        (r"(?<=\d)(?:\\[,;: ]|~|\\text\{ \})+\s*\\ell\s*$", r"\\text{L}"),
        (r"(?<!\d)10\s*\^\s*(?:\(\s*([+-]?\d+)\s*\)|(-?\d{2,3}(?!\d)|-\d(?!\d)))", r"10^{\1\2}"),
        (r"\\text\{\\?\$\}|\bUSD\s*(?=\d)", r"\\$"),
        (r"(?:\\\\\s*)+$", ""),
        (r"\\(?:text(?:bf|it|rm|normal|sf|tt|up|sc|sl)?|emph|mbox|hbox|mathrm) ?\{ ?([^{}]*?) ?\}", r"\\text{\1}"),
        (r"\\R(?![A-Za-z])|\\(?:Bbb|mathbb|mathbf)\s*(?:\{R\}|R(?![A-Za-z]))", r"\\mathbb{R}"),
        (r"\\(?:mathbf|mathit|mathsf|mathtt|mathnormal|boldsymbol|bm)\s*\{([^{}]*)\}", r"\1"),
        (r"\\operatorname\s*\{([A-Za-z]+)\}", r"\\\1 "),
        (r"\\(?:[bB]ig+[lrm]?|left|right|displaystyle|limits|[lL]arge|LARGE|[hH]uge|normalsize|small)(?![A-Za-z])", ""),
        (r"\\(?:[dtc]|nice|s)frac(?![A-Za-z])", r"\\frac"),
        (r"\\[dt]binom(?![A-Za-z])", r"\\binom"),
        (r"\\mu\s*\\text\{\s*", r"\\text{µ"),
        (r"\{([^{}]+)\\choose(?![A-Za-z])([^{}]+)\}|^([^{}]+)\\choose(?![A-Za-z])([^{}]+)$", r"\\binom{\1\3}{\2\4}"),
        (
            r"\(? ?\\begin\{(array|small(?:matrix))\}(?:\{[lcr| ]*\})?(.*?)\\end\{\1\} ?\)?",
            r"\\begin{pmatrix}\2\\end{pmatrix}",
        ),
        (r"\\varnothing(?![A-Za-z])|\\\{\s*\\\}", r"\\emptyset "),
        (r"(?<=\d)\s*[xX]\s*(?=10\s*\^)", r"\\times "),
        (r"\\!\s*", ""),
        (r"(?<![\d.,}])0\{,\}(?=\d)", "0."),
        (r"(?<=\d)\s*\{,\}\s*(?=\d{3}(?!\d))", ""),
        (r"(?<=\d)\{,\}(?=\d)", "."),
        (r"\\text\{:\}|\{:\}|\\colon(?![A-Za-z])", ":"),
        (r"(?<=\d)\s*(?:\\text\{to\}|(?<=\s)to(?=\s))\s*(?=\d)", ":"),
        (r"(?<=[\d.])\\dot\s*\{?(\d)\}?(\d*)\\dot\s*\{?(\d)\}?", r"\\overline{\1\2\3}"),
        (r"(?<=[\d.])\\dot\s*\{?(\d)\}?", r"\\overline{\1}"),
        (r"(?<=\d)\\,(?=\d{3}(?!\d))", ""),
        (r"(?<!\\)\\(?:[,;: ]|q?quad(?![A-Za-z]))|~", " "),
        (r"\\leq(?:q|slant)?(?![A-Za-z])|<=", r"\\le "),
        (r"\\geq(?:q|slant)?(?![A-Za-z])|>=", r"\\ge "),
        (r"\\neq(?![A-Za-z])|!=", r"\\ne "),
        (r"\\lt(?![A-Za-z])", "<"),
        (r"\\gt(?![A-Za-z])", ">"),
        (r"\\lg(?![A-Za-z])", r"\\log "),
        (r"(\\(?:a?r?c?(?:sin|cos|tan|cot|sec|csc)h?|ln|log)(?:_\{?\w+\}?)?)\s*\^\s*(\d)(?!\d)", r"\1^{\2}"),
        (r"\\log\s*\^\s*(\{\w+\}|\w)\s*_\s*(\{\w+\}|\w)", r"\\log_\2^\1"),
        (r"\\(?:lor|vee)(?![A-Za-z])(?=[^\\]*(?:[<>=]|\\[lg]e))", " ; "),
        (r"(?<=\d)\s*\\Omega(?![A-Za-z])", r"\\text{Ω}"),
        (r"(?<=\d)\s*\^\s*\{?(st|nd|rd|th)\}?(?![A-Za-z])", r"\\text{\1}"),
        (r"(?<![A-Za-z])mph(?![A-Za-z])", "miles per hour"),
        (r"(?<![A-Za-z])km?ph(?![A-Za-z])|km/hr?(?![A-Za-z])", "km per hour"),
        (r"(?<![\w)}])\+\s*\\infty", r"\\infty"),
        (r"(?:^|(?<=\\cup))\s*\]([^\[\]()]*[,;][^\[\]()]*)\[\s*(?=$|\\cup)", r"(\1)"),
        (r"(?:^|(?<=\\cup))\s*\]([^\[\]()]*[,;][^\[\]()]*)\]\s*(?=$|\\cup)", r"(\1]"),
        (r"(?:^|(?<=\\cup))\s*\[([^\[\]()]*[,;][^\[\]()]*)\[\s*(?=$|\\cup)", r"[\1)"),
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
_ARGUMENTS = {r"\frac": 2, r"\binom": 2, r"\sqrt": 1, r"\mathbb": 1}
_MOST_COMMANDS = 30  # inside each other
_GROUPS = {r"\text", r"\overline", r"\vec", r"\hat", r"\bar"}  # commands whose argument keeps its braces
_SAID = re.compile(
    r"[^\d=<>,;]*?\\text\{(?=[A-Za-z ])([^{}]*?)"
    r"\b(?:is|are|equals|be|so|thus|hence|therefore,?|ans|answer|\w{3,} ?:)[ .]?:?\}(?=.)"
    r"|(?:[A-Za-z][A-Za-z ']* )?(?:is|are|equals|answer) ?:? ?(?=[-\d\\$(.\[])",
    re.IGNORECASE,
)
_NOT_SAID = re.compile(
    r"\b(?:not|no|never|cannot|approximately|about|nearly|almost|roughly|around|close|if|or|than|between"
    r"|at (?:most|least)|unless|may|might|could|would|why|when|\w+n't)\b",
    re.IGNORECASE,
)
_PHRASES = {sign + "infinity": r"\infty" for sign in ("", "positive ", "plus ")}
_PHRASES |= {sign + "infinity": r"-\infty" for sign in ("negative ", "minus ")}
_PHRASES |= {"noon": r"12:00\text{pm}", "midnight": r"12:00\text{am}", "empty set": r"\emptyset"}
_PHRASES |= {"no solution": r"\emptyset"} | {
    some + words: r"\mathbb{R}" for some in ("", "all ", "set of ", "set of all ", "all of the ")
    for words in ("real number", "real")
}  # fmt: skip
_IN_WORDS = re.compile(r"(?:\\text\w* ?\{ ?)?([A-Za-z][A-Za-z -]*?) ?\.?\}?")


@lru_cache(maxsize=4096)
def normalise(text: str) -> str:
    r"""One spelling of an answer: spaces, dollar signs, `\left`, `\dfrac`, `\text` and its kin, and Unicode set right.

    A comma followed by a space, "and" and "or" become `;`: they separate a list, never the thousands of a number.
    """
    text = _unwrap(" ".join(text.translate(_FULL_WIDTH).split()))
    if spoken := _IN_WORDS.fullmatch(text):
        text = _number_in_words(spoken[1]) or text
    text = re.sub("[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+", lambda match: f"^{{{match[0].translate(_SUPERSCRIPTS)}}}", text)
    for sign, latex in _SYMBOLS.items():
        text = text.replace(sign, latex)
    if not text.isascii():
        text = "".join(str(unicodedata.decimal(c)) if unicodedata.category(c) == "Nd" else c for c in text)
    for pattern, spelling in _SPELLINGS:
        text = pattern.sub(spelling, text)
    text = "".join(_with_braces(tokens(_unwrap(text)), 0))
    if (said := _SAID.match(text)) and not _NOT_SAID.search(said[0]):
        text = text[said.end() :]
    if re.search(r"\d|\\(?!text)", text) or _wordless(text) or wordy(text):
        text = _JOINING_WORD.sub(" ; ", text)
    text = re.sub(r", ?;|, ", ";", " ".join(text.split()))
    text = re.sub(r"(?<![^\W_]) | (?![^\W_])", "", text)  # a space stays between two letters or digits
    text = _unwrap(re.sub(r"(?<!\.)[.,;]$", "", text.lstrip("=")))
    inner = re.fullmatch(r"\\text\{([^{}]*)\}", text)
    if inner and (re.search(r"\d", inner[1]) or _wordless(inner[1])):
        return normalise(inner[1])  # \text{5 apples}, \text{(C)}
    if inner and (";" in inner[1] or _JOINING_WORD.search(inner[1])):
        pieces = re.split(";|,", _JOINING_WORD.sub(";", inner[1]))
        return ";".join(rf"\text{{{piece.strip()}}}" for piece in pieces if piece.strip())
    return _PHRASES.get(bare_words(inner[1] if inner else text), text)


def _number_in_words(text: str) -> str | None:
    """LaTeX of `forty-two` and `forty-two dollars`."""
    number, _, unit = text.rpartition(" ")
    if measure(unit) and (found := number_in_words(number)) and "text" not in found:
        return rf"{found}\text{{{unit}}}"
    return number_in_words(text)


def _wordless(text: str) -> bool:
    return not re.search("[A-Za-z]{2}", re.sub(r"\b(?:and|or)\b", "", text))


def _with_braces(given: list[str], depth: int) -> list[str]:
    r"""`\frac{\pi}{4}` for `\frac\pi4`, `\sqrt[3]{5}` for `\sqrt[3]5`, `x^{\pi}` for `x^\pi`, as tokens."""
    found: list[str] = []
    place = 0
    while place < len(given):
        token = given[place]
        place += 1
        found.append(token)
        command = place < len(given) and len(given[place]) > 1 and given[place][1].isalpha()
        power = token in ("^", "_") and command and given[place] not in (r"\circ", r"\prime")
        if token == r"\sqrt" and given[place : place + 1] == ["["] and "]" in given[place:]:
            end = given.index("]", place) + 1
            found += given[place:end]
            place = end
        for _ in range(1 if power else _ARGUMENTS.get(token, 0) if depth < _MOST_COMMANDS else 0):
            argument, place = _argument(given, place, depth, digits=token == r"\sqrt")
            found += argument
    return found


def _argument(given: list[str], place: int, depth: int, *, digits: bool) -> tuple[list[str], int]:
    """The argument that begins at a place, in braces, and where it ends; nothing where no argument begins there."""
    while given[place : place + 1] == [" "]:
        place += 1
    token = given[place] if place < len(given) else ""
    if token == "{":
        end = _end_of_group(given, place)
        if end is None:
            return [], place
        return ["{", *_with_braces(given[place + 1 : end - 1], depth + 1), "}"], end
    if not (token.isalnum() or (len(token) > 1 and token[1].isalpha())):
        return [], place
    end = place + 1
    if digits and token.isdigit():
        while end < len(given) and given[end].isdigit():
            end += 1
    count = _ARGUMENTS.get(token, 1 if token in _GROUPS else 0) if depth < _MOST_COMMANDS else 0
    inner = given[place:end]
    for _ in range(count):
        argument, end = _argument(given, end, depth + 1, digits=token == r"\sqrt")
        inner += argument
    return ["{", *inner, "}"], end


def _end_of_group(given: list[str], place: int) -> int | None:
    """Behind the brace that closes the one at a place; None where nothing closes it."""
    depth = 0
    for end in range(place, len(given)):
        depth += {"{": 1, "}": -1}.get(given[end], 0)
        if depth == 0:
            return end + 1
    return None


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
