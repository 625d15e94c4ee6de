"""QLoRA really trains here: bitsandbytes has a CPU back end. Resumed training changes no bit."""

import json

import pytest

from cft.errors import ModelError
from tests.support.training import ROWS, interrupted, make_recipe, run_train, same_weights, weights, write_examples

pytest.importorskip("bitsandbytes")
ARGS = {"num_train_epochs": 4, "gradient_accumulation_steps": 2, "learning_rate": 1e-2, "save_steps": 1}


@pytest.fixture(scope="module")
def trained(tiny_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("qlora")
    examples = write_examples(folder / "examples.jsonl", 8)
    summary, _ = run_train(make_recipe(tiny_model, ARGS, quantization="nf4"), examples, folder)
    return folder, examples, summary


def test_the_loss_falls_and_the_adapter_loads_on_the_full_base(trained, tiny_model):
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder, _, summary = trained
    assert summary["steps"] == 16 and summary["last_loss"] < summary["first_loss"] - 0.5
    assert {tensor.dtype for tensor in weights(folder / "adapter").values()} == {torch.bfloat16}  # as TRL trains it
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model), folder / "adapter")
    messages = [{"role": "user", "content": ROWS[0][0]}, {"role": "assistant", "content": ROWS[0][1]}]
    ids = tokenizer.apply_chat_template(messages, return_tensors="pt")["input_ids"]
    with torch.no_grad(), model.disable_adapter():
        before = model(ids, labels=ids).loss
    assert model(ids, labels=ids).loss < before - 0.3


def test_the_base_is_in_4_bits_while_it_trains(trained, tiny_model):
    import bitsandbytes

    from cft.models.load import load_model

    model = load_model(make_recipe(tiny_model, quantization="nf4").model)
    kinds = {type(module) for name, module in model.named_modules() if name.endswith("_proj")}
    assert kinds == {bitsandbytes.nn.Linear4bit} and type(model.get_output_embeddings()).__name__ == "Linear"


def test_it_is_another_adapter_than_that_of_the_full_base(trained, tiny_model, tmp_path):
    folder, examples, _ = trained
    run_train(make_recipe(tiny_model, ARGS), examples, tmp_path)
    assert not same_weights(folder / "adapter", tmp_path / "adapter")
    settings = json.loads((folder / "metrics.json").read_text())["settings"]
    assert settings["quantization"] == "nf4"


def test_stopped_and_gone_on_it_is_the_same_bit_for_bit(trained, tiny_model, tmp_path, monkeypatch):
    folder, examples, _ = trained
    recipe = make_recipe(tiny_model, ARGS, quantization="nf4")
    interrupted(recipe, examples, tmp_path, monkeypatch, step=5)
    assert "going on from step 5" in run_train(recipe, examples, tmp_path)[1]
    assert same_weights(folder / "adapter", tmp_path / "adapter")


def test_without_bitsandbytes_it_says_what_to_install(tiny_model, tmp_path, monkeypatch):
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "bitsandbytes" else real(name, *a)
    )
    examples = write_examples(tmp_path / "examples.jsonl", 2)
    with pytest.raises(ModelError, match=r"bitsandbytes is not installed: pip install|model\.quantization=none"):
        run_train(make_recipe(tiny_model, quantization="nf4"), examples, tmp_path)
