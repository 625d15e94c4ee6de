"""Students: who is asked for solutions, what became of each, and which of them are worth a critique."""

from collections import Counter
from collections.abc import Container, Iterable, Sequence
from typing import TYPE_CHECKING

from data_builders.asking.calls import Call
from data_builders.choose import choose_candidates
from data_builders.problems import Problem
from data_builders.prompts import messages, solve_prompt
from data_builders.similarity import near_duplicates
from data_builders.thoughts import final_text
from eval.grading import grade

if TYPE_CHECKING:
    from cft.recipe.blocks import CritiquesData, ModelTeacher, StudentBlock
    from data_builders.asking.backends import Asking

SAME_SOLUTION = 0.9  # overlap above which two solutions with the same answer are one


def plan_solutions(problems: Iterable[Problem], student: "StudentBlock", name: str, seed: int) -> list[Call]:
    """The calls that a student's samples take, problem by problem; `name` is the student's model."""
    return [
        Call(name, messages(solve_prompt(problem.question)), sampling_of(student, temperature), "solve", k, seed)
        for problem in problems
        for temperature in student.temperatures
        for k in range(student.samples)
    ]


def sampling_of(block: "StudentBlock | ModelTeacher", temperature: float) -> dict:
    """A call's sampling settings; `top_k`, which the API does not have, only for models of this process (0 is all)."""
    sampling = {"temperature": temperature, "top_p": block.top_p, "max_tokens": block.max_new_tokens}
    return sampling if block.endpoint else sampling | {"top_k": getattr(block, "top_k", 0)}


def candidates_of(problems: Sequence[Problem], calls: Sequence[Call], rows: Sequence[dict]) -> list[dict]:
    """One graded candidate a call."""
    by_prompt = {solve_prompt(problem.question): problem for problem in problems}
    candidates = []
    for call, row in zip(calls, rows, strict=True):
        problem, text = by_prompt[call.messages[0]["content"]], final_text(row["text"])
        finish = "length" if row["status"] == "truncated" else row["finish_reason"]
        sample = {"student": call.model, "sample": call.sample, "temperature": call.sampling["temperature"]}
        candidates.append(candidate(call.key, problem, text, finish, tokens=row["output_tokens"], **sample))
    return candidates


def sample(students: Iterable["StudentBlock"], problems: dict[str, Problem], seed: int, asking: "Asking") -> list[dict]:
    """The candidates of all students, in plan order; those of a call that two students share once."""
    sampled, given = [], list(problems.values())
    for student in students:
        calls = plan_solutions(given, student, student.model or asking.model.id, seed)
        sampled += candidates_of(given, calls, asking(calls, student))
    return list({row["id"]: row for row in sampled}.values())


def candidate(key: str, problem: Problem, text: str, finish: str, **more: object) -> dict:
    """A row of candidates.jsonl: a solution, `more` of where it is from, and its grade."""
    graded = grade(problem.answer, text, truncated=finish == "length")
    row = {"id": key, "problem": problem.id, **more, "text": text, "finish_reason": finish}
    return row | {"outcome": graded.outcome, "answer": graded.answer}


def select(sampled: list[dict], brought: list[dict], data: "CritiquesData", seed: int) -> tuple[list[dict], Counter]:
    """The candidates to criticise, and how many are left out and why.

    Args:
        sampled: candidates of the students.
        brought: candidates that came with a critique, from a file; they are only left out for their outcome.
    """
    why: Counter = Counter()
    aside = {"ungradable"} if data.right_share else {"ungradable", "correct"}
    kept = usable(brought, aside, why)
    fresh = distinct(usable(sampled, aside, why), why)
    right, wrong = ([row for row in fresh if (row["outcome"] == "correct") is one] for one in (True, False))
    chosen = _chosen(wrong, right, data, seed)
    why["not chosen"] += len(fresh) - len(chosen)
    keep = {row["id"] for row in chosen}
    return [*(row for row in sampled if row["id"] in keep), *kept], why


def usable(candidates: Iterable[dict], aside: Container[str], why: Counter) -> list[dict]:
    """The candidates that hold a text and have no outcome of `aside`; `why` counts the others."""
    kept = []
    for row in candidates:
        reason = row["outcome"] if row["outcome"] in aside else None if row["text"].strip() else "empty"
        if reason:
            why[reason] += 1
        else:
            kept.append(row)
    return kept


def distinct(candidates: Sequence[dict], why: Counter) -> list[dict]:
    """The candidates without those that are nearly an earlier one with the same answer; `why` counts them."""
    groups = [(row["problem"], row["answer"]) for row in candidates]
    twins = near_duplicates([row["text"] for row in candidates], groups, SAME_SOLUTION)
    why["near duplicate"] += len(twins)
    return [row for i, row in enumerate(candidates) if i not in twins]


def _chosen(wrong: list[dict], right: list[dict], data: "CritiquesData", seed: int) -> list[dict]:
    share, most = data.right_share, data.max_candidates
    if share < 1:
        most_right = round(len(wrong) * share / (1 - share))
        right = choose_candidates(right, min(most_right, round(share * most)) if most else most_right, seed)
    return right + choose_candidates(wrong, max(0, most - len(right)) if most else None, seed)


def pass_rates(candidates: Iterable[dict]) -> dict[str, dict]:
    """`{student: {"samples", "pass_rate"}}` of sampled candidates."""
    counts: dict[str, Counter] = {}
    for row in candidates:
        counts.setdefault(row["student"], Counter())[row["outcome"] == "correct"] += 1
    students = sorted(counts.items())
    return {name: {"samples": n.total(), "pass_rate": round(n[True] / n.total(), 4)} for name, n in students}
