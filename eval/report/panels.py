"""What a report draws: outcomes, changes, groups, several samples, training steps, published scores."""

from collections.abc import Callable
from dataclasses import dataclass
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
# Of arms. All of them can be seen on white and on dark grey.
COLOURS = ("#8a8f98", "#0A84C6", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#A68A00")
MARKERS = "oDs^vP*X"
BAR = 0.62  # height of a bar, where the next arm is 1 away
NARROWEST_LABEL = 6.0  # a segment narrower than this many points of percent carries no number
MOST_PUBLISHED = 14  # published scores that are drawn; the table has all


@dataclass(frozen=True)
class Panel:
    """A picture of a task's report: `draw(task, axes)` on a sheet of `height(task)` inches, if it `is_there(task)`.

    With `rows` it is a stack: `draw` is given so many axes above each other, and makes their legends.
    """

    caption: str
    draw: "Callable[[dict, Axes], None]"
    height: Callable[[dict], float]
    is_there: Callable[[dict], bool] = lambda task: True
    rows: Callable[[dict], int] | None = None


def error_bars(axes: "Axes", value: float, place: float, ci: list[float], **style) -> None:
    """A horizontal interval of fractions, in per cent."""
    middle, low, high = 100 * value, *(100 * bound for bound in ci)
    lengths = [[max(0.0, middle - low)], [max(0.0, high - middle)]]
    axes.errorbar(middle, place, xerr=lengths, **{"elinewidth": 1.6, "capsize": 4} | style)


def upright_bars(axes: "Axes", places: list[float], points: list[dict], **style) -> None:
    """Accuracies of points against places, with their intervals, in per cent."""
    values = [100 * point["accuracy"] for point in points]
    below = [max(0.0, value - 100 * point["ci"][0]) for value, point in zip(values, points, strict=True)]
    above = [max(0.0, 100 * point["ci"][1] - value) for value, point in zip(values, points, strict=True)]
    axes.errorbar(places, values, yerr=[below, above], **style)


def accuracies(axes: "Axes", points: list[dict], offset: tuple[int, int], align: str = "left", **style) -> None:
    """`upright_bars` of points by their step, as a line with a number beside each."""
    style = {"fmt": "o-", "color": COLOURS[1], "capsize": 4} | style
    upright_bars(axes, [point["step"] for point in points], points, **style)
    for point in points:
        value = 100 * point["accuracy"]
        axes.annotate(f"{value:.1f}", (point["step"], value), offset, textcoords="offset points", ha=align)


def ink(axes: "Axes") -> str:
    """The colour of text on these axes."""
    return axes.xaxis.label.get_color()


def draw_outcomes(task: dict, axes: "Axes") -> None:
    """Stacked bars of outcomes in per cent, one bar an arm, with the interval of the accuracy below the bar's edge."""
    arms = task["arms"]
    places = range(len(arms))
    starts = [0.0] * len(arms)
    for outcome, (label, colour, letters) in OUTCOME_STYLE.items():
        widths = [100 * arm["outcomes"][outcome] / sum(arm["outcomes"].values()) for arm in arms]
        axes.barh(places, widths, BAR, left=starts, color=colour, edgecolor="white", linewidth=0.6, label=label)
        for place, width, start in zip(places, widths, starts, strict=True):
            if width >= NARROWEST_LABEL and outcome != "correct":
                middle = start + width / 2
                axes.text(middle, place - 0.08, f"{width:.0f}", color=letters, ha="center", va="center", fontsize=10)
        starts = [start + width for start, width in zip(starts, widths, strict=True)]
    for place, arm in zip(places, arms, strict=True):
        error_bars(axes, arm["accuracy"], place + 0.19, arm["ci"], color="black")  # on the bars, whatever the page
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
            beside = {"textcoords": "offset points", "va": "center", "fontsize": 10, "parse_math": False}
            axes.annotate(f"{fill(arm['name'], 20)} = 0", (0, place), (6, 0), **beside)
            continue
        first = not axes.containers
        gained, lost = (100 * comparison[key] / comparison["n"] for key in ("gained", "lost"))
        axes.barh(place, gained, BAR, color=GAINED, alpha=0.45, label="gained" if first else None)
        axes.barh(place, -lost, BAR, color=LOST, alpha=0.45, label="lost" if first else None)
        low, high = (100 * bound for bound in comparison["ci"])
        named = {"label": "difference"} if first else {}
        error_bars(axes, comparison["difference"], place, comparison["ci"], fmt="D", color=ink(axes), **named)
        # The counts stand just outside whatever reaches farther, the bar or the interval.
        for count, edge, side in (
            (f"+{comparison['gained']}", max(gained, high), 1),
            (f"−{comparison['lost']}", min(-lost, low), -1),
        ):
            align = {"ha": "left" if side > 0 else "right", "va": "center"}
            axes.annotate(count, (edge, place), (6 * side, 0), textcoords="offset points", fontsize=10, **align)
            reach = max(reach, abs(edge))
    axes.axvline(0, color=ink(axes), linewidth=0.8)
    axes.set_xlim(-1.35 * reach, 1.35 * reach)
    axes.set_yticks(range(len(task["arms"])), [fill(arm["name"], 20) for arm in task["arms"]], parse_math=False)
    against = task["comparisons"][0]["against"]
    axes.set_xlabel(f"points of accuracy against {fill(against, 24)}, 95 % interval", fontsize=10, parse_math=False)
    tidy(axes, "what changed, question by question", max(2, len(task["arms"])))


def group_panel(key: str) -> Panel:
    """Accuracy of every arm in every group of questions, with intervals."""

    def height(task: dict) -> float:
        return 1.4 + sum(max(0.36, 0.13 * len(line["arms"]) + 0.16) for line in task["groups"][key])

    def draw(task: dict, axes: "Axes") -> None:
        lines = task["groups"][key]
        arms = list(lines[0]["arms"])
        step = BAR / max(1, len(arms))
        for number, arm in enumerate(arms):
            style = arm_style(number)
            for place, line in enumerate(lines):
                found, label = line["arms"][arm], {"label": arm} if place == 0 else {}
                at = place + (number - (len(arms) - 1) / 2) * step
                error_bars(axes, found["accuracy"], at, found["ci"], capsize=0, elinewidth=1.2, **style, **label)
        names = [f"{fill(line['group'], 18)} ({line['n']})" for line in lines]
        axes.set_yticks(range(len(lines)), names, parse_math=False)
        axes.set_xlim(0, 100)
        axes.grid(axis="x", alpha=0.25)
        axes.set_xlabel("accuracy in %, 95 % interval")
        tidy(axes, f"accuracy by {key} (questions)", len(lines))

    return Panel(f"Accuracy by {key}", draw, height, lambda task: key in task["groups"])


def arm_style(number: int) -> dict:
    """Colour and marker of the arm that stands there in the report."""
    return {"color": COLOURS[number % len(COLOURS)], "fmt": MARKERS[number % len(MARKERS)], "markersize": 5}


def draw_curves(task: dict, axes: "Axes") -> None:
    """pass@k (solid) and maj@k (dashed) against k."""
    most = max(arm["samples"] for arm in task["arms"])
    for number, arm in enumerate(task["arms"]):
        if arm["samples"] < 2:
            continue
        for curve, line in (("pass_at_k", "-"), ("maj_at_k", "--")):
            ks = [int(k) for k in arm[curve]]
            values = [100 * value for value in arm[curve].values()]
            low, high = ([100 * bound for bound in side] for side in zip(*arm[f"{curve}_ci"].values(), strict=True))
            style = arm_style(number)
            marker = {"marker": style["fmt"], "markersize": 5, "color": style["color"]}
            axes.plot(ks, values, line, label=f"{arm['name']} {curve[:4].strip('_')}@k", **marker)
            axes.fill_between(ks, low, high, color=style["color"], alpha=0.12, linewidth=0)
    axes.set_xscale("log", base=2)
    ticks = [2**i for i in range(most.bit_length()) if 2**i <= most]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.set_ylim(bottom=0)
    axes.set_xlabel("k samples a question")
    axes.set_ylabel("%, band: 95 % interval")
    finish(axes, "several samples a question")


def draw_steps(task: dict, axes: "Axes") -> None:
    """Accuracy after so many training steps; the base is step 0."""
    accuracies(axes, task["steps"], (5, 6))
    axes.set_xlabel("training steps (0: the base)")
    axes.set_ylabel("accuracy in %, 95 % interval")
    finish(axes, "accuracy against training")


def drawn_scores(task: dict) -> list[dict]:
    """The published scores that are drawn: our model's, and of other models the likest one each while there is room."""
    ours = {protocol["model"] for protocol in task["published"]["ours"].values()}
    same = [score for score in task["published"]["scores"] if score["model"] in ours][:MOST_PUBLISHED]
    others = {score["model"]: score for score in reversed(task["published"]["scores"]) if score["model"] not in ours}
    return same + list(others.values())[::-1][: max(0, MOST_PUBLISHED // 2 - len(same))]


def draw_published(task: dict, axes: "Axes") -> None:
    """Our arms with intervals, and below them published scores: full marks are comparable, hollow ones are not."""
    scores, arms = drawn_scores(task), task["arms"]
    ours = {protocol["model"] for protocol in task["published"]["ours"].values()}
    names = []
    for place, arm in enumerate(arms):
        named = {"label": "ours"} if place == 0 else {}
        error_bars(axes, arm["accuracy"], place, arm["ci"], fmt="D", color=COLOURS[1], markersize=6, **named)
        names.append(fill(arm["name"], 26))
    seen = set()
    for place, score in enumerate(scores, len(arms)):
        kind = "published, comparable" if score["comparable_with"] else "published, not comparable"
        face = COLOURS[2] if score["comparable_with"] else "none"
        label = {} if kind in seen else {"label": kind}
        seen.add(kind)
        spread = {"xerr": score["spread"]} if score["spread"] is not None else {}
        axes.errorbar(score["value"], place, fmt="o", color=COLOURS[2], mfc=face, markersize=6, **spread, **label)
        who = "" if score["model"] in ours else f"{score['model']}, "
        names.append(fill(f"{who}{score['method']} ({score['source'].split(',')[0]})", 36))
    axes.axhline(len(arms) - 0.5, color=ink(axes), linewidth=0.6)
    axes.set_yticks(range(len(names)), names, fontsize=8.5, parse_math=False)
    axes.set_xlim(0, 100)
    axes.grid(axis="x", alpha=0.25)
    axes.set_xlabel(f"% on {task['published']['benchmark']}")
    tidy(axes, "beside published scores", len(names))
    axes.tick_params(axis="y", labelsize=8.5)


def finish(axes: "Axes", title: str) -> None:
    """A title, and no frame where it says nothing."""
    axes.set_title(title, fontsize=11, loc="left", parse_math=False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)


def tidy(axes: "Axes", title: str, rows: int) -> None:
    """First row on top, a title, and no frame where it says nothing."""
    axes.set_ylim(rows - 0.5, -0.5)
    axes.set_title(title, fontsize=11, loc="left", parse_math=False)
    axes.tick_params(labelsize=10)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _bar_height(task: dict) -> float:
    return 1.35 + 0.62 * max(2, len(task["arms"]))


PANELS = {
    "outcomes": Panel("What became of every answer", draw_outcomes, lambda task: _bar_height(task) + 0.25),
    "changes": Panel("What changed, question by question", draw_changes, _bar_height, lambda t: bool(t["comparisons"])),
    **{key: group_panel(key) for key in ("subject", "level")},
    "samples": Panel(
        "pass@k and maj@k", draw_curves, lambda task: 3.6, lambda task: any(a["samples"] > 1 for a in task["arms"])
    ),
    # The picture of a selection has the steps too.
    "steps": Panel(
        "Accuracy against training", draw_steps, lambda task: 3.2, lambda t: bool(t["steps"]) and not t.get("selection")
    ),
    "published": Panel(
        "Ours beside published scores",
        draw_published,
        lambda task: 1.4 + 0.36 * (len(task["arms"]) + len(drawn_scores(task))),
        lambda task: bool(task["published"]),
    ),
}
