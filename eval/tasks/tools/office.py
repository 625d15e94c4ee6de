r"""The office: a small folder of text files and tables, and six tools to work with it.

One class serves demonstrations, GRPO (TRL's `environment_factory`: public methods are the tools) and scoring. Files are
a dict in memory, so that there is nothing to escape to: no path leads to a disk, a tool's time, memory and text are
bounded, and SQL can only read. A wrong call is answered by a text that begins with "error: " and says the fix.

The docstrings of the tools are read by the model, in every prompt: they are as short as they can be, and the tools have
no return hints, which would add 8 tokens each and say `string`.
"""

import csv
import io
import math
import re
import sqlite3
from contextlib import closing
from decimal import Decimal
from fractions import Fraction
from posixpath import normpath
from typing import Any

from data_builders.arithmetic.expressions import evaluate, parse

MOST_FILES = 40
MOST_CHARACTERS = 20_000  # of a file
MOST_SHOWN = 2_000  # characters of a result
MOST_ROWS, MOST_HITS = 30, 20
MOST_STEPS = 100_000  # of SQLite's virtual machine
MOST_VALUE = 4_000  # characters of a value in SQL: with the steps it bounds time and memory of the worst query
MOST_SQL = 2_000  # characters of a query
PATH = re.compile(r"[\w-][\w .-]*(/[\w-][\w .-]*){0,3}", re.ASCII)
NUMBER = re.compile(r"-?(0|[1-9]\d{0,14})(\.\d{1,9})?")
SAID = {"not authorized": "only SELECT can be run", "interrupted": "it takes too long"}
READS = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, 33}  # 33: SQLITE_RECURSIVE


class Office:
    """The state of one task: `files`, path -> text. It begins empty; `reset` puts a task's files there."""

    def __init__(self) -> None:
        self.files: dict[str, str] = {}

    def reset(self, *, files: dict[str, str] | None = None, **row: Any) -> None:
        """Begin a task anew with its files; the other keys of the row are not used, and nothing is said to the model.

        Args:
            files: path -> text. A None in place of a text, which `datasets` puts where other rows have a file, is none.
        """
        self.files = {path: text for path, text in (files or {}).items() if text is not None}

    def list_files(self):
        """List files and the columns of tables."""
        return _shown("\n".join(f"{path}: {_summary(path, text)}" for path, text in sorted(self.files.items())))

    def read_file(self, path: str):
        """Read a file.

        Args:
            path: file
        """
        if fault := _not_text(path=path) or self._missing(path):
            return fault
        return _shown(self.files[_normal(path)].rstrip("\n"))

    def write_file(self, path: str, text: str):
        """Write a whole file.

        Args:
            path: file
            text: new content
        """
        if fault := _not_text(path=path, text=text):
            return fault
        name = _normal(path)
        if name is None:
            return f"error: {path!r:.80} cannot be a file here. Use a name such as notes/today.txt."
        if len(text) > MOST_CHARACTERS:
            return f"error: {len(text)} characters; a file has at most {MOST_CHARACTERS}. Write less."
        if name not in self.files and len(self.files) >= MOST_FILES:
            return f"error: there are {MOST_FILES} files already. Write to one of them."
        self.files[name] = text
        return f"{name} written, {_summary(name, text)}"

    def search(self, text: str):
        """Find lines that have a text.

        Args:
            text: part of a line
        """
        if fault := _not_text(text=text):
            return fault
        if not (part := text.strip().casefold()):
            return "error: the text is empty. Give a word to find."
        hits = [
            f"{path}:{number}: {line}"
            for path, content in sorted(self.files.items())
            for number, line in enumerate(content.splitlines(), 1)
            if part in line.casefold()
        ]
        more = [f"... and {len(hits) - MOST_HITS} more"] if len(hits) > MOST_HITS else []
        return _shown("\n".join(hits[:MOST_HITS] + more) or "no line has it")

    def calculate(self, expression: str):
        """Work out + - * / ( ).

        Args:
            expression: such as (3 + 4) * 1.5
        """
        if fault := _not_text(expression=str(expression) if type(expression) in (int, float) else expression):
            return fault
        try:
            value = evaluate(parse(str(expression)))
        except KeyError as name:
            return f"error: {name} is no number. Use numbers only."
        except ValueError as fault:
            return f"error: {fault!s:.200}. Use numbers, + - * / and parentheses."
        return "error: a division by zero. Check the numbers." if value is None else _decimal(value)

    def sql(self, query: str):
        """Run SELECT on the tables: orders is orders.csv.

        Args:
            query: SQLite
        """
        if fault := _not_text(query=query):
            return fault
        if len(query) > MOST_SQL:
            return f"error: the query has {len(query)} characters, of at most {MOST_SQL}. Write a shorter one."
        with closing(sqlite3.connect(":memory:")) as database:
            try:
                for path, text in self.files.items():
                    _load(database, path, text)
                return _shown(_select(database, query))
            except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError, MemoryError) as fault:
                said = SAID.get(str(fault), str(fault).rstrip("."))[:200]
                tables = "; ".join(f"{_table(p)}({', '.join(_head(t))})" for p, t in self.files.items() if _table(p))
                return _shown(f"error: {said}. Tables: {tables or 'none'}.")

    def _missing(self, path: str) -> str | None:
        if _normal(path) in self.files:
            return None
        return _shown(f"error: there is no file {path!r:.80}. Files: {', '.join(sorted(self.files)) or 'none'}.")


def _normal(path: str) -> str | None:
    """The path below the folder in its one spelling; None for what is outside of it or no name for a file."""
    name = normpath(path.strip().removeprefix("/")) if len(path) <= 200 else ""
    return name if PATH.fullmatch(name) and len(name) <= 80 else None


def _not_text(**arguments: Any) -> str | None:
    wrong = [name for name, value in arguments.items() if not isinstance(value, str)]
    return f"error: {wrong[0]} must be a text, in quotation marks." if wrong else None


def _shown(text: str) -> str:
    """What the model reads of a result: its beginning, and how much was left out."""
    cut = f"\n... cut: {MOST_SHOWN} of {len(text)} characters shown"
    return text if len(text) <= MOST_SHOWN else text[:MOST_SHOWN] + cut


def _summary(path: str, text: str) -> str:
    count = len(text.splitlines()) - bool(_table(path) and text)
    plural = "s" * (count != 1)
    return f"{count} row{plural} of {', '.join(_head(text))}" if _table(path) else f"{count} line{plural}"


def _table(path: str) -> str | None:
    stem, dot, kind = path.rpartition("/")[2].rpartition(".")
    return stem if dot and kind == "csv" else None


def _head(text: str) -> list[str]:
    return next(csv.reader([text.partition("\n")[0].rstrip("\r")]), [])


def _decimal(value: Fraction | float) -> str:
    """At most six decimals, so that no sum shows the rounding of binary floats."""
    if not math.isfinite(value):
        return str(value)
    value = Fraction(value)
    text = f"{Decimal(value.numerator) / Decimal(value.denominator):.6f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _load(database: sqlite3.Connection, path: str, text: str) -> None:
    """Make a CSV file a table; values that are written as numbers are numbers (leading zeros: text)."""
    if not (table := _table(path)):
        return
    rows = [row for row in csv.reader(io.StringIO(text)) if row]
    wrong = next((n for n, row in enumerate(rows, 1) if len(row) != len(rows[0])), None)
    if wrong:
        raise ValueError(f"{path}: row {wrong} has {len(rows[wrong - 1])} values for {len(rows[0])} columns, fix it")
    if rows:
        quoted = ", ".join('"' + name.strip().replace('"', '""') + '"' for name in rows[0])
        database.execute(f'CREATE TABLE "{table}" ({quoted})')
        marks = ", ".join("?" * len(rows[0]))
        database.executemany(f'INSERT INTO "{table}" VALUES ({marks})', [[*map(_value, row)] for row in rows[1:]])


def _value(text: str) -> int | float | str:
    text = text.strip()
    if not (match := NUMBER.fullmatch(text)):
        return text
    return float(text) if match[2] else int(text)


def _select(database: sqlite3.Connection, query: str) -> str:
    """The rows of a query under limits of steps, length and rows; whatever writes, attaches or sets is refused."""
    database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MOST_VALUE)
    database.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    database.set_authorizer(lambda action, *_: sqlite3.SQLITE_OK if action in READS else sqlite3.SQLITE_DENY)
    ticks = iter(range(MOST_STEPS // 1000))
    database.set_progress_handler(lambda: next(ticks, None) is None, 1000)
    cursor = database.execute(query.strip().rstrip(";"))
    rows = cursor.fetchmany(MOST_ROWS + 1)
    if not cursor.description:
        raise ValueError("the query returns nothing")
    lines = [", ".join(name for name, *_ in cursor.description)]
    lines += [", ".join(_decimal(v) if isinstance(v, float) else str(v) for v in row) for row in rows[:MOST_ROWS]]
    lines += ["(no rows)"] * (not rows) + [f"... only {MOST_ROWS} rows shown"] * (len(rows) > MOST_ROWS)
    return "\n".join(lines)
