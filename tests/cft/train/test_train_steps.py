"""Adapters that are kept: of earlier steps (`train.keep_steps`), through a kill too; of modules given as a pattern."""

import json

import pytest
from peft import PeftModel
from transformers import AutoModelForCausalLM

from cft.errors import TrainError
from tests.support.training import interrupted, make_recipe, run_train, same_weights, write_examples

ARGS = {"num_train_epochs": 3, "gradient_accumulation_steps": 2, "save_steps": 1, "learning_rate": 1e-2,
        "lr_scheduler_type": "constant", "warmup_steps": 0}  # fmt: skip


def recipe_with(model, steps, **args):
    recipe = make_recipe(model, ARGS | args)
    return recipe.model_copy(update={"train": recipe.train.model_copy(update={"keep_steps": steps})})


@pytest.fixture(scope="module")
def trained(tiny_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    examples = write_examples(folder / "examples.jsonl", 4)
    run_train(recipe_with(tiny_model, [2, 4, 6]), examples, folder / "train")
    return examples, folder / "train"


def test_a_kept_step_is_the_adapter_of_a_training_that_ends_there(trained, tiny_model, tmp_path):
    examples, folder = trained
    assert sorted(path.name for path in (folder / "steps").iterdir()) == ["step-2", "step-4", "step-6"]
    run_train(make_recipe(tiny_model, ARGS | {"max_steps": 2}), examples, tmp_path)
    assert same_weights(folder / "steps" / "step-2", tmp_path / "adapter")
    assert same_weights(folder / "steps" / "step-6", folder / "adapter")
    assert not same_weights(folder / "steps" / "step-4", folder / "adapter")


def test_a_training_that_was_stopped_keeps_the_same_steps(trained, tiny_model, tmp_path, monkeypatch):
    examples, folder = trained
    interrupted(recipe_with(tiny_model, [2, 4, 6]), examples, tmp_path, monkeypatch, step=3)
    assert "going on from step 3" in run_train(recipe_with(tiny_model, [2, 4, 6]), examples, tmp_path)[1]
    for name in ("steps/step-2", "steps/step-4", "adapter"):
        assert same_weights(tmp_path / name, folder / name)


def test_a_step_that_training_never_reaches_is_told_at_its_start(trained, tiny_model, tmp_path):
    with pytest.raises(TrainError, match=r"names step 7, but training has 6 steps"):
        run_train(recipe_with(tiny_model, [2, 7]), trained[0], tmp_path)


def test_a_pattern_of_target_modules_is_kept_and_loads_again(tiny_model, tmp_path) -> None:
    pattern = r".*\.(q_proj|v_proj)"
    recipe = make_recipe(tiny_model, {"max_steps": 1}, {"r": 4, "target_modules": pattern})
    run_train(recipe, write_examples(tmp_path / "examples.jsonl", 2), tmp_path)
    config = json.loads((tmp_path / "adapter/adapter_config.json").read_text())
    assert config["target_modules"] == pattern
    base = AutoModelForCausalLM.from_pretrained(tiny_model)
    loaded = PeftModel.from_pretrained(base, tmp_path / "adapter").state_dict()
    names = {name.split(".lora_")[0].rpartition(".")[2] for name in loaded if ".lora_" in name}
    assert names == {"q_proj", "v_proj"}
