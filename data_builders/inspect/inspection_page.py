"""Training data as one HTML page that needs nothing else."""

import html
import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cft.errors import DataError
from cft.files import write_text
from cft.words import tidy
from data_builders.filter.quotations import quotations

if TYPE_CHECKING:
    from data_builders.inspect.inspection import Item

TEMPLATE = Path(__file__).with_name("inspection.html")


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
            row["quoting"], row["quoted"], row["strange"] = quotations(*texts, tidy(problem["question"]))
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
