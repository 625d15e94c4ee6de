"""The report of a run: graded answers of every arm in, `report.json`, `report.md` and `report.png` out."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from cft.errors import DataError, EvalError
from cft.files import read_jsonl, write_json, write_text
from eval import markdown, statistics

if TYPE_CHECKING:
    from rich.console import Console

BASE = "base"
MANY_AT_LIMIT = 0.10  # share of answers that hit the token limit from which the report warns
ROW_TYPES = {
    "doc_id": (int, str),
    "question": str,
    "gold": str,
    "prompt_sha256": str,
    "response": str,
    "tokens": int,
    "finish_reason": str,
    "outcome": str,
}


def write_report(
    recipe_name: str, eval_folder: Path, out: Path, *, environment: dict, arms: list[str], tasks: list[str]
) -> dict:
    """Compare the arms in `eval_folder/<task>/<arm>/` and write the report into the folder `out`.

    `environment` is JSON and is printed as it is; its key `command`, if any, is shown as the way to run again.
    Returns what report.json holds: the first task's report, and under `tasks` the report of every task.

    Raises:
        EvalError: an arm is missing, unfinished, empty or damaged, or was not asked the same questions as the base.
    """
    if not arms or not tasks:
        raise EvalError(f"nothing to report: arms = {arms}, tasks = {tasks}. Name at least one of each under eval:.")
    answers = {task: load_task(eval_folder / task, task, arms) for task in tasks}
    reports = [
        {"recipe": recipe_name, "task": task, **task_report(answers[task]), "environment": environment}
        for task in tasks
    ]
    report = {**reports[0], "tasks": reports}
    # Imported late: only this function draws, and matplotlib is slow to load.
    from eval.plots import draw

    draw(report, out / "report.png")
    write_text(out / "report.md", markdown.page(report, answers))
    write_json(out / "report.json", report)
    return report


def load_task(folder: Path, task: str, arms: list[str]) -> dict[str, tuple[dict, list[dict]]]:
    """`{arm: (what arm.json holds, rows in doc_id order)}`, after checking that all arms answered the same questions.

    Raises:
        EvalError: see `write_report`.
    """
    loaded = {arm: load_arm(folder / arm, task, arm) for arm in arms}
    against = BASE if BASE in arms else arms[0]
    for arm in arms:
        check_same_questions(task, against, loaded[against][1], arm, loaded[arm][1])
    return loaded


def load_arm(folder: Path, task: str, arm: str) -> tuple[dict, list[dict]]:
    """arm.json and the rows of answers.jsonl, in doc_id order.

    Raises:
        EvalError: the folder is missing, unfinished, empty or damaged.
    """
    again = "Score it with `cft eval` (what is already there is kept)."
    if not folder.is_dir():
        raise EvalError(f"{folder}: no answers of arm {arm!r} on task {task!r}. {again}")
    path = folder / "answers.jsonl"
    if not path.is_file() or not path.stat().st_size:
        raise EvalError(
            f"{path}: {'is empty' if path.is_file() else 'is missing'}, arm {arm!r} has no answers. {again}"
        )
    if not (folder / "arm.json").is_file():
        raise EvalError(f"{folder}: arm.json is missing, so scoring {arm!r} on {task!r} has not finished. {again}")
    try:
        about = read_object(folder / "arm.json")
        numbered = read_jsonl(path)
    except DataError as error:
        raise EvalError(f"{error}\nDelete {folder} and score the arm again with `cft eval`.") from None
    seen: dict[int | str, int] = {}
    for number, row in numbered:
        fault = row_fault(row)
        if not fault and row["doc_id"] in seen:
            fault = f"doc_id {row['doc_id']!r} stands on line {seen[row['doc_id']]} already"
        if fault:
            raise EvalError(f"{path}: line {number}: {fault}. Delete {folder} and score the arm again with `cft eval`.")
        seen[row["doc_id"]] = number
    if about.get("n", len(seen)) != len(seen):
        raise EvalError(f"{path}: holds {len(seen)} answers where arm.json counts {about['n']}. {again}")
    # Shorter ids first: numbers in their order, whether they are JSON numbers or strings.
    return about, sorted((row for _, row in numbered), key=lambda row: (len(str(row["doc_id"])), str(row["doc_id"])))


def read_object(path: Path) -> dict:
    """The JSON object in a file of any layout.

    Raises:
        DataError: the file is not UTF-8 JSON or holds no object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: is not JSON ({error}).") from None
    if not isinstance(value, dict):
        raise DataError(f"{path}: is a JSON {type(value).__name__}, not an object.")
    return value


def row_fault(row: dict) -> str | None:
    """What is wrong with a row of answers.jsonl, in words; None when nothing is."""
    for key, kind in ROW_TYPES.items():
        if not isinstance(row.get(key), kind) or isinstance(row[key], bool):
            return f"{key} is {row[key]!r}" if key in row else f"{key} is missing"
    if row["outcome"] not in statistics.OUTCOMES:
        return f"outcome is {row['outcome']!r}, not one of {', '.join(statistics.OUTCOMES)}"
    return None


def check_same_questions(task: str, base: str, base_rows: list[dict], arm: str, rows: list[dict]) -> None:
    """Raise EvalError unless both arms answered the same items, with the same gold and the same prompt."""
    mend = "A paired comparison needs the same items and prompts: score both arms again with the same recipe."
    ids, other = [row["doc_id"] for row in base_rows], [row["doc_id"] for row in rows]
    if ids != other:
        differ = sorted(map(str, set(ids) ^ set(other)))
        shown = ", ".join(differ[:5]) + (" ..." if len(differ) > 5 else "")
        raise EvalError(
            f"task {task!r}: arms {base!r} ({len(ids)} items) and {arm!r} ({len(other)} items) answered different "
            f"items; {len(differ)} doc_id(s) are in only one of them: {shown}. {mend}"
        )
    for key in ("prompt_sha256", "gold"):
        differ = [str(a["doc_id"]) for a, b in zip(base_rows, rows, strict=True) if a[key] != b[key]]
        if differ:
            raise EvalError(
                f"task {task!r}: {key} differs between arms {base!r} and {arm!r} on {len(differ)} of {len(ids)} items, "
                f"first doc_id {differ[0]}. {mend}"
            )


def task_report(answers: dict[str, tuple[dict, list[dict]]]) -> dict:
    """`arms`, `comparisons` (every arm against the base, if the base was scored) and `warnings` of one task."""
    arms = [
        {
            "name": name,
            **statistics.summarise(rows),
            "seconds": about.get("seconds"),
            "peak_memory_mb": about.get("peak_memory_mb"),
        }
        for name, (about, rows) in answers.items()
    ]
    comparisons = []
    if BASE in answers:
        base = answers[BASE][1]
        for name, (_, rows) in answers.items():
            if name != BASE:
                comparisons.append(
                    {"arm": name, "against": BASE, **statistics.compare(base, rows), "flipped": flipped(base, rows)}
                )
    for comparison, p in zip(comparisons, statistics.holm([c["mcnemar_p"] for c in comparisons]), strict=True):
        comparison["mcnemar_p_holm"] = p
    return {"arms": arms, "comparisons": comparisons, "warnings": warnings(arms, comparisons)}


def flipped(base: list[dict], arm: list[dict]) -> dict[str, list[int | str]]:
    """doc_ids of the questions that only the arm got right (`gained`) and that only the base got right (`lost`)."""
    pairs = [
        (b["doc_id"], b["outcome"] == "correct", a["outcome"] == "correct") for b, a in zip(base, arm, strict=True)
    ]
    return {
        "gained": [doc for doc, before, after in pairs if after and not before],
        "lost": [doc for doc, before, after in pairs if before and not after],
    }


def warnings(arms: list[dict], comparisons: list[dict]) -> list[str]:
    """What a reader must know before believing the numbers."""
    found = []
    for comparison in comparisons:
        if comparison["same_text"] == comparison["n"]:
            found.append(
                f"the {comparison['arm']} seems not to be applied: its answers are, letter for letter, those of the "
                f"{comparison['against']} on all {comparison['n']} items."
            )
    for arm in arms:
        if arm["hit_limit"] >= MANY_AT_LIMIT * arm["n"]:
            found.append(
                f"{arm['hit_limit']} of {arm['n']} answers of {arm['name']} hit the token limit; a larger "
                f"eval.max_new_tokens may change its score."
            )
    return found


def print_table(report: dict, console: "Console") -> None:
    """Print the answer, the arms and the comparisons of `report` at the end of a run."""
    from rich.table import Table
    from rich.text import Text

    for task in report["tasks"]:
        headings, rows = markdown.arm_table(task)
        table = Table(title=Text(f"{task['recipe']}: {task['task']}"), title_justify="left")
        for number, heading in enumerate(headings):
            table.add_column(Text(heading), justify="right" if number else "left", no_wrap=not number, overflow="fold")
        for row in rows:
            table.add_row(*map(Text, row))
        console.print(table)
        for sentence in markdown.headlines(task):
            console.print(Text(sentence, style="bold"))
        for warning in task["warnings"]:
            console.print(Text(f"WARNING: {warning}", style="bold red"))
