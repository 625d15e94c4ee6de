"""The one door to the terminal: what is printed is text, never markup, and nothing in it steers the terminal.

Names, paths, questions, answers and the words of servers are written by others. So the console of every command reads
no markup and no emoji codes in any string, styles are given with `Text`, and each character that hides, reorders or
steers is shown as U+FFFD. `tests/house.py` refuses another way to print.
"""

import json
import sys
from collections.abc import Iterable
from typing import Any

import rich.panel
import rich.progress
import rich.text
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.status import Status

from cft.words import ODD, tidy


class Text(rich.text.Text):
    """Text with styles; what was hidden in it is visible. Rich itself would leave some of it out."""

    def __init__(self, text: str = "", *arguments: Any, **options: Any) -> None:
        super().__init__(tidy(text), *arguments, **options)

    def append(self, text: Any, style: Any = None) -> "Text":
        return super().append(tidy(text) if isinstance(text, str) else text, style)


class Terminal(Console):
    """A console that takes every string as it is, for text by others and for our own."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> rich.text.Text:
        return super().render_str(tidy(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """What is about to be written, whoever made it."""
        for segment in super().render(renderable, options):
            odd = not segment.control and ODD.search(segment.text)
            yield Segment(tidy(segment.text), segment.style) if odd else segment

    def out(self, *objects: Any, **options: Any) -> None:
        super().out(*(tidy(str(one)) for one in objects), **options)

    def status(self, status: RenderableType, **options: Any) -> Status:
        shown = Text(status) if isinstance(status, str) else status
        spinner = "dots" if self.encoding.startswith("utf") else "line"
        return super().status(shown, **{"spinner": spinner} | options)

    def on_broken_pipe(self) -> None:
        raise


def panel(title: str, body: RenderableType, border_style: str = "none") -> rich.panel.Panel:
    """A frame around `body`."""
    return rich.panel.Panel(body, title=Text(title), title_align="left", border_style=border_style)


def text_column(template: str) -> rich.progress.TextColumn:
    """A column of a progress line: `template` with the fields of its task."""
    return rich.progress.TextColumn(template, markup=False)


def json_line(value: Any, encoding: str | None = "utf-8") -> str:
    """JSON on one line, which steers no terminal either and can be written in `encoding`."""
    text = json.dumps(value, ensure_ascii=not (encoding or "").lower().startswith("utf"))
    return ODD.sub(lambda odd: odd[0] if tidy(odd[0]) == odd[0] else json.dumps(odd[0])[1:-1], text) + "\n"


def accept_all_characters() -> None:
    """What the encoding of standard output lacks is written as an escape instead of raising an error."""
    if not (getattr(sys.stdout, "encoding", None) or "utf-8").lower().startswith("utf"):
        sys.stdout.reconfigure(errors="backslashreplace")  # as it is for standard error
