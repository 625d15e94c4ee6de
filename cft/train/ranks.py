"""What the processes of one training agree on. In a training of one process nothing here does anything.

Asked of torch.distributed and not of the environment: a scheduler may set RANK or WORLD_SIZE for a lone process too.
"""

import os

import torch.distributed as dist

from cft.errors import TrainError


def count() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def is_main() -> bool:
    """Whether this process is the one that prints, and changes files."""
    return count() == 1 or dist.get_rank() == 0


def wait() -> None:
    """Until all processes have come here."""
    if count() > 1:
        dist.barrier()


def any_of(said: bool) -> bool:
    """Whether any process says so. All must ask."""
    if count() == 1:
        return said
    answers: list[bool | None] = [None] * count()
    dist.all_gather_object(answers, said)
    return any(answers)


def sharded() -> bool:
    """Whether the processes share the weights (FSDP, DeepSpeed), so that none loads them onto its GPU by itself."""
    return count() > 1 and any(
        os.environ.get(f"ACCELERATE_USE_{name}", "").lower() == "true" for name in ("FSDP", "DEEPSPEED")
    )


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
