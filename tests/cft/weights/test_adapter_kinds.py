"""Adapters other than LoRA: what is trained of them, and that they survive a stop, a file and a merge."""

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from cft.errors import RecipeError, RunError, TrainError
from cft.models.load import load_model
from cft.recipe.blocks import ModelBlock, Recipe
from cft.recipe.load import load_recipe
from cft.weights.adapter import attach
from cft.weights.merge import merge_into_base
from tests.support.training import interrupted, make_recipe, run_train, same_weights, write_examples

ARGS = {"max_steps": 2, "gradient_accumulation_steps": 1, "learning_rate": 0.02, "warmup_steps": 0, "save_steps": 1}
IDS = torch.arange(60)[None] * 4 % 250
TINY = {"peft_type": "TINYLORA", "u": 13, "weight_tying": 1.0, "target_modules": "all-linear"}
BIASES = {"peft_type": "BEFT", "target_modules": ["q_proj", "k_proj", "v_proj"]}


def logits_of(model) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(IDS).logits


@pytest.mark.parametrize(("lora", "trained"), [(TINY, 13), (BIASES, 2 * (64 + 32 + 32))])
def test_it_survives_a_stop_a_file_and_a_merge(tiny_model, tmp_path, monkeypatch, lora, trained):
    recipe, examples = make_recipe(tiny_model, ARGS, lora, dtype="float32"), write_examples(tmp_path / "rows.jsonl", 4)
    whole = tmp_path / "whole"
    assert run_train(recipe, examples, whole)[0]["trained_parameters"] == trained
    interrupted(recipe, examples, tmp_path / "stopped", monkeypatch, 1)
    assert "going on from step 1" in run_train(recipe, examples, tmp_path / "stopped")[1]
    assert same_weights(whole / "adapter", tmp_path / "stopped" / "adapter")

    def base():
        return AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)

    plain = logits_of(PeftModel.from_pretrained(base(), whole / "adapter"))  # which computes the matrices first
    ours = attach(load_model(ModelBlock(id=str(tiny_model), dtype="float32")), whole / "adapter", "x", "one")
    assert torch.equal(logits_of(ours), plain) and not torch.equal(plain, logits_of(base()))
    merged, shares = merge_into_base(ours, 0)
    assert shares["share"] == 1 and not hasattr(merged, "peft_config")
    torch.testing.assert_close(logits_of(merged), plain, rtol=1e-4, atol=1e-4)
    card = (whole / "adapter" / "README.md").read_text()
    assert f"- {lora['peft_type'].lower()}\n" in card and "LoRA adapter" not in card.replace("TinyLoRA", "")


def test_biases_for_layers_without_one_are_trained_and_cannot_be_merged(tiny_model, tmp_path):
    examples = write_examples(tmp_path / "rows.jsonl", 4)
    raw = make_recipe(tiny_model, ARGS, BIASES | {"target_modules": ["o_proj"]}, dtype="float32").model_dump(
        mode="json"
    )
    summary, said = run_train(Recipe.model_validate(raw), examples, tmp_path / "one")
    assert summary["trained_parameters"] == 2 * 64
    assert "cannot merge such an adapter: some of its layers have no bias" in said
    block = ModelBlock(id=str(tiny_model), dtype="float32")
    with pytest.raises(RunError, match="o_proj: has no bias"):
        merge_into_base(attach(load_model(block), tmp_path / "one" / "adapter", "x", "one"), 0)
    raw["eval"]["arms"] = ["base", "merged"]
    with pytest.raises(TrainError, match=r"The arm `merged` of eval\.arms could not be scored"):
        run_train(Recipe.model_validate(raw), examples, tmp_path / "other")


def test_singular_values_are_not_had_of_four_bits():
    with pytest.raises(RecipeError, match=r"model\.quantization = \"nf4\": TinyLoRA is made from 16-bit"):
        load_recipe("quickstart", ["model.quantization=nf4", "train.lora={peft_type: TINYLORA}"])
