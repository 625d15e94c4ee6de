"""The table of a sweep: every point's training in numbers, and its score against the base, corrected for all points."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cft.errors import EvalError
from cft.recipe.blocks import Recipe
from cft.runs import METRICS, Run, read_known
from eval.answering.answers import BASE, model_of
from eval.compare.arms import NamedRun, Scored, differences, effect_over_seeds, in_common, load_scored, pooled
from eval.report.tables import bare_p, bounds, interval, percent, points
from eval.statistics.intervals import holm, is_shown
from eval.statistics.statistics import compare, summarise

DONE, FAILED, WAITING = "done", "failed", "not run yet"
TRAINED = ("rows", "trained_tokens", "steps", "trained_parameters", "last_loss")


@dataclass
class PointRun:
    """What became of one run of a sweep."""

    point: str
    recipe: Recipe
    command: str  # that makes the same run
    value: float | None = None  # of the one varied key, where it is a number
    status: str = WAITING
    run: Run | None = None
    error: str = ""


@dataclass
class SweepState:
    """A sweep and its runs, in order."""

    name: str
    description: str
    recipe: str
    command: str
    varied: str  # the one varied key, or ""
    runs: list[PointRun] = field(default_factory=list)


def build_table(state: SweepState) -> dict:
    """What sweep.json holds.

    Returns:
        sweep, description, recipe, command, varied: as in `state`.
        runs: for each {"point", "seed", "status", "run" (folder or None), "error", "command"}.
        tasks: for each task that a finished run scored:
            task, n: its name and the number of questions that all runs answered.
            bases: [{"name", "accuracy", "ci", "truncated", "no_box"}] of the untrained arms; mostly one.
            rows: a dict for each point and trained arm, and one more for each of its seeds where there are several
                (`seed` is None in the mean of them):
                    point, arm, seed, value (of the one varied number), seeds (how many).
                    rows, trained_tokens, steps, trained_parameters, last_loss: of the training; None without one.
                    accuracy, ci, truncated, no_box: of the answers; the counts are sums over samples and seeds.
                    difference, change_ci, p: from the base of the same runs; over seeds by `seed_effect`. None without
                        a base.
                    p_holm, shown: corrected for all points and arms of the task; None in rows of single seeds.
                    minutes: of training and of answering.
            notes: what a reader must know.
    """
    runs = []
    for one in state.runs:
        done = {"status": one.status, "run": str(one.run.path) if one.run else None, "error": one.error}
        runs.append({"point": one.point, "seed": one.recipe.seed, **done, "command": one.command})
    finished = [one for one in state.runs if one.status == DONE]
    tasks = list(dict.fromkeys(task for one in finished for task in one.recipe.eval.tasks))
    return {
        "sweep": state.name,
        **{key: getattr(state, key) for key in ("description", "recipe", "command", "varied")},
        "runs": runs,
        "tasks": [_task(task, [one for one in finished if task in one.recipe.eval.tasks]) for task in tasks],
    }


def _task(task: str, finished: Sequence[PointRun]) -> dict:
    """The table of a task; without rows, and with a note, where the runs cannot stand in one."""
    named = [NamedRun(one.run, one.recipe, f"{one.point}, seed {one.recipe.seed}") for one in finished]
    try:
        scored = load_scored(task, named)
        left_out = in_common(task, scored)
    except EvalError as error:
        return {"task": task, "n": 0, "bases": [], "rows": [], "notes": [str(error)]}
    bases = {one.name: one for one in scored if one.arm == BASE}
    points_of: dict[str, list[tuple[PointRun, NamedRun]]] = {}
    for one, run in zip(finished, named, strict=True):
        points_of.setdefault(one.point, []).append((one, run))
    rows, compared = [], []
    for members in points_of.values():
        for arm in members[0][0].recipe.eval.arm_names:
            if model_of(arm) == BASE and members[0][0].recipe.train.method != "none":
                continue  # it stands among the bases, once for all points
            parts = [next(s for s in scored if s.arm == arm and run in s.runs) for _, run in members]
            mean = _row(arm, members, parts, bases)
            rows.append(mean)
            if mean["p"] is not None:
                compared.append(mean)
            if len(members) > 1:
                for member, part in zip(members, parts, strict=True):
                    rows.append(_row(arm, [member], [part], bases) | {"seed": member[0].recipe.seed})
    for row, p in zip(compared, holm([row["p"] for row in compared]), strict=True):
        row |= {"p_holm": p, "shown": is_shown(row["change_ci"], p)}
    return {
        "task": task,
        "n": len({row["doc_id"] for row in scored[0].rows}),
        "bases": [{"name": one.name} | _score(one.rows) for one in scored if model_of(one.arm) == BASE],
        "rows": rows,
        "notes": [*([left_out] if left_out else []), *differences(scored)],
    }


def _row(
    arm: str, members: Sequence[tuple[PointRun, NamedRun]], parts: Sequence[Scored], bases: dict[str, Scored]
) -> dict:
    """The row of a point's arm: of one run, or of several that differ in their seed."""
    first = members[0][0]
    whole = pooled(parts, arm, arm) if len(parts) > 1 else parts[0]
    row = {"point": first.point, "arm": arm, "seed": None, "seeds": len(parts), "value": first.value}
    row |= _training([one.run.path for one, _ in members]) | _score(whole.rows)
    seconds = [part.about.get("seconds") for part in parts]
    row["minutes"] = None if None in seconds else (sum(seconds) + row.pop("train_seconds")) / 60
    row |= dict.fromkeys(("difference", "change_ci", "p", "p_holm", "shown"))
    own = [bases[part.base] for part in parts if part.base in bases]
    if arm == BASE or len(own) < len(parts):
        return row
    base = pooled(own, BASE, BASE) if len({one.name for one in own}) > 1 else own[0]
    change = compare(base.rows, whole.rows)
    if len(parts) > 1:
        effect = effect_over_seeds(own, parts)
        change |= {"ci": effect["ci"], "p": change["p"] if effect["p"] is None else effect["p"]}
    return row | {"difference": change["difference"], "change_ci": change["ci"], "p": change["p"]}


def _score(rows: Sequence[dict]) -> dict:
    found = summarise(rows)
    counts = {"truncated": found["outcomes"]["truncated"], "no_box": found["outcomes"]["no_answer"]}
    return {"accuracy": found["accuracy"], "ci": found["ci"], **counts}


def _training(folders: Sequence[Path]) -> dict:
    """What the trainings of these runs were, their mean where they differ; None where there was none."""
    found = [(read_known(Run(folder).train / METRICS) or {}).get("summary") for folder in folders]
    if None in found:
        return dict.fromkeys(TRAINED) | {"train_seconds": 0.0}
    for one in found:
        one["trained_tokens"] = one["completion_tokens"] * one["epochs"]
    means = {key: sum(one[key] for one in found) / len(found) for key in TRAINED}
    return means | {"train_seconds": sum(one["seconds"] for one in found)}


HEADINGS = ["point", "rows", "trained tokens", "steps", "trained parameters", "last loss", "accuracy", "95 %"]
HEADINGS += ["against base", "95 %", "p (Holm)", "truncated", "no box", "minutes"]
ON_SCREEN = (0, 1, 5, 6, 8, 9, 10, 11, 12)  # the columns that fit on 80 characters


def cells(row: dict) -> list[str]:
    """A row of the table, under HEADINGS."""
    name = row["point"] if row["arm"] == "adapter" else f"{row['point']}: {row['arm']}"
    if row["seed"] is not None:
        name = f"· seed {row['seed']}"
    elif row["seeds"] > 1:
        name += f", {row['seeds']} seeds"

    def count(key: str) -> str:
        return "–" if row[key] is None else f"{row[key]:,.0f}"

    loss = "–" if row["last_loss"] is None else f"{row['last_loss']:.2f}"
    change = ["–"] * 3
    if row["p"] is not None:
        corrected = bare_p(row["p_holm"]) if row["p_holm"] is not None else "–"
        change = [points(row["difference"]), interval(row["change_ci"]), corrected]
    minutes = "–" if row["minutes"] is None else f"{row['minutes']:.1f}"
    trained = [count("rows"), count("trained_tokens"), count("steps"), count("trained_parameters"), loss]
    score = [percent(row["accuracy"]), bounds(row["ci"]), *change, str(row["truncated"]), str(row["no_box"])]
    return [name, *trained, *score, minutes]


def base_cells(base: dict) -> list[str]:
    """The row of a base, under HEADINGS."""
    counts = [str(base["truncated"]), str(base["no_box"])]
    return [base["name"], *[""] * 5, percent(base["accuracy"]), bounds(base["ci"]), *[""] * 3, *counts, ""]


def sentence(task: dict) -> str:
    """What a task's rows show, in a sentence or two."""
    compared = [row for row in task["rows"] if row["p_holm"] is not None]
    if not compared:
        return "Nothing is compared with a base."
    better = [row for row in compared if row["shown"] and row["difference"] > 0]
    worse = [row for row in compared if row["shown"] and row["difference"] < 0]
    told = [
        f"{len(rows)} of {len(compared)} {word} than the base: {', '.join(row['point'] for row in rows)}."
        for rows, word in ((better, "better"), (worse, "worse"))
        if rows
    ]
    if not told:
        told = [
            f"No point of {len(compared)} differs from the base by more than chance explains (Holm's p below 0.05)."
        ]
    best = max(compared, key=lambda row: row["accuracy"])
    if len(compared) > 1 and best["difference"] > 0:
        told.append(
            f"The highest accuracy, {percent(best['accuracy'])} at {best['point']}, is the best of {len(compared)} and "
            "so favoured by chance: score that setting alone on items that chose nothing."
        )
    return " ".join(told)
