"""The builders that need no teacher: demonstrations, prompts, verdicts. Each turns candidates into training rows."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from cft.errors import DataError
from cft.files import content_id
from data_builders.choose import choose_candidates
from data_builders.problems import Problem
from data_builders.prompts import critique_prompt, messages, solve_prompt, training_row
from data_builders.students import candidate, distinct, usable
from eval.grading import same_answer_groups

if TYPE_CHECKING:
    from cft.recipe.blocks import DemonstrationsData, PromptsData, VerdictsData

# Without an answer a candidate is told to be wrong by its last line alone, so none is among the verdicts.
UNFINISHED = {"ungradable", "truncated", "no_answer"}
NOT_RIGHT = {*UNFINISHED, "wrong"}


def own_solutions(problems: Collection[Problem]) -> list[dict]:
    """The solutions of the problem files, as candidates.

    Raises:
        DataError: naming all problems without one.
    """
    bare = [p.id for p in problems if not p.solution]
    if bare:
        raise DataError(
            f"problem {', '.join(bare)}: has no worked `solution:` to demonstrate. Write one in its file, or give "
            "data.students, whose right solutions are then taken."
        )
    of_file = {"student": "problem file", "sample": 0, "temperature": None, "tokens": None}
    return [candidate(content_id("solution", p.id, p.solution), p, p.solution, "stop", **of_file) for p in problems]


def demonstrations(
    data: "DemonstrationsData", problems: dict[str, Problem], candidates: Sequence[dict], seed: int
) -> tuple[list[dict], Counter]:
    """`{"id", "critique": None, "problem", "candidate", "answer", "prompt", "completion"}` of right candidates.

    `data.repeat` rounds of all of them, until there are `data.max_examples` rows.

    Returns:
        the rows, and how many candidates are left out and why, as every builder here.

    Raises:
        DataError: for a problem that no candidate solves.
    """
    why: Counter = Counter()
    right = distinct(usable(candidates, NOT_RIGHT, why), why)
    _need(problems, candidates, right, "is right, so there is nothing to demonstrate", "an easier problem")
    chosen = choose_candidates(right, data.max_examples, seed)
    why["not chosen"] += len(right) - len(chosen)
    rows = [
        _row("demonstration", problems, row, str(k))
        | training_row(solve_prompt(problems[row["problem"]].question), row["text"].strip())
        for k in range(data.repeat)
        for row in chosen
    ]
    return rows[: data.max_examples], why


def prompts(
    data: "PromptsData", problems: dict[str, Problem], candidates: Sequence[dict], seed: int
) -> tuple[list[dict], Counter]:
    """`{"id", "problem", "critique": None, "prompt", "answer", "majority", "incorrect"}` of every problem.

    `majority` is the most frequent answer of the finished candidates, `incorrect` the most frequent wrong one; of
    several that are as frequent, the first. Both are None where there are no students, the latter where all are right.

    Raises:
        DataError: for a problem with students that none of them answers.
    """
    why: Counter = Counter()
    answered = usable(candidates, UNFINISHED, why)
    wrong = [row for row in answered if row["outcome"] == "wrong"]
    if data.students:
        fault = "has an answer, so there is no label `majority`"
        _need(problems, candidates, answered, fault, "more data.students.max_new_tokens")
    rows = []
    for problem in problems.values():
        key = content_id("prompt", problem.id, problem.question, problem.answer)
        labels = {"majority": _most_frequent(answered, problem.id), "incorrect": _most_frequent(wrong, problem.id)}
        row = {"id": key, "problem": problem.id, "critique": None, "prompt": messages(solve_prompt(problem.question))}
        rows.append(row | {"answer": problem.answer} | labels)
    return rows, why


def verdicts(
    data: "VerdictsData", problems: dict[str, Problem], candidates: Sequence[dict], seed: int
) -> tuple[list[dict], Counter]:
    """`{"id", "problem", "critique": None, "candidate", "prompt", "answer", "correct"}`: of each problem as many right
    candidates as wrong ones, spread over wrong answers and students.

    Raises:
        DataError: for a problem with no right candidate, or with no wrong one.
    """
    why: Counter = Counter()
    kept = distinct(usable(candidates, UNFINISHED, why), why)
    right, wrong = ([row for row in kept if (row["outcome"] == "correct") is one] for one in (True, False))
    _need(problems, candidates, right, "is right, so right and wrong cannot be balanced", "an easier problem")
    _need(problems, candidates, wrong, "is wrong, so right and wrong cannot be balanced", "a harder problem")
    # As many of each problem as it has of the rarer side; with max_examples spread over the problems.
    pairs = [row for key in problems for row in min(_of(right, key), _of(wrong, key), key=len)]
    most = data.max_examples and data.max_examples // 2
    number = Counter(row["problem"] for row in choose_candidates(pairs, most, seed))
    sides = [choose_candidates(_of(side, key), n, seed) for key, n in number.items() for side in (right, wrong)]
    chosen = {row["id"] for side in sides for row in side}
    why["not chosen"] += len(kept) - len(chosen)
    rows = []
    for row in kept:
        if row["id"] in chosen:
            prompt = messages(critique_prompt(problems[row["problem"]].question, row["text"]))
            rows.append(_row("verdict", problems, row) | {"prompt": prompt, "correct": row["outcome"] == "correct"})
    return rows, why


def _of(candidates: Iterable[dict], problem: str) -> list[dict]:
    return [row for row in candidates if row["problem"] == problem]


def _row(kind: str, problems: dict[str, Problem], row: dict, *parts: str) -> dict[str, Any]:
    """What the rows of one candidate have in common; its id tells rows of the same one apart by `parts`."""
    key, answer = content_id(kind, row["id"], *parts), problems[row["problem"]].answer
    return {"id": key, "problem": row["problem"], "critique": None, "candidate": row["id"], "answer": answer}


def _most_frequent(candidates: Iterable[dict], problem: str) -> str | None:
    answers = [row["answer"] for row in candidates if row["problem"] == problem]
    groups = Counter(group for group in same_answer_groups(answers) if group is not None)
    return answers[groups.most_common(1)[0][0]] if groups else None


def _need(
    problems: dict[str, Problem], candidates: Sequence[dict], found: Sequence[dict], fault: str, other: str
) -> None:
    """Raise DataError unless every problem has one of the candidates that were found."""
    having = {row["problem"] for row in found}
    for key in problems:
        if key not in having:
            tried = Counter(row["outcome"].replace("_", " ") for row in candidates if row["problem"] == key)
            outcomes = ", ".join(f"{outcome} {n}" for outcome, n in sorted(tried.items()))
            raise DataError(
                f"problem {key}: none of the {tried.total()} solutions of data.students {fault} ({outcomes}). "
                f"Ask for more samples or another temperature, or take {other}."
            )
