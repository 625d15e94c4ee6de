"""A sweep file: its points, and all its faults at once."""

import os
from pathlib import Path

import pytest

from cft.errors import RecipeError
from cft.recipe.shipped import find_sweep, list_sweeps
from cft.recipe.sweep import load_sweep
from tests.cft.conftest import GOOD

SWEEP = """\
name: tries
recipe: demo.yaml
set:
  train.lora.lora_alpha: 8
vary:
  train.lora.r: [2, 4]
  train.args.learning_rate: [1.0e-4, 2.0e-4]
points:
  long: {train.args.max_steps: 9}
"""


@pytest.fixture
def write_sweep(write_recipe):
    """Writes demo.yaml and sweep.yaml into the working directory; returns the sweep's name."""

    def write(text: str = SWEEP) -> str:
        write_recipe(GOOD)
        Path("sweep.yaml").write_text(text)
        return "sweep.yaml"

    return write


def faults_of(name: str, *overrides: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        load_sweep(name, overrides)
    return [line.strip() for line in str(caught.value).split("\n")[1:]]


def test_a_grid_and_named_points_become_recipes_under_the_name_of_the_sweep(write_sweep):
    loaded = load_sweep(write_sweep())
    assert [point.name for point in loaded.points] == [
        "r 2, learning_rate 0.0001",
        "r 2, learning_rate 0.0002",
        "r 4, learning_rate 0.0001",
        "r 4, learning_rate 0.0002",
        "long",
    ]
    trains = [point.recipes[0].train for point in loaded.points]
    assert [train.lora for train in trains] == [{"r": r, "lora_alpha": 8} for r in (2, 2, 4, 4, 8)]
    assert [train.args.get("learning_rate") for train in trains] == [1e-4, 2e-4, 1e-4, 2e-4, 2e-4]
    assert trains[-1].args["max_steps"] == 9 and not loaded.points[-1].varied
    assert {point.recipes[0].name for point in loaded.points} == {"tries"}


def test_every_point_runs_with_every_seed(write_sweep):
    loaded = load_sweep(write_sweep(), ["seeds=[3, 5]"])
    assert {tuple(recipe.seed for recipe in point.recipes) for point in loaded.points} == {(3, 5)}


def test_the_recipe_stands_beside_the_sweep_whatever_the_working_directory(write_sweep, tmp_path, monkeypatch):
    write_sweep()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert load_sweep("../sweep.yaml").recipe == os.path.join("..", "demo.yaml")


def test_a_recipe_named_on_the_command_line_is_found_from_here(write_sweep, tmp_path):
    name = write_sweep()
    (tmp_path / "other.yaml").write_text(GOOD.replace("some-model", "other-model"))
    loaded = load_sweep(name, ["recipe=other.yaml"])
    assert {point.recipes[0].model.id for point in loaded.points} == {"other-model"}
    assert load_sweep(name, ["recipe=smoke"]).recipe == "smoke"


def test_overrides_reach_every_point_and_can_change_what_is_varied(write_sweep):
    name = write_sweep()
    given = [
        "vary.train.lora.r=[16]",
        "vary.train.args.learning_rate=[1e-3]",
        "train.lora.lora_alpha=64",
        "points=null",
    ]
    (point,) = load_sweep(name, given).points
    assert point.recipes[0].train.lora == {"r": 16, "lora_alpha": 64}
    assert point.overrides == ("train.lora.r=16", "train.args.learning_rate=0.001", "train.lora.lora_alpha=64")
    assert [p.name for p in load_sweep(name, ["vary=null"]).points] == ["long"]


def test_a_point_keeps_what_makes_it_a_point(write_sweep):
    loaded = load_sweep(write_sweep(), ["train.args.max_steps=3"])
    assert [point.recipes[0].train.args["max_steps"] for point in loaded.points] == [3, 3, 3, 3, 9]


def test_the_faults_of_all_points_come_at_once_with_the_line_that_wrote_them(write_sweep):
    text = SWEEP.replace("[2, 4]", "[0, 4]").replace("lora_alpha", "lora_alhpa").replace("9}", "9, eval.limt: 3}")
    with pytest.raises(RecipeError) as caught:
        load_sweep(write_sweep(text), libraries=True)
    told = str(caught.value)
    assert [line.strip() for line in told.split("\n")] == [
        "sweep.yaml: 3 faults",
        "sweep.yaml:4 train.lora.lora_alhpa = 8: unknown key of peft.LoraConfig. Did you mean lora_alpha?",
        "sweep.yaml:6 train.lora.r = 0: must be greater than 0. Choose another number.",
        "sweep.yaml:9 (point long) eval.limt = 3: unknown key. Did you mean limit?",
    ]


def test_the_faults_of_the_sweep_itself_come_at_once(write_sweep):
    text = SWEEP.replace("tries", "Tries A").replace("[2, 4]", "[]").replace("vary:", "varry:\n  x: [1]\nvary:")
    assert faults_of(write_sweep(text), "seeds=[1, 1]") == [
        'sweep.yaml:1 name = "Tries A": becomes a folder\'s name. Use only a-z, 0-9, _ and -.',
        'sweep.yaml:5 varry = {"x": [1]}: unknown key. Did you mean vary?',
        "sweep.yaml:8 vary.train.lora.r = []: is empty. Write at least one.",
        "override seeds = [1, 1]: names 1 twice. Name it once.",
    ]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("[2, 4]", "[2, 2]", "sweep.yaml:6 vary.train.lora.r: has 2 twice. Name each value once."),
        (
            "max_steps: 9",
            "learning_rate: 3.0e-4, seed: 1",
            "sweep.yaml:9 points.long.seed: seeds are listed under seeds:. Remove it here.",
        ),
        (
            "train.args.max_steps: 9",
            "train.lora.r: 2, train.args.learning_rate: 1.0e-4",
            "sweep.yaml:9 points.long: the point 'long' is the same as 'r 2, learning_rate 0.0001'. "
            "Remove one of them.",
        ),
        ("[2, 4]", "4", "sweep.yaml:6 vary.train.lora.r = 4: must be a list. Write [a, b]."),
        (
            "recipe: demo.yaml\n",
            "",
            "sweep.yaml:1 recipe: is missing. Add it: Name of a shipped recipe, or path of a recipe file.",
        ),
    ],
)
def test_a_fault_is_named_with_its_line_and_fix(write_sweep, old, new, told):
    assert old in SWEEP
    assert faults_of(write_sweep(SWEEP.replace(old, new))) == [told]


def test_a_sweep_that_varies_nothing_is_refused(write_sweep):
    told = "sweep.yaml:1 vary: is empty, and so is points. Vary a key: vary: {train.lora.r: [4, 16]}."
    assert faults_of(write_sweep("name: nothing\nrecipe: demo.yaml\n")) == [told]


def test_a_sweep_is_counted_before_its_points_are_made(write_sweep):
    many = "".join(f"  train.args.k{i}: {list(range(100))}\n" for i in range(12))
    (told,) = faults_of(write_sweep(f"name: bomb\nrecipe: demo.yaml\nvary:\n{many}"))
    assert told == f"sweep.yaml:3 vary: makes {100**12:,} points, more than 200. Vary less at a time."
    (told,) = faults_of(write_sweep(SWEEP), f"seeds={list(range(600))}")
    assert told.startswith("override seeds = [0, 1, 2") and "make 3,000 runs, more than 1,000" in told


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("train.lora.r=3", "train.lora.r: is varied by this sweep. Write vary.train.lora.r=[...]"),
        ("points.long.seed=3", "points.long.seed: changes a part of a point. Give points='{NAME: {KEY: VALUE}}' whole"),
        ("bogus", "bogus: is no override. Write KEY=VALUE"),
        ("set.name=x", "name: the sweep's own name is that of the folder of its runs. Write name=..."),
        ("vary.train.lora.r=[]", "vary.train.lora.r = []: is empty"),
    ],
)
def test_a_wrong_override_is_named(write_sweep, override, told):
    (fault,) = faults_of(write_sweep(), override)
    assert fault.startswith(f"override {told}")


def test_an_unknown_recipe_is_named_with_the_nearest(write_sweep):
    with pytest.raises(RecipeError, match=r"sweep\.yaml:2 recipe: quikstart: .* Did you mean quickstart\?"):
        load_sweep(write_sweep(SWEEP.replace("demo.yaml", "quikstart")))


def test_sweeps_are_found_by_name_and_recipes_are_told_from_them(tmp_path):
    assert find_sweep("critiques") == list_sweeps()["critiques"]
    with pytest.raises(RecipeError, match=r"critique: there is no such sweep .* Did you mean critiques\?"):
        find_sweep("critique")
    with pytest.raises(RecipeError, match="quickstart: is a recipe, not a sweep"):
        find_sweep("quickstart")
    with pytest.raises(RecipeError, match="is a folder"):
        find_sweep(str(tmp_path))


@pytest.mark.parametrize("name", list_sweeps())
def test_shipped_sweeps_are_whole_and_named_after_their_file(name):
    loaded = load_sweep(name, libraries=True)
    assert loaded.sweep.name == name and 2 <= len(loaded.points) <= 4
    for point in loaded.points:
        assert point.recipes[0].eval.tasks == ["cft_wordproblems_validation"]  # settings are not chosen on test items
