"""Which problem to train on: the paper's best seeds are those of medium difficulty (arXiv 2506.03295, section 3.4)."""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from cft.errors import DataError
from cft.files import content_id, faulty, read_jsonl
from cft.foreign import user_path
from cft.terminal import Terminal
from data_builders.golds import read_gold, read_text
from data_builders.problems import Problem, load_problem
from data_builders.students import candidates_of, pass_rates, plan_solutions

if TYPE_CHECKING:
    from cft.recipe.blocks import StudentBlock
    from data_builders.asking.backends import Asking


def load_pool(pool: str) -> list[Problem]:
    """The problems of a folder of YAML files, of a JSON Lines file (`question` or `problem`, `answer`), or one name.

    Raises:
        DataError: for a pool that is not there or empty, faulty rows, or an id that is there twice.
    """
    path = user_path(pool)
    if path.is_dir():
        problems = [load_problem(str(p)) for p in sorted(path.glob("*.yaml"))]
    elif path.suffix in (".jsonl", ".json"):
        problems = _read_rows(path)
    else:
        problems = [load_problem(pool)]
    if not problems:
        raise DataError(f"{pool}: holds no problem files (*.yaml).")
    twice = [name for name, n in Counter(p.id for p in problems).items() if n > 1]
    if twice:
        raise DataError(f"{pool}: the id {twice[0]!r} is there twice. Give each problem an id of its own.")
    return problems


def _read_rows(path: Path) -> list[Problem]:
    problems, faults = [], []
    for line, row in read_jsonl(path):
        question = row.get("question", row.get("problem"))
        try:
            question, answer = read_text(question), read_gold(row.get("answer"))
        except ValueError as fault:
            lacks = "needs `question` (or `problem`) and `answer`, texts that are not empty"
            faults.append(f"line {line}: {lacks}; one of them {fault}")
            continue
        name = str(row.get("id") or row.get("unique_id") or f"{path.stem}-{line}")
        problems.append(Problem(name, question, answer, source=path.name, licence=str(row.get("licence", "unknown"))))
    if faults:
        raise faulty(path, faults, "faulty line(s)")
    return problems


def usefulness(candidates: Sequence[dict]) -> dict:
    """How useful one problem is as a seed, from its graded candidates (at least one).

    Returns:
        {"samples", "pass_rate", "wrong_answers": different ones, "entropy": of the wrong answers in bits, "truncated":
        share, "mean_tokens", "score"}. The score is the product of three shares, each 1 at best: 4p(1 - p) of the pass
        rate p, estimated as (right + 1) / (samples + 2); the entropy of the wrong answers over the most it could be;
        and the share of solutions that come to an end.
    """
    n = len(candidates)
    right, cut = (sum(row["outcome"] == one for row in candidates) for one in ("correct", "truncated"))
    wrong = [row for row in candidates if row["outcome"] in ("wrong", "no_answer")]
    answers = Counter(row["answer"] for row in wrong)
    bits = sum(c / len(wrong) * math.log2(len(wrong) / c) for c in answers.values())
    spread = bits / math.log2(len(wrong)) if len(wrong) > 1 else 0.0
    p = (right + 1) / (n + 2)
    tokens = [row["tokens"] for row in candidates if row["tokens"]]
    return {
        "samples": n,
        "pass_rate": round(right / n, 4),
        "wrong_answers": len(answers),
        "entropy": round(bits, 3),
        "truncated": round(cut / n, 4),
        "mean_tokens": round(sum(tokens) / len(tokens)) if tokens else None,
        "score": round(4 * p * (1 - p) * spread * (1 - cut / n), 4),
    }


def rank_pool(
    problems: Sequence[Problem], students: Sequence["StudentBlock"], seed: int, asking: "Asking"
) -> list[dict]:
    """The ranking of problems by the solutions of the students, who name their models.

    Raises:
        DataError, ModelError: for a server or model that cannot be used.
    """
    candidates = []
    with asking.shown():
        for student in students:
            calls = plan_solutions(problems, student, student.model, seed)
            candidates += candidates_of(problems, calls, asking(calls, student))
    return rank(problems, candidates)


def rank(problems: Sequence[Problem], candidates: Sequence[dict]) -> list[dict]:
    """The problems with their usefulness over all students, best first, and the pass rate of each student."""
    ranked = []
    for problem in problems:
        mine = [row for row in candidates if row["problem"] == problem.id]
        students = dict.fromkeys(row["student"] for row in mine)
        rates = pass_rates(mine)
        row = {"problem": problem.id, **usefulness(mine), "students": {s: rates[s]["pass_rate"] for s in students}}
        ranked.append(row | {"question_characters": len(problem.question)})
    return sorted(ranked, key=lambda row: (-row["score"], row["question_characters"], content_id(row["problem"])))


def print_ranking(ranked: list[dict], console: Terminal) -> None:
    """Best first: what the score is made of, and the pass rate of each student."""
    students = list(ranked[0]["students"])
    columns = ["problem", "score", "pass rate", "wrong answers", "entropy, bits", "cut off", "tokens"]
    table = Table(*columns, *(students if len(students) > 1 else ()), box=None, pad_edge=False)
    for row in ranked:
        cells = [row["problem"], f"{row['score']:.2f}", f"{row['pass_rate']:.0%}", str(row["wrong_answers"])]
        cells += [f"{row['entropy']:.1f}", f"{row['truncated']:.0%}", str(row["mean_tokens"] or "unknown")]
        table.add_row(*cells, *(f"{row['students'][s]:.0%}" for s in students if len(students) > 1))
    console.print(table)
    score = "score = 4p(1-p) x spread of the wrong answers x share that comes to an end; 1 is best."
    console.print(f"{ranked[0]['samples']} samples a problem. {score}")
