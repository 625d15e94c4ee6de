"""What the YAML files of this folder call: generated items, prompts and scores. All other items: `eval.tasks.items`."""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from datasets import Dataset

from data_builders.prompts import solve_prompt
from eval.grading import grade, same_answer_groups
from eval.tasks.wordproblems import word_problems


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
