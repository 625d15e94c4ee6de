"""Problem -> candidates -> critiques -> examples: the data stage.

Only what models are asked is costly, so only that is resumed: each answer is kept in a ledger as it comes
(`data_builders.asking.calls`). All else is a pure function of the answers and is written again, atomically.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cft.errors import DataError
from cft.files import content_id, write_jsonl, write_text
from cft.runs import CALLS, CANDIDATES, CARD, CRITIQUES, EXAMPLES, PROBLEMS
from data_builders.asking.calls import cost_of
from data_builders.choose import choose_critiques
from data_builders.filter.accept import accept
from data_builders.inspect.card import agreement, data_card
from data_builders.problems import Problem, load_problem
from data_builders.prompts import critique_prompt, solve_prompt, training_row
from data_builders.students import candidates_of, pass_rates, plan_solutions, select
from data_builders.teachers.exact.exact import exact_critiques
from data_builders.teachers.file import chosen_critiques, read_files
from data_builders.teachers.model import critiques_of, plan_critiques
from eval.grading import last_box

if TYPE_CHECKING:
    from cft.recipe.blocks import CritiquesData, DemonstrationsData
    from data_builders.asking.backends import Asking


def build(
    data: "CritiquesData | DemonstrationsData", *, folder: Path, seed: int, asking: "Asking", title: str = "critiques"
) -> dict:
    """Fill `folder` with the stage's JSON Lines files and a data card, and return the counts.

    Returns:
        {"candidates", "outcomes": {outcome: n}, "pass_rate": of the sampled candidates or None, "students":
        {name: {"samples", "pass_rate"}}, "set_aside": {why: n} of candidates, "critiques", "accepted", "dropped":
        {reason: n} of critiques, "dropped_by_teacher", "agreement": among teachers, "over_max_examples", "examples",
        "ignores_temperature": models that gave the same text for all samples, "cost_usd", "estimated": answers whose
        tokens a server did not tell}; only {"examples"} for demonstrations.

    Raises:
        DataError: for a problem or file that cannot be used, for calls that failed, or when no example is left.
    """
    if data.builder == "none":
        return {"examples": 0}
    problems = _load_problems(data.problems)
    if data.builder == "demonstrations":
        return _demonstrations(problems, folder)
    sampled = _sample(data, problems, seed, asking)
    problems, brought, written = read_files(data.teachers, problems)
    candidates = [*sampled, *brought]
    keys = ("id", "question", "answer", "source", "licence")
    write_jsonl(folder / PROBLEMS, [{key: getattr(problem, key) for key in keys} for problem in problems.values()])
    write_jsonl(folder / CANDIDATES, candidates)
    kept, set_aside = select(sampled, brought, data, seed)
    written += exact_critiques(data.teachers, problems, kept, seed)
    for teacher in data.teachers:
        if teacher.kind == "model":
            planned = plan_critiques(kept, problems, teacher, seed)
            written += critiques_of(planned, asking([call for call, _, _ in planned], teacher))
    critiques = accept(written, kept, problems, trim=data.trim)
    write_jsonl(folder / CRITIQUES, critiques)
    write_jsonl(folder / CALLS, asking.rows)
    chosen, over = choose_critiques([c for c in critiques if c["accepted"]], kept, data.max_examples, seed)
    by_id = {row["id"]: row for row in kept}
    examples = [_example(c, by_id[c["candidate"]], problems, data.prompt) for c in chosen]
    counts = {
        "candidates": len(candidates),
        "outcomes": dict(sorted(Counter(row["outcome"] for row in candidates).items())),
        "pass_rate": sum(r["outcome"] == "correct" for r in sampled) / len(sampled) if sampled else None,
        "students": pass_rates(sampled),
        "set_aside": set_aside,
        "critiques": len(critiques),
        "accepted": sum(c["accepted"] for c in critiques),
        "dropped": dict(sorted(Counter(c["reason"] for c in critiques if c["reason"]).items())),
        "dropped_by_teacher": _by_teacher(critiques),
        "agreement": agreement(critiques),
        "over_max_examples": over,
        "examples": len(examples),
        "ignores_temperature": sorted(asking.ignore_temperature),
        "cost_usd": cost_of(asking.rows),
        "estimated": sum(row.get("estimated", False) for row in asking.rows),
    }
    if not examples:
        raise DataError(_nothing_left(counts))
    write_jsonl(folder / EXAMPLES, examples)
    write_text(folder / CARD, data_card(title, counts, problems, candidates, critiques, examples))
    return counts


def _sample(data: "CritiquesData", problems: dict[str, Problem], seed: int, asking: "Asking") -> list[dict]:
    """The candidates of all students, in plan order; those of a call that two students share once."""
    if data.students and not problems:
        raise DataError("data.students: ask for samples, but there is no entry in data.problems.")
    sampled, given = [], list(problems.values())
    for student in data.students:
        calls = plan_solutions(given, student, student.model or asking.model.id, seed)
        sampled += candidates_of(given, calls, asking(calls, student))
    return list({row["id"]: row for row in sampled}.values())


def _by_teacher(critiques: list[dict]) -> dict[str, dict[str, int]]:
    """`{teacher: {reason: dropped}}`, only of teachers with drops."""
    counts: dict[str, Counter] = {}
    for row in critiques:
        if row["reason"]:
            counts.setdefault(row["teacher"], Counter())[row["reason"]] += 1
    return {teacher: dict(sorted(c.items())) for teacher, c in sorted(counts.items())}


def planned_characters(data: Any) -> list[int]:
    """Characters, prompt and completion, of each training row that the recipe's files can make; for estimates."""
    if data.builder == "critiques":
        rows = [row for teacher in data.teachers if teacher.kind == "file" for row in chosen_critiques(teacher)]
        return [len(_user_message(data.prompt, row.problem, row.solution)) + len(row.critique) for row in rows]
    problems = _load_problems(getattr(data, "problems", [])).values()
    return [len(solve_prompt(p.question)) + len(p.solution or "") for p in problems]


def _load_problems(names: Sequence[str]) -> dict[str, Problem]:
    problems: dict[str, Problem] = {}
    for name in names:
        problem = load_problem(name)
        if problem.id in problems:
            raise DataError(
                f"problem {name!r}: {problem.id!r} is there twice in data.problems. Name each problem once."
            )
        problems[problem.id] = problem
    return problems


def _demonstrations(problems: dict[str, Problem], folder: Path) -> dict:
    if not problems:
        raise DataError("data.problems: is empty. Name at least one problem to demonstrate.")
    bare = [p.id for p in problems.values() if not p.solution]
    if bare:
        raise DataError(f"problem {', '.join(bare)}: has no worked `solution:` to demonstrate. Write one in its file.")
    rows = [
        {"id": content_id("demonstration", p.id, p.question, p.solution), "critique": None, "problem": p.id}
        | training_row(solve_prompt(p.question), p.solution)
        for p in problems.values()
    ]
    write_jsonl(folder / EXAMPLES, rows)
    return {"examples": len(rows)}


def _example(critique: dict, candidate: dict, problems: dict[str, Problem], prompt: str) -> dict:
    user = _user_message(prompt, problems[candidate["problem"]].question, candidate["text"])
    key = content_id("example", critique["id"], prompt)
    row = {"id": key, "critique": critique["id"], "problem": candidate["problem"]}
    text = critique["text"].strip()
    if last_box(text) is None:  # its answer stands in its last sentence, and the prompt asks for a box
        text += f"\n\n\\boxed{{{critique['answer']}}}"
    return row | training_row(user, text)


def _user_message(prompt: str, question: str, solution: str) -> str:
    """What a critique is trained to answer, by `data.prompt`."""
    return critique_prompt(question, solution) if prompt == "critique" else solve_prompt(question)


def _nothing_left(counts: dict) -> str:
    keys = ("candidates", "outcomes", "set_aside", "critiques", "accepted", "dropped")
    summary = "; ".join(f"{key.replace('_', ' ')} {counts[key]}" for key in keys if counts[key])
    if not counts["candidates"]:
        fix = "Give data.students, or a teacher of kind file."
    elif counts["critiques"]:
        fix = "Every critique was dropped: read critiques.jsonl in the data folder, and correct them or the teacher."
    elif counts["set_aside"].get("correct"):
        fix = "The students always solved it: choose a harder problem, more samples, or a data.right_share above 0."
    else:
        fix = "Ask for more samples, or another problem."
    return f"no examples are left ({summary or 'no candidates'}). {fix}"
