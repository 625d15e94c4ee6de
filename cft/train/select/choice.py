"""The rule by which a step is chosen on validation items, when training stops early, and what asking costs. No torch.

A *point* is the result of one asking: {step, accuracy, ci, n, leaked, truncated, no_box, tokens}. Step 0 is the
untrained model: it is shown beside the others and never chosen.
"""

import math
import shutil
from pathlib import Path
from typing import Any

from cft.errors import TrainError
from cft.recipe.blocks import Recipe, SelectBlock

RULE = "highest accuracy on the validation items, of equals the earliest step; one that leaks verdicts only if all do"
SHARDED = (
    "train.select cannot ask a model whose weights several processes share (FSDP, DeepSpeed). Use --launch ddp, where "
    "each has them all; or set train.select=null, keep adapters with train.keep_steps, and score those on the "
    "validation task."
)
LEAST_LEAKS = 2  # answers above the base's: one may be chance, or a word problem that speaks of a verdict


class StoppedEarly(Exception):  # noqa: N818 - it ends a training that need not go on, and is no error
    """There is nothing left to train: a training that had stopped early was started again."""


def steps_to_ask(block: SelectBlock, last: int) -> list[int]:
    """The optimizer steps after which the items are asked, of a training of `last` steps.

    Raises:
        TrainError: a step comes after the last one.
    """
    if block.every is not None and block.every > last:
        raise TrainError(f"train.select.every is {block.every}, but training has {last} steps. Give at most {last}.")
    if late := [step for step in block.steps if step > last]:
        raise TrainError(
            f"train.select.steps names step {late[0]}, but training has {last} steps. Name steps up to {last}."
        )
    return sorted({*range(block.every, last, block.every), last} if block.every else block.steps)


def leaks(point: dict[str, Any], points: list[dict[str, Any]], share: float | None) -> bool:
    """Whether so many more answers than the base's pass a verdict that the critiques' genre has got into them."""
    base = next((other["leaked"] for other in points if other["step"] == 0), 0)
    return share is not None and point["leaked"] - base >= max(LEAST_LEAKS, share * point["n"])


def best_step(points: list[dict[str, Any]], share: float | None) -> int | None:
    """The step that RULE chooses; None where only the base was asked.

    Args:
        share: `train.select.leak`.
    """
    trained = [point for point in points if point["step"] > 0]
    clean = [point for point in trained if not leaks(point, points, share)] or trained
    return min(clean, key=lambda point: (-point["accuracy"], point["step"]), default={"step": None})["step"]


def reason_to_stop(points: list[dict[str, Any]], block: SelectBlock) -> str | None:
    """Why training should stop after the last of the points, in words; None where it should go on."""
    trained = sorted((point for point in points if point["step"] > 0), key=lambda point: point["step"])
    if not trained:
        return None
    now, best = trained[-1], best_step(points, block.leak)
    if leaks(now, points, block.leak):
        return (
            f"{now['leaked']} of {now['n']} validation answers after step {now['step']} pass a verdict on a solution "
            "that nobody gave"
        )
    since = sum(point["step"] > best for point in trained)
    if block.patience is not None and since >= block.patience:
        top = next(point["accuracy"] for point in trained if point["step"] == best)
        return (
            f"{since} askings since step {best} ({top:.1%} of {now['n']} validation answers right) found nothing "
            f"better; after step {now['step']} it is {now['accuracy']:.1%}"
        )
    return None


def planned_answers(recipe: Recipe, steps: int, items: int) -> int:
    """How many validation answers a training of `steps` writes, if it does not stop early.

    Args:
        items: that the task has.
    """
    block = recipe.train.select
    if block is None:
        return 0
    if (
        max([block.every or 0, *block.steps]) > steps
    ):  # a plan only estimates the steps; training says it where it is so
        return 0
    askings = math.ceil(steps / block.every) if block.every else len(block.steps)  # there may be too many to list
    return (askings + block.include_base) * min(block.limit or items, items)


def drop_adapters(folder: Path) -> None:
    """Delete the adapters that were kept while the choice was open; the answers and the curve stay."""
    for path in [*folder.glob("best-*"), folder / ".best.tmp"]:
        shutil.rmtree(path, ignore_errors=True)
