"""The picture of a report: what became of every answer, and what changed against the base."""

import os
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's palette, which colour-blind readers can tell apart; (label, colour, ink on that colour).
OUTCOME_STYLE = {
    "correct": ("correct", "#0072B2", "white"),
    "wrong": ("wrong", "#E69F00", "black"),
    "no_answer": ("no box", "#F0E442", "black"),
    "truncated": ("truncated", "#BBBBBB", "black"),
    "ungradable": ("ungradable", "#666666", "white"),
}
GAINED, LOST = "#0072B2", "#D55E00"
BAR = 0.62  # height of a bar, where the next arm is 1 away
NARROWEST_LABEL = 6.0  # a segment narrower than this many points of percent carries no number


def draw(report: dict, path: Path) -> None:
    """Draw `report` (one row of panels a task) as a PNG at `path`, written beside and renamed into place."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    tasks = report["tasks"]
    rows = [max(2, len(task["arms"])) for task in tasks]
    figure = Figure(figsize=(10, 1.0 + sum(0.62 * n + 1.35 for n in rows)), dpi=180, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(tasks), 2, squeeze=False, height_ratios=rows, width_ratios=[1.25, 1])
    for task, (left, right) in zip(tasks, panels, strict=True):
        draw_outcomes(task, left)
        draw_changes(task, right)
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower left", ncols=len(handles), frameon=False, fontsize=10)
    handles, labels = next((h for p in panels if (h := p[1].get_legend_handles_labels())[0]), ([], []))
    if handles:
        figure.legend(handles, labels, loc="outside lower right", ncols=len(handles), frameon=False, fontsize=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        figure.savefig(beside, format="png")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def draw_outcomes(task: dict, axes: "Axes") -> None:
    """Stacked bars of outcomes in per cent, one bar an arm, with the interval of the accuracy below the bar's edge."""
    arms = task["arms"]
    places = range(len(arms))
    starts = [0.0] * len(arms)
    for outcome, (label, colour, ink) in OUTCOME_STYLE.items():
        widths = [100 * arm["outcomes"][outcome] / arm["n"] for arm in arms]
        axes.barh(places, widths, BAR, left=starts, color=colour, edgecolor="white", linewidth=0.6, label=label)
        for place, width, start in zip(places, widths, starts, strict=True):
            if width >= NARROWEST_LABEL and outcome != "correct":
                axes.text(
                    start + width / 2, place - 0.08, f"{width:.0f}", color=ink, ha="center", va="center", fontsize=10
                )
        starts = [start + width for start, width in zip(starts, widths, strict=True)]
    for place, arm in zip(places, arms, strict=True):
        low, high = (100 * bound for bound in arm["ci"])
        middle = 100 * arm["accuracy"]
        axes.errorbar(
            middle,
            place + 0.19,
            xerr=[[max(0.0, middle - low)], [max(0.0, high - middle)]],
            color="black",
            capsize=4,
            elinewidth=1.6,
        )
    names = [f"{fill(arm['name'], 20)}\n{100 * arm['accuracy']:.1f} %" for arm in arms]
    axes.set_yticks(list(places), names, fontsize=10, parse_math=False)
    axes.set_xlim(0, 100)
    axes.set_xlabel("% of answers; black: accuracy, 95 % interval", fontsize=10)
    tidy(axes, f"{task['task']}, n = {arms[0]['n']}", max(2, len(arms)))


def draw_changes(task: dict, axes: "Axes") -> None:
    """Gained to the right, lost to the left, and the paired difference with its interval, in points of percent."""
    comparisons = {comparison["arm"]: comparison for comparison in task["comparisons"]}
    if not comparisons:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "nothing to compare", transform=axes.transAxes, ha="center", fontsize=10)
        return
    reach = 1.0
    for place, arm in enumerate(task["arms"]):
        comparison = comparisons.get(arm["name"])
        if comparison is None:
            axes.annotate(
                f"{arm['name']} = 0", (0, place), (6, 0), textcoords="offset points", va="center", fontsize=10
            )
            continue
        first = not axes.containers
        gained, lost = (100 * comparison[key] / comparison["n"] for key in ("gained", "lost"))
        axes.barh(place, gained, BAR, color=GAINED, alpha=0.45, label="gained" if first else None)
        axes.barh(place, -lost, BAR, color=LOST, alpha=0.45, label="lost" if first else None)
        low, high = (100 * bound for bound in comparison["ci"])
        middle = 100 * comparison["difference"]
        axes.errorbar(
            middle,
            place,
            xerr=[[max(0.0, middle - low)], [max(0.0, high - middle)]],
            fmt="D",
            color="black",
            markersize=6,
            capsize=4,
            elinewidth=1.6,
            label="difference" if first else None,
        )
        # The counts stand just outside whatever reaches farther, the bar or the interval.
        for count, edge, side, colour in (
            (f"+{comparison['gained']}", max(gained, high), 1, GAINED),
            (f"−{comparison['lost']}", min(-lost, low), -1, LOST),
        ):
            axes.annotate(
                count,
                (edge, place),
                (6 * side, 0),
                textcoords="offset points",
                ha="left" if side > 0 else "right",
                va="center",
                fontsize=10,
                color=colour,
            )
            reach = max(reach, abs(edge))
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_xlim(-1.35 * reach, 1.35 * reach)
    axes.set_yticks([])
    axes.set_xlabel("points of accuracy against base, 95 % interval", fontsize=10)
    tidy(axes, "what changed, question by question", max(2, len(task["arms"])))


def tidy(axes: "Axes", title: str, rows: int) -> None:
    """First arm on top, a title, and no frame where it says nothing."""
    axes.set_ylim(rows - 0.5, -0.5)
    axes.set_title(title, fontsize=11, loc="left", parse_math=False)
    axes.tick_params(labelsize=10)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
