r"""Office tasks: files, a request, and the exact end state. Drawn by rule, the same on every machine.

A kind is a function of `questions` or `changes`: files, what changes in them, the answer, the words of the request.
Levels: 1 one table and one fact; 2 a condition, a second table or a sum; 3 several steps; 4 a rule in another file, or
several files to change. The kind `impossible` asks, in the words of other kinds, for what the files do not allow.

Splits share no person, thing, firm, town or department (`names.json`, every third name a split), and so no file and no
request; the last wording of each kind is never asked in "train" (`requests.json`).
"""

import json
from collections.abc import Callable
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

from cft.errors import EvalError
from eval.tasks.tools import changes, questions
from eval.tasks.tools.names import SPLITS, Draw, Names, Split

REQUESTS: dict[str, list[str]] = json.loads(Path(__file__).with_name("requests.json").read_text(encoding="utf-8"))
SYSTEM = (
    r"You work in an office through tools. Change only what is asked. End with the answer in \boxed{}, or \boxed{done} "
    r"if none is asked. If the files do not allow the request, change nothing and answer \boxed{impossible}."
)

KINDS: dict[str, Callable[[Random, Names, int, bool], Draw]] = {
    name: getattr(module, name)
    for module, names in (
        (questions, ("lookup", "total", "reorder", "quote", "notes")),
        (changes, ("update", "append", "report", "transfer", "payments", "leave")),
    )
    for name in names
}
IMPOSSIBLE = {1: "lookup 1", 2: "update 2", 3: "total 3", 4: "transfer 4"}  # level -> whose request it is
LEVELS = [
    *(("lookup", 1), ("total", 1), ("update", 1), ("append", 1), ("notes", 1), ("impossible", 1)),
    *(("lookup", 2), ("total", 2), ("reorder", 2), ("quote", 2), ("update", 2), ("append", 2), ("impossible", 2)),
    *(("total", 3), ("quote", 3), ("update", 3), ("notes", 3), ("report", 3), ("transfer", 3), ("payments", 3)),
    *(("leave", 3), ("impossible", 3), ("report", 4), ("transfer", 4), ("payments", 4), ("impossible", 4)),
]


def tasks(split: Split, n: int) -> list[dict[str, Any]]:
    """The first `n` tasks of a split, going round all kinds and levels; no request and no set of files is there twice.

    Raises:
        EvalError: the split has another name.
    """
    if split not in SPLITS:
        raise EvalError(f"Unknown split {split!r} of the office tasks. Use {', '.join(SPLITS)}.")
    rows: list[dict[str, Any]] = []
    taken: set[str] = set()
    for number in count():
        for kind, level in LEVELS:
            row, _ = draw(kind, level, split, number)
            if len(rows) == n:
                return rows
            if row["request"] not in taken:
                taken.add(row["request"])
                rows.append(row)


def draw(kind: str, level: int, split: Split, number: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """One task.

    Args:
        kind: of `KINDS`, with a level that `LEVELS` has for it.
        number: of the draw; the same arguments give the same task.

    Returns:
        the row `{"id", "split", "kind", "level", "request", "files", "expected": {"files", "answer", "possible"}}`, and
        the words that its request was made of, which the expert speaks with.
    """
    rng = Random(f"office/{split}/{kind}/{level}/{number}")
    names, base = Names(rng, split), f"{kind} {level}"
    if kind == "impossible":
        base = IMPOSSIBLE[level]
        files, changed, answer, words = KINDS[base[:-2]](rng, names, int(base[-1]), True)
    else:
        files, changed, answer, words = KINDS[kind](rng, names, level, False)
    wordings = REQUESTS[base][:-1] if split == "train" else REQUESTS[base]
    request = wordings[number % len(wordings)].format_map(words)
    row = {"id": f"office-{split}-{kind}-{level}-{number}", "split": split, "kind": kind, "level": level}
    box = "impossible" if kind == "impossible" else answer or "done"
    expected = {"files": files | changed, "answer": box, "possible": kind != "impossible"}
    after = {f"after_{Path(path).stem}": text for path, text in changed.items()}
    return row | {"request": request, "files": files, "expected": expected}, words | {"answer": answer} | after


def messages(row: dict[str, Any]) -> list[dict[str, str]]:
    """What the model reads of a task before its first turn."""
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": row["request"]}]
