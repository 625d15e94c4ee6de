"""Graded answers as an evaluation left them: read, checked, and shown to be of the same questions in every arm."""

from collections import Counter
from pathlib import Path

from cft.errors import CFTError, EvalError
from cft.files import read_jsonl
from cft.runs import ANSWERS, ARM, read_known
from eval.statistics.statistics import OUTCOMES

BASE = "base"
ROW_TYPES = {
    "doc_id": (int, str),
    "question": str,
    "gold": str,
    "prompt_sha256": str,
    "response": str,
    "tokens": int,
    "finish_reason": str,
    "outcome": str,
}

Row = dict  # a line of answers.jsonl
ArmAnswers = tuple[dict, list[Row]]  # what arm.json holds; the rows in order of doc_id and sample
TaskAnswers = dict[str, ArmAnswers]  # by arm


def parts_of(arm: str) -> tuple[str, str, str]:
    """Model, prompt and elicitor in an arm's name, each `` where it has none: base, fewshot, toy of `base@fewshot+toy`.

    Only the last word counts, so that the names of several runs' arms (`quickstart/1a2b adapter@plain`) are read too.
    """
    asked, _, elicitor = (arm.split() or [""])[-1].partition("+")
    model, _, prompt = asked.partition("@")
    return model, prompt, elicitor


def model_of(arm: str) -> str:
    """What answers in an arm, by its name: base, adapter, merged or step-N."""
    return parts_of(arm)[0]


def prompt_of(arm: str) -> str:
    """The prompt in an arm's name: `fewshot` of `base@fewshot`, and `` of `base`."""
    return parts_of(arm)[1]


def load_task(folder: Path, task: str, arms: list[str]) -> TaskAnswers:
    """`{arm: (what arm.json holds, rows)}`, after checking that all arms answered the same questions.

    Raises:
        EvalError: an arm is missing, unfinished, empty or damaged, or was not asked the same questions as the others.
    """
    loaded = {arm: load_arm(folder / arm, task, arm) for arm in arms}
    check_same_questions(task, {arm: rows for arm, (_, rows) in loaded.items()})
    return loaded


def load_arm(folder: Path, task: str, arm: str) -> ArmAnswers:
    """arm.json and the rows of answers.jsonl, in order of doc_id and sample.

    Raises:
        EvalError: the folder is missing, unfinished, empty or damaged.
    """
    again = "Score it with `cft eval` (what is already there is kept)."
    if not folder.is_dir():
        raise EvalError(f"{folder}: no answers of arm {arm!r} on task {task!r}. {again}")
    path = folder / ANSWERS
    if not path.is_file() or not path.stat().st_size:
        fault = "is empty" if path.is_file() else "is missing"
        raise EvalError(f"{path}: {fault}, arm {arm!r} has no answers. {again}")
    try:
        about, numbered = read_known(folder / ARM), read_jsonl(path, exact=False)
    except CFTError as error:
        raise EvalError(f"{error}\nDelete {folder} and score the arm again with `cft eval`.") from None
    if about is None:
        raise EvalError(f"{folder}: arm.json is missing, so scoring {arm!r} on {task!r} has not finished. {again}")
    seen: dict[tuple[int | str, int], int] = {}
    for number, row in numbered:
        fault = row_fault(row)
        if not fault and (earlier := seen.get(row_key(row))):
            sample = f", sample {row['sample']}," if "sample" in row else ""
            fault = f"doc_id {row['doc_id']!r}{sample} stands on line {earlier} already"
        if fault:
            raise EvalError(f"{path}: line {number}: {fault}. Delete {folder} and score the arm again with `cft eval`.")
        seen[row_key(row)] = number
    samples = Counter(doc_id for doc_id, _ in seen)
    if about.get("n", len(seen)) not in (len(seen), len(samples)):
        raise EvalError(f"{path}: holds {len(seen)} answers where arm.json counts {about['n']}. {again}")
    most = max(samples.values())
    if short := [doc_id for doc_id, count in samples.items() if count < most]:
        fault = f"doc_id {short[0]!r} has {samples[short[0]]} answers where others have {most}"
        raise EvalError(f"{path}: {fault}. {again}")
    rows = [row for _, row in numbered]
    return about, sorted(rows, key=lambda row: (*by_length(row["doc_id"]), row.get("sample", 0)))


def by_length(doc_id: int | str) -> tuple[int, str]:
    """A key that puts shorter ids first: numbers in their order, whether they are JSON numbers or strings."""
    return len(str(doc_id)), str(doc_id)


def row_key(row: Row) -> tuple[int | str, int]:
    """What makes an answer the only one of its kind in its arm."""
    return row["doc_id"], row.get("sample", 0)


def row_fault(row: Row) -> str | None:
    """What is wrong with a row of answers.jsonl, in words; None when nothing is."""
    for key, kind in ROW_TYPES.items():
        if not isinstance(row.get(key), kind) or isinstance(row[key], bool):
            return f"{key} is {row[key]!r}" if key in row else f"{key} is missing"
    sample = row.get("sample", 0)
    if not isinstance(sample, int) or isinstance(sample, bool) or sample < 0:
        return f"sample is {sample!r}, not a number from 0"
    if row["outcome"] not in OUTCOMES:
        return f"outcome is {row['outcome']!r}, not one of {', '.join(OUTCOMES)}"
    return None


def check_same_questions(task: str, rows: dict[str, list[Row]]) -> None:
    """Raise EvalError unless all arms answered the same items, and those of one prompt variant the same prompts.

    Args:
        rows: by arm, each in order of doc_id.
    """
    firsts = {arm: list({row["doc_id"]: row for row in answers}.values()) for arm, answers in rows.items()}
    against = BASE if BASE in firsts else next(iter(firsts))
    leaders: dict[str, str] = {}  # the first arm of each prompt variant
    for arm in sorted(firsts, key=lambda name: name != against):
        leader = leaders.setdefault(prompt_of(arm), arm)
        _check_pair(task, against, firsts[against], arm, firsts[arm], ("question", "gold"))
        _check_pair(task, leader, firsts[leader], arm, firsts[arm], ("prompt_sha256",))


def _check_pair(task: str, base: str, before: list[Row], arm: str, after: list[Row], keys: tuple[str, ...]) -> None:
    fix = "A paired comparison needs the same items and prompts: score both arms again with the same recipe."
    ids, other = [row["doc_id"] for row in before], [row["doc_id"] for row in after]
    if ids != other:
        differ = sorted(set(ids) ^ set(other), key=by_length)
        shown = ", ".join(map(str, differ[:5])) + (" ..." if len(differ) > 5 else "")
        raise EvalError(
            f"task {task!r}: arms {base!r} ({len(ids)} items) and {arm!r} ({len(other)} items) answered different "
            f"items; {len(differ)} doc_id(s) are in only one of them: {shown}. {fix}"
        )
    for key in keys:
        differ = [str(a["doc_id"]) for a, b in zip(before, after, strict=True) if a[key] != b[key]]
        if differ:
            raise EvalError(
                f"task {task!r}: {key} differs between arms {base!r} and {arm!r} on {len(differ)} of {len(ids)} items, "
                f"first doc_id {differ[0]}. {fix}"
            )
