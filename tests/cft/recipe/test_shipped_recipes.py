"""Every shipped recipe and sweep: the overrides and commands that its head names, and its plan."""

import re
import shlex
from pathlib import Path

import pytest

from cft.models.catalogue import load_entries
from cft.plan.plan import make_plan
from cft.recipe.load import load_recipe
from cft.recipe.shipped import find_recipe, list_recipes, list_sweeps
from cft.recipe.sweep import load_sweep

NAMES = list(list_recipes())
GPU = [name for name in NAMES if name.endswith("lora")]


def head(path: Path) -> str:
    return "\n".join(line for line in path.read_text().split("\n") if line.startswith("#"))


def commands(path: Path) -> list[list[str]]:
    """The `cft ...` commands after Command: and GPU: in a head, as words."""
    text = re.sub(r"\n# {3,}", " ", head(path))
    found = re.findall(r"^# (?:Command|GPU): +(cft .*?)(?=\. [A-Z]|$)", text, re.MULTILINE)
    return [shlex.split(command) for command in found]


@pytest.mark.parametrize("path", [*list_recipes().values(), *list_sweeps().values()], ids=lambda path: path.stem)
def test_the_commands_that_a_head_names_are_valid(path):
    assert commands(path)
    for _, verb, name, *words in commands(path):
        overrides = [word.replace("MODEL", "some-model") for word in words if not word.startswith("--")]
        overrides = [word for word in overrides if "=" in word]
        if verb == "sweep":
            assert load_sweep(name, overrides).path == path
        else:
            load_recipe(name, overrides)
            assert find_recipe(name) == path


@pytest.mark.parametrize("name", NAMES)
def test_every_override_that_a_head_names_is_one(name):
    text = head(find_recipe(name))
    for word in re.findall(r"(?<![\w'])((?:model|train|eval)\.[\w.]+=[\w.]+)", text):
        load_recipe(name, [word.rstrip(".")])


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_has_a_plan(name, tmp_path):
    overrides = ["data.teachers.0.model=some-model"] if name == "llm_teacher" else []
    plan = make_plan(load_recipe(name, overrides), tmp_path)
    assert plan["stages"] and not list(tmp_path.iterdir())
    assert plan["estimates"]["memory_gb"] > 0


@pytest.mark.parametrize("name", GPU)
def test_the_recipes_for_a_gpu_keep_to_what_their_heads_say(name):
    recipe = load_recipe(name, libraries=True)
    args = recipe.train.args
    assert recipe.model.id in load_entries()
    assert args["per_device_train_batch_size"] * args["gradient_accumulation_steps"] == 8
    assert (recipe.model.quantization == "nf4") == name.endswith("qlora")
    assert recipe.train.select.task == "cft_math_validation" and recipe.eval.tasks == ["cft_math500"]
    assert 50 <= -(-189 // 8) * args["num_train_epochs"] <= 100
    assert recipe.eval.max_new_tokens <= 3072  # Qwen2.5-Math reads 4,096 tokens, and all are scored alike
