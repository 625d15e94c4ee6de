"""Where a critique quotes a solution, for whoever reads the two beside each other."""

import re
from functools import lru_cache

from data_builders.arithmetic.markup import QUOTE
from data_builders.filter.verify import strange_quotes

_SEEN = re.compile(  # what a reader sees of LaTeX and Markdown, sign by sign: as arithmetic.markup.fold, with places
    r"(?P<unseen>\\[dt]?frac(?![a-z])|\\(?:text|textbf|textit|mathrm|mathbf|mbox|boxed)(?=\s*\{)|"
    r"\\(?:left|right|q?quad)(?![a-z])|\\[()\[\],;:! $]|\*\*|__)|(?P<times>\\times|\\cdot|[*·])|"
    r"(?P<over>\\div|\}\s*\{|÷)|(?P<bare>[\s{}$`])|(?P<minus>[−–—])|(?P<tick>[‘’])|(?P<mark>[“”])|"
    r"\\(?P<escaped>[%#&_{}])|(?P<other>.)",
    re.DOTALL,
)
_SIGNS = {"times": "×", "over": "/", "minus": "-", "tick": "'", "mark": '"', "unseen": "", "bare": ""}

Span = tuple[int, int]


def quotations(critique: str, candidate: str, question: str) -> tuple[list[Span], list[Span], list[Span]]:
    """Where the critique quotes the candidate, where those words stand in the candidate, and the strange quotations.

    Marks, spaces and ways to write a sign do not count: "3 × 8" is found in `\\(3 \\times 8\\)`.

    Returns:
        `(start, end)` in characters: in the critique, in the candidate, and, again in the critique, of words in quotes
        that neither candidate nor question holds (what `data_builders.filter.verify` drops a critique for).
    """
    seen, places = _seen(candidate)
    strange = set(strange_quotes(critique, candidate, question))
    quoting, unfounded, used = [], [], set()
    found: dict[str, list[Span]] = {}  # by what is quoted, which may be quoted often
    for match in QUOTE.finditer(critique):
        quote, span = match[match.lastindex], match.span(match.lastindex)
        pieces = [_seen(piece)[0].strip(".,;:!?") for piece in re.split(r"\.\.\.|…", quote)]
        pieces = [piece for piece in pieces if piece]
        for piece in set(pieces) - found.keys():
            found[piece] = _find(piece, seen, places, candidate)
        if pieces and all(found[piece] for piece in pieces):
            quoting.append(span)
            used.update(pieces)
        elif quote in strange:
            unfounded.append(span)
    quoted = {line for piece in used for span in found[piece] for line in _lines(candidate, *span)}
    return quoting, _merge(quoted), unfounded


@lru_cache(maxsize=8)  # the critiques of one candidate follow each other
def _seen(text: str) -> tuple[str, list[Span]]:
    """What a reader sees of the text, in lower case and without spaces, and where each of its characters stands."""
    signs, places = [], []
    for match in _SEEN.finditer(text):
        sign = _SIGNS.get(match.lastgroup, match[match.lastgroup].casefold())
        signs.append(sign)
        places += [match.span()] * len(sign)
    return "".join(signs), places


def _find(piece: str, seen: str, places: list[Span], text: str) -> list[Span]:
    """All places of the piece; those amid a longer word or number only if there are no others."""
    starts = [match.start() for match in re.finditer(re.escape(piece), seen)]
    spans = [(places[start][0], places[start + len(piece) - 1][1]) for start in starts]
    return [span for span in spans if not _amid(text, *span)] or spans


def _amid(text: str, start: int, end: int) -> bool:
    return any(re.fullmatch(r"\w\w", text[max(0, at - 1) : at + 1]) for at in (start, end))


def _lines(text: str, start: int, end: int) -> list[Span]:
    """The span line by line, without the spaces around each."""
    return [(start + m.start(), start + m.end()) for m in re.finditer(r"\S(?:[^\n]*\S)?", text[start:end])]


def _merge(spans: set[Span]) -> list[Span]:
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    return merged
