"""Problem -> candidates -> critiques -> examples: the data stage.

Only what models are asked is costly, so only that is resumed: each answer is kept in a ledger as it comes
(`data_builders.asking.calls`). All else is a pure function of the answers and is written again, atomically.
"""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cft.errors import DataError
from cft.files import content_id, write_jsonl, write_text
from cft.runs import CALLS, CANDIDATES, CARD, CRITIQUES, EXAMPLES, PROBLEMS
from data_builders.asking.calls import cost_of
from data_builders.choose import choose_critiques
from data_builders.controls import change_critiques
from data_builders.curate import Items, choose, curate, planned_pool
from data_builders.estimate import POOL_QUESTION, POOL_ROWS, POOL_SOLUTION
from data_builders.filter.accept import accept
from data_builders.inspect.card import agreement, curation_card, data_card
from data_builders.problems import Problem, load_problems
from data_builders.prompts import critique_prompt, solve_prompt, training_row
from data_builders.students import pass_rates, sample, select
from data_builders.teachers.exact.exact import exact_critiques
from data_builders.teachers.file import chosen_critiques, read_files
from data_builders.teachers.model import critiques_of, plan_critiques
from data_builders.trajectories.build import build_trajectories, planned_rows
from data_builders.without_teacher import demonstrations, own_solutions, prompts, verdicts
from eval.grading import last_box

if TYPE_CHECKING:
    from cft.recipe.blocks import CritiquesData, DataBlock
    from data_builders.asking.backends import Asking

WITHOUT_TEACHER = {"demonstrations": demonstrations, "prompts": prompts, "verdicts": verdicts}


def build(
    data: "DataBlock",
    *,
    folder: Path,
    seed: int,
    asking: "Asking",
    title: str = "critiques",
    items: Items | None = None,
) -> dict:
    """Fill `folder` with the stage's JSON Lines files and a data card, and return the counts.

    Args:
        items: what is scored, which the builder `curated` keeps out.

    Returns:
        {"candidates", "outcomes": {outcome: n}, "pass_rate": of the sampled candidates or None, "students":
        {name: {"samples", "pass_rate"}}, "set_aside": {why: n} of candidates, "critiques", "accepted", "dropped":
        {reason: n} of critiques, "dropped_by_teacher", "agreement": among teachers, "over_max_examples", "changed":
        {what: n} by data.change, "examples", "ignores_temperature": models that gave the same text for all samples,
        "cost_usd", "estimated": answers whose tokens a server did not tell}; only {"examples"} without a builder; of
        trajectories what `build_trajectories` returns.

    Raises:
        DataError: for a problem or file that cannot be used, for calls that failed, or when no example is left.
    """
    if data.builder == "none":
        return {"examples": 0}
    if data.builder == "trajectories":
        return build_trajectories(data, folder, seed, title)
    brought, written, pool = [], [], None
    if data.builder == "curated":
        pool = curate(data, seed, asking, items or {})
        problems, sampled, brought = pool.left | pool.tried, pool.samples, own_solutions(pool.left.values())
    else:
        problems = load_problems(data.problems)
        if data.students and not problems:
            raise DataError("data.students: ask for samples, but there is no entry in data.problems.")
        sampled = sample(data.students, problems, seed, asking)
    if data.builder == "critiques":
        problems, brought, written = read_files(data.teachers, problems)
    elif data.builder == "demonstrations" and not data.students:
        brought = own_solutions(problems.values())
    candidates = [*sampled, *brought]
    keys = ("id", "question", "answer", "source", "licence")
    write_jsonl(folder / PROBLEMS, [{key: getattr(problem, key) for key in keys} for problem in problems.values()])
    write_jsonl(folder / CANDIDATES, candidates)
    critiques, over, changed = [], 0, {}
    if data.builder == "critiques":
        kept, set_aside = select(sampled, brought, data, seed)
        written += exact_critiques(data.teachers, problems, kept, seed)
        for teacher in data.teachers:
            if teacher.kind == "model":
                planned = plan_critiques(kept, problems, teacher, seed)
                written += critiques_of(planned, asking([call for call, _, _ in planned], teacher))
        critiques = accept(written, kept, problems, trim=data.trim)
        examples, over, changed = _examples(critiques, kept, problems, data, seed)
    elif pool:
        examples, set_aside = demonstrations(data, pool.left, brought, seed)[0], Counter(pool.counts)
    else:
        examples, set_aside = WITHOUT_TEACHER[data.builder](data, problems, candidates, seed)
    write_jsonl(folder / CRITIQUES, critiques)
    write_jsonl(folder / CALLS, asking.rows)
    counts = {
        "candidates": len(candidates),
        "outcomes": dict(sorted(Counter(row["outcome"] for row in candidates).items())),
        "pass_rate": sum(r["outcome"] == "correct" for r in sampled) / len(sampled) if sampled else None,
        "students": pass_rates(sampled),
        "set_aside": dict(sorted((+set_aside).items())),
        "critiques": len(critiques),
        "accepted": sum(c["accepted"] for c in critiques),
        "dropped": dict(sorted(Counter(c["reason"] for c in critiques if c["reason"]).items())),
        "dropped_by_teacher": _by_teacher(critiques),
        "agreement": agreement(critiques),
        "over_max_examples": over,
        "changed": changed,
        "examples": len(examples),
        "ignores_temperature": sorted(asking.ignore_temperature),
        "cost_usd": cost_of(asking.rows),
        "estimated": sum(row.get("estimated", False) for row in asking.rows),
    }
    if not examples:
        raise DataError(_nothing_left(counts))
    write_jsonl(folder / EXAMPLES, examples)
    told, shown = (counts | {"set_aside": {}}, pool.left) if pool else (counts, problems)
    card = data_card(title, data.builder, told, shown, candidates, critiques, examples)
    write_text(folder / CARD, card + ("\n" + curation_card(pool, items or {}) if pool else ""))
    return counts


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
    if data.builder == "trajectories":
        return planned_rows(data)
    if data.builder == "curated":
        if not data.path:
            return [POOL_QUESTION + POOL_SOLUTION] * (data.max_examples or data.limit or POOL_ROWS)
        pool = planned_pool(data)
        rows = [pool.left[key] for key in choose(pool, data, 0)]
        return [len(solve_prompt(row.question)) + len(row.solution) for row in rows]
    shows = data.builder == "demonstrations"
    if data.builder == "verdicts" or (shows and data.students):  # models write all that their rows show
        return []
    problems = load_problems(getattr(data, "problems", [])).values()
    return [len(solve_prompt(p.question)) + len(p.solution) * shows for p in problems] * getattr(data, "repeat", 1)


def _examples(
    critiques: list[dict], kept: list[dict], problems: dict[str, Problem], data: "CritiquesData", seed: int
) -> tuple[list[dict], int, dict[str, int]]:
    """The training rows, how many accepted critiques have none, and what `data.change` did to the others."""
    chosen, over = choose_critiques([c for c in critiques if c["accepted"]], kept, data.max_examples, seed)
    boxed = [c | {"text": with_box(c["text"].strip(), c["answer"])} for c in chosen]
    by_id = {row["id"]: row for row in kept}
    changed, counts = change_critiques(data.change, boxed, by_id, seed)
    return [_example(c, by_id[c["candidate"]], problems, data) for c in changed], over, counts


def _example(critique: dict, candidate: dict, problems: dict[str, Problem], data: "CritiquesData") -> dict:
    problem = problems[candidate["problem"]]
    key = content_id("example", critique["id"], data.prompt, *([data.change] if data.change != "none" else []))
    row = {"id": key, "critique": critique["id"], "problem": problem.id}
    row |= {"candidate": candidate["id"], "answer": problem.answer}
    return row | training_row(_user_message(data.prompt, problem.question, candidate["text"]), critique["text"])


def with_box(text: str, answer: str) -> str:
    """A critique that ends in a box: its answer stands in its last sentence, and the prompt asks for a box."""
    return text if last_box(text) is not None else f"{text}\n\n\\boxed{{{answer}}}"


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
