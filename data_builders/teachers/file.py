"""Critiques that somebody wrote before, from a JSON Lines file. Its rows bring the candidates they speak of."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cft.errors import DataError
from cft.files import content_id, faulty, read_jsonl
from cft.recipe.shipped import by_stem, find_file, recipes_folder
from data_builders.golds import read_gold, read_text
from data_builders.problems import Problem
from data_builders.students import candidate

if TYPE_CHECKING:
    from cft.recipe.blocks import FileTeacher, Teacher

_NEEDED = ("problem", "answer", "solution", "critique")
_OPTIONAL = {"student": str, "style": str, "truncated": bool}


@dataclass(frozen=True)
class Row:
    """One line of a critiques file."""

    line: int
    problem: str  # the question's text
    answer: str  # its true answer
    solution: str
    critique: str
    student: str = "unknown"
    style: str = "unknown"
    truncated: bool = False  # the solution was cut off by a token limit


def critiques_folder() -> Path:
    """Where the shipped critiques are."""
    return recipes_folder() / "critiques"


def find_critiques(name_or_path: str) -> Path:
    """The file of a shipped name ("bakery"), or of a path. A DataError says the nearest name."""
    return find_file(name_or_path, by_stem(critiques_folder(), ".jsonl"), "critiques", suffix=".jsonl")


def load_critiques(path: Path) -> list[Row]:
    """Read and check a critiques file.

    Raises:
        DataError: naming every line that is torn, empty, not UTF-8, lacks a key, holds a wrong type, or is there twice.
    """
    faults, rows, seen = [], [], {}
    for line, raw in read_jsonl(path):
        before = len(faults)
        for key in _NEEDED:
            try:
                if key in raw and key == "answer":
                    raw[key] = read_gold(raw[key])
                elif key in raw:
                    read_text(raw[key])
                else:
                    faults.append(f"line {line}: has no {key!r}; every row needs {', '.join(_NEEDED)}")
            except ValueError as fault:
                faults.append(f"line {line}: {key!r} {fault}")
        for key, kind in _OPTIONAL.items():
            if raw.get(key) is not None and not isinstance(raw[key], kind):
                right = "a text" if kind is str else "true or false"
                faults.append(f"line {line}: {key!r} is {str(raw[key])[:60]!r}; write {right}")
        if len(faults) > before:
            continue
        key = tuple(" ".join(raw[k].split()) for k in ("problem", "solution", "critique"))
        if seen.setdefault(key, line) != line:
            faults.append(f"line {line}: has the solution and critique of line {seen[key]} again; remove one of them")
            continue
        optional = {k: raw[k] for k in _OPTIONAL if raw.get(k) is not None}
        rows.append(Row(line, *(raw[k].strip() if k != "solution" else raw[k] for k in _NEEDED), **optional))
    if faults:
        raise faulty(path, faults)
    return rows


def chosen_critiques(teacher: "FileTeacher") -> list[Row]:
    """The rows of the teacher's file that are of its styles.

    Raises:
        DataError: as `load_critiques` does, or for a style that no row has.
    """
    path = find_critiques(teacher.path)
    rows = load_critiques(path)
    for style in teacher.styles or []:
        if all(row.style != style for row in rows):
            known = ", ".join(dict.fromkeys(row.style for row in rows))
            raise DataError(f"{path}: no critique has the style {style!r}. Styles there: {known}.")
    return [row for row in rows if teacher.styles is None or row.style in teacher.styles]


def read_files(
    teachers: Iterable["Teacher"], problems: dict[str, Problem]
) -> tuple[dict[str, Problem], list[dict], list[dict]]:
    """Problems (the files' own included), candidates and critiques of the file teachers.

    Raises:
        DataError: as `load_critiques` does, or when a file and a problem disagree on the answer.
    """
    problems, candidates, critiques = dict(problems), {}, []
    for teacher in teachers:
        if teacher.kind != "file":
            continue
        path = find_critiques(teacher.path)
        for row in chosen_critiques(teacher):
            problem = _problem_of(row, path, problems)
            key = content_id(problem.id, row.student, row.solution)
            if key not in candidates:
                finish, of = "length" if row.truncated else "stop", {"student": row.student, "sample": row.line}
                candidates[key] = candidate(key, problem, row.solution, finish, tokens=None, **of)
            teacher_name = f"file:{path.stem}"
            critiques.append({"candidate": key, "teacher": teacher_name, "style": row.style, "text": row.critique})
    return problems, list(candidates.values()), critiques


def _problem_of(row: Row, path: Path, problems: dict[str, Problem]) -> Problem:
    question = " ".join(row.problem.split())
    for problem in problems.values():
        if " ".join(problem.question.split()) == question:
            if problem.answer != row.answer:
                raise DataError(
                    f"{path}: line {row.line}: the answer is {row.answer!r}, but problem {problem.id} has "
                    f"{problem.answer!r}. Correct one of them."
                )
            return problem
    key = f"{path.stem}-{content_id(question, length=6)}"
    problems[key] = Problem(key, row.problem, row.answer, source=path.name, licence="that of the file")
    return problems[key]
