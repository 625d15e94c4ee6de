"""Problem -> candidates -> critiques -> examples: the data stage.

Only sampling is costly, so only sampling is resumed: candidates are appended batch by batch, and a batch that is
there is not sampled again. All else is a pure function of the candidates and is written anew, atomically.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cft.errors import DataError
from cft.files import append_jsonl, content_id, read_own_jsonl, write_jsonl
from data_builders.balance import choose
from data_builders.problems import Problem, find_problem, load_problem
from data_builders.prompts import critique_prompt, solve_prompt, training_row
from data_builders.teachers import exact
from data_builders.teachers.file import Row, find_critiques, load_critiques
from data_builders.verify import check
from eval.grading import grade

if TYPE_CHECKING:
    from cft.recipe import CritiquesData, DemonstrationsData, StudentBlock

Sampler = Callable[[list[str], int], Sequence[Any]]  # (user prompts, seed of this batch) -> one Completion a prompt
Progress = Callable[[int, int], None]  # (candidates sampled, candidates planned)


def build(
    data: "CritiquesData | DemonstrationsData",
    *,
    folder: Path,
    seed: int,
    sample: Sampler | None,
    student_name: str | None,
    progress: Progress | None = None,
) -> dict:
    """Fill `folder` with candidates.jsonl, critiques.jsonl and examples.jsonl, and return the counts.

    Returns:
        {"candidates", "outcomes": {outcome: n}, "pass_rate": of the sampled candidates or None, "set_aside": {why: n}
        of candidates, "critiques", "accepted", "dropped": {reason: n} of critiques, "over_max_examples", "examples"};
        only {"examples"} for demonstrations.

    Raises:
        DataError: for a problem or file that cannot be used, or when no example is left.
    """
    if data.builder == "none":
        return {"examples": 0}
    problems = _load_problems(data.problems)
    if data.builder == "demonstrations":
        return _demonstrations(problems, folder)
    sampled = _sample(problems, data.student, sample, student_name, folder / "candidates.jsonl", seed, progress)
    problems, brought, written = _read_files(data, problems)
    candidates = list({row["id"]: row for row in [*sampled, *brought]}.values())
    write_jsonl(folder / "candidates.jsonl", candidates)
    kept, set_aside = _set_aside(candidates, data.candidates)
    written += _exact_critiques(data, problems, kept, seed)
    critiques = _verify(written, kept, problems)
    write_jsonl(folder / "critiques.jsonl", critiques)
    chosen, over = choose([c for c in critiques if c["accepted"]], kept, data.max_examples, seed)
    by_id = {row["id"]: row for row in kept}
    examples = [_example(c, by_id[c["candidate"]], problems, data.prompt) for c in chosen]
    counts = {
        "candidates": len(candidates),
        "outcomes": dict(sorted(Counter(row["outcome"] for row in candidates).items())),
        "pass_rate": sum(r["outcome"] == "correct" for r in sampled) / len(sampled) if sampled else None,
        "set_aside": set_aside,
        "critiques": len(critiques),
        "accepted": sum(c["accepted"] for c in critiques),
        "dropped": dict(sorted(Counter(c["reason"] for c in critiques if c["reason"]).items())),
        "over_max_examples": over,
        "examples": len(examples),
    }
    if not examples:
        raise DataError(_nothing_left(counts))
    write_jsonl(folder / "examples.jsonl", examples)
    return counts


def input_files(data: Any) -> dict[str, Path]:
    """The files that the data stage of a recipe reads, by a name for each.

    Raises:
        DataError: if one does not exist.
    """
    files = {f"problem {name}": find_problem(name) for name in getattr(data, "problems", [])}
    for teacher in getattr(data, "teachers", []):
        if teacher.kind == "file":
            files[f"critiques {teacher.path}"] = find_critiques(teacher.path)
    return files


def count_candidates(data: Any) -> tuple[int, int]:
    """`(candidates to sample, rows from files)` that the recipe asks for; demonstrations count as rows from files."""
    student = getattr(data, "student", None)
    return (student.samples * len(data.problems) if student else 0), len(planned_characters(data))


def planned_characters(data: Any) -> list[int]:
    """Characters, prompt and completion, of each training row that the recipe's files can make; for estimates."""
    if data.builder == "critiques":
        files = [load_critiques(find_critiques(t.path)) for t in data.teachers if t.kind == "file"]
        rows = [row for file in files for row in file]
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
    write_jsonl(folder / "examples.jsonl", rows)
    return {"examples": len(rows)}


def _sample(
    problems: dict[str, Problem], student: "StudentBlock | None", sample: Sampler | None, name: str | None,
    path: Path, seed: int, progress: Progress | None,
) -> list[dict]:  # fmt: skip
    """The student's candidates in plan order; only batches with rows still owed are sampled."""
    if student is None:
        return []
    if sample is None or not problems:
        missing = "no model to sample from" if problems else "no entry in data.problems"
        raise DataError(f"data.student: asks for {student.samples} samples but there is {missing}.")
    settings = {k: getattr(student, k) for k in ("temperature", "top_p", "top_k", "max_new_tokens", "batch_size")}
    plan = [
        (content_id(p.id, p.question, name, settings, seed, k), p, k)
        for p in problems.values()
        for k in range(student.samples)
    ]
    done = {row["id"]: row for row in read_own_jsonl(path)}
    for start in range(0, len(plan), student.batch_size):
        batch = plan[start : start + student.batch_size]
        if any(key not in done for key, _, _ in batch):
            batch_seed = int(content_id("batch", name, seed, start, length=8), 16) % 2**31
            answers = sample([solve_prompt(p.question) for _, p, _ in batch], batch_seed)
            rows = [
                _candidate(key, p, name, k, answer.text, answer.tokens, answer.finish_reason)
                for (key, p, k), answer in zip(batch, answers, strict=True)
                if key not in done
            ]
            append_jsonl(path, rows)
            done |= {row["id"]: row for row in rows}
        if progress:
            progress(min(start + student.batch_size, len(plan)), len(plan))
    return [done[key] for key, _, _ in plan]


def _candidate(
    key: str, problem: Problem, student: str | None, k: int, text: str, tokens: int | None, finish: str
) -> dict:
    graded = grade(problem.answer, text, truncated=finish == "length")
    return {
        "id": key, "problem": problem.id, "student": student, "sample": k, "text": text, "tokens": tokens,
        "finish_reason": finish, "outcome": graded.outcome, "answer": graded.answer,
    }  # fmt: skip


def _read_files(
    data: "CritiquesData", problems: dict[str, Problem]
) -> tuple[dict[str, Problem], list[dict], list[dict]]:
    """Problems (the files' own included), candidates and critiques of the file teachers."""
    problems, candidates, critiques = dict(problems), {}, []
    for teacher in data.teachers:
        if teacher.kind != "file":
            continue
        path = find_critiques(teacher.path)
        for row in load_critiques(path):
            problem = _problem_of(row, path, problems)
            key = content_id(problem.id, row.student, row.solution)
            if key not in candidates:
                finish = "length" if row.truncated else "stop"
                candidates[key] = _candidate(key, problem, row.student, row.line, row.solution, None, finish)
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


def _set_aside(candidates: list[dict], which: str) -> tuple[list[dict], dict[str, int]]:
    """The candidates to critique, and how many are left out and why."""
    kept, seen, why = [], set(), Counter()
    for row in candidates:
        key = row["problem"], " ".join(row["text"].split())
        if row["outcome"] == "ungradable" or (row["outcome"] == "correct" and which == "wrong"):
            why[row["outcome"]] += 1
        elif key in seen and row["tokens"] is not None:
            why["duplicate"] += 1
        else:
            kept.append(row)
        seen.add(key)
    return kept, dict(sorted(why.items()))


def _exact_critiques(
    data: "CritiquesData", problems: dict[str, Problem], candidates: list[dict], seed: int
) -> list[dict]:
    """One critique a style of every candidate whose problem has steps."""
    styles = [style for teacher in data.teachers if teacher.kind == "exact" for style in teacher.styles]
    unknown = [style for style in styles if style not in exact.STYLES]
    if unknown:
        raise DataError(f"teacher exact: style {unknown[0]!r} is not known. Known: {', '.join(exact.STYLES)}.")
    bare = sorted({row["problem"] for row in candidates if not problems[row["problem"]].steps})
    if styles and bare and not any(problems[row["problem"]].steps for row in candidates):
        raise DataError(
            f"teacher exact: problem {', '.join(bare)} has no `steps:`. Write them, or use another teacher."
        )
    written = []
    for row in candidates:
        for style in styles if problems[row["problem"]].steps else []:
            text, used = exact.critique(
                problems[row["problem"]], row["text"], style=style, outcome=row["outcome"], answer=row["answer"],
                seed=content_id(seed, row["id"], style),
            )  # fmt: skip
            written.append({"candidate": row["id"], "teacher": "exact", "style": used, "text": text})
    return written


def _verify(written: list[dict], candidates: list[dict], problems: dict[str, Problem]) -> list[dict]:
    """The critiques of kept candidates, each with verdict, answer, and the reason why it may not train."""
    by_id, seen, rows = {row["id"]: row for row in candidates}, set(), []
    for critique in written:
        candidate = by_id.get(critique["candidate"])
        if candidate is None:
            continue
        problem = problems[candidate["problem"]]
        checked = check(critique["text"], question=problem.question, gold=problem.answer,
                        candidate=candidate["text"], outcome=candidate["outcome"])  # fmt: skip
        key = critique["candidate"], " ".join(critique["text"].split())
        reason = checked.reason or ("duplicate" if key in seen else None)
        seen.add(key)
        rows.append({
            "id": content_id(critique), **critique, "verdict": checked.verdict, "answer": checked.answer,
            "accepted": reason is None, "reason": reason,
        })  # fmt: skip
    return rows


def _example(critique: dict, candidate: dict, problems: dict[str, Problem], prompt: str) -> dict:
    user = _user_message(prompt, problems[candidate["problem"]].question, candidate["text"])
    key = content_id("example", critique["id"], prompt)
    row = {"id": key, "critique": critique["id"], "problem": candidate["problem"]}
    return row | training_row(user, critique["text"].strip())


def _user_message(prompt: str, question: str, solution: str) -> str:
    """What a critique is trained to answer, by `data.prompt`."""
    return critique_prompt(question, solution) if prompt == "critique" else solve_prompt(question)


def _nothing_left(counts: dict) -> str:
    told = "; ".join(f"{key.replace('_', ' ')} {value}" for key, value in counts.items() if value)
    if not counts["candidates"]:
        mend = "Give data.student with samples, or a teacher of kind file."
    elif counts["critiques"]:
        mend = (
            "Every critique was dropped: read critiques.jsonl in the data folder and mend the critiques or the teacher."
        )
    elif counts["set_aside"].get("correct"):
        mend = "The student always solved it: choose a harder problem, more samples, or data.candidates=all."
    else:
        mend = "Ask for more samples, or another problem."
    return f"no examples are left ({told or 'no candidates'}). {mend}"
