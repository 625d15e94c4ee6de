"""Full fine-tuning: all weights are trained, in float32, and the product is a model by itself that everything takes."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from cft.errors import RecipeError
from cft.models.source import resolve
from cft.recipe.blocks import Recipe
from cft.recipe.load import load_recipe
from cft.train.card import write_card
from tests.support.command import cft
from tests.support.training import ROWS, interrupted, make_recipe, run_train, write_examples

ARGS = {"num_train_epochs": 4, "gradient_accumulation_steps": 2, "learning_rate": 1e-3, "save_steps": 1}


def full(model: Path, **changes) -> Recipe:
    recipe = make_recipe(model, ARGS)
    return recipe.model_copy(update={"train": recipe.train.model_copy(update={"full": True} | changes)})


def state(folder: Path) -> dict:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


@pytest.fixture(scope="module")
def trained(tiny_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("full")
    examples = write_examples(folder / "examples.jsonl", 8)
    summary, _ = run_train(full(tiny_model, keep_steps=[4]), examples, folder)
    return folder, examples, summary


def test_all_weights_learn_and_the_folder_loads_by_itself(trained, tiny_model):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder, _, summary = trained
    assert summary["last_loss"] < summary["first_loss"] - 0.5 and summary["steps"] == 16
    names = {path.name for path in (folder / "adapter").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md"} <= names
    assert not {"adapter_config.json", "training_args.bin", "optimizer.pt"} & names
    before, after = state(tiny_model), state(folder / "adapter")
    assert after.keys() == before.keys() and {tensor.dtype for tensor in after.values()} == {torch.bfloat16}
    assert all(not torch.equal(before[key], after[key]) for key in after if "norm" not in key)
    tokenizer = AutoTokenizer.from_pretrained(folder / "adapter")
    messages = [{"role": "user", "content": ROWS[0][0]}, {"role": "assistant", "content": ROWS[0][1]}]
    ids = tokenizer.apply_chat_template(messages, return_tensors="pt")["input_ids"]
    losses = [AutoModelForCausalLM.from_pretrained(m)(ids, labels=ids).loss for m in (tiny_model, folder / "adapter")]
    assert losses[1] < losses[0] - 0.3
    kept = state(folder / "steps" / "step-4")
    assert kept.keys() == after.keys() and {tensor.dtype for tensor in kept.values()} == {torch.bfloat16}
    for one in ("adapter", "steps/step-4"):
        assert json.loads((folder / one / "config.json").read_text())["dtype"] == "bfloat16"


def test_the_chosen_step_has_the_type_of_the_recipe_too(tiny_model, tmp_path):
    import torch

    overrides = [f"model.id={tiny_model}", "model.dtype=bfloat16", "train.full=true", "train.lora={}",
                 "train.args.max_length=9000", "data.students=[]", "data.teachers=[{kind: file, path: bakery}]",
                 "eval.max_new_tokens=12", "train.select={every: 2, limit: 4}"]  # fmt: skip
    for stage in ("data", "train"):
        done = cft(stage, "smoke", *overrides, "--json", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    (adapter,) = tmp_path.glob("runs/smoke/*/train/adapter")
    assert "selected_step" in json.loads((adapter.parent / "metrics.json").read_text())["summary"]
    assert {tensor.dtype for tensor in state(adapter).values()} == {torch.bfloat16}
    assert json.loads((adapter / "config.json").read_text())["dtype"] == "bfloat16"


def test_stopped_and_gone_on_it_is_the_same_bit_for_bit(trained, tiny_model, tmp_path, monkeypatch):
    import torch

    folder, examples, _ = trained
    recipe = full(tiny_model, keep_steps=[4])
    interrupted(recipe, examples, tmp_path, monkeypatch, step=6)
    assert "going on from step 6" in run_train(recipe, examples, tmp_path)[1]
    one, other = state(folder / "adapter"), state(tmp_path / "adapter")
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_the_card_is_that_of_a_model(trained):
    text = (trained[0] / "adapter" / "README.md").read_text()
    _, front, body = text.split("---\n", 2)
    assert yaml.safe_load(front)["library_name"] == "transformers" and "lora" not in yaml.safe_load(front)["tags"]
    assert "All weights of" in body and "PeftModel" not in body


def test_the_card_tells_a_hub_how_it_came_of_its_base(trained, tiny_model, tmp_path):
    source = replace(resolve(full(tiny_model).model), hub_id="some/base")
    for name, recipe in (("finetune", full(tiny_model)), ("adapter", load_recipe("quickstart"))):
        write_card(tmp_path, recipe=recipe, source=source, summary={}, log=[{"step": 1, "loss": 2.0}], versions={})
        front = yaml.safe_load((tmp_path / "README.md").read_text().split("---\n")[1])
        assert (front["base_model"], front["base_model_relation"]) == ("some/base", name)
        assert f"base_model:{name}:some/base" in front["tags"]
    front = (trained[0] / "adapter" / "README.md").read_text().split("---\n")[1]
    assert "base_model" not in front  # a folder here, which a hub would refuse


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["train.full=true"], "train.lora"),
        (["train.full=true", "train.lora={}", "model.quantization=nf4"], "4-bit weights cannot be trained"),
        (["train.full=true", "train.lora={}", "eval.arms=[base, merged]"], "there is nothing to merge"),
    ],
)
def test_what_does_not_go_with_it_is_a_fault(overrides, words):
    with pytest.raises(RecipeError, match=words):
        load_recipe("quickstart", overrides)


def test_the_whole_chain_scores_it_against_its_base_and_exports_it(tiny_model, tmp_path):
    overrides = [f"model.id={tiny_model}", "train.full=true", "train.lora={}", "train.args.max_length=9000",
                 "train.args.learning_rate=3e-3", "data.students=[]", "data.teachers=[{kind: file, path: bakery}]",
                 "eval.limit=3", "eval.max_new_tokens=12", "train.keep_steps=[2]",
                 "eval.arms=[base, adapter, step-2]"]  # fmt: skip
    done = cft("run", "smoke", *overrides, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run = tmp_path / json.loads(done.stdout)["run"]
    texts = {}
    for arm in ("base", "adapter", "step-2"):
        lines = (run / "eval" / "cft_wordproblems" / arm / "answers.jsonl").read_text().splitlines()
        texts[arm] = [json.loads(line)["response"] for line in lines]
    assert texts["base"] != texts["adapter"] and all(texts.values())
    exported = cft("export", "smoke", "--json", cwd=tmp_path)
    assert exported.returncode == 0, exported.stderr
    assert (run / "export" / "merged" / "config.json").is_file()
    tried = cft("try", "smoke", "What is 2+2?", "--max-new-tokens", "4", "--json", cwd=tmp_path)
    assert tried.returncode == 0, tried.stderr
