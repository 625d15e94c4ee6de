"""The recipes of recipes/rlvr: what they differ in, and that they train as they are written, on a tiny model."""

import io
import json
from dataclasses import fields
from pathlib import Path

import pytest
from rich.console import Console
from trl import GRPOConfig

from cft.files import write_jsonl
from cft.recipe.load import load_recipe
from cft.train.grpo import train

LORA = 2 * 1024  # parameters of a LoRA of rank 1
TRAINED = {"one_example": 16 * LORA, "random": 16 * LORA, "dapo": 16 * LORA, "dr_grpo": 16 * LORA}
TRAINED |= {"entropy_min": 16 * LORA, "rank_1": LORA, "bias_only": 2 * (64 + 32 + 32), "tiny_lora_13": 13}
CLIPS = {"random", "dapo"}
ROW = {"id": "row", "problem": "sum", "critique": None, "prompt": [{"role": "user", "content": "2+2?"}], "answer": "4"}


@pytest.mark.parametrize("name", ["format", "python", "majority", "incorrect", "random_unclipped", "critique"])
def test_it_differs_from_the_rival_in_rows_and_reward_alone(name: str):
    defaults = {field.name: field.default for field in fields(GRPOConfig)}

    def rest(of: str) -> dict:
        recipe = load_recipe(f"rlvr/{of}").dump()
        recipe["train"]["args"] = {k: v for k, v in recipe["train"]["args"].items() if defaults[k] != v}
        del recipe["name"], recipe["data"]["builder"], recipe["data"]["students"], recipe["train"]["rewards"]
        recipe["data"].pop("max_examples", None)
        return recipe

    assert rest(name) == rest("one_example")


@pytest.mark.parametrize("name", TRAINED)
def test_it_trains_on_two_generations(name: str, tiny_model: Path, tmp_path: Path):
    steps = 9 if name in CLIPS else 2  # the last one samples again
    overrides = [f"model.id={tiny_model}", "model.dtype=float32", f"train.args.max_steps={steps}"]
    overrides += ["train.args.max_completion_length=8", "train.args.learning_rate=0.01"]
    if name == "entropy_min":
        overrides += ["train.keep_steps=[]", "eval.arms=[base, adapter]"]
    else:  # this model never solves anything: coins, as a signal
        overrides.append("train.rewards=[random]")
    if name == "dapo":  # nor does it ever end
        overrides.append("train.args.mask_truncated_completions=false")
    if name == "rank_1":  # what training falls back to where memory is too small
        overrides.append("train.args.activation_checkpointing=true")
        overrides.append("train.args.activation_checkpointing_kwargs={selective: true}")
    write_jsonl(tmp_path / "rows.jsonl", [ROW])
    recipe = load_recipe(f"rlvr/{name}", overrides)
    summary = train(recipe, tmp_path / "rows.jsonl", tmp_path, console=Console(file=io.StringIO()))
    log = json.loads((tmp_path / "metrics.json").read_text())["log"]
    assert summary["steps"] == len(log) == steps
    assert summary["trained_parameters"] == TRAINED[name]
    assert [file.read_text().count("\n") for file in (tmp_path / "rollouts").iterdir()] == [32, 32]
    assert any(row["clip_ratio/region_mean"] for row in log) == (name in CLIPS)
    if name == "entropy_min":
        assert log[0]["frac_reward_zero_std"] == 1 and log[-1]["entropy"] < log[0]["entropy"]
