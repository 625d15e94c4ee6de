"""What the YAML files of this folder call: their items, their prompt and their score.

`cft_math500` and `cft_gsm8k` come from the hub, or from a JSONL file that the user names:
`eval.data.cft_math500=FILE` in a recipe, `--metadata '{"cft_math500": "FILE"}'` with plain `lm_eval`.
lm-eval hands that metadata, and its model arguments, to each data function as keywords.
"""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from datasets import Dataset, load_dataset

from cft.errors import DataError, EvalError
from cft.files import read_jsonl
from data_builders.prompts import solve_prompt
from eval.grading import grade, same_answer_groups
from eval.wordproblems import word_problems


def prompt(doc: dict[str, Any]) -> str:
    """The user message."""
    return solve_prompt(doc["question"])


def shots() -> list[dict[str, str]]:
    """The worked examples of the few-shot prompt: `question`, `solution`, `answer`."""
    return json.loads((Path(__file__).parent / "shots.json").read_text(encoding="utf-8"))


def keep_all(responses: Iterable[list[str]], docs: Any) -> list[list[str]]:
    """A filter for lm-eval that keeps every sample of an item: `score` then gets all of them as `results[0]`."""
    return [list(samples) for samples in responses]


def score(doc: dict[str, Any], results: list[list[str]]) -> dict[str, float]:
    """Metrics of one item, means over its samples: was the last box right, was there none?"""
    outcomes = [grade(doc["answer"], response).outcome for response in results[0]]
    return {"exact_match": share(outcomes, "correct"), "no_answer": share(outcomes, "no_answer")}


def score_samples(doc: dict[str, Any], results: list[list[str]]) -> dict[str, float]:
    """`score`, and whether any sample is right (`pass_at_k`) and the largest group of equal answers is (`maj_at_k`).

    k is the number of samples. Samples vote by equality of their answers, not by spelling; those without a box do not
    vote; of n groups of the same size each counts for one n-th.
    """
    grades = [grade(doc["answer"], response) for response in results[0]]
    right = [grading.outcome == "correct" for grading in grades]
    groups = same_answer_groups([grading.answer for grading in grades])
    votes = Counter(group for group in groups if group is not None)
    largest = [group for group in votes if votes[group] == max(votes.values())]
    majority = sum(right[group] for group in largest) / len(largest) if largest else 0.0
    return score(doc, results) | {"pass_at_k": float(any(right)), "maj_at_k": majority}


def share(outcomes: list[str], outcome: str) -> float:
    """Which part of the outcomes is this one."""
    return outcomes.count(outcome) / len(outcomes)


def word_problems_test(**_: Any) -> dict[str, Dataset]:
    """Items of `cft_wordproblems`."""
    return {"test": Dataset.from_list(word_problems("test"))}


def word_problems_validation(**_: Any) -> dict[str, Dataset]:
    """Items of `cft_wordproblems_validation`; lm-eval's `test_split` is whatever split is scored."""
    return {"test": Dataset.from_list(word_problems("validation"))}


def math500(**metadata: Any) -> dict[str, Dataset]:
    """Items of `cft_math500`: rows with `problem` and `answer`."""
    rows = numbered_rows(
        "cft_math500", metadata, "HuggingFaceH4/MATH-500", None, "6e4ed1a2a79af7d8630a6b768ec859cb5af4d3be"
    )
    return {"test": items("cft_math500", rows, "problem", "answer")}


def gsm8k(**metadata: Any) -> dict[str, Dataset]:
    """Items of `cft_gsm8k`: rows with `question`, and `answer` whose last line is `#### N`."""
    rows = numbered_rows("cft_gsm8k", metadata, "openai/gsm8k", "main", "740312add88f781978c0658806c59bc2815b9866")
    return {"test": items("cft_gsm8k", rows, "question", "answer", after="####")}


def numbered_rows(
    task: str, metadata: dict[str, Any], hub_id: str, config: str | None, revision: str
) -> tuple[str, list[tuple[int, dict[str, Any]]]]:
    """Where the rows come from, and `(line number, row)` of each.

    Raises:
        EvalError: the local file is missing or damaged, or the hub cannot be reached.
    """
    if task in metadata:
        try:
            return str(metadata[task]), read_jsonl(Path(metadata[task]))
        except DataError as error:
            raise EvalError(f"{task}: {error}") from None
    try:
        return hub_id, list(enumerate(load_dataset(hub_id, config, split="test", revision=revision), 1))
    except Exception as error:  # whatever the hub's client raises, the way out is the same
        fault = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise EvalError(
            f"{task}: {hub_id} cannot be loaded from the hub ({fault}). Name a local JSONL file: "
            f'eval.data.{task}=FILE in the recipe, or --metadata \'{{"{task}": "FILE"}}\' with lm_eval.'
        ) from error


def items(
    task: str, source: tuple[str, list[tuple[int, dict[str, Any]]]], question: str, answer: str, after: str = ""
) -> Dataset:
    """The rows as `{question, answer}`; the answer is the text behind the last `after`.

    Raises:
        EvalError: listing every line (the first ten in words) that cannot be used.
    """
    place, rows = source
    faults, found, lines = [], [], {}
    for line, row in rows:
        if missing := [key for key in (question, answer) if key not in row]:
            faults.append(f"line {line}: lacks {' and '.join(missing)}; its keys are {', '.join(row) or 'none'}")
            continue
        if odd := [key for key in (question, answer) if not isinstance(row[key], str | int | float)]:
            faults.append(f"line {line}: {odd[0]} is a JSON {type(row[odd[0]]).__name__}, not text or a number")
            continue
        asked, gold = str(row[question]).strip(), str(row[answer])
        _, mark, gold = gold.rpartition(after) if after else ("", "", gold)
        gold = gold.strip()
        if after and not mark:
            faults.append(f"line {line}: {answer} has no {after!r} before the final number")
        elif not asked or not gold:
            faults.append(f"line {line}: {question if not asked else answer} is empty")
        elif (first := lines.setdefault(json.dumps(row, sort_keys=True), line)) != line:
            faults.append(f"line {line}: repeats line {first}; remove one of them")
        else:
            about = {key: str(row[key]) for key in ("subject", "level") if key in row}
            found.append({"question": asked, "answer": gold.replace(",", "") if after else gold} | about)
    if faults:
        more = f"\n  ... and {len(faults) - 10} more lines" if len(faults) > 10 else ""
        raise EvalError(
            f"{task}: {place} has {len(faults)} faulty line(s). Each line must be a JSON object with "
            f"{question!r} and {answer!r}.\n  " + "\n  ".join(faults[:10]) + more
        )
    return Dataset.from_list(found)
