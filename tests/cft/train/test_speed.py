"""What makes training faster is chosen where it works and pays, and computes the same."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from cft.errors import TrainError
from cft.models.load import load_model
from cft.recipe.blocks import ModelBlock
from cft.train.loop import speed
from tests.support.training import assert_close_weights, make_recipe, run_train, write_examples

ARGS = {"learning_rate": 1e-3, "num_train_epochs": 2, "gradient_accumulation_steps": 2}


def compiles(model: Path, folder: Path, **args) -> bool:
    """Whether a training into this folder compiles its layers."""
    assert speed.compiler_works("cpu")  # so that trying the compiler counts no more
    torch._dynamo.utils.counters.clear()
    recipe = make_recipe(model, ARGS | args, dtype="float32")
    _, text = run_train(recipe, write_examples(folder.with_suffix(".jsonl"), 6), folder)
    assert bool(torch._dynamo.utils.counters["frames"]["ok"]) == ("compiling" in text)
    return "compiling" in text


def test_a_training_is_compiled_where_it_is_long_enough_and_computes_the_same(tiny_model, tmp_path, monkeypatch):
    """Long is what would take ten minutes; a core that counts as a million times slower makes this one so."""
    assert not compiles(tiny_model, tmp_path / "short")
    monkeypatch.setattr(speed, "CORE_FLOPS", speed.CORE_FLOPS / 1e6)
    assert compiles(tiny_model, tmp_path / "long")
    assert not compiles(tiny_model, tmp_path / "never", torch_compile=False)
    assert_close_weights(tmp_path / "long", tmp_path / "short")


@pytest.mark.soak
def test_compiled_layers_train_the_same_where_activations_are_recomputed(tiny_model, tmp_path):
    for compiled in (False, True):
        args = {"gradient_checkpointing": True, "torch_compile": compiled}
        assert compiles(tiny_model, tmp_path / str(compiled), **args) == compiled
    assert_close_weights(tmp_path / "True", tmp_path / "False")


def test_looking_for_pip_leaves_the_compiler_in_order(tmp_path):
    """On Python 3.11 asking the import system for pip made the first compilation of the process fail."""
    code = "from cft.models.wheels import installed_version\nfrom cft.train.loop.speed import compiler_works\n"
    code += "assert installed_version('pip') and compiler_works('cpu')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_without_a_compiler_a_long_training_goes_on_uncompiled(tiny_model, tmp_path, monkeypatch):
    monkeypatch.setattr(speed, "CORE_FLOPS", speed.CORE_FLOPS / 1e6)
    monkeypatch.setattr(torch._inductor.config.cpp, "cxx", (str(tmp_path / "no-such-compiler"),))
    torch._dynamo.reset()
    torch._inductor.utils.clear_caches() if hasattr(torch._inductor.utils, "clear_caches") else None
    monkeypatch.setenv("TORCHINDUCTOR_FORCE_DISABLE_CACHES", "1")
    examples = write_examples(tmp_path / "examples.jsonl", 2)
    summary, text = run_train(make_recipe(tiny_model, ARGS), examples, tmp_path / "run")
    assert summary["steps"] == 2 and "compiling" not in text


def test_a_model_without_a_list_of_layers_is_not_compiled():
    with pytest.raises(TrainError, match="has no `layers` to compile"):
        speed.compile_layers(type("Odd", (), {"base_model": torch.nn.Linear(1, 1)})())


def test_automatic_attention_is_sdpa_where_no_flash_attention_is(tiny_model):
    block = ModelBlock(id=str(tiny_model))
    assert block.attn_implementation == "auto"
    assert speed.training_attention(block, "cpu") == "sdpa"
    assert load_model(block, device="cpu").config._attn_implementation == "sdpa"
    named = block.model_copy(update={"attn_implementation": "eager"})
    assert speed.training_attention(named, "cuda") == "eager"


def test_a_card_is_known_by_its_name(monkeypatch):
    for name, tera in [
        ("NVIDIA GeForce RTX 4090", 165),
        ("NVIDIA L4", 121),
        ("NVIDIA L40", 181),
        ("NVIDIA L40S", 362),
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA H100 NVL", 835),
        ("NVIDIA H200", 989),
        ("NVIDIA A100-SXM4-40GB", 312),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", 100),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", 100),
        ("AMD Radeon RX 7900 XTX", 123),
        ("AMD Radeon RX 7900 XT", 103),
        ("AMD Radeon PRO W7900", 123),
        ("AMD Instinct MI300X OAM", 1307),
        ("X", 100),
    ]:
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda name=name: name)
        assert speed.nominal_flops("cuda") == pytest.approx(speed.MFU * tera * 1e12)
