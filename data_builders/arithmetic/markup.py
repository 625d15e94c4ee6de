"""Text as a reader sees it: LaTeX and Markdown marks removed, nothing else changed."""

import re

QUOTE = re.compile(r'"([^"\n]+)"|“([^”\n]+)”')  # words that are another's

_FRACTION = re.compile(r"\\[dt]?frac\s*\{((?:[^{}]|\{[^{}]*\})*)\}\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
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


def fold(text: str) -> str:
    """Plain text reduced for comparing: case, spaces, quote marks and the many signs of one operation made alike."""
    text = plain(text).casefold()
    for signs, one in (("−–—", "-"), ("*·", "×"), ("÷", "/"), ("“”", '"'), ("‘’", "'"), ("$", "")):
        for sign in signs:
            text = text.replace(sign, one)
    return re.sub(r"\s+", "", text)
