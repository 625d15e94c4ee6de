"""Accuracy by training step on the validation items that chose the step: its sentence, table and picture.

The curve is what training left in `train/selection/curve.json` (`cft.train.select`). Test scores of kept steps stand
in the same picture, marked as not used: the test items have no part in the choice.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from cft.runs import CURVE, SELECTION, read_known
from eval.answering.answers import model_of
from eval.report.panels import COLOURS, Panel, accuracies, finish, ink, upright_bars
from eval.report.tables import Table, bounds, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLE = "Accuracy by step, on the items that chose it"
TESTED = COLOURS[2]
MOST_TICKS = 10  # steps that fit below the picture


def load_curve(train: Path) -> dict | None:
    """What a training folder says of the choice of its step; None where the last step was kept."""
    return read_known(train / SELECTION / CURVE)


def selection_of(curve: dict | None, arm: str) -> str:
    """On which questions the step of an arm was chosen, in the words of `eval.baselines.schema.Protocol`."""
    return "validation" if curve and model_of(arm) in ("adapter", "merged") else "none"


def chosen(curve: dict) -> dict:
    """The point of the chosen step."""
    return next(point for point in curve["points"] if point["step"] == curve["selected_step"])


def base_of(curve: dict) -> dict | None:
    """The point of the untrained model, if it was asked."""
    return next((point for point in curve["points"] if point["step"] == 0), None)


def sentences(task: dict) -> list[str]:
    """What chose the step, what did not, and what the score of the chosen step is worth."""
    curve = task["selection"]
    point, base = chosen(curve), base_of(curve)
    asked = len(curve["points"]) - (base is not None)
    told = [
        f"The adapter is that of step {point['step']} of {curve['last_step']}, chosen on {point['n']} items of "
        f"{curve['task']}, none of which is a test item. The test items had no part in the choice.",
        f"On the items that chose it, it has {percent(point['accuracy'])} (95 % interval {bounds(point['ci'])}"
        + (f"; the untrained model {percent(base['accuracy'])}). " if base else "). ")
        + (f"That is the best of {asked} tries and so flatters it; " if asked > 1 else "")
        + f"the score to go by is that on {task['task']}.",
    ]
    if base and point["accuracy"] <= base["accuracy"]:
        told.append("No step was better than the untrained model on these items; the adapter is the best of the steps.")
    if curve["stopped_early"]:
        told.append(f"Training stopped early {curve['stopped_early']}.")
    return [*told, f"Rule: {curve['rule']}."]


def curve_by_step(task: dict) -> Table:
    """Accuracy of every asking of a task with a choice."""
    curve = task["selection"]
    named = {0: "0 (base)", curve["selected_step"]: f"{curve['selected_step']} (chosen)"}
    rows = []
    for point in curve["points"]:
        counts = [str(point[key]) for key in ("leaked", "no_box", "truncated")]
        score = [percent(point["accuracy"]), bounds(point["ci"])]
        rows.append([named.get(point["step"], str(point["step"])), *score, *counts, f"{point['tokens']:.0f}"])
    headings = ["step", "accuracy", "95 % interval", "pass a verdict", "no box", "truncated", "tokens an answer"]
    return Table(f"{TITLE}: {curve['points'][0]['n']} of {curve['task']}", headings, rows)


def draw_curve(task: dict, axes: "Axes") -> None:
    """Validation accuracy with intervals, the base's as a line, the chosen step ringed; test scores beside, if any."""
    curve = task["selection"]
    points = [point for point in curve["points"] if point["step"] > 0]
    accuracies(axes, points, (-7, 7), "right", label="validation items")
    if base := base_of(curve):
        axes.axhline(100 * base["accuracy"], color=COLOURS[0], linestyle="--", label="base, same items")
    best = chosen(curve)
    ring = {"marker": "o", "s": 170, "facecolors": "none", "edgecolors": ink(axes), "linewidths": 1.6, "zorder": 5}
    axes.scatter([best["step"]], [100 * best["accuracy"]], label=f"chosen: step {best['step']}", **ring)
    if leaking := [point for point in points if point["leaked"] > (base["leaked"] if base else 0)]:
        places = [point["step"] for point in leaking], [100 * point["accuracy"] for point in leaking]
        axes.scatter(*places, marker="x", s=60, color=TESTED, zorder=6, label="verdict in answers")
    if tested := [point for point in task["steps"] if point["step"] > 0]:
        shift = 0.012 * max(point["step"] for point in [*points, *tested])  # so that intervals do not hide each other
        style = {"fmt": "s", "color": TESTED, "mfc": "none", "capsize": 3, "label": "test items, not used"}
        upright_bars(axes, [point["step"] + shift for point in tested], tested, **style)
    places = sorted({point["step"] for point in [*points, *tested]})
    if len(places) <= MOST_TICKS:
        axes.set_xticks(places)
    axes.margins(x=0.14)
    axes.set_xlabel("training steps")
    axes.set_ylabel("accuracy in %, 95 % interval")
    finish(axes, "accuracy by step")


PANEL = Panel(TITLE, draw_curve, lambda task: 3.8, lambda task: bool(task.get("selection")))
