"""Look at training data in the terminal: problem, candidate, critique and verdict side by side.

The same items as one HTML page: `data_builders.inspect.inspection_page`.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from rich.console import Group
from rich.segment import SegmentLines
from rich.table import Column, Table

from cft.errors import DataError
from cft.runs import read_rows
from cft.suggest import nearest
from cft.terminal import Terminal, Text, panel
from data_builders.filter.quotations import quotations

SIDE_BY_SIDE = 110  # columns of a terminal from which candidate and critique stand beside each other
OUTCOMES = {"wrong": "red", "no_answer": "yellow", "truncated": "yellow", "ungradable": "yellow", "correct": "green"}
KEYS = "Enter on · n next · p previous · d dropped only · number jumps · q quit"
_MARK, _STRANGE = "black on yellow", "white on red"


@dataclass(frozen=True)
class Item:
    """One critique with what it speaks of, as the rows of a run's data folder; or a candidate without a critique."""

    problem: dict
    candidate: dict
    critique: dict | None
    trains: bool  # whether an example was made of the critique, or of a candidate without one

    @property
    def id(self) -> str:
        """The critique's id, or the candidate's where there is no critique."""
        return (self.critique or self.candidate)["id"]

    @property
    def dropped(self) -> bool:
        """Whether there is a critique that may not train."""
        return self.critique is not None and not self.critique["accepted"]


def load_items(folder: Path) -> list[Item]:
    """All critiques of a data folder, and the candidates without one; by problem, wrong answer, candidate and style.

    Raises:
        DataError: if the folder lacks a file, has neither candidates nor critiques, or has rows that do not belong
            together.
    """
    for name in ("problems", "candidates", "critiques"):
        if not (folder / f"{name}.jsonl").is_file():
            raise DataError(
                f"{folder}: has no {name}.jsonl. Run `cft data RECIPE` to its end first; a recipe whose "
                f"data.builder is none or trajectories has nothing to look at."
            )
    problems, candidates = ({row["id"]: row for row in _rows(folder, name)} for name in ("problems", "candidates"))
    critiques = _rows(folder, "critiques")
    if not candidates and not critiques:
        raise DataError(f"{folder}: holds neither candidates nor critiques. What trains is in examples.jsonl.")
    training = {row["critique"] or row.get("candidate") for row in _rows(folder, "examples")}
    criticised = {row["candidate"] for row in critiques}
    pairs = [(_parent(folder, row["id"], "candidate", row["candidate"], candidates), row) for row in critiques]
    pairs += [(row, None) for key, row in candidates.items() if key not in criticised]
    items = []
    for candidate, critique in pairs:
        problem = _parent(folder, candidate["id"], "problem", candidate["problem"], problems)
        items.append(Item(problem, candidate, critique, (critique or candidate)["id"] in training))
    places = {key: i for i, key in enumerate([*problems, *candidates])}
    return sorted(items, key=lambda item: _order(item, places))


def _parent(folder: Path, child: str, kind: str, key: str, rows: dict[str, dict]) -> dict:
    if key not in rows:
        raise DataError(
            f"{folder}: {child} speaks of {kind} {key}, which is not in {kind}s.jsonl. Run `cft data RECIPE` again."
        )
    return rows[key]


def _rows(folder: Path, name: str) -> list[dict]:
    return read_rows(folder / f"{name}.jsonl")


def _order(item: Item, places: dict[str, int]) -> tuple:
    """Problems and candidates in the order of their files, answers by size, correct candidates last."""
    problem, candidate, critique = item.problem["id"], item.candidate, item.critique or {"style": "", "teacher": ""}
    answer = candidate["answer"] or ""
    try:
        size = float(Fraction(answer.replace(",", "")))
    except (ValueError, ZeroDivisionError, OverflowError):
        size = float("inf")
    outcome = [*OUTCOMES, candidate["outcome"]].index(candidate["outcome"])
    place = places[problem], outcome, size, answer, places[candidate["id"]]
    return *place, critique["style"], critique["teacher"]


def select(
    items: Sequence[Item],
    *,
    dropped: bool = False,
    accepted: bool = False,
    reason: str | None = None,
    teacher: str | None = None,
    style: str | None = None,
    search: str | None = None,
) -> list[Item]:
    """The items that fit all the filters given, in their order.

    Args:
        search: a text in an id, the question, an answer, the candidate or the critique; case and spaces do not count.

    Raises:
        DataError: if no critique has the reason, teacher or style, or the filters rule each other out.
    """
    if accepted and (dropped or reason):
        raise DataError(f"--accepted and {'--dropped' if dropped else '--reason'}: no critique is both. Leave one out.")
    named = {key: value for key, value in (("reason", reason), ("teacher", teacher), ("style", style)) if value}
    for key, value in named.items():
        known = sorted({item.critique[key] for item in items if item.critique and item.critique[key]})
        if value not in known:
            near = nearest(value, known)
            hint = f"Did you mean {near}? " if near else ""
            raise DataError(f"--{key} {value}: no critique here has it. {hint}There are: {', '.join(known) or 'none'}.")
    sought = " ".join((search or "").casefold().split())
    return [
        item
        for item in items
        if (not dropped or item.dropped)
        and (not accepted or (item.critique and item.critique["accepted"]))
        and all(item.critique and item.critique[key] == value for key, value in named.items())
        and sought in _searched(item)
    ]


def _searched(item: Item) -> str:
    rows = (item.problem, item.candidate, item.critique or {})
    texts = [str(row[key]) for row in rows for key in ("id", "question", "text", "answer") if row.get(key)]
    return " ".join(" ".join(texts).casefold().split())


def show_items(items: Sequence[Item], console: Terminal) -> None:
    """Print the items: in a terminal one a screen, with keys (KEYS); elsewhere all, one after another."""
    if not items:
        console.print("No items fit.")
    elif console.is_terminal and sys.stdin.isatty():
        _page_through(items, console)
    else:
        for i, item in enumerate(items):
            head = not i or items[i - 1].problem["id"] != item.problem["id"]
            console.print(_render(item, console.width, head), Text())


def _page_through(items: Sequence[Item], console: Terminal) -> None:
    everything = shown = list(range(len(items)))
    at, line, note = 0, 0, ""
    while True:
        lines = console.render_lines(_render(items[shown[at]], console.width, head=True), pad=False)
        height = max(5, console.height - 3)
        rest = len(lines) - line - height
        more = f", {rest} more lines" if rest > 0 else ""
        console.clear()
        console.print(SegmentLines(lines[line : line + height], new_lines=True), end="")
        console.print(Text(f"{note}{KEYS}", style="dim"))
        try:
            key = console.input(Text(f"item {at + 1} of {len(shown)}{more} > ")).strip().lower()
        except EOFError:
            return
        note = ""
        if key == "" and rest > 0:
            line += height
            continue
        line = 0
        if key == "q":
            return
        if key in ("", "n"):
            at, note = (at + 1, "") if at + 1 < len(shown) else (at, "That was the last. ")
        elif key == "p":
            at, note = (at - 1, "") if at else (0, "That was the first. ")
        elif key == "d":
            dropped, here = [i for i in everything if items[i].dropped], shown[at]
            note = "" if dropped else "No critique was dropped. "
            shown = dropped if dropped and shown is everything else everything
            at = next((k for k, i in enumerate(shown) if i >= here), len(shown) - 1)
        elif key.isdecimal() and 1 <= int(key) <= len(shown):
            at = int(key) - 1
        else:
            note = f"{key!r} is no key and no item. "


def _render(item: Item, width: int, head: bool) -> Group:
    question, written = Text(item.problem["question"]), Text(item.candidate["text"])
    judged = Text("No critique was written.", style="dim")
    if item.critique:
        judged = Text(item.critique["text"])
        quoting, quoted, strange = quotations(judged.plain, written.plain, question.plain)
        for over, style, spans in ((judged, _MARK, quoting), (judged, _STRANGE, strange), (written, _MARK, quoted)):
            for start, end in spans:
                over.stylize(style, start, end)
    name = f"critique {item.id}" if item.critique else "critique"
    texts: list = [panel(f"candidate {item.candidate['id']}", written, "dim"), panel(name, judged, "dim")]
    if width >= SIDE_BY_SIDE:
        side = Table.grid(Column(ratio=1), Column(ratio=1), expand=True)
        side.add_row(*texts)
        texts = [side]
    if head:
        stated = question.append(f"\nAnswer: {item.problem['answer']}")
        texts.insert(0, panel(f"problem {item.problem['id']}", stated, "bold"))
    return Group(*texts, _verdict(item))


def _verdict(item: Item) -> Text:
    """What became of the item, in colour and in words."""
    candidate, critique = item.candidate, item.critique
    outcome, words = candidate["outcome"], f"{len(candidate['text'].split())} words"
    line = Text.assemble(("candidate ", "bold"))
    line.append(outcome.replace("_", " "), style=f"bold {OUTCOMES.get(outcome, 'default')}")
    answer = "" if outcome == "no_answer" else f", {_answer(candidate)}"
    line.append(f"{answer}, {words}, {candidate['student']}")
    if critique is None:
        return line.append(", trains" if item.trains else "")
    verdict = critique["verdict"]
    agrees = verdict and (verdict == "correct") == (outcome == "correct")
    line.append("\ncritique  ", style="bold")
    line.append(f"says {verdict}" if verdict else "gives no verdict", style="bold green" if agrees else "bold red")
    line.append(f", {_answer(critique)}, {len(critique['text'].split())} words, ")
    line.append(f"{critique['teacher']}, {critique['style']}\n")
    if critique["accepted"]:
        line.append("accepted", style="bold green")
        line.append(", trains" if item.trains else ", not chosen to train")
    else:
        line.append(f"dropped: {critique['reason']}", style="bold red")
    return line


def _answer(row: dict) -> str:
    return f"answer {row['answer']}" if row["answer"] is not None else "no answer"
