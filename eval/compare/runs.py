"""`cft compare`: the report over the arms of several runs."""

import re
from collections.abc import Sequence
from pathlib import Path

from cft.errors import EvalError
from cft.files import content_id, remove_leftovers
from cft.recipe.load import load_recipe
from cft.runs import Run, versions
from cft.suggest import nearest
from cft.terminal import Terminal, Text
from cft.words import shell_line
from eval.answering.answers import TaskAnswers
from eval.compare.arms import MOST_NAMED, NamedRun, Scored, differences, in_common, load_scored, named, seed_means
from eval.report import findings
from eval.report.report import build_report, correct_for_many, write_pages
from eval.report.tables import bare_p, bounds, interval, percent, points

CURVES = ("pass_at_k", "pass_at_k_ci", "maj_at_k", "maj_at_k_ci")
OVER_SEEDS = "seeds"  # `test` of a comparison whose p holds for other seeds
LONGEST_FOLDER = 80  # characters of the name of the folder that a comparison is written into


def compare_runs(runs: Sequence[Run], root: Path, *, task: str | None = None, out: Path | None = None) -> dict:
    """Write the pages of `build_comparison`, and return what report.json holds and, under `out`, their folder.

    Args:
        root: folder of the runs.
        out: folder to write; None for `root`/compare/<names of the runs>.
    """
    report, answers = build_comparison(runs, task=task)
    out = out or root / "compare" / folder_name(list(report["environment"]["runs"]))
    try:
        remove_leftovers(out)
        write_pages(report, answers, out)
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        raise EvalError(f"{out}: cannot be written ({error.strerror}). Choose another folder with --out.") from None
    return report | {"out": str(out)}


def build_comparison(runs: Sequence[Run], *, task: str | None = None) -> tuple[dict, dict[str, TaskAnswers]]:
    """The report over several runs, and the answers behind it: what `eval.report.report.write_pages` takes.

    An arm is called `RECIPE ARM`, or `RECIPE/FINGERPRINT ARM` where several runs are of one recipe; bases with the same
    answers are one arm, `base`. Every arm is compared with the base of its own run, on the items that all arms of the
    task answered; p is corrected for all arms (Holm). Runs that differ in their seed alone get an arm more, their mean:
    the key `seeds` of a task's report has what `seed_effect` found for it.

    Args:
        task: None takes every task that all runs have.

    Raises:
        RunError, RecipeError: a run was not evaluated, or its recipe is damaged.
        EvalError: no such task, no items in common, or damaged answers.
    """
    different = {run.path.resolve(): run for run in runs}
    compared = named([(run, load_recipe(str(run.recipe))) for run in different.values()])
    for one in compared:
        one.run.need("eval", one.run.eval)
    tasks, notes = choose_tasks(compared, task)
    if len(compared) == 1:
        notes.append("Only one run was given, so this is its own report. Name more runs to compare them.")
    recipes = list(dict.fromkeys(one.recipe.name for one in compared))
    title = ", ".join(recipes) if len(recipes) <= MOST_NAMED else f"{len(recipes)} recipes"
    command = ["cft", "compare", *(str(one.run.path) for one in compared), *(["--task", task] if task else [])]
    environment = {
        "versions": versions(),
        "runs": {one.label: f"fingerprint {one.run.path.resolve().name}, seed {one.recipe.seed}" for one in compared},
        "models": {one.label: one.recipe.model.id for one in compared},
        "command": shell_line(*command),
    }
    answers: dict[str, TaskAnswers] = {}
    reports = []
    for name in tasks:
        found, answers[name] = compare_task(title, name, compared, environment, notes)
        reports.append(found)
    return {**reports[0], "tasks": reports}, answers


def choose_tasks(runs: Sequence[NamedRun], task: str | None) -> tuple[list[str], list[str]]:
    """The tasks to compare, and what is to be said of the others.

    Raises:
        EvalError: no run has the task, one lacks it, or no task is in all runs.
    """
    having: dict[str, list[str]] = {}
    for run in runs:
        for name in run.recipe.eval.tasks:
            having.setdefault(name, []).append(run.label)
    told = "; ".join(f"{name} ({', '.join(labels)})" for name, labels in having.items())
    if task is not None:
        if task not in having:
            near = nearest(task, having)
            fix = f" Did you mean {near}?" if near else ""
            raise EvalError(f"--task {task}: no run has it.{fix} There are: {told}.")
        if lacking := [run.label for run in runs if run.label not in having[task]]:
            raise EvalError(
                f"--task {task}: {', '.join(lacking)} did not score it. Add it to eval.tasks there. There are: {told}."
            )
        return [task], []
    common = [name for name, labels in having.items() if len(labels) == len(runs)]
    if not common:
        raise EvalError(f"the runs have no task in common: {told}. Score them on the same task with `cft eval`.")
    left = {name: ", ".join(labels) for name, labels in having.items() if name not in common}
    return common, [f"Task {name} is left out: only {labels} scored it." for name, labels in left.items()]


def compare_task(
    title: str, task: str, runs: Sequence[NamedRun], environment: dict, notes: Sequence[str]
) -> tuple[dict, TaskAnswers]:
    """The report of one task, and its answers by arm."""
    scored = load_scored(task, runs)
    left_out = in_common(task, scored)
    means = seed_means(scored, runs)
    notes = [*notes, *([left_out] if left_out else []), *differences(scored), *map(about_seeds, means)]
    families: dict[str | None, list[Scored]] = {}
    for one in [*scored, *means]:
        families.setdefault(one.base, []).append(one)
    parts = []
    for base, members in families.items():
        answers = {one.name: (one.about, one.rows) for one in members}
        parts.append(build_report(title, {task: answers}, environment, against=base or "", notes=notes)["tasks"][0])
    answers = {one.name: (one.about, one.rows) for members in families.values() for one in members}
    report = joined(parts)
    if len(parts) > 1:
        report["published"] = findings.published(task, answers)
    report["seeds"] = {one.name: one.effect for one in means if one.effect}
    over_seeds(report["comparisons"], report["seeds"])
    for arm in report["arms"]:
        if any(arm["name"] == mean.name for mean in means):  # several models' answers: best of k would be an ensemble's
            arm |= {"samples": 1} | {key: {"1": arm[key]["1"]} for key in CURVES}
    return report, answers


def joined(parts: Sequence[dict]) -> dict:
    """One report of a task out of those of several bases, each with its arms."""
    report = dict(parts[0])
    for part in parts[1:]:
        for key in ("arms", "comparisons", "controls"):
            report[key] = report[key] + part[key]
        report["behaviour"] = report["behaviour"] | part["behaviour"]
        for key, lines in report["groups"].items():
            more = {line["group"]: line["arms"] for line in part["groups"].get(key, [])}
            report["groups"][key] = [line | {"arms": line["arms"] | more.get(line["group"], {})} for line in lines]
        report["warnings"] = list(dict.fromkeys(report["warnings"] + part["warnings"]))
    return report


def over_seeds(comparisons: list[dict], effects: dict[str, dict]) -> None:
    """Give the comparisons of means over seeds the interval and p for other seeds; then correct all p again (Holm)."""
    for comparison in comparisons:
        effect = effects.get(comparison["arm"])
        if effect:
            p = effect["p"] if effect["p"] is not None else comparison["p"]
            comparison |= {"ci": effect["ci"], "p": p, "test": OVER_SEEDS}
    correct_for_many(comparisons)


def about_seeds(mean: Scored) -> str:
    """What the mean over seeds is, in a sentence."""
    if mean.effect is None:
        return f"{mean.name} holds the answers of all seeds' bases."
    each = ", ".join(f"{100 * value:+.1f}".replace("-", "−") for value in mean.effect["seed_differences"])
    note = f" ({mean.effect['note']})" if mean.effect["note"] else ""
    return (
        f"{mean.name}: the seeds moved accuracy by {each} points. Interval and p of the mean difference hold for other "
        f"seeds and questions (two-way random effects){note}; those of single runs say nothing of other seeds. All "
        "else that is told of the mean takes the seeds for samples of one model."
    )


def print_comparison(report: dict, console: Terminal) -> None:
    """Print one row an arm, so that many fit, and what a reader must know."""
    from rich.table import Table

    for task in report["tasks"]:
        pairs = {pair["arm"]: pair for pair in task["comparisons"]}
        table = Table(title=Text(f"{task['task']}, n = {task['arms'][0]['n']}"), title_justify="left")
        for place, heading in enumerate(("arm", "accuracy", "95 %", "against", "points", "95 %", "p", "p (Holm)")):
            table.add_column(heading, justify="left" if place in (0, 3) else "right", overflow="fold")
        for arm in task["arms"]:
            pair = pairs.get(arm["name"])
            change = [""] * 5
            if pair:
                change = [pair["against"], points(pair["difference"]), interval(pair["ci"])]
                change += [bare_p(pair["p"]), bare_p(pair["p_holm"])]
            row = [arm["name"], percent(arm["accuracy"]), bounds(arm["ci"]), *change]
            table.add_row(*map(Text, row), style="bold" if pair and pair["shown"] else "")
        console.print(table)
        for warning in task["warnings"]:
            console.print(Text(f"note: {warning}", style="yellow"))


def folder_name(names: Sequence[str]) -> str:
    """A folder's name made of the names of the runs, cut where it gets long."""
    whole = "+".join(re.sub(r"[^\w.-]+", "-", name).strip("-.") for name in names)
    return whole if len(whole) <= LONGEST_FOLDER else f"{whole[:LONGEST_FOLDER]}-{content_id(list(names), length=6)}"
