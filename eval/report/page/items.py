"""The answers inside a page: as JSON that cannot leave its element, packed where there are many, shortened at need."""

import base64
import json
import zlib

from cft.words import tidy
from eval.answering.answers import Row, TaskAnswers
from eval.report.markdown import shorten
from eval.statistics.statistics import OUTCOMES

PACK_FROM = 1_000_000  # characters of JSON from which it is compressed
MOST = 60_000_000  # characters of answers in a page: what a browser on a phone can still hold
LENGTHS = (20_000, 8_000, 4_000, 2_000, 1_000)  # characters of an answer; the first length at which all of them fit


def collect(report: dict, answers: dict[str, TaskAnswers]) -> dict:
    """What the page's script reads.

    Returns:
        outcomes: their names, which answers refer to by place.
        length: characters that an answer is shortened to, None when all are whole.
        samples: of each question that are kept, None when all are.
        tasks: [{name, against, arms, items: [{id, question, gold, subject?, level?}], answers}], where
            answers[arm][item][sample] is [text, outcome, tokens, hit the limit, boxed answer].
    """
    rows = [row for arms in answers.values() for _, arm in arms.values() for row in arm]
    length = fitting_length(rows)
    samples = None
    if length == LENGTHS[-1]:
        most = max(row.get("sample", 0) for row in rows) + 1
        samples = max(1, most * MOST // max(1, sum(min(len(row["response"]), length) for row in rows)))
        samples = samples if samples < most else None
    tasks = [
        {
            "name": task["task"],
            "against": task["comparisons"][0]["against"] if task["comparisons"] else None,
            "arms": list(arms),
            "items": _items(next(iter(arms.values()))[1]),
            "answers": [_answers(rows, length, samples) for _, rows in arms.values()],
        }
        for task in report["tasks"]
        for arms in [answers[task["task"]]]
    ]
    cut = any(len(row["response"]) > length for row in rows)
    return {"outcomes": OUTCOMES, "length": length if cut else None, "samples": samples, "tasks": tasks}


def fitting_length(rows: list[Row]) -> int:
    """The largest of LENGTHS at which all answers together stay below MOST; the last one if none does."""
    lengths = [len(row["response"]) for row in rows]
    return next((at for at in LENGTHS if sum(min(length, at) for length in lengths) <= MOST), LENGTHS[-1])


def _items(rows: list[Row]) -> list[dict]:
    found = {}
    for row in rows:
        shown = {"id": str(row["doc_id"]), "question": tidy(row["question"]), "gold": tidy(row["gold"])}
        shown |= {key: tidy(str(row[key])) for key in ("subject", "level") if row.get(key)}
        found.setdefault(row["doc_id"], shown)
    return list(found.values())


def _answers(rows: list[Row], length: int, samples: int | None) -> list[list[list]]:
    found: dict[int | str, list[list]] = {}
    for row in rows:
        given = found.setdefault(row["doc_id"], [])
        if samples is None or len(given) < samples:
            text, answer = tidy(shorten(row["response"], length)), row.get("answer")
            limit = int(row["finish_reason"] == "length")
            told = None if answer is None else tidy(shorten(str(answer), 300))
            given.append([text, OUTCOMES.index(row["outcome"]), row["tokens"], limit, told])
    return list(found.values())


def script(data: dict) -> str:
    """`data` as the script element that the page reads: JSON, or zlib's format in base64 when that is long."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    if len(text) < PACK_FROM:
        # No `<` is left, so nothing in the data can close the element.
        harmless = text.replace("<", "\\u003c")
        return f'<script type="application/json" id="data">{harmless}</script>'
    packed = base64.b64encode(zlib.compress(text.encode(), 6)).decode()
    return f'<script type="text/plain" id="data" data-packed="deflate">{packed}</script>'
