"""What can be wrong with a training's settings, memory or disk, in words that say how to mend it."""

import errno
import shutil
from pathlib import Path
from typing import Any

import torch
from trl import SFTConfig

from cft.errors import TrainError


def training_arguments(args: dict[str, Any], defaults: dict[str, Any], seed: int, output_dir: Path) -> SFTConfig:
    """The recipe's `train.args`, already checked by `cft.recipe`, over our defaults.

    Raises:
        TrainError: with what SFTConfig says of defaults and settings that do not go together.
    """
    try:
        return SFTConfig(output_dir=str(output_dir), seed=seed, data_seed=seed, **defaults | args)
    except (TypeError, ValueError) as error:
        raise TrainError(f"train.args: {error}. See trl.SFTConfig (TRL 1.16) for its keys and values.") from error


def explain(error: Exception, args: SFTConfig, longest: int, quantization: str, folder: Path) -> TrainError | None:
    """The TrainError for too little memory or disk; None for any other error, which is a bug.

    Args:
        longest: tokens of the longest row.
    """
    text = str(error)
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in text:
        rows, steps = args.per_device_train_batch_size, args.gradient_accumulation_steps
        mends = []
        if rows > 1:
            half = rows // 2
            more = -(-rows * steps // half)
            mends.append(f"train.args.per_device_train_batch_size={half} train.args.gradient_accumulation_steps={more}")
        if not args.gradient_checkpointing:
            mends.append("train.args.gradient_checkpointing=true")
        if quantization == "none" and args.device.type == "cuda":
            mends.append("model.quantization=nf4")
        mends.append("a smaller model, or shorter rows")
        return TrainError(
            f"out of memory on {args.device.type} with a batch of {rows} row(s) of up to {longest} tokens. "
            f"In this order, try:\n  " + "\n  ".join(mends)
        )
    # torch.save and safetensors report a write that failed in words only
    full = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
    words = ("No space left", "quota exceeded", "File too large", "PytorchStreamWriter failed", "inline_container")
    if getattr(error, "errno", None) in full or any(word in text for word in words):
        free = shutil.disk_usage(folder).free / 1e6
        return TrainError(
            f"{folder}: cannot be written, {free:.0f} MB are free there ({text.splitlines()[0]}). Make room, or choose "
            "another folder with --runs; the same command then goes on from the last complete checkpoint."
        )
    return None
