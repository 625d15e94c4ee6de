"""Trainings of the tiny model: recipes, rows, and a training in this process or in one of its own."""

import io
import json
import multiprocessing
import os
import resource
import time
from pathlib import Path

import pytest
from rich.console import Console

from cft.errors import Terminated, TrainError
from cft.recipe.blocks import Recipe

ROWS = [("What is 2+2?", "It is \\boxed{4}."), ("What is 30+12?", "30 and 12 make 42, so it is \\boxed{42}.")]


def make_recipe(model: Path, args: dict | None = None, lora: dict | None = None, **model_block) -> Recipe:
    return Recipe.model_validate(
        {
            "name": "test",
            "model": {"id": str(model), **model_block},
            "data": {"builder": "critiques", "problems": [], "teachers": [{"kind": "file", "path": "bakery"}]},
            "train": {"method": "cft", "lora": lora or {}, "args": args or {}},
            "eval": {"tasks": ["cft_math500"]},
        }
    )


def write_examples(path: Path, n: int, repeat: int = 1) -> Path:
    """n rows, alternating between the two of ROWS, completions `repeat` times as long."""
    rows = (
        {
            "id": f"row{i}",
            "prompt": [{"role": "user", "content": ROWS[i % 2][0]}],
            "completion": [{"role": "assistant", "content": ROWS[i % 2][1] * repeat}],
        }
        for i in range(n)
    )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def run_train(recipe: Recipe, examples: Path, folder: Path) -> tuple[dict, str]:
    from cft.train.sft import train

    console = Console(file=io.StringIO(), width=200)
    summary = train(recipe, examples, folder, console=console)
    return summary, console.file.getvalue()


def weights(adapter: Path) -> dict:
    from safetensors.torch import load_file

    return load_file(adapter / "adapter_model.safetensors")


def same_weights(one: Path, other: Path) -> bool:
    import torch

    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def assert_close_weights(one: Path, other: Path) -> None:
    """Two trainings' adapters are equal up to rounding."""
    import torch

    a, b = weights(one / "adapter"), weights(other / "adapter")
    assert a.keys() == b.keys()
    for key, value in a.items():
        torch.testing.assert_close(value, b[key], rtol=1e-3, atol=1e-5)


def in_process(recipe: Recipe, examples: Path, folder: Path, limits: dict[int, int] | None = None):
    """A process that trains, of a fork server that has the libraries loaded: `finish` waits for it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["cft.train.sft", "eval.answering.run"])
    process = context.Process(target=train_and_tell, args=(recipe.model_dump(), examples, folder, limits or {}))
    process.start()
    return process


def train_and_tell(recipe: dict, examples: Path, folder: Path, limits: dict[int, int]) -> None:
    """Train with one thread under rlimits (bytes; of memory, above what is used now), and write down how it ended."""
    import torch

    torch.set_num_threads(1)
    for kind, limit in limits.items():
        if kind == resource.RLIMIT_AS:
            limit += int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(kind, (limit, resource.getrlimit(kind)[1]))
    try:
        end = run_train(Recipe.model_validate(recipe), examples, folder)[1]
    except TrainError as error:
        end = f"TrainError: {error}"
    except Terminated:
        os._exit(143)
    os.write(os.open(folder / "end.txt", os.O_CREAT | os.O_WRONLY | os.O_TRUNC), end.encode())


def finish(process, folder: Path) -> str:
    process.join(120)
    assert process.exitcode == 0
    return (folder / "end.txt").read_text()


def wait_until(condition, process) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert process.is_alive() and time.monotonic() < deadline
        time.sleep(0.005)


def interrupted(recipe: Recipe, examples: Path, folder: Path, monkeypatch, step: int) -> str:
    """What a training prints that Ctrl-C stops at the begin of the step after `step`."""
    from cft.train import job, sft

    class Interrupted(job.TrainProgress):
        def on_step_begin(self, args, state, control, **kwargs):
            if state.global_step == step:
                raise KeyboardInterrupt

    console = Console(file=io.StringIO(), width=200)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(job, "TrainProgress", Interrupted)
        sft.train(recipe, examples, folder, console=console)
    return console.file.getvalue()
