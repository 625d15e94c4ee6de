"""The sentences of a critique, and a plain wording of each that patterns can be held against."""

import re

from data_builders.arithmetic.markup import QUOTE, plain

LONGEST = 600  # characters of a sentence; of a longer one the beginning and the end are read
_BREAK = re.compile(
    r"\n\s*\n|\n(?![a-z ])|\n(?= *(?:[-*•+|>#✓✗]|\d+[.)]))|\||(?<=[.!?…])[\"”)*_]*(?=\s|$)|\\\\|\s•\s|;\s|(?<=[✓✔✅✗✘❌])\s(?=[A-Z])"
)
_LABEL_LINE = re.compile(r"\A\s*(?:#+[^\n]*|\*\*[^*\n]*\*\*|\\textbf\{[^{}\n]*\})\s*\Z")
_BOX = re.compile(r"\\boxed\s*\{(?:[^{}]|\{[^{}]*\})*\}")
_MARKS = ((re.compile("[✓✔✅☑]\ufe0f?"), " ✓ "), (re.compile("[✗✘❌✖☒]\ufe0f?"), " ✗ "))
_SHORT = (
    (r"\b(?:can't|cannot|can’t)\b", "can not"),
    (r"\bwon['’]t\b", "will not"),
    (r"n['’]t\b", " not"),
    (r"(?<=\w)['’]m\b", " am"),
    (r"\b(it|that|this|he|she|what|there|here|everything|which|answer|solution)['’]s\b", r"\1 is"),
    (r"(?<=\w)['’]re\b", " are"),
    (r"(?<=\w)['’]ve\b", " have"),
    (r"(?<=\w)['’]d\b", " would"),
    (r"(?<=\w)['’]ll\b", " will"),
)


def sentences(text: str) -> list[str]:
    """The text in pieces: at ends of sentences, cells of a table, items of a list, headings and blank lines."""
    pieces, heading = [], ""
    for piece in _BREAK.split(text):
        if not piece or not piece.strip():
            continue
        if _LABEL_LINE.match(piece) and len(piece.split()) <= 4 and not piece.rstrip(" *}").endswith((".", "!")):
            heading = piece.strip("#*: \n") + ": "  # "### Verdict" and the line below it are one sentence
            continue
        pieces.append(heading + piece)
        heading = ""
    return [*pieces, heading] if heading else pieces


def simple(sentence: str) -> str:
    """The sentence in lower case, without marks, boxes and quoted words, with short forms written out."""
    if len(sentence) > LONGEST:
        sentence = f"{sentence[: LONGEST // 2]} … {sentence[-LONGEST // 2 :]}"
    for marks, sign in _MARKS:
        sentence = marks.sub(sign, sentence)
    sentence = plain(_BOX.sub(" ", QUOTE.sub(" … ", sentence))).casefold().strip("*_#>•-+ ")
    for short, long in _SHORT:
        sentence = re.sub(short, long, sentence)
    return " ".join(sentence.split())
