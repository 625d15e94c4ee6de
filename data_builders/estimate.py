"""What the data stage will ask of models: calls, tokens and cost, before the first call."""

from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

from data_builders.asking.backends import kept_answers
from data_builders.asking.calls import TEMPLATE_TOKENS, Call, cost_of
from data_builders.asking.prices import find_price
from data_builders.curate import planned_pool
from data_builders.problems import Problem, load_problem
from data_builders.students import candidates_of, plan_solutions, select
from data_builders.teachers.file import read_files
from data_builders.teachers.model import plan_critiques
from data_builders.teachers.templates import load_template

if TYPE_CHECKING:
    from cft.recipe.blocks import DataBlock, ModelBlock

CHARACTERS_PER_TOKEN = 3.3  # English prose with arithmetic, Qwen2.5 and SmolLM2 tokenizers
TOKENS_PER_ANSWER = 260  # a small model's answer to a word problem
TOKENS_PER_CRITIQUE = 400
POOL_ROWS, POOL_QUESTION, POOL_SOLUTION = 1000, 400, 10_000  # of a pool that is not here: rows, characters; guesses


def estimate_calls(data: "DataBlock", seed: int, model: "ModelBlock", ledgers: Path) -> list[dict]:
    """One row a student and a model teacher, in the order in which they will be asked.

    Returns:
        {"model", "host", "role", "calls", "kept": answers that are there already, "at_most": whether "calls" is only a
        bound (a teacher's, before its candidates are known, and a student's on a pool, before other rules have dropped
        rows), "input_tokens" and "output_tokens" of the calls still to
        be made, "cost_usd": theirs, None if no price is known, "kept_usd": what the kept answers cost, "estimated": of
        how many kept ones the tokens are estimated}.

    Raises:
        DataError: for a problem, template, file or ledger that cannot be read.
    """
    if not hasattr(data, "students"):
        return []
    if (curated := data.builder == "curated") and not data.path:
        return [_unread(student, student.model or model.id, data.limit or POOL_ROWS) for student in data.students]
    problems = planned_pool(data).left if curated else {p.id: p for p in map(load_problem, data.problems)}
    estimates, candidates, expected, complete = [], [], 0, True
    for student in data.students:
        calls = plan_solutions(problems.values(), student, student.model or model.id, seed)
        rows = kept_answers(ledgers, model, student)
        estimate = _row(student, "student", calls, rows, min(TOKENS_PER_ANSWER, student.max_new_tokens))
        estimates.append(estimate | {"at_most": curated})
        expected += len(calls)
        if all(call.key in rows for call in calls):
            candidates += candidates_of(list(problems.values()), calls, [rows[call.key] for call in calls])
        else:
            complete = False
    if data.builder != "critiques":
        return estimates
    problems, brought, _ = read_files(data.teachers, problems)
    known, _ = select(list({row["id"]: row for row in candidates}.values()), brought, data, seed)
    for teacher in data.teachers:
        if teacher.kind != "model":
            continue
        if complete:
            calls = [call for call, _, _ in plan_critiques(known, problems, teacher, seed)]
            rows = kept_answers(ledgers, model, teacher)
            estimates.append(_row(teacher, "teacher", calls, rows, TOKENS_PER_CRITIQUE))
        else:
            most = min(expected, data.max_candidates or expected) + len(brought)
            estimates.append(_bound(teacher, most, list(problems.values())))
    return estimates


def _row(block: Any, role: str, calls: Sequence[Call], rows: dict[str, dict], answer_tokens: float) -> dict:
    owed = [call for call in calls if call.key not in rows]
    given = sum(call.characters / CHARACTERS_PER_TOKEN + TEMPLATE_TOKENS for call in owed)
    kept = [rows[call.key] for call in calls if call.key in rows]
    lengths = [row["output_tokens"] for row in kept if row.get("output_tokens")]
    if lengths:  # this model's own length is the best guess
        answer_tokens = mean(lengths)
    model = calls[0].model if calls else block.model
    return _priced(block, model, role, len(calls), False, given, answer_tokens * len(owed), kept)


def _unread(student: Any, model: str, rows: int) -> dict:
    """A student's calls on a pool that has not been fetched."""
    calls = rows * student.samples * len(student.temperatures)
    given, tokens = calls * POOL_QUESTION / CHARACTERS_PER_TOKEN, min(TOKENS_PER_ANSWER, student.max_new_tokens)
    return _priced(student, model, "student", calls, True, given, calls * tokens, [])


def _bound(teacher: Any, candidates: int, problems: list[Problem]) -> dict:
    """A teacher's calls when it is not known yet which candidates there will be."""
    templates = [load_template(style) for style in teacher.styles]
    question = max((len(p.question) for p in problems), default=0) / CHARACTERS_PER_TOKEN
    each = question + TOKENS_PER_ANSWER + TEMPLATE_TOKENS
    given = sum(len(t.text) / CHARACTERS_PER_TOKEN + each for t in templates) * candidates * teacher.samples
    calls = candidates * len(templates) * teacher.samples
    return _priced(teacher, teacher.model, "teacher", calls, True, given, calls * TOKENS_PER_CRITIQUE, [])


def _priced(
    block: Any, model: str, role: str, calls: int, at_most: bool, given: float, answered: float, kept: list[dict]
) -> dict:
    host, cost = "this process", 0.0
    if block.endpoint:
        host, price = block.endpoint.host, find_price(block.endpoint, model)
        cost = round(price.cost(given, answered), 4) if price else None
    owed = {"input_tokens": round(given), "output_tokens": round(answered), "cost_usd": cost}
    row = {"model": model, "host": host, "role": role, "calls": calls, "at_most": at_most}
    estimated = sum(row.get("estimated", False) for row in kept)
    return row | owed | {"kept": len(kept), "kept_usd": cost_of(kept), "estimated": estimated}
