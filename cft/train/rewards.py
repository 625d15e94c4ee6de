"""Rewards of reinforcement learning: functions from completions to numbers, through the one grader.

TRL's GRPOTrainer calls each with keyword arguments: `prompts`, `completions` (each one
`[{"role": "assistant", "content": TEXT}]`), `completion_ids`, `trainer_state`, and every column of the rows as a list.
Only the completion is judged: the prompt itself says `\\boxed{}`.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from typing import Any

from cft.errors import TrainError
from cft.recipe.blocks.train import FileReward, RandomReward, RuleReward
from data_builders.filter.verdict import find_verdict, takes_back
from eval.grading import grade, last_box

RewardFunction = Callable[..., list[float]]


def reward_functions(blocks: Sequence[RuleReward | RandomReward | FileReward], seed: int) -> list[RewardFunction]:
    """A function for each reward of a recipe, in their order; its `__name__` is the reward's kind.

    Args:
        seed: of the reward `random`.

    Raises:
        TrainError: by a call, if the rows lack what a reward compares with.
    """
    return [_random_reward(block, seed) if block.kind == "random" else _rule_reward(block) for block in blocks]


def _is_answer(text: str, label: str) -> bool:
    """Whether the evaluation would call a completion correct if `label` were the gold answer.

    A completion that the token limit ended is judged by the box that it has, and without one has no answer.
    """
    return grade(label, text).outcome == "correct"


def _is_verdict(text: str, correct: bool) -> bool:
    """Whether a critique judges its candidate as the grader does; one that judges it in both ways does not."""
    return not takes_back(text) and find_verdict(text) == ("correct" if correct else "incorrect")


_LABELS = {"correct": "answer", "incorrect": "incorrect", "majority": "majority", "verdict": "correct"}  # their columns
_RULES: dict[str, Callable[[str, Any], bool]] = {  # kind -> whether a text, beside the row's label, earns a 1
    "correct": _is_answer,
    "incorrect": _is_answer,
    "majority": _is_answer,
    "verdict": _is_verdict,
    "format": lambda text, _: bool(last_box(text)),
    "python": lambda text, _: "python" in text.lower(),
    "constant": lambda text, _: True,
}


def _rule_reward(block: RuleReward) -> RewardFunction:
    rule, column = _RULES[block.kind], _LABELS.get(block.kind)

    def reward(completions: list, **columns: Any) -> list[float]:
        labels = _labels(block.kind, column, columns) if column else [None] * len(completions)
        return [float(rule(text, label)) for text, label in zip(_texts(completions), labels, strict=True)]

    reward.__name__ = block.kind
    return reward


def _labels(kind: str, column: str, columns: dict[str, Any]) -> list[Any]:
    """What the completions are compared with, one for each."""
    labels = columns[column]
    if None in labels:
        row = columns["id"][labels.index(None)]
        raise TrainError(f"reward {kind}: the row {row} has no {column!r} answer. Add samples to data.students.")
    return labels


def _random_reward(block: RandomReward, seed: int) -> RewardFunction:
    rank = os.environ.get("RANK", "0")  # places are counted in each process of a training on several GPUs

    def reward(completions: list, trainer_state: Any = None, **_: Any) -> list[float]:
        step = getattr(trainer_state, "global_step", 0)
        return [
            float(_share(seed, rank, step, place, text) < block.probability)
            for place, text in enumerate(_texts(completions))
        ]

    reward.__name__ = block.kind
    return reward


def _share(*parts: object) -> float:
    """A number in [0, 1) that looks like chance and is always the same for the same parts."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()) / 2**64


def _texts(completions: list[list[dict[str, str]]]) -> list[str]:
    return [completion[-1]["content"] for completion in completions]
