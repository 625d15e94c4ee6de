"""The picture of a training: small panels above each other, with one axis of optimizer steps."""

from collections.abc import Sequence
from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np

from eval.report.curve import base_of
from eval.report.panels import COLOURS, Panel, ink, upright_bars
from eval.report.training import SUM, parts

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FILE = "training.png"
MOST_MARKS = 60  # of a line; between gaps a point needs its mark


def described(report: dict) -> str:
    """The picture in words, for who cannot see it."""
    return f"By optimizer step: {'; '.join(parts(report['training']))}. report.json has the numbers under training"


def draw_training(report: dict, panels: "Sequence[Axes]") -> None:
    """A panel for each of `parts`, and a vertical line through all of them where the train reward saturates."""
    training, found = report["training"], report["training"]["saturation"]
    for axes, (title, columns) in zip(panels, parts(training).items(), strict=True):
        if columns:
            draw_series(training, axes, columns, share="%" in title)
        else:
            draw_validation(training["validation"], axes)
        if found and found["shown"]:
            named = {"label": f"reward saturated: step {found['step']}"} if axes is panels[0] else {}
            axes.axvline(found["step"], color=ink(axes), linewidth=1, linestyle="-.", **named)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
        axes.locator_params(axis="y", nbins=4)
        entitle(axes, title)
    panels[-1].locator_params(axis="x", integer=True)
    panels[-1].set_xlabel("optimizer steps")


def draw_validation(points: list[dict], axes: "Axes") -> None:
    """Accuracy with its interval at every asking, in per cent; that of the base as a dashed line."""
    trained = [point for point in points if point["step"] > 0]
    style = {"fmt": "o-", "color": COLOURS[1], "markersize": 3, "elinewidth": 0.8, "capsize": 2}
    upright_bars(axes, [point["step"] for point in trained], trained, **style)
    if base := base_of({"points": points}):
        axes.axhline(100 * base["accuracy"], color=COLOURS[0], linestyle="--", label="base")


def draw_series(training: dict, axes: "Axes", columns: dict[str, str], share: bool) -> None:
    """Running means as thick lines, single values as thin ones, which in a short training is all there is."""
    for number, (name, label) in enumerate(columns.items(), 1):
        series, style = training["series"][name], {"color": COLOURS[number % len(COLOURS)]}
        style["marker"] = "." if len(series["steps"]) <= MOST_MARKS or None in series["values"] else None
        values, smoothed = (np.array(series[key], float) * (100 if share else 1) for key in ("values", "smoothed"))
        thick = {"label": f" {label}"} if label else {}  # legends leave out what begins with _
        thick["linewidth"] = 3.2 if label == SUM else 1.8  # a single reward that counts hides it
        if training["window"] > 1:
            axes.plot(series["steps"], values, linewidth=0.7, markersize=1.5, alpha=0.55, **style)
            thick["markersize"] = 2
        axes.plot(series["steps"], smoothed, **style | thick)
    if share:
        top = max(1.0, axes.get_ylim()[1])  # 0 % is at the bottom, and less than 1 % looks like little
        axes.set_ylim(-0.04 * top, top)


def entitle(axes: "Axes", title: str) -> None:
    """The title at the left and, below it, what the lines are."""
    handles, labels = axes.get_legend_handles_labels()
    if not handles:
        axes.set_title(title, loc="left", fontsize=10)
        return
    row = {"ncols": 4 if max(map(len, labels)) < 9 else 2, "fontsize": 9, "columnspacing": 1.2, "handlelength": 1.4}
    place = {"loc": "lower left", "bbox_to_anchor": (-0.02, 0.98), "alignment": "left", "borderpad": 0.1}
    for text in axes.legend(handles, [fill(label, 27) for label in labels], title=title, **place, **row).get_texts():
        text.set_parse_math(False)


PANEL = Panel(
    "Training by optimizer step",
    draw_training,
    lambda report: 0.5 + 1.15 * len(parts(report["training"])),
    lambda report: bool(report.get("training")),
    rows=lambda report: len(parts(report["training"])),
)
