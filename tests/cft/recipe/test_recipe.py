"""Recipes: what a good one becomes, overrides, and files that are no recipe."""

import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
import yaml
from pydantic import ValidationError

from cft.errors import RecipeError
from cft.recipe.blocks import Recipe, Style
from cft.recipe.load import load_recipe
from cft.recipe.shipped import find_recipe, list_recipes, recipes_folder
from tests.cft.conftest import GOOD

# What a good recipe becomes


def test_a_recipe_is_read_with_its_defaults(write_recipe):
    recipe = load_recipe(write_recipe(GOOD))
    assert (recipe.name, recipe.seed, recipe.model.dtype) == ("demo", 0, "bfloat16")
    assert recipe.train.args == {"learning_rate": 0.0002}
    assert recipe.data.teachers[0].styles == list(get_args(Style))
    assert recipe.data.teachers[1].path == "critiques.jsonl"
    assert (recipe.eval.arm_names, recipe.eval.limit) == (["base", "adapter"], None)


def test_the_styles_are_those_that_the_exact_teacher_knows():
    from data_builders.teachers.exact.exact import STYLES

    assert sorted(get_args(Style)) == sorted(STYLES)


def test_a_recipe_cannot_be_changed(write_recipe):
    with pytest.raises(ValidationError, match="frozen"):
        load_recipe(write_recipe(GOOD)).seed = 3


@pytest.mark.parametrize("name", list_recipes())
def test_shipped_recipes_are_found_by_name_and_survive_writing_and_reading(name: str, write_recipe):
    recipe = load_recipe(name)
    folder, _, leaf = name.replace(".", "-").rpartition("/")
    assert recipe.name in (leaf, f"{folder}_{leaf}")
    assert load_recipe(write_recipe(recipe.to_yaml())) == recipe


def test_shipped_problems_and_critiques_are_no_recipes():
    names = list(list_recipes())
    assert {"quickstart", "smoke", "one_problem_cft/mixed_problems"} <= set(names)
    assert not [name for name in names if {"problems", "critiques", "sweeps"} & set(name.split("/"))]
    assert names.index("smoke") < names.index("one_problem_cft/mixed_problems")


@pytest.mark.parametrize(
    "text",
    [
        "2e-4",
        "yes",
        "null",
        "~",
        "",
        "007",
        "1:30",
        "2024-01-01",
        " x ",
        "a: b",
        "[a",
        "<<",
        "=",
        "*a",
        "é×\n\n# b",
        "'",
    ],
)
def test_text_that_looks_like_something_else_survives_writing_and_reading(text: str, write_recipe):
    block = load_recipe(write_recipe(GOOD)).model_dump()
    recipe = Recipe.model_validate(block | {"description": text})
    written = recipe.to_yaml()
    assert load_recipe(write_recipe(written)).description == text
    assert yaml.safe_load(written)["description"] == text  # for readers of YAML 1.1 too


def test_the_fingerprint_holds_all_but_the_description_and_the_place(write_recipe, tmp_path):
    one = load_recipe(write_recipe(GOOD))
    other_place = tmp_path / "other.yaml"
    other_place.write_text(f"# moved\n{GOOD}description: told\n")
    other = load_recipe(str(other_place))
    assert one.dump() == other.dump() and "name" in one.dump()
    assert load_recipe("demo.yaml", ["eval.limit=3"]).dump() != one.dump()


@pytest.mark.parametrize(
    ("written", "value"),
    [("2e-4", 2e-4), ("2E4", 2e4), ("1.e-3", 1e-3), (".5", 0.5), ("-3", -3), ("+4.", 4.0), ("010", 10), ("True", True)],
)
def test_numbers_are_read_as_numbers(written: str, value: float, write_recipe):
    (read,) = load_recipe(write_recipe(GOOD.replace("2e-4", written))).train.args.values()
    assert read == value and type(read) is type(value)


@pytest.mark.parametrize("written", ["yes", "on", "1_000", "0x10", "12:30", "2024-01-01", "1e", "e5", '"2e-4"'])
def test_all_else_is_read_as_text(written: str, write_recipe):
    (read,) = load_recipe(write_recipe(GOOD.replace("2e-4", written))).train.args.values()
    assert read == written.strip('"')


def test_a_byte_order_mark_is_no_fault(write_recipe):
    assert load_recipe(write_recipe(b"\xef\xbb\xbf" + GOOD.encode())).name == "demo"


def test_importing_the_recipe_imports_no_model_library():
    code = (
        "import sys, cft.recipe.load; print([m for m in ('torch', 'transformers', 'trl', 'peft') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


# Overrides


def test_overrides_set_values_anywhere(write_recipe):
    recipe = load_recipe(
        write_recipe(GOOD),
        [
            "seed=7",
            "train.args.learning_rate=1e-3",
            "train.args.max_steps=5",
            "data.teachers.1.path=other.jsonl",
            "eval.arms=[base]",
            "eval.data.sums=a=b.jsonl",
            "data.students=[]",
            "description='x: y'",
        ],
    )
    assert (recipe.seed, recipe.description) == (7, "x: y")
    assert recipe.train.args == {"learning_rate": 0.001, "max_steps": 5}
    assert recipe.data.teachers[1].path == "other.jsonl"
    assert recipe.data.students == []
    assert (recipe.eval.arm_names, recipe.eval.data) == (["base"], {"sums": "a=b.jsonl"})


def test_overrides_make_the_blocks_that_they_need(write_recipe):
    content = GOOD.replace("  args:\n    learning_rate: 2e-4\n", "")
    recipe = load_recipe(write_recipe(content), ["train.args.learning_rate=2e-5", "eval.data.sums=a.jsonl"])
    assert (recipe.train.args, recipe.eval.data) == ({"learning_rate": 2e-5}, {"sums": "a.jsonl"})


def test_an_override_can_fix_a_fault_of_the_file(write_recipe):
    content = GOOD.replace("some-model", "5").replace("{samples: 4}", "{samples: .inf}")
    assert load_recipe(write_recipe(content), ["model.id=m", "data.students.0.samples=3"]).data.students[0].samples == 3


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["seed"], "override seed: is no override. Write KEY=VALUE"),
        (["=3"], "override =3: is no override."),
        (["a..b=3"], "override a..b=3: is no override."),
        (["seed="], "override seed: has no value. Write seed=null"),
        (["seed=[1"], 'override seed = "[1": is not YAML. Put the value in quotes.'),
        (["sed=1"], "override sed = 1: unknown key. Did you mean seed?"),
        (["model.dtyp=float16"], 'override model.dtyp = "float16": unknown key. Did you mean dtype?'),
        (["data.techers.0.path=x"], "override data.techers = "),
        (["data.teachers.2.path=x"], "override data.teachers.2: there is no item 2, the list has 2."),
        (["data.teachers.-1.path=x"], "override data.teachers.-1: there is no item -1"),
        (["data.teachers.first=x"], "override data.teachers.first: there is no item first"),
        (["data.teachers.1.pth=x"], 'override data.teachers.1.pth = "x": unknown key. Did you mean path?'),
        (["name.first=x"], 'override name.first: the key above it is "demo", which has no keys.'),
        (["seed=1", "seed=2"], "override seed: is overridden twice."),
        (["train.args.max_steps=1", "train.args={}"], "override train.args: is overridden twice."),
        (["eval.limit=0"], "override eval.limit = 0: must be at least 1."),
        (["seed=*x"], 'override seed = "*x": is not YAML.'),
    ],
)
def test_a_bad_override_is_refused(overrides: list[str], expected: str, recipe_faults):
    (line,) = recipe_faults(overrides=tuple(overrides))
    assert line.startswith(expected)


# Faults of the file as a whole


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "demo.yaml: is empty. Start from a copy"),
        (b"# only\n\n  # comments\n", "demo.yaml: is empty."),
        (b"---\n", "demo.yaml:2: holds null, not a mapping."),
        (b"- a\n- b\n", 'demo.yaml:1: holds ["a", "b"], not a mapping. A recipe has the keys'),
        (b"just text\n", 'demo.yaml:1: holds "just text", not a mapping.'),
        (b"name: demo\nmodel: {id: x\n", "demo.yaml:3:1: is not YAML, while parsing a flow mapping"),
        (b"name: a: b\n", "demo.yaml:1:8: is not YAML, mapping values are not allowed here. Put text that"),
        (b"name: demo\nmodel:\n\tid: x\n", "demo.yaml:3:1: is not YAML, while scanning"),
        (
            b"model:\n\tid: x\n",
            "demo.yaml:2:1: is not YAML, while scanning for the next token found character '\\t' that "
            "cannot start any token. Indent with spaces, not tabs.",
        ),
        (b"a: 1\n---\nb: 2\n", "demo.yaml:2:1: is not YAML, expected a single document"),
        (b"name: \xff\n", "demo.yaml: is not UTF-8 (line 1, byte 6). Save the file as UTF-8."),
        (b"a: 1\nname: \x07\n", "demo.yaml:2: holds the control character U+0007. Remove it."),
        (b"a: " + b"[" * 5000, "demo.yaml: is nested too deeply."),
    ],
)
def test_a_file_that_is_no_recipe_is_refused(content: bytes, expected: str, write_recipe):
    with pytest.raises(RecipeError) as caught:
        load_recipe(write_recipe(content))
    assert str(caught.value).startswith(expected)


def test_an_unknown_recipe_names_the_nearest_and_all_shipped_ones(tmp_path):
    with pytest.raises(RecipeError, match=r"quikstart: there is .* Did you mean quickstart\? Shipped: .*smoke"):
        find_recipe("quikstart")
    with pytest.raises(RecipeError, match=r"Did you mean smoke\?"):
        find_recipe(str(tmp_path / "smoke.yml"))
    with pytest.raises(RecipeError, match=r"'': there is no such recipe"):
        find_recipe("")
    with pytest.raises(RecipeError, match="File name too long"):
        find_recipe("x" * 5000 + ".yaml")


def test_a_folder_is_refused_with_the_files_in_it(write_recipe):
    write_recipe(GOOD)
    with pytest.raises(RecipeError, match=r"is a folder. Name a recipe file; .yaml files in it: demo.yaml"):
        load_recipe(".")


def test_a_shipped_name_comes_before_a_folder_of_that_name(write_recipe):
    assert find_recipe(write_recipe(GOOD)) == Path("demo.yaml")
    Path("smoke").mkdir()
    assert find_recipe("smoke").parent == recipes_folder()
