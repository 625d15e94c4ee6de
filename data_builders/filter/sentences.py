"""The sentences of a critique, a plain wording of each, and who speaks in them."""

import re

from data_builders.arithmetic.markup import QUOTE, plain

LONGEST = 600  # characters of a sentence; of a longer one the beginning and the end are read
_BREAK = re.compile(
    r"\n\s*\n|\n(?![a-z ])|\n(?= *(?:[-*•+|>#✓✗]|\d+[.)]))|\||(?<=[.!?…])[\"”)*_]*(?=\s|$)|\\\\|"
    r"\s•\s|;\s|(?<=[✓✔✅✗✘❌])\s(?=[A-Z])"
)
_LABEL_LINE = re.compile(r"\A\s*(?:#+[^\n]*|\*\*[^*\n]*\*\*|\\textbf\{[^{}\n]*\})\s*\Z")
BOX = re.compile(r"\\boxed\s*\{(?:[^{}]|\{[^{}]*\})*\}")
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

_WORD_BREAK = re.compile(
    r"\b(?:because|since|for|but|so|while|whereas|where|then|hence|thus|should|actually|really|"
    r"indeed|in fact|and|as(?! if| though))\b"
)
_NOT_OWN = re.compile(
    r"\b(?:not (?:true|the case|so|hold|correct|right)|\w+n['’]t (?:true|the case|so|correct|"
    r"right)|untrue|false|wrong(?:ly)?|mistaken\w*|mistake|incorrectly|as if|as though|"
    r"if|suppose|imagine|would|were|instead of|rather than|never|can(?:no|')t|(?:you|student|"
    r"candidate|solution|attempt|line|"
    r"step|he|she|they)\s(?!should|ought|must|need)(?:\w+ly |also |then |has |have )?(?:claim|"
    r"writ|wrote|sa[iy]|think|thought|"
    r"believ|assert|us|treat|put|get|got|set|state|comput|calculat|conclud|reach|obtain|find|found|assum|tak|took|read|do|ha(?:s|d|ve)\b)\w*)\b"
)
_DISOWNED_AFTER = re.compile(
    r"[\s,;)$\\]{0,4}(?:(?:which |that |this |it )?(?:is|are|would be|was|were) (?:not|never|"
    r"false|wrong|incorrect|only|(?:the |an? )?(?:student['’]s|mistake|error|slip|fallacy))|"
    r"does not|doesn|isn|holds only|fails|cannot|can't|has (?:the|only|no|two))|"
    r"[\s)$\\]{0,4}(?:only (?:if|when|for)|if|when|for (?:n|x|a|which)|percent|per cent|R|r|"
    r"rem\w*|with remainder|\\text\s*\{\s*[Rr])\b"
)


def sentences(text: str) -> list[str]:
    """The text in pieces: at ends of sentences, cells of a table, items of a list, headings and blank lines."""
    return [sentence for sentence, _, _ in places(text)]


def places(text: str) -> list[tuple[str, int, int]]:
    """Each of the `sentences`, with where it begins and ends in the text."""
    found, heading, start, begin = [], "", 0, 0
    for end, after in [*(match.span() for match in _BREAK.finditer(text)), (len(text), len(text))]:
        piece, place, begin = text[begin:end], begin, after
        if not piece.strip():
            continue
        start = start if heading else place
        if _LABEL_LINE.match(piece) and len(piece.split()) <= 4 and not piece.rstrip(" *}").endswith((".", "!")):
            heading = piece.strip("#*: \n") + ": "  # "### Verdict" and the line below it are one sentence
            continue
        found.append((heading + piece, start, end))
        heading = ""
    return [*found, (heading, start, len(text))] if heading else found


def simple(sentence: str) -> str:
    """The sentence in lower case, without marks, boxes and quoted words, with short forms written out."""
    if len(sentence) > LONGEST:
        sentence = f"{sentence[: LONGEST // 2]} … {sentence[-LONGEST // 2 :]}"
    for marks, sign in _MARKS:
        sentence = marks.sub(sign, sentence)
    sentence = plain(BOX.sub(" ", QUOTE.sub(" … ", sentence))).casefold().strip("*_#>•-+ ")
    for short, long in _SHORT:
        sentence = re.sub(short, long, sentence)
    return " ".join(sentence.split())


def disowned(text: str, start: int, end: int) -> bool:
    """Whether the words around a statement say that it is another's, false, or only supposed."""
    return bool(_NOT_OWN.search(clause(text, start)) or _DISOWNED_AFTER.match(text, end))


def clause(text: str, start: int) -> str:
    """The words before a statement in its own clause."""
    piece = re.split(r"[.;:!?](?=\s)|[\n|]", text[max(0, start - 200) : start])[-1]
    return _WORD_BREAK.split(piece.casefold())[-1]
