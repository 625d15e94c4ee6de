"""Trainings of the tiny model: recipes, rows, trainers, and a training in this process or in one of its own."""

import io
import json
import multiprocessing
import os
import resource
import time
from pathlib import Path

import pytest
from rich.console import Console
from safetensors.torch import load_file

from cft.devices import pick_device
from cft.errors import Terminated, TrainError
from cft.files import read_json
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


# (prompt, completion) tokens of rows that share a batch, and so are padded
LENGTHS = [(5, 9), (12, 3), (7, 20), (3, 1)]


def make_trainer(model: Path, folder: Path, *, full: bool = False, lengths=LENGTHS, args: dict | None = None, **block):
    """A trainer of our defaults for this device, of rows of random tokens, its adapter's weights drawn with a seed.

    `step` does what `Trainer.train` does between two optimizer steps.
    """
    import datasets
    import torch
    from peft import LoraConfig

    from cft.models.load import load_model, load_tokenizer
    from cft.recipe.blocks import ModelBlock
    from cft.train.loop.defaults import our_defaults
    from cft.train.loop.faults import training_arguments
    from cft.train.loop.trainer import CompletionTrainer

    block, device = ModelBlock(id=str(model), **block), pick_device()
    keys = our_defaults(device, block.dtype, args or {}, block.attn_implementation, full=full) | (args or {})
    keys |= {"max_length": None} if keys["padding_free"] else {}
    torch.manual_seed(0)
    random = torch.Generator().manual_seed(0)
    ids = [torch.randint(3, 250, (sum(length),), generator=random).tolist() for length in lengths]
    rows = [{"input_ids": row, "labels": [-100] * n + row[n:]} for row, (n, _) in zip(ids, lengths, strict=True)]
    lora = LoraConfig(r=8, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
    trainer = CompletionTrainer(
        model=load_model(block.model_copy(update={"dtype": "float32"}) if full else block),
        args=training_arguments(keys, 0, folder),
        processing_class=load_tokenizer(block),
        peft_config=None if full else lora,
        train_dataset=datasets.Dataset.from_list(rows),
    )
    trainer.model_wrapped = trainer.accelerator.prepare_model(trainer.model)
    return trainer


def step(trainer, rows: list[int]) -> tuple[float, dict]:
    """Loss and gradients, by the names of the weights, of one batch of some of the trainer's rows."""
    from cft.train.loop.asking import casting_inputs

    batch = trainer.data_collator([trainer.train_dataset[i] for i in rows])
    count = (batch["labels"][:, 1:] != -100).sum().to(trainer.args.device)
    with casting_inputs(trainer.model, not (trainer.args.bf16 or trainer.args.fp16)):
        loss = trainer.training_step(trainer.model_wrapped, batch, count)
    return loss.item(), gradients(trainer.model)


def gradients(model) -> dict:
    """The gradients of all trained weights, on the CPU in float32; the model has none afterwards."""
    found = {name: weight.grad.float().cpu() for name, weight in model.named_parameters() if weight.grad is not None}
    model.zero_grad()
    return found


def distance(one: dict, other: dict) -> float:
    """How far two sets of tensors are apart, as a share of the length of the second."""
    import torch

    assert one.keys() == other.keys() and one
    a, b = (torch.cat([tensors[name].flatten() for name in one]) for tensors in (one, other))
    return ((a - b).norm() / b.norm()).item()


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
    """A process that trains: `finish` waits for it."""
    return started(train_and_tell, recipe.model_dump(), examples, folder, limits or {})


def started(target, *args):
    """A process of a fork server that has the libraries loaded; a new one where a GPU is, which a fork cannot use."""
    context = multiprocessing.get_context("forkserver" if pick_device() == "cpu" else "spawn")
    context.set_forkserver_preload(["cft.train.sft", "eval.answering.run"])
    process = context.Process(target=target, args=args)
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


def assert_same_adapter(ours: Path, plain: Path, most: float) -> None:
    """Two folders hold one adapter: the same settings, and updates B·A that differ by at most that share of them."""
    one, other = (read_json(folder / "adapter_config.json") for folder in (ours, plain))
    for config in (one, other):
        config["target_modules"].sort()
    differing = {key for key in one.keys() | other.keys() if one.get(key) != other.get(key)}
    assert differing <= {"base_model_name_or_path", "revision"}
    one, other = (load_file(folder / "adapter_model.safetensors") for folder in (ours, plain))
    assert one.keys() == other.keys()
    for a in (name for name in one if "lora_A" in name):
        b = a.replace("lora_A", "lora_B")
        update = one[b] @ one[a]
        assert (other[b] @ other[a] - update).norm() < most * update.norm(), a
