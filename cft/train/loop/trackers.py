"""Reporting each training step to a tracker. Off unless asked for; only wandb sends anything off the machine."""

import importlib.util
import os
from pathlib import Path
from typing import Any

from cft.errors import TrainError
from cft.suggest import did_you_mean

PROJECT = "one-problem-cft"
# Package -> where its records go
TRACKERS = {
    "tensorboard": "the run's folder train/tensorboard: tensorboard --logdir RUN/train/tensorboard",
    "trackio": "trackio's own folder on this machine: trackio show --project one-problem-cft",
    "wandb": "wandb.ai, or only this machine with WANDB_MODE=offline",
}


def check_tracker(name: str) -> None:
    """Raise TrainError unless `name` is "none" or a tracker that is installed."""
    if name == "none":
        return
    if name not in TRACKERS:
        raise TrainError(f"--tracker {name}: is not known. {did_you_mean(name, ['none', *TRACKERS])}.")
    if importlib.util.find_spec(name) is None:
        raise TrainError(f"--tracker {name}: {name} is not installed. pip install {name}, or leave --tracker out.")


def reporting(name: str, folder: Path) -> dict[str, Any]:
    """The keys of SFTConfig that report to tracker `name`, with its project and folders set where nothing sets them.

    Args:
        folder: the train stage's folder, RUNS/RECIPE/FINGERPRINT/train.
    """
    check_tracker(name)
    if name == "none":
        return {}
    os.environ.setdefault("TENSORBOARD_LOGGING_DIR", str(folder / "tensorboard"))
    os.environ.setdefault("WANDB_PROJECT", PROJECT)
    os.environ.setdefault("WANDB_DIR", str(folder))
    run = folder.absolute().parent
    return {"report_to": name, "project": PROJECT, "run_name": f"{run.parent.name}-{run.name}"}
