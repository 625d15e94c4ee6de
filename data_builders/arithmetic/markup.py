"""Text as a reader sees it: LaTeX and Markdown marks removed, nothing else changed."""

import re

QUOTE = re.compile(r'"([^"\n]+)"|“([^“”\n]+)”')  # words that are another's

_FRACTION = re.compile(r"\\[dt]?frac\s*\{((?:[^{}]|\{[^{}]*\})*)\}\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
_THOUSANDS = re.compile(r"(?<=\d)(?:,\\!|\{,\})(?=\d{3})")
_RUNS = (
    (re.compile(r"([^\S\n]{3})[^\S\n]+|(\n{2})\n+|(\w{60})\w+"), r"\1\2\3"),
    (re.compile(r"(.{1,12}?)\1{20,}", re.DOTALL), r"\1\1\1"),
)
_BARE_FIRST = re.compile(r"(\\(?:[dt]?frac|[dt]?binom|sqrt))\s*(\d|(?<=\s)[A-Za-z])")
_BARE_SECOND = re.compile(r"(\\[dt]?(?:frac|binom)\s*\{(?:[^{}]|\{[^{}]*\})*\})\s*(\d|[A-Za-z])")
_NAMES = re.compile(
    r"\\(sqrt|equiv|ne|neq|leq?|geq?|pi|approx|pmod|mod|bmod|infty|circ|to|implies|Rightarrow|pm|mid|ell)(?![a-z])"
)
_SIGN_OF = {
    "sqrt": "√", "equiv": "≡", "ne": "≠", "neq": "≠", "le": "≤", "leq": "≤", "ge": "≥", "geq": "≥", "pi": "π",
    "approx": "≈", "infty": "∞", "circ": "°", "to": "→", "implies": "⇒", "Rightarrow": "⇒", "pm": "±", "mid": "|",
    "ell": "l", "pmod": "mod", "mod": "mod", "bmod": "mod",
}  # fmt: skip
_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻ⁿ₀₁₂₃₄₅₆₇₈₉", "0123456789-n0123456789")
_WORDS = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|mbox|boxed)\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
_SIGNS = (
    (r"\\times|\\cdot", "×"),
    (r"\\div", "÷"),
    (r"\\(?:left|right)(?![a-z])", ""),
    (r"\\[()\[\]]", " "),
    (r"\\[,;:! ]|\\q?quad", " "),
    (r"\\([$%#&_{}])", r"\1"),
    (r"\*\*|__|`+", ""),
)


def plain(text: str) -> str:
    """One line of plain text: `\\(14 \\times 9 = 126\\)` becomes `14 × 9 = 126`. Words and numbers stay as they are."""
    for _ in range(4):  # nested marks, from the inside out
        text, fractions = _FRACTION.subn(r"\1/\2", text)
        text, words = _WORDS.subn(r"\1", text)
        if not fractions + words:
            break
    for mark, sign in _SIGNS:
        text = re.sub(mark, sign, text)
    return " ".join(text.split())


def bounded(text: str) -> str:
    """The text with endless runs cut short, for patterns to read: of blanks, digits, letters, of anything repeated."""
    for pattern, kept in _RUNS:
        text = pattern.sub(kept, text)
    return text


def braced(text: str) -> str:
    """The text with the braces that LaTeX lets one leave out: `\\frac12` becomes `\\frac{1}{2}`."""
    text = _THOUSANDS.sub(",", text)
    for mark, first in ((_BARE_FIRST, r"\1{\2}"), (_BARE_SECOND, r"\1{\2}")):
        text = mark.sub(first, text)
    return text


def fold(text: str) -> str:
    """Plain text reduced for comparing: case, spaces, quote marks and the many signs of one operation made alike."""
    text = re.sub("([⁰¹²³⁴⁵⁶⁷⁸⁹⁻ⁿ]+)", r"^\1", text)
    text = _NAMES.sub(lambda match: _SIGN_OF[match[1]], text)
    text = braced(text)
    text = plain(text).casefold().translate(_RAISED)
    for signs, one in (("−–—", "-"), ("*·⋅", "×"), ("÷", "/"), ("“”", '"'), ("‘’", "'"), ("${}_\\", "")):
        for sign in signs:
            text = text.replace(sign, one)
    return re.sub(r"\s+", "", text).replace("^°", "°")
