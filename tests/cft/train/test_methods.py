"""A method of training is added with a block, an entry in the table, and a module of its own."""

import io
import json
from pathlib import Path

import pytest
from pydantic import ValidationError
from rich.console import Console

from cft.pipeline import run_stages
from cft.recipe.blocks import METHODS, Recipe
from cft.recipe.checks import cross_faults
from cft.recipe.faults import Schema
from cft.recipe.library_args import library_faults
from tests.support.toy_method import TOY, ToyRecipe
from tests.support.training import make_recipe, same_weights

TRAIN = {"method": "toy", "first_rows": 4, "lora": {"lora_dropout": 0.2}}
ARGS = {"gradient_accumulation_steps": 1, "save_steps": 1, "learning_rate": 1e-2, "max_length": None}


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setitem(METHODS, "toy", TOY)


def toy_recipe(model: Path, **changes) -> Recipe:
    return ToyRecipe.model_validate(make_recipe(model).model_dump() | {"train": TRAIN | {"args": ARGS} | changes})


def data_and_train(recipe: Recipe, root: Path):
    console = Console(file=io.StringIO(), width=200)
    run = run_stages(recipe, root, console, ["data", "train"])
    return run, console.file.getvalue()


def test_it_runs_through_the_pipeline_and_goes_on_where_it_was_stopped(tiny_model, tmp_path, monkeypatch):
    from cft.train import job

    class Interrupted(job.TrainProgress):
        def on_step_begin(self, args, state, control, **kwargs):
            if state.global_step == 2:
                raise KeyboardInterrupt

    recipe = toy_recipe(tiny_model)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(job, "TrainProgress", Interrupted)
        data_and_train(recipe, tmp_path)
    run, said = data_and_train(recipe, tmp_path)
    assert "going on from step 2" in said
    metrics = json.loads((run.path / "train" / "metrics.json").read_text())
    assert (metrics["summary"]["rows"], metrics["summary"]["steps"]) == (4, 4)
    assert metrics["settings"]["first_rows"] == 4  # an adapter of other rows is another one
    assert "trained with method `toy`" in (run.adapter / "README.md").read_text()
    undisturbed, _ = data_and_train(recipe, tmp_path / "undisturbed")
    assert same_weights(run.adapter, undisturbed.adapter)
    assert "train: done before" in data_and_train(recipe, tmp_path)[1]


@pytest.mark.parametrize(
    ("train", "expected"),
    [
        ({"method": "cft", "first_rows": 4}, "train.first_rows = 4: unknown key. With method toy it is a key;"),
        (TRAIN | {"full": True}, "train.full = true: unknown key. With method cft or sft it is a key;"),
        (TRAIN | {"first_row": 4}, "train.first_row = 4: unknown key. Did you mean first_rows?"),
        ({"method": "tooy"}, 'train.method = "tooy": is not known. Did you mean toy?'),
    ],
)
def test_a_key_of_one_method_is_refused_for_another(tiny_model, train, expected):
    written = make_recipe(tiny_model).model_dump() | {"train": train}
    with pytest.raises(ValidationError) as caught:
        ToyRecipe.model_validate(written)
    (fault,) = Schema(ToyRecipe, written).faults(caught.value)
    assert str(fault).startswith(expected)


def test_its_builders_and_the_arguments_of_its_library_are_checked(tiny_model):
    recipe = toy_recipe(tiny_model, args={"learning_rat": 1})
    demonstrations = recipe.data.model_copy(update={"builder": "demonstrations"})
    (fault,) = cross_faults(demonstrations, recipe.train, recipe.eval, recipe.model)
    assert "train.method toy needs the builder critiques" in str(fault)
    (fault,) = library_faults(recipe.train.model_dump(), "bfloat16")
    assert "unknown key of trl.SFTConfig. Did you mean learning_rate?" in str(fault)
