"""The report of a run: graded answers of every arm in, `report.json`, `report.md` and pictures out."""

from collections.abc import Sequence
from pathlib import Path

from cft.files import write_json, write_text
from cft.runs import REPORT_JSON, REPORT_PAGE, REPORT_TEXT, Run
from cft.terminal import Terminal, Text
from eval.answering.answers import BASE, Row, TaskAnswers, load_task
from eval.report import findings, markdown
from eval.report.curve import load_curve, selection_of
from eval.report.tables import RECIPE, arms_across
from eval.report.training import load_log, training_of
from eval.statistics import intervals, statistics
from eval.statistics.behaviour import describe

MANY_AT_LIMIT = 0.10  # share of answers that hit the token limit from which the report warns


def write_report(
    recipe_name: str, eval_folder: Path, out: Path, *, environment: dict, arms: list[str], tasks: list[str]
) -> dict:
    """Compare the arms in `eval_folder/<task>/<arm>/` and write the report into the folder `out`.

    `environment` is JSON and is printed as it is; its key `command`, if any, is shown as the way to run again.
    `eval_folder` stands in a run folder, whose recipe and training are told if they are there.
    Returns what report.json holds: the first task's report, under `tasks` the report of every task, and `training`.

    Raises:
        EvalError: an arm is missing, unfinished, empty or damaged, or was not asked the same questions as the base.
    """
    answers = {task: load_task(eval_folder / task, task, arms) for task in tasks}
    run = Run(eval_folder.parent)
    if run.recipe.is_file():
        environment = environment | {RECIPE: run.recipe.read_text(encoding="utf-8")}
    trained, log, notes = load_log(run.train)
    adapter_step = trained.get("selected_step", trained.get("steps"))
    selection = load_curve(run.train)
    for arms_of_task in answers.values():
        for arm, (about, _) in arms_of_task.items():
            about["selection"] = selection_of(selection, arm)
    chosen = {"adapter_step": adapter_step if type(adapter_step) is int else None, "selection": selection}
    report = build_report(recipe_name, answers, environment, notes=notes, **chosen)
    report["training"] = training_of(log, selection)
    write_pages(report, answers, out)
    return report


def build_report(
    name: str,
    answers: dict[str, TaskAnswers],
    environment: dict,
    *,
    against: str = BASE,
    notes: Sequence[str] = (),
    adapter_step: int | None = None,
    selection: dict | None = None,
) -> dict:
    """The numbers of a report: what report.json holds.

    Args:
        name: of the recipe, or of what is compared.
        answers: `{task: {arm: (what arm.json holds, rows in order of doc_id and sample)}}`; all arms of a task must
            have answered the same questions (`eval.answering.answers.check_same_questions`).
        environment: JSON; see `write_report`. `recipe_yaml`, if there, is the text of the recipe.
        against: the arm that the others are compared with. A task without it has no comparisons.
        notes: sentences that a reader must know; they stand among the warnings of every task.
        adapter_step: training steps after which the arm `adapter` was taken, where arms step-N are scored beside it.
        selection: how that step was chosen (`eval.report.curve.load_curve`); None where it is the last one.

    Returns:
        The first task's report, and under `tasks` the report of every task.
    """
    reports = []
    for task, arms in answers.items():
        found = task_report(arms, against, notes)
        found["steps"] = findings.steps(found["arms"], adapter_step)
        found["selection"] = selection
        found["published"] = findings.published(task, arms)
        reports.append({"recipe": name, "task": task, **found, "environment": environment})
    return {**reports[0], "tasks": reports}


def write_pages(report: dict, answers: dict[str, TaskAnswers], out: Path) -> None:
    """Write `report`, made by `build_report` from `answers`, into the folder `out`."""
    # Imported late: only this function draws, and matplotlib is slow to load.
    from eval.report.page.page import page
    from eval.report.plots import draw, draw_panels

    draw(report, out / "report.png")
    pictures = draw_panels(report, out)
    write_text(out / REPORT_TEXT, markdown.page(report, answers, pictures))
    write_text(out / REPORT_PAGE, page(report, answers))
    write_json(out / REPORT_JSON, report)


def task_report(answers: TaskAnswers, against: str, notes: Sequence[str]) -> dict:
    """Numbers of one task: of every arm, and of every arm compared with `against`, if that was scored."""
    arms = [
        {
            "name": name,
            **statistics.summarise(rows),
            **{key: about.get(key) for key in ("seconds", "peak_memory_mb", "fingerprint")},
            "settings": about.get("settings", {}),
        }
        for name, (about, rows) in answers.items()
    ]
    comparisons = []
    for name, (_, rows) in answers.items():
        if name != against and against in answers:
            base = answers[against][1]
            found = statistics.compare(base, rows) | {"flipped": flipped(base, rows)}
            comparisons.append({"arm": name, "against": against, **found})
    correct_for_many(comparisons)
    return {
        "arms": arms,
        "comparisons": comparisons,
        "controls": findings.controls(answers),
        "groups": findings.groups(answers, against),
        "behaviour": describe({name: rows for name, (_, rows) in answers.items()}, against),
        "warnings": [*notes, *warnings(arms, comparisons), *repeated_samples(answers)],
    }


def correct_for_many(comparisons: list[dict]) -> None:
    """Give every comparison `p_holm`, Holm's correction of its p for all of them, and `shown` by that p."""
    for comparison, p in zip(comparisons, intervals.holm([c["p"] for c in comparisons]), strict=True):
        comparison |= {"p_holm": p, "shown": intervals.is_shown(comparison["ci"], p)}


def flipped(base: list[Row], arm: list[Row]) -> dict[str, list[int | str]]:
    """doc_ids of the questions that the arm answered right more often than the base (`gained`), and less often."""
    before, after = findings.share_correct(base), findings.share_correct(arm)
    return {
        "gained": [doc for doc in before if after[doc] > before[doc]],
        "lost": [doc for doc in before if after[doc] < before[doc]],
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
    cut = []
    for arm in arms:
        answers = arm["n"] * arm["samples"]
        if arm["hit_limit"] >= MANY_AT_LIMIT * answers:
            cut.append(f"{arm['hit_limit']} of {answers} answers of {arm['name']}")
    if cut:
        listed = " and ".join(filter(None, (", ".join(cut[:-1]), cut[-1])))
        scores = "its score" if len(cut) == 1 else "their scores"
        found.append(f"{listed} hit the token limit; a larger eval.max_new_tokens may change {scores}.")
    return found


def repeated_samples(answers: TaskAnswers) -> list[str]:
    """A warning for each sampled arm that gave one text for all samples of every item."""
    found = []
    for name, (_, rows) in answers.items():
        texts: dict[int | str, set[str]] = {}
        for row in rows:
            texts.setdefault(row["doc_id"], set()).add(row["response"])
        if len(rows) > len(texts) and all(len(different) == 1 for different in texts.values()):
            found.append(
                f"all samples of {name} are, for every item, one text: what answered ignores the temperature, or gives "
                f"each request the same seed. Its avg@k is pass@1, and pass@k and maj@k say nothing."
            )
    return found


def print_table(report: dict, console: Terminal) -> None:
    """Print the answer, the arms and the comparisons of `report` at the end of a run."""
    from rich.table import Table

    for task in report["tasks"]:
        arms = arms_across(task)
        table = Table(title=Text(f"{task['recipe']}: {task['task']}"), title_justify="left")
        for number, heading in enumerate(arms.headings):
            table.add_column(Text(heading), justify="right" if number else "left", no_wrap=not number, overflow="fold")
        for row in arms.rows:
            table.add_row(*map(Text, row))
        console.print(table)
        for sentence in markdown.headlines(task):
            console.print(Text(sentence, style="bold"))
        for warning in task["warnings"]:
            console.print(Text(f"WARNING: {warning}", style="bold red"))
