"""Trainings in several processes."""

import io
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from cft.errors import Terminated
from cft.recipe.blocks import Recipe
from cft.train.launch.start import check_launch, launch_training
from tests.support.training import weights

ROOT = Path(__file__).parents[2]
# 9 rows, 4 a step: the last step of an epoch has one row, for two processes
ARGS = {"num_train_epochs": 2, "gradient_accumulation_steps": 4, "learning_rate": 1e-3, "save_steps": 1}


def launched(recipe, examples: Path, folder: Path) -> tuple[dict, str]:
    console = Console(file=io.StringIO(), width=200)
    launch = check_launch("ddp", 2, recipe)
    try:
        return launch_training(recipe, examples, folder, launch, console=console), console.file.getvalue()
    finally:
        assert not ranks_of(folder)


def started(recipe: Recipe, examples: Path, folder: Path) -> subprocess.Popen:
    """A process that trains in two processes, and ends them when it gets SIGTERM."""
    command = [sys.executable, "-m", "tests.support.launching", recipe.model_dump_json(), str(examples), str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)


def ranks_of(folder: Path) -> list[int]:
    """Processes of this machine that train in the folder."""
    import psutil

    found = []
    for process in psutil.process_iter(["pid", "cmdline"]):
        line = process.info["cmdline"] or []
        if "cft.train.launch.worker" in line and str(folder) in " ".join(line):
            found.append(process.info["pid"])
    return found


def log_of(folder: Path) -> list[dict]:
    return json.loads((folder / "metrics.json").read_text())["log"]


def assert_same_training(one: Path, other: Path) -> None:
    a, b = weights(one / "adapter"), weights(other / "adapter")
    assert a.keys() == b.keys()
    assert max((a[key] - b[key]).abs().max() for key in a) < 1e-5  # lr 1e-3: a step moves a weight by up to 1e-3
    assert [row["loss"] for row in log_of(other)] == pytest.approx([row["loss"] for row in log_of(one)], rel=1e-5)


def terminate(*_) -> None:
    raise Terminated()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, terminate)
    recipe = Recipe.model_validate_json(sys.argv[1])
    launch = check_launch("ddp", 2, recipe)
    launch_training(recipe, Path(sys.argv[2]), Path(sys.argv[3]), launch, console=Console(width=200))
