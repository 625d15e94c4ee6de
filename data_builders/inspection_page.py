"""Training data as one HTML page that needs nothing else; and what is marked in texts, there and in a terminal."""

import html
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from cft.errors import DataError
from cft.files import write_text
from data_builders.verify import strange_quotes

if TYPE_CHECKING:
    from data_builders.inspection import Item

TEMPLATE = Path(__file__).with_name("inspection.html")
_QUOTE = re.compile(r'"([^"\n]+)"|“([^”\n]+)”')
_SEEN = re.compile(  # what a reader sees of LaTeX and Markdown, sign by sign: as data_builders.markup.fold, with places
    r"(?P<unseen>\\[dt]?frac(?![a-z])|\\(?:text|textbf|textit|mathrm|mathbf|mbox|boxed)(?=\s*\{)|"
    r"\\(?:left|right|q?quad)(?![a-z])|\\[()\[\],;:! $]|\*\*|__)|(?P<times>\\times|\\cdot|[*·])|"
    r"(?P<over>\\div|\}\s*\{|÷)|(?P<bare>[\s{}$`])|(?P<minus>[−–—])|(?P<tick>[‘’])|(?P<mark>[“”])|"
    r"\\(?P<escaped>[%#&_{}])|(?P<other>.)",
    re.DOTALL,
)
_SIGNS = {"times": "×", "over": "/", "minus": "-", "tick": "'", "mark": '"', "unseen": "", "bare": ""}

Span = tuple[int, int]


def write_page(items: Sequence["Item"], path: Path, title: str) -> None:
    """Write the items to `path` as one HTML page that fetches nothing; a kill leaves no half page.

    Its address holds what it shows: `PAGE#item=ID&show=dropped`, also `reason`, `teacher`, `style`, `student` and
    `search`. `show` is accepted, dropped or uncriticised.

    Raises:
        DataError: if the file cannot be written.
    """
    parts = {"title": html.escape(tidy(title)), "data": _script_json({"counts": count(items)} | _tables(items))}
    template = TEMPLATE.read_text(encoding="utf-8")
    try:
        write_text(path, re.sub(r"\{\{(title|data)\}\}", lambda match: parts[match[1]], template))
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror}). Give a file in a folder of yours.") from None


def _script_json(value: dict) -> str:
    """JSON that may stand in an HTML script element: it holds no `<`, so nothing in it can close the element."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False).replace("&", "\\u0026").replace("<", "\\u003c")


def _tables(items: Sequence["Item"]) -> dict:
    """Problems and candidates by id, each once, and the items in their order, all texts tidy."""
    problems, candidates, rows, times = {}, {}, [], Counter()
    for item in items:
        problem, candidate, critique = item.problem, item.candidate, item.critique
        problems.setdefault(tidy(problem["id"]), _shown(problem, "id", "question", "answer", "source", "licence"))
        shown = _shown(candidate, "id", "problem", "student", "temperature", "text", "outcome", "answer")
        candidates.setdefault(shown["id"], shown)
        key = tidy(item.id)
        times[key] += 1  # a text that came twice has its id twice
        row = {"id": f"{key}-{times[key]}" if times[key] > 1 else key, "candidate": shown["id"], "critique": None}
        if critique:
            row["critique"] = _shown(critique, "teacher", "style", "text", "verdict", "answer", "accepted", "reason")
            row["trains"] = item.trains
            texts = row["critique"]["text"], shown["text"]
            row["quoting"], row["quoted"], row["strange"] = quotations(*texts, tidy(problem.get("question", "")))
        rows.append(row)
    return {"problems": problems, "candidates": candidates, "items": rows}


def _shown(row: dict, *keys: str) -> dict:
    return {key: tidy(row[key]) if isinstance(row[key], str) else row[key] for key in keys if key in row}


def count(items: Sequence["Item"]) -> dict:
    """What is among the items, each row once.

    Returns:
        {"problems", "candidates", "distinct wrong answers", "critiques", "accepted", "training",
        "dropped": {reason: n}, the most frequent first}.
    """
    candidates = {item.candidate["id"]: item.candidate for item in items}.values()
    critiques = [item.critique for item in items if item.critique]
    wrong = {(row["problem"], row["answer"]) for row in candidates if row["outcome"] == "wrong"}
    return {
        "problems": len({item.problem["id"] for item in items}),
        "candidates": len(candidates),
        "distinct wrong answers": len(wrong),
        "critiques": len(critiques),
        "accepted": sum(row["accepted"] for row in critiques),
        "training": sum(item.trains for item in items),
        "dropped": dict(Counter(tidy(row["reason"]) for row in critiques if not row["accepted"]).most_common()),
    }


def tidy(text: str) -> str:
    """`text` as it may be shown: characters that hide, reorder or steer a terminal become U+FFFD."""
    text = text.replace("\r\n", "\n")
    return "".join("\ufffd" if unicodedata.category(c)[0] == "C" and c not in "\n\t" else c for c in text)


def quotations(critique: str, candidate: str, question: str) -> tuple[list[Span], list[Span], list[Span]]:
    """Where the critique quotes the candidate, where those words stand in the candidate, and the strange quotations.

    Marks, spaces and ways to write a sign do not count: "3 × 8" is found in `\\(3 \\times 8\\)`.

    Returns:
        `(start, end)` in characters: in the critique, in the candidate, and, again in the critique, of words in quotes
        that neither candidate nor question holds (what `data_builders.verify` drops a critique for).
    """
    seen, places = _seen(candidate)
    strange = set(strange_quotes(critique, candidate, question))
    quoting, quoted, unfounded = [], set(), []
    for match in _QUOTE.finditer(critique):
        quote, span = match[match.lastindex], match.span(match.lastindex)
        pieces = [_seen(piece)[0].strip(".,;:!?") for piece in re.split(r"\.\.\.|…", quote)]
        found = [_find(piece, seen, places, candidate) for piece in pieces if piece]
        if found and all(found):
            quoting.append(span)
            quoted.update(line for spans in found for start, end in spans for line in _lines(candidate, start, end))
        elif quote in strange:
            unfounded.append(span)
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
    starts = [match.start() for match in re.finditer(f"(?={re.escape(piece)})", seen)]
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
