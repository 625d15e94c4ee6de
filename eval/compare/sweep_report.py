"""The pages of a sweep: sweep.md, sweep.json and a picture, written again whenever a point is done."""

from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

from cft.files import write_json, write_text
from cft.terminal import Terminal, Text
from cft.words import in_markdown
from eval.compare.sweep_table import FAILED, HEADINGS, ON_SCREEN, WAITING, base_cells, cells, sentence
from eval.report import markdown
from eval.report.panels import COLOURS, error_bars, finish, ink, tidy, upright_bars
from eval.report.plots import WIDTH, figure, legend, save_png
from eval.report.tables import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDEST = 26  # characters of a name that are kept on one line
ROOMY = 96  # characters of a screen on which nothing needs to be folded
FOR_LOGARITHM = 8  # times that the largest of the varied numbers is the smallest


def write_sweep(table: dict, out: Path) -> None:
    """Write `sweep.json`, `sweep.md` and, once a point is scored, `sweep.png` into `out`."""
    pictures = draw(table, out / "sweep.png")
    write_json(out / "sweep.json", table)
    write_text(out / "sweep.md", page(table, picture=pictures))


def page(table: dict, *, picture: bool) -> str:
    """sweep.md."""
    runs = table["runs"]
    parts = [f"# Sweep {table['sweep']}"]
    if table["description"]:
        parts.append(in_markdown(table["description"]))
    ready = sum(run["status"] == "done" for run in runs)
    recipe, command = markdown.inline(table["recipe"]), markdown.inline(table["command"])
    parts.append(f"Recipe {recipe}, {ready} of {len(runs)} runs done. Made by {command}.")
    for task in table["tasks"]:
        parts.append(f"## {task['task']}, {task['n']} questions\n\n{sentence(task)}")
        rows = [*map(base_cells, task["bases"]), *map(cells, task["rows"])]
        parts.append(markdown.table(Table("", HEADINGS, rows)))
        parts += [f"- {_clean(note)}" for note in task["notes"]]
    if picture:
        parts.append("![Accuracy of every point, with its 95 % interval, beside the base](sweep.png)")
    if table["tasks"]:
        parts.append(
            "Differences are paired by question. A row over several seeds is their mean; its interval and p hold for "
            "other seeds too. p is corrected for all points (Holm). Minutes are those of training and of answering, "
            "without the base."
        )
    failed = [run for run in runs if run["status"] == FAILED]
    if failed:
        parts.append("## Failed\n\n" + "\n".join(f"- {_run_name(run)}: {_clean(run['error'])}" for run in failed))
    lines = [f"- {_run_name(run)}, {run['status']}: {markdown.inline(run['command'])}" for run in runs]
    parts.append("## The runs\n\n" + "\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _run_name(run: dict) -> str:
    return f"{in_markdown(run['point'])}, seed {run['seed']}"


def _clean(text: str) -> str:
    return " ".join(in_markdown(text).split())


def print_sweep(table: dict, console: Terminal) -> None:
    """The tables for the screen, with fewer columns, and what failed."""
    from rich import table as screen

    for task in table["tasks"]:
        drawn = screen.Table(
            title=Text(f"{task['task']}, n = {task['n']}"), title_justify="left", box=None, pad_edge=False
        )
        drawn.padding = (0, 1, 0, 0)
        for i in ON_SCREEN:
            longest = max((len(cells(row)[i]) for row in task["rows"]), default=0)
            narrowest = min(longest, WIDEST) if console.width >= ROOMY else None
            justify = "right" if i else "left"
            drawn.add_column(Text(HEADINGS[i]), justify=justify, overflow="fold", min_width=narrowest)
        for base in task["bases"]:
            drawn.add_row(*(Text(base_cells(base)[i]) for i in ON_SCREEN), style="dim")
        for row in task["rows"]:
            drawn.add_row(*(Text(cells(row)[i]) for i in ON_SCREEN), style="bold" if row["shown"] else "")
        console.print(drawn)
        console.print(Text(sentence(task)))
        for note in task["notes"]:
            console.print(Text(f"note: {note}", style="yellow"))
    for run in table["runs"]:
        if run["status"] == FAILED:
            console.print(Text(f"failed: {_run_name(run)}: {run['error']}", style="red"))
    waiting = sum(run["status"] == WAITING for run in table["runs"])
    if waiting:
        console.print(Text(f"{waiting} of {len(table['runs'])} runs are still to do"))


def draw(table: dict, path: Path) -> bool:
    """Draw accuracy against the varied number, or point by point where there is none; whether there was anything."""
    tasks = [task for task in table["tasks"] if task["rows"]]
    if not tasks:
        return False
    heights = [3.1 if _numeric(task) else 1.3 + 0.5 * len(_means(task)) for task in tasks]
    with figure(WIDTH + 1.3, sum(heights)) as sheet:
        panels = sheet.subplots(len(tasks), 1, squeeze=False, height_ratios=heights)[:, 0]
        for task, axes in zip(tasks, panels, strict=True):
            if _numeric(task):
                _draw_line(task, axes, table["varied"])
            else:
                _draw_points(task, axes)
        legend(sheet, list(panels), "outside lower center")
        save_png(sheet, path)
    return True


def _means(task: dict) -> list[dict]:
    return [row for row in task["rows"] if row["seed"] is None]


def _numeric(task: dict) -> bool:
    """Whether every point stands for a number of its own."""
    values = [row["value"] for row in _means(task)]
    return None not in values and len(values) == len(set(values)) > 1


def _draw_line(task: dict, axes: "Axes", varied: str) -> None:
    rows = sorted(_means(task), key=lambda row: row["value"])
    places = [row["value"] for row in rows]
    for base in task["bases"]:
        axes.axhspan(*(100 * bound for bound in base["ci"]), color=COLOURS[0], alpha=0.18, linewidth=0)
        axes.axhline(100 * base["accuracy"], color=COLOURS[0], linewidth=1.4, linestyle="--", label=base["name"])
    upright_bars(axes, places, rows, fmt="o-", color=COLOURS[1], capsize=4, linewidth=1.4, label="trained")
    if singles := [row for row in task["rows"] if row["seed"] is not None]:
        values = [100 * row["accuracy"] for row in singles]
        axes.plot([row["value"] for row in singles], values, ".", color=COLOURS[2], label="single seeds")
    if min(places) > 0 and max(places) >= FOR_LOGARITHM * min(places):
        axes.set_xscale("log")
    axes.set_xticks(places, [f"{place:g}" for place in places])
    axes.minorticks_off()
    axes.set_xlabel(f"{varied} (bars: 95 % interval)")
    axes.set_ylabel("accuracy, %")
    finish(axes, f"{task['task']}, n = {task['n']}")


def _draw_points(task: dict, axes: "Axes") -> None:
    rows = _means(task)
    for base in task["bases"]:
        axes.axvspan(*(100 * bound for bound in base["ci"]), color=COLOURS[0], alpha=0.18, linewidth=0)
        axes.axvline(100 * base["accuracy"], color=COLOURS[0], linewidth=1.4, linestyle="--")
    for place, row in enumerate(rows):
        error_bars(axes, row["accuracy"], place, row["ci"], fmt="o", color=COLOURS[1])
        for single in task["rows"]:
            if single["seed"] is not None and (single["point"], single["arm"]) == (row["point"], row["arm"]):
                axes.plot(100 * single["accuracy"], place, ".", color=COLOURS[2])
    axes.set_yticks(range(len(rows)), [fill(cells(row)[0], 26) for row in rows], parse_math=False)
    axes.set_xlabel("accuracy, % (95 % interval); dashed: base", color=ink(axes))
    tidy(axes, f"{task['task']}, n = {task['n']}", max(2, len(rows)))
    axes.grid(axis="x", alpha=0.25)
