"""What the processes of one training agree on. In a training of one process nothing here does anything.

Asked of torch.distributed and not of the environment: a scheduler may set RANK or WORLD_SIZE for a lone process too.
"""

import os
from collections.abc import Callable
from typing import TypeVar

import torch.distributed as dist

from cft.errors import TrainError

T = TypeVar("T")


def count() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """The number of this process, from 0."""
    return dist.get_rank() if count() > 1 else 0


def is_main() -> bool:
    """Whether this process is the one that prints, and changes files."""
    return rank() == 0


def wait() -> None:
    """Until all processes have come here."""
    if count() > 1:
        dist.barrier()


def gathered(own: T) -> list[T]:
    """What each process has, in the order of their numbers. All must call it."""
    if count() == 1:
        return [own]
    values: list = [None] * count()
    dist.all_gather_object(values, own)
    return values


def on_main(act: Callable[[], T]) -> T:
    """What `act` returns to the main process, the only one that calls it. All must come here, and go on with that."""
    values = [act() if is_main() else None]
    if count() > 1:
        dist.broadcast_object_list(values, src=0)
    return values[0]


def any_of(said: bool) -> bool:
    """Whether any process says so. All must ask."""
    return any(gathered(said))


def sharding() -> str | None:
    """The launch under which the processes share the weights, fsdp2 or zero3; None where each has all of them.

    A lone process that accelerate started with such a configuration counts too: its weights are wrapped all the same.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return None
    kinds = {"FSDP": "fsdp2", "DEEPSPEED": "zero3"}
    used = [kind for name, kind in kinds.items() if os.environ.get(f"ACCELERATE_USE_{name}", "").lower() == "true"]
    return next(iter(used), None)


def sharded() -> bool:
    """Whether the processes share the weights, so that none loads them onto its GPU by itself."""
    return sharding() is not None


def share_of(accumulation: int, rows: int) -> int:
    """Micro-batches that each process adds up, so that all together train on the recipe's rows a step.

    Args:
        accumulation: gradient_accumulation_steps of one process.
        rows: of a micro-batch.

    Raises:
        TrainError: they cannot be divided by the processes.
    """
    if accumulation % count():
        fit = [n for n in range(1, accumulation + 1) if accumulation % n == 0]
        smaller = (
            f" With train.args.per_device_train_batch_size=1 and train.args.gradient_accumulation_steps="
            f"{rows * accumulation} more do."
            if rows > 1
            else ""
        )
        raise TrainError(
            f"--processes {count()}: {accumulation} micro-batches of {rows} row(s) a step cannot be shared equally. "
            f"With {', '.join(map(str, fit))} process(es) they can.{smaller}"
        )
    return accumulation // count()
