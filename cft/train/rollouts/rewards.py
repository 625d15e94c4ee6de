"""Rewards of reinforcement learning: functions from completions to numbers, through the one grader.

TRL's GRPOTrainer calls each with keyword arguments: `prompts`, `completions` (each one
`[{"role": "assistant", "content": TEXT}]`), `completion_ids`, `trainer_state`, and every column of the rows as a list.
Only the completion is judged: the prompt itself says `\\boxed{}`.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cft.errors import TrainError
from cft.recipe.blocks.train import FileReward, RandomReward, RuleReward
from cft.sandbox import Sandbox, SandboxError
from data_builders.filter.verdict import find_verdict, takes_back
from eval.grading import grade, last_box

MOST = 1e30  # of a reward: TRL has them in float32
RewardFunction = Callable[..., list[float]]


def reward_functions(blocks: Sequence[RuleReward | RandomReward | FileReward], seed: int) -> list[RewardFunction]:
    """A function for each reward of a recipe, in their order; its `__name__` is the kind, or the user's.

    Args:
        seed: of the reward `random`.

    Raises:
        TrainError: a user's file cannot be used. A call raises it for what the function in it does wrong, and where a
            row has nothing to compare its completion with.
    """
    made = []
    for block in blocks:
        reward = {"random": _random, "file": _from_file}.get(block.kind, _by_rule)(block, seed)
        reward.__name__ = block.function if block.kind == "file" else block.kind
        made.append(reward)
    return made


def _is_answer(text: str, label: str) -> bool:
    """Whether the evaluation would call a completion correct if `label` were the gold answer.

    There too a completion that hit the token limit is judged by its last complete box, and without one not correct.
    """
    return grade(label, text).outcome == "correct"


def _is_verdict(text: str, correct: bool) -> bool:
    """Whether a critique judges its candidate as the grader does; one that judges it in both ways does not."""
    return not takes_back(text) and find_verdict(text) == ("correct" if correct else "incorrect")


_RULES: dict[str, tuple[str, Callable[[str, Any], bool]]] = {  # kind -> column of labels, whether a text earns a 1
    "correct": ("answer", _is_answer),
    "incorrect": ("incorrect", _is_answer),
    "majority": ("majority", _is_answer),
    "verdict": ("correct", _is_verdict),
    "format": ("", lambda text, _: bool(last_box(text))),
    "python": ("", lambda text, _: "python" in text.lower()),  # Spurious Rewards, arXiv 2506.10947, section 2
    "constant": ("", lambda text, _: True),
}


def _by_rule(block: RuleReward, seed: int) -> RewardFunction:
    column, rule = _RULES[block.kind]

    def reward(completions: list, **columns: Any) -> list[float]:
        labels = columns[column] if column else [""] * len(completions)
        if None in labels:
            row = columns["id"][labels.index(None)]
            fix = "Add samples to data.students, or take a problem of another difficulty"
            raise TrainError(f"reward {block.kind}: the row {row} has no {column!r}. {fix}.")
        return [float(rule(text, label)) for text, label in zip(texts(completions), labels, strict=True)]

    return reward


def _random(block: RandomReward, seed: int) -> RewardFunction:
    """By a hash, not by a generator: a resumed run, which begins at a step, has no state to restore."""
    rank = os.environ.get("RANK", "0")  # each process of a training counts its own places
    calls = Counter()  # of each optimizer step: one step may train on several generations

    def reward(completions: list, trainer_state: Any, **_: Any) -> list[float]:
        step = trainer_state.global_step
        calls[step] += 1
        drawn = ((seed, rank, step, calls[step], *placed) for placed in enumerate(texts(completions)))
        return [float(_share(drawing) < block.probability) for drawing in drawn]

    return reward


def _share(drawing: tuple) -> float:
    """A number in [0, 1) that is as good as drawn, and the same for the same tuple."""
    return int.from_bytes(hashlib.blake2b(repr(drawing).encode(), digest_size=8).digest()) / 2**64


def _from_file(block: FileReward, seed: int) -> RewardFunction:
    """A user's function, in one child process for all calls."""
    try:
        sandbox = Sandbox(Path(block.path), block.function, block.timeout)
    except SandboxError as error:
        raise TrainError(f"{block.path}: {error}.") from None

    def reward(completions: list, **columns: Any) -> list[float]:
        given = texts(completions)
        lists = {name: values for name, values in columns.items() if isinstance(values, list)}
        try:
            values = sandbox.call(given, **lists)
        except SandboxError as error:
            raise TrainError(f"{block.path}: {error}.") from None
        if fault := _fault(values, given):
            raise TrainError(f"{block.path}: {block.function}() returned {fault}.")
        return [float(value) for value in values]

    return reward


def _fault(values: Any, given: list[str]) -> str:
    """What is wrong with the values that a user's function returned, and how to fix it; "" if nothing is."""
    if not isinstance(values, list) or len(values) != len(given):
        found = f"{len(values)} values" if isinstance(values, list) else f"{values!r:.80}"
        return f"{found} for {len(given)} completions. Return a list with one number for each"
    for value, text in zip(values, given, strict=True):
        if not isinstance(value, int | float) or not abs(value) <= MOST:  # NaN is no less than anything
            return f"{value!r:.80} for the completion {text!r:.80}. Return a finite number, 0.0 for no reward"
    return ""


def texts(completions: Sequence[str | list[dict[str, str]]]) -> list[str]:
    """The text of each completion: TRL has messages, or text where the tokenizer has no chat template."""
    return [one if isinstance(one, str) else one[-1]["content"] for one in completions]
