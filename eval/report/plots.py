"""The pictures of a report. Each panel is drawn on axes that it is given, for a PNG or for the page's SVG."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

from cft.files import write_bytes
from eval.report import curve, stack
from eval.report.panels import PANELS, Panel, draw_changes, draw_outcomes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK = "#15171c"  # all text and axes; in an SVG it becomes the colour of the page's text
WIDTH = 4.7  # inches of a panel: 10 point letters are legible on a phone
STYLE = {
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
    "axes.facecolor": "none",
    "font.size": 10,
    "legend.frameon": False,
    "svg.fonttype": "none",  # letters stay letters: they can be searched, and read aloud
    "svg.hashsalt": "report",  # the same report gives the same bytes
}


def draw(report: dict, path: Path) -> None:
    """Draw outcomes and changes of `report` (one row of panels a task) as a PNG at `path`."""
    tasks = report["tasks"]
    rows = [max(2, len(task["arms"])) for task in tasks]
    with figure(10, 1.0 + sum(0.62 * n + 1.35 for n in rows)) as sheet:
        panels = sheet.subplots(len(tasks), 2, squeeze=False, height_ratios=rows, width_ratios=[1.25, 1])
        for task, (left, right) in zip(tasks, panels, strict=True):
            draw_outcomes(task, left)
            draw_changes(task, right)
        for column, place in enumerate(("outside lower left", "outside lower right")):
            legend(sheet, [row[column] for row in panels], place)
        save_png(sheet, path)


def panels(task: dict) -> Iterator[tuple[str, Panel]]:
    """Name and panel of everything that can be drawn of a task."""
    return ((name, panel) for name, panel in (PANELS | {"selection": curve.PANEL}).items() if panel.is_there(task))


def draw_panels(report: dict, folder: Path) -> dict[str, dict[str, str]]:
    """Draw every panel as a PNG of its own in `folder`; {task: {what it shows: file name}}, without the training's."""
    files: dict[str, dict[str, str]] = {}
    for task in report["tasks"]:
        for name, panel in panels(task):
            file = f"{re.sub(r'[^A-Za-z0-9_.-]', '_', task['task'])}-{name}.png"
            with sheet_of(panel, task) as sheet:
                save_png(sheet, folder / file)
            files.setdefault(task["task"], {})[panel.caption] = file
    if stack.PANEL.is_there(report):
        with sheet_of(stack.PANEL, report) as sheet:
            save_png(sheet, folder / stack.FILE)
    return files


def svg(panel: Panel, task: dict, *, titled: bool = True) -> str:
    """The panel as an SVG element for inside a page: text and axes in the page's colour, no ground, nothing fetched."""
    out = io.StringIO()
    with sheet_of(panel, task) as sheet:
        if not titled:
            sheet.axes[0].set_title("", loc="left")
        sheet.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(?::\w+)?="[^"]*"', "", text).replace(INK, "currentColor")
    # A page holds several of these: only ids that something refers to are kept, under a name of this panel's own.
    used = set(re.findall(r'(?:url\(|href=")#([^")]+)', text))
    own = re.sub(r"\W+", "-", f"{task['task']}-{panel.caption}")
    text = re.sub(r' id="([^"]*)"', lambda match: f' id="{own}-{match[1]}"' if match[1] in used else "", text)
    text = re.sub(r'(url\(|href=")#', rf"\1#{own}-", text)
    width = float(re.search(r'viewBox="0 0 ([\d.]+)', text)[1]) * 4 / 3  # points to CSS pixels
    root, rest = text.split(">", 1)
    root = re.sub(r' (?:width|height)="[^"]*"', "", root)
    return f'{root} style="max-width:{width:.0f}px" aria-hidden="true">{rest}'


@contextmanager
def figure(width: float, height: float) -> "Iterator[Figure]":
    """An empty sheet of that many inches, in the report's style."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        sheet = Figure(figsize=(width, height), dpi=180, layout="constrained")
        FigureCanvasAgg(sheet)
        yield sheet


@contextmanager
def sheet_of(panel: Panel, task: dict) -> "Iterator[Figure]":
    """One panel on a sheet of its own, its legend below."""
    with figure(WIDTH, panel.height(task)) as sheet:
        if panel.rows:
            panel.draw(task, sheet.subplots(panel.rows(task), sharex=True, squeeze=False)[:, 0])
        else:
            axes = sheet.subplots()
            panel.draw(task, axes)
            legend(sheet, [axes], "outside lower center")
        yield sheet


def legend(sheet: "Figure", axes: list, place: str) -> None:
    """One legend for axes that share it, taken from the first of them that has one."""
    handles, labels = next((found for a in axes if (found := a.get_legend_handles_labels())[0]), ([], []))
    if handles:
        names = [fill(label, 24) for label in labels]
        entry = 0.55 + 0.085 * max(min(len(label), 24) for label in labels)  # inches
        columns = len(names) if len(axes) > 1 else max(1, min(len(names), int((WIDTH - 0.1) / entry)))
        sheet.legend(handles, names, loc=place, ncols=columns, fontsize=10)


def save_png(sheet: "Figure", path: Path) -> None:
    out = io.BytesIO()
    sheet.savefig(out, format="png", facecolor="white")
    write_bytes(path, out.getvalue())
