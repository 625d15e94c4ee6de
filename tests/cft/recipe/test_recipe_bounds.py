"""A recipe has no number without a ceiling, no path that hangs, and no nesting without an end: a plan always comes."""

import os
from pathlib import Path

import pytest

from cft.errors import CFTError, DataError, RecipeError
from cft.pipeline import file_hashes
from cft.plan.plan import make_plan
from cft.recipe.load import load_recipe
from data_builders.asking.prices import price_table

pytestmark = pytest.mark.usefixtures("no_hub")

RECIPE = """\
name: t
model: {id: smollm2-135m}
data: {builder: critiques, problems: [bakery], teachers: [{kind: file, path: bakery}]}
train: {method: cft, lora: {r: 4}, args: {max_steps: 1, max_length: 4096}}
eval: {tasks: [cft_wordproblems], arms: [base, adapter], limit: 4, max_new_tokens: 16}
"""
COUNTS = ["eval.limit", "eval.max_new_tokens", "eval.batch_size", "data.max_examples", "data.max_candidates"]
SHARES = ["data.trim", "data.right_share", "eval.top_k", "eval.top_p", "eval.samples"]
LIBRARIES = ["train.args.max_steps", "train.args.num_train_epochs", "train.args.per_device_train_batch_size"]
LIBRARIES += ["train.args.gradient_accumulation_steps", "train.args.learning_rate", "train.lora.r", "train.lora.alpha"]


def plan(write_recipe, *overrides: str, text: str = RECIPE, runs: Path = Path("runs")) -> dict:
    return make_plan(load_recipe(write_recipe(text), overrides, libraries=True), runs)


@pytest.mark.parametrize("key", COUNTS + SHARES + LIBRARIES)
@pytest.mark.parametrize("value", ["9" * 400, "1e308", "999999999999999", "99999999", "-1e308"])
def test_a_number_without_measure_is_refused_with_its_bound(key: str, value: str, write_recipe):
    with pytest.raises(RecipeError, match=rf"override {key}[^\n]*(beyond 1e\+15|must be|at most|unknown|than)"):
        plan(write_recipe, f"{key}={value}")


def test_the_largest_numbers_are_planned(write_recipe):
    overrides = [f"{key}=1000000" for key in COUNTS] + ["train.args.max_steps=10000000", "train.lora.r=10000000"]
    choose = "train.select={task: cft_wordproblems_validation, every: 1}"
    planned = plan(write_recipe, *overrides, "train.args.per_device_train_batch_size=10000000", choose)
    assert planned["memory"]["fits"] is False and len(planned["stages"]) == 4


@pytest.mark.parametrize(
    ("override", "fault"),
    [
        ("data.students=[{samples: 1000000}]", "makes 1,000,000 solutions with these temperatures and problems"),
        ("data.students=[{samples: 50001, temperatures: [0.5, 1.0]}]", "makes 100,002 solutions"),
        ("data.teachers=[{kind: model, model: m, samples: 1000000}]", "must be at most 1,000"),
        ("data.teachers=[{kind: file, path: bakery, styles: []}]", "styles = .*is empty"),
        (f"name={'a' * 300}", "has 300 characters. Use at most 100"),
        (f"eval.arms=[{{model: base, name: base{'a' * 300}}}]", "has more than 100 characters"),
        ("eval.top_k=99999999", "must be at most 1,000,000"),
        ("train.lora.r=" + "[" * 40 + "]" * 40, "train: is nested too deeply"),
        ("eval.top_k=99999999", "must be at most 1,000,000"),
        ("train.lora.r=" + "[" * 4000, "is not YAML"),
        (".".join("abcdefghij" * 300) + "=1", "is no override"),
        ("data.teachers." + "9" * 5000 + "=1", "there is no item 99999999999999999999,"),
        ("name=\ud800", "is no override"),
        ('description="\\ud800"', r"description: holds the character U\+D800"),
        ('model.id="a\\0b"', r"model.id: holds the character U\+0000"),
    ],
)
def test_each_kind_of_excess_is_named(override: str, fault: str, write_recipe):
    with pytest.raises(RecipeError, match=fault) as caught:
        plan(write_recipe, override)
    assert len(str(caught.value).encode()) < 1500


def test_half_a_character_in_a_setting_of_a_library_is_named(write_recipe):
    for override in ('train.args.optim="\\ud800"', 'train.lora={r: "\\ud800"}'):
        with pytest.raises(RecipeError, match=r"optim|r: holds the character U\+D800"):
            load_recipe(str(write_recipe(RECIPE)), [override], libraries=True)


@pytest.mark.parametrize(
    "line", ["b: &b [x]\nc: [*b, *b]", "b: " + "[" * 3000, "%YAML " + "1" * 5000 + ".1\n---\na: 1"]
)
def test_yaml_that_grows_or_has_no_end_is_refused(line: str, write_recipe):
    with pytest.raises(RecipeError, match=r"is an alias|nested too deeply|is not YAML"):
        plan(write_recipe, text=(RECIPE + line) if line[0] == "b" else line)
    with pytest.raises(RecipeError, match="has more than 262,144 bytes"):
        plan(write_recipe, text=RECIPE + "description: " + "x" * 300_000)


KEYS = [
    "data.teachers=[{{kind: file, path: {}}}]",
    "data.teachers=[{{kind: model, model: m, styles: [{}]}}]",
    "data.problems=[{}]",
    "eval.data={{cft_wordproblems: {}}}",
    "eval.data_dir={}",
    "eval.task_dir={}",
    "model.id={}",
    "train.select={{task: cft_wordproblems_validation, every: 1, data: {}}}",
]
PLACES = ["~nobody-here/x", "a" * 300, "fifo", "/dev/zero", "/dev/full/x", "loop", "/etc/passwd/x", "folder"]


@pytest.mark.parametrize("place", PLACES)
def test_a_path_that_is_no_file_is_refused_and_waits_for_nobody(place: str, write_recipe):
    write_recipe(RECIPE)
    os.mkfifo("fifo")
    Path("loop").symlink_to("loop")
    Path("folder").mkdir()
    for key in KEYS:
        if key in ("eval.data_dir={}", "eval.task_dir={}") and place in ("folder", "a" * 300):
            continue
        with pytest.raises(CFTError) as caught:
            file_hashes(recipe := load_recipe("demo.yaml", [key.format(place), "data.students=[{samples: 2}]"]))
            make_plan(recipe, Path("runs"))
        assert place[:40].partition("/")[0] in str(caught.value)


@pytest.mark.parametrize("runs", ["/etc/passwd/t", "/dev/full/x", "a" * 300])
def test_runs_that_cannot_be_read_are_named(runs: str, write_recipe):
    with pytest.raises(CFTError, match="cannot be read"):
        plan(write_recipe, runs=Path(runs))


@pytest.mark.parametrize("price", ["-1", ".nan", "1e308", "x", "[1]", "2026-13-45"])
def test_a_price_that_is_none_is_named(price: str, tmp_path):
    path = tmp_path / "prices.yaml"
    path.write_text(f"a: {{m: {{input: {price}, output: 2}}}}")
    with pytest.raises(DataError, match=r"prices.yaml: [^~]*a\.m\.input"):
        price_table(path)
