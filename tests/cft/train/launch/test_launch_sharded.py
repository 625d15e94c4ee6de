"""Processes that share the weights: what they save is one process's model, and who may go on from their checkpoints."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch.distributed as dist
from rich.console import Console

from cft.errors import TrainError
from cft.files import write_json
from cft.recipe.blocks import Recipe
from cft.train.launch.start import CONFIGS
from cft.train.loop.checkpoints import claim
from tests.support.launching import ARGS, ROOT, assert_same_training, launched
from tests.support.training import interrupted, make_recipe, run_train, write_examples

pytestmark = pytest.mark.usefixtures("one_thread")
# bfloat16 is what the folder is written in; the processes here are taken for GPUs, which must not autocast on a CPU
FULL = ARGS | {"bf16": False}


def full(model: Path) -> Recipe:
    recipe = make_recipe(model, FULL)
    return recipe.model_copy(update={"train": recipe.train.model_copy(update={"full": True})})


def sharded(kind: str, recipe: Recipe, examples: Path, folder: Path, *, processes: int = 2, **hooks) -> dict:
    """Train in CPU processes that share the weights, as tests.support.gloo_worker makes accelerate do.

    Args:
        hooks: what tests.support.gloo_worker takes from the environment, such as stop_in.

    Returns:
        what the processes that failed left behind: {"kind": ..., "text": ...} of one of them, or nothing.
    """
    for path in folder.glob("error-*"):
        path.unlink()
    job = {"recipe": recipe.model_dump(mode="json"), "examples": str(examples), "folder": str(folder)}
    job |= {"parent": os.getpid(), "kind": kind, "processes": processes}
    job |= {"tracker": "none", "terminal": False, "width": 80}
    folder.mkdir(exist_ok=True)
    (folder / "job.json").write_text(json.dumps(job))
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(CONFIGS / f"{kind}.yaml")]
    command += ["--num_processes", str(processes), "-m", "tests.support.gloo_worker", str(folder / "job.json")]
    environment = os.environ | {name.upper(): str(value) for name, value in hooks.items()}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, env=environment)
    told = sorted((json.loads(path.read_text()) for path in folder.glob("error-*")), key=lambda e: e["kind"] != "fault")
    assert bool(done.returncode) == bool(told), done.stderr[-3000:]
    return told[0] if told else {}


@pytest.fixture(scope="module")
def one(tiny_model, tmp_path_factory):
    """Recipe, examples and the folder of a training of all weights in one process."""
    folder = tmp_path_factory.mktemp("one")
    recipe, examples = full(tiny_model), write_examples(folder / "examples.jsonl", 9)
    run_train(recipe, examples, folder)
    return recipe, examples, folder


def assert_same_model(one: Path, other: Path) -> None:
    import torch
    from safetensors.torch import load_file

    a, b = (load_file(folder / "adapter" / "model.safetensors") for folder in (one, other))
    assert a.keys() == b.keys()  # no second copy of a head that is the embedding
    assert {tensor.dtype for tensor in b.values()} == {torch.bfloat16}
    for key in a:  # a weight may fall on the other side of a rounding to bfloat16
        assert torch.allclose(a[key].float(), b[key].float(), rtol=2**-7, atol=1e-6), key
    logs = [json.loads((folder / "metrics.json").read_text())["log"] for folder in (one, other)]
    assert [row["loss"] for row in logs[1]] == pytest.approx([row["loss"] for row in logs[0]], rel=1e-5)


def assert_loads_by_itself(folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.dtype == torch.bfloat16 and model.lm_head.weight is model.model.embed_tokens.weight
    ids = AutoTokenizer.from_pretrained(folder)("2+2", return_tensors="pt")["input_ids"]
    assert model(ids).logits.isfinite().all()


def test_all_weights_shared_stopped_and_gone_on_are_the_model_of_one_process(one, tmp_path) -> None:
    recipe, examples, alone = one
    assert sharded("fsdp2", recipe, examples, tmp_path, stop_in=3)["kind"] == "terminated"
    saved = tmp_path / "checkpoints/checkpoint-3"
    assert (saved / "complete").exists() and not (tmp_path / "adapter").exists()
    with pytest.raises(TrainError) as caught:  # one process cannot read that; nothing is lost
        run_train(recipe, examples, tmp_path)
    assert str(caught.value) == (
        f"{saved}: a training whose processes each have all weights cannot go on from it, for it was begun otherwise. "
        f"Go on with --launch fsdp2; or delete {saved.parent} to start again."
    )
    assert sharded("fsdp2", recipe, examples, tmp_path) == {}
    assert_same_model(alone, tmp_path)
    assert_loads_by_itself(tmp_path / "adapter")


def test_so_they_are_with_deepspeed(one, tmp_path) -> None:
    pytest.importorskip("deepspeed")
    recipe, examples, alone = one
    assert sharded("zero3", recipe, examples, tmp_path, stop_in=3)["kind"] == "terminated"
    assert sharded("zero3", recipe, examples, tmp_path) == {}
    assert_same_model(alone, tmp_path)
    assert_loads_by_itself(tmp_path / "adapter")


def test_what_one_process_began_goes_on_where_each_has_all_weights_only(single, tmp_path, monkeypatch) -> None:
    recipe, examples, alone = single
    interrupted(recipe, examples, tmp_path, monkeypatch, step=3)
    saved = tmp_path / "checkpoints/checkpoint-3"
    with monkeypatch.context() as patch, pytest.raises(TrainError) as caught:
        patch.setenv("ACCELERATE_USE_FSDP", "true")  # which a lone process may be started with too
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
        claim(saved.parent, {}, Console(file=io.StringIO()))
    dist.destroy_process_group()
    assert str(caught.value) == (
        f"{saved}: --launch fsdp2 cannot go on from it, for it was begun otherwise. Go on without --launch, or with "
        f"--launch ddp; or delete {saved.parent} to start again."
    )
    assert (saved / "complete").exists()
    assert "going on from step 3" in launched(recipe, examples, tmp_path)[1]
    assert_same_training(alone, tmp_path)


@pytest.mark.soak
@pytest.mark.parametrize("kind", ["fsdp2", "zero3"])
def test_two_processes_that_share_the_weights_train_the_adapter_that_one_trains(single, tmp_path, kind) -> None:
    if kind == "zero3":
        pytest.importorskip("deepspeed")
    recipe, examples, alone = single
    assert sharded(kind, recipe, examples, tmp_path) == {}
    assert_same_training(alone, tmp_path)


@pytest.mark.soak
def test_an_adapter_goes_on_with_another_number_of_processes_that_share_the_weights(single, tmp_path) -> None:
    recipe, examples, alone = single
    assert sharded("fsdp2", recipe, examples, tmp_path, processes=1, stop_in=3)["kind"] == "terminated"
    assert sharded("fsdp2", recipe, examples, tmp_path) == {}
    assert_same_training(alone, tmp_path)


@pytest.mark.parametrize(("kind", "processes"), [("zero3", 4), ("fsdp2", 1)])
def test_checkpoints_of_a_sharded_training_are_kept_from_one_process(tmp_path, kind, processes) -> None:
    (tmp_path / "checkpoint-7").mkdir()
    (tmp_path / "checkpoint-7" / "complete").touch()
    write_json(tmp_path / "launch.json", {"sharding": kind, "processes": processes})
    with pytest.raises(TrainError, match=rf"checkpoint-7: .* Go on with --launch {kind}"):
        claim(tmp_path, {"args": {}}, Console(file=io.StringIO()))
    assert (tmp_path / "checkpoint-7" / "complete").exists()


@pytest.mark.parametrize(("processes", "kept"), [(2, True), (1, False)])
def test_compiled_layers_set_trainings_apart_only_where_one_process_did_both(tmp_path, processes, kept) -> None:
    saved = tmp_path / "checkpoint-7"
    saved.mkdir()
    (saved / "complete").touch()
    write_json(tmp_path / "launch.json", {"sharding": None, "processes": processes})
    write_json(tmp_path / "training.json", {"args": {"torch_compile": False}, "seed": 0})
    settings = {"args": {"torch_compile": True}, "seed": 0}
    assert claim(tmp_path, settings, Console(file=io.StringIO())) == (saved if kept else None)
    assert claim(tmp_path, settings | {"seed": 1}, Console(file=io.StringIO())) is None


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="limits memory by what Linux tells of it")
def test_where_one_runs_out_of_memory_the_error_names_the_setting_to_try_by_hand(tiny_model, tmp_path) -> None:
    recipe = make_recipe(
        tiny_model, {"bf16": False, "per_device_train_batch_size": 32, "gradient_accumulation_steps": 2}
    )
    examples = write_examples(tmp_path / "examples.jsonl", 64, repeat=60)
    told = sharded("fsdp2", recipe, examples, tmp_path, limit=1_000_000_000)
    assert told["kind"] == "fault" and told["text"].startswith("out of memory on this machine, with rows of up to ")
    assert (
        "What is left: what several processes do not try by themselves: train.args.per_device_train_batch_size=16 "
        "train.args.gradient_accumulation_steps=4; or a smaller model"
    ) in told["text"]
