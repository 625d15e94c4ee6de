"""What is said of recipes with faulty keys and values, and of blocks that do not fit each other."""

import pytest

from cft.errors import RecipeError
from cft.recipe.load import load_recipe
from cft.suggest import nearest
from tests.cft.conftest import GOOD

# Faults of keys and values

BAD = """\
name: Bad Name
sed: 1
name: again
model:
  id: 5
  dtyp: bfloat16
  trust_remote_code: yes
data:
  builder: critiques
  problems: [bakery, bakery]
  students: [{samples: -1, top_p: 0, temperatures: [.nan]}]
  teachers:
    - {kind: fil, path: bakery}
    - {kind: exact, styles: [numbered chek]}
    - {kind: file}
train:
  learning_rate: 2e-4
  method: cft
eval:
  tasks: []
  arms: [base, adaptr]
  limit: 1.5
  trim: 0.1
  batch_size: "4"
"""


def test_all_faults_of_a_recipe_are_told_at_once_in_the_order_of_the_file(write_recipe):
    with pytest.raises(RecipeError) as caught:
        load_recipe(write_recipe(BAD), ["seed=x"])
    assert str(caught.value).split("\n  ") == [
        "demo.yaml: 20 faults",
        'demo.yaml:1 name = "Bad Name": becomes a folder\'s name. Use only a-z, 0-9, _ and -.',
        "demo.yaml:2 sed = 1: unknown key. Did you mean seed?",
        "demo.yaml:3 name: the key is there twice. Remove one of them; the first is demo.yaml:1.",
        "demo.yaml:5 model.id = 5: must be text. Put it in quotes.",
        'demo.yaml:6 model.dtyp = "bfloat16": unknown key. Did you mean dtype?',
        'demo.yaml:7 model.trust_remote_code = "yes": must be true or false. Write true or false, without quotes.',
        'demo.yaml:10 data.problems = ["bakery", "bakery"]: names \'bakery\' twice. Name it once.',
        'demo.yaml:11 data.students.0.temperatures.0 = ".nan": is no finite number. Write a number, '
        "or put text in quotes.",
        "demo.yaml:11 data.students.0.samples = -1: must be at least 1. Choose another number.",
        "demo.yaml:11 data.students.0.top_p = 0: must be greater than 0. Choose another number.",
        'demo.yaml:13 data.teachers.0.kind = "fil": is not known. Did you mean file?',
        'demo.yaml:14 data.teachers.1.styles.0 = "numbered chek": is not known. Did you mean numbered check?',
        "demo.yaml:15 data.teachers.2.path: is missing. Add it: Name in recipes/critiques, or path of a JSONL file.",
        "demo.yaml:17 train.learning_rate = 0.0002: unknown key. peft.LoraConfig's keys belong under train.lora, "
        "trl.SFTConfig's under train.args.",
        "demo.yaml:20 eval.tasks = []: is empty. Write at least one.",
        'demo.yaml:21 eval.arms.1 = "adaptr": is not known. Did you mean adapter?',
        "demo.yaml:22 eval.limit = 1.5: must be a whole number. Write it in digits, without quotes.",
        "demo.yaml:23 eval.trim = 0.1: unknown key. It belongs at data.trim.",
        'demo.yaml:24 eval.batch_size = "4": must be a whole number. Write it in digits, without quotes.',
        'override seed = "x": must be a whole number. Write it in digits, without quotes.',
    ]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("name: demo\n", "", "demo.yaml:1 name: is missing. Add it: Name of the run's folder"),
        ("eval:\n  tasks: [sums]\n", "", "demo.yaml:1 eval: is missing. Add it: What is scored"),
        ("{id: some-model}", "{}", "demo.yaml:2 model.id: is missing."),
        ("{id: some-model}", "", "demo.yaml:2 model = null: must be a mapping. Give it a value."),
        ("{id: some-model}", "some-model", 'demo.yaml:2 model = "some-model": must be a mapping.'),
        ("some-model", '""', 'demo.yaml:2 model.id = "": is empty.'),
        ("some-model", "true", "demo.yaml:2 model.id = true: must be text. Put it in quotes."),
        ("builder: critiques", "builder: xyz", 'demo.yaml:4 data.builder = "xyz": is not known. Known here: '),
        ("builder: critiques", "builder: [a]", 'demo.yaml:4 data.builder = ["a"]: is not known.'),
        ("  builder: critiques\n", "", "demo.yaml:3 data.builder: is missing. Add one of: critiques, demons"),
        (
            "    - kind: exact\n",
            "    - {}\n",
            "demo.yaml:8 data.teachers.0.kind: is missing. Add one of: exact, file, model.",
        ),
        ("    - kind: exact\n", "    - exact\n", 'demo.yaml:8 data.teachers.0 = "exact": must be a mapping.'),
        ("method: cft", "method: cftt", 'demo.yaml:11 train.method = "cftt": is not known. Did you mean cft?'),
        ("method: cft", "method: ppo", 'demo.yaml:11 train.method = "ppo": is not known. Known here: cft, sft, '),
        ("  method: cft\n", "", "demo.yaml:10 train.method: is missing. Add one of: cft, sft, grpo, sdft, "),
        ("- kind: exact", "- {kind: file, path: critiques.jsonl}", "demo.yaml:7 data.teachers = "),
        (
            "{samples: 4}",
            "{samples: 4, samles: 3}",
            "demo.yaml:6 data.students.0.samles = 3: unknown key. Did you mean",
        ),
        ("{samples: 4}", "{samples: 1e400}", 'demo.yaml:6 data.students.0.samples = "1e400": is no finite number.'),
        ("{samples: 4}", f"{{samples: {'9' * 5000}}}", 'demo.yaml:6 data.students.0.samples = "999'),
        ("{r: 8}", "[r, 8]", 'demo.yaml:12 train.lora = ["r", 8]: must be a mapping.'),
        ("{r: 8}", "{r: 8, r: 9}", "demo.yaml:12 train.lora.r: the key is there twice."),
        ("{r: 8}", "{8: r}", 'demo.yaml:12 train.lora.8 = "8": is a key that is not text. Put it in quotes.'),
        ("{r: 8}", "{[a]: r}", "demo.yaml:12 train.lora.?: is a key that is not text."),
        ("{r: 8}", "{r: !!binary aGk=}", 'demo.yaml:12 train.lora.r = "aGk=": has the tag tag:yaml.org,2002:binary.'),
        ("{r: 8}", "{r: !!python/name:os.system ''}", "demo.yaml:12 train.lora.r: has the tag"),
        ("{r: 8}", "{r: !!int a}", 'demo.yaml:12 train.lora.r = "a": cannot be read as int.'),
        ("{r: 8}", "&a {r: *a}", "demo.yaml:12 train.lora.r: is an alias (*name). Write the value out."),
        ("name: demo", "name: demo\nseed: -1", "demo.yaml:2 seed = -1: must be at least 0."),
        ("tasks: [sums]", "tasks: sums", 'demo.yaml:16 eval.tasks = "sums": must be a list. Write [a, b].'),
        ("tasks: [sums]", "tasks: [sums, 3]", "demo.yaml:16 eval.tasks.1 = 3: must be text."),
        ("tasks: [sums]", "{tasks: [sums], data: {sum: a}}", "demo.yaml:16 eval.data.sum"),
        ("tasks: [sums]", "{tasks: [sums], data: {sums: 3}}", "demo.yaml:16 eval.data.sums = 3: must be text."),
    ],
)
def test_a_faulty_value_is_named_with_its_line(old: str, new: str, expected: str, recipe_faults):
    (line,) = recipe_faults((old, new))
    assert line.startswith(expected)


def test_very_many_faults_still_fit_on_one_screen(write_recipe):
    with pytest.raises(RecipeError) as caught:
        load_recipe(write_recipe(GOOD + "".join(f"  k{i}: 1\n" for i in range(40))))
    head, *lines = str(caught.value).split("\n")
    assert head == "demo.yaml: 40 faults"
    assert len(lines) == 26 and lines[-1] == "  ... and 15 more"


# Blocks that do not fit each other


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["data={builder: demonstrations, problems: [bakery]}"], [
            'override data.builder = "demonstrations": train.method cft needs the builder critiques. '
            "Set it, or set train.method to sft."]),
        (["data={builder: none}"], ['override data.builder = "none": train.method cft needs the builder critiques. ']),
        (["data={builder: none}", "train.method=sft"], [
            'override data.builder = "none": train.method sft needs the builder critiques or demonstrations or '
            "trajectories or curated."]),
        (["train={method: none}"], [
            'demo.yaml:4 data.builder = "critiques": train.method none needs the builder none.',
            'demo.yaml:15 eval.arms = ["base", "adapter"]: train.method is none, so there is no adapter to score.']),
        (["train={method: none, keep_steps: [4]}", "data={builder: none}", "eval.arms=[base]"], [
            "override train.keep_steps = [4]: unknown key. With method cft or sft or grpo or "]),
        (["data.teachers=[{kind: exact}]", "data.students=[]"], [
            "override data.students = []: is empty, so there is nothing to criticise."]),
        (["data.students=[{samples: 1, endpoint: {base_url: 'http://localhost:1/v1', extra_body: {seed: 3}}}]"], [
            "override data.students.0.model = null: is missing, but an endpoint must be told one. Name it.",
            "override data.students.0.endpoint.extra_body.seed = 3: has a key of its own."]),
        (["data.problems=[]"], ["override data.problems = []: is empty, but data.students need a problem to solve."]),
        (["data.students.0.temperatures=[0]"], [
            "override data.students.0.temperatures = [0.0]: greedy decoding writes the same solution 4 times."]),
        (["data={builder: demonstrations, problems: [a], students: [{samples: 4, temperatures: [0]}]}",
          "train.method=sft"], ["override data.students.0.temperatures = [0.0]: greedy decoding writes the same "]),
        (["data.change=shuffled", "data.prompt=solve"], [
            'override data.change = "shuffled": puts critiques beside other candidates, which data.prompt solve does']),
        (["data={builder: curated}", "train.method=sft"], ["override data.path = null: is missing, and so is data."]),
        (["data={builder: curated, hub: pool, least_words: 9, most_words: 3}", "train.method=sft"], [
            'override data.hub = "pool": is no OWNER/NAME on the hub.',
            "override data.revision = null: is missing, so another pool may be read next time.",
            "override data.most_words = 3: is below data.least_words (9), so no solution fits."]),
        (["data={builder: curated, path: a, students: [{samples: 4, temperatures: [0], pass_rate: [0.5, 0]}, "
          "{model: b, samples: 2, pass_rate: [0, 1.5]}, {model: c, samples: 2, pass_rate: [1]}]}",
          "train.method=sft"], [
            "override data.students.0.pass_rate = [0.5, 0]: has its bounds reversed. Write [low, high].",
            "override data.students.1.pass_rate.1 = 1.5: must be at most 1",
            "override data.students.2.pass_rate = "]),
        (["data={builder: curated, path: a, students: [{samples: 4, temperatures: [0], pass_rate: [0, 0]}]}",
          "train.method=sft"], ["override data.students.0.temperatures = [0.0]: greedy decoding writes the same "]),
        (["eval.data={smus: a.jsonl}"], ['override eval.data.smus = "a.jsonl": is not a task of this recipe. '
                                         "Did you mean sums?"]),
    ],
)  # fmt: skip
def test_blocks_that_do_not_fit_are_refused(overrides: list[str], expected: list[str], recipe_faults):
    lines = recipe_faults(overrides=tuple(overrides))
    assert len(lines) == len(expected)
    for line, start in zip(lines, expected, strict=True):
        assert line.startswith(start)


@pytest.mark.parametrize(
    "overrides",
    [
        ["data.students=[]"],  # the file teacher brings its own solutions
        ["data.students=[]", "data.problems=[]", "data.teachers=[{kind: file, path: a}]"],
        ["data.students=[{samples: 1, temperatures: [0]}]"],
        ["data.teachers=[{kind: model, model: m}]"],
        ["train.method=sft"],
        ["train.method=sft", "data={builder: demonstrations, problems: [bakery]}"],
        ["train.method=sft", "data={builder: curated, path: a, students: [{samples: 4, pass_rate: [0, 0]}]}"],
        ["train.method=sft", "data={builder: curated, hub: a/b, revision: main, choose: spread}"],
        ["train={method: none}", "data={builder: none}", "eval.arms=[base]"],
        ["train.method=none", "train.lora={}", "train.args={}", "data={builder: none}", "eval.arms=[base]"],
        ["eval.data={sums: a.jsonl}"],
    ],
)
def test_blocks_that_fit_are_accepted(overrides: list[str], write_recipe):
    load_recipe(write_recipe(GOOD), overrides)


def test_blocks_are_compared_although_another_key_is_faulty(recipe_faults):
    lines = recipe_faults(overrides=("train={methd: x, method: none}", "model.id=3"))
    assert [line.split(":")[0] for line in lines[:1]] == ["demo.yaml"]
    assert any("needs the builder none" in line for line in lines) and len(lines) == 4


# Nearest names


@pytest.mark.parametrize(
    ("word", "known", "expected"),
    [
        ("dtyp", ["dtype", "id"], "dtype"),
        ("Max-Length", ["max_length"], "max_length"),
        ("epochs", ["learning_rate", "num_train_epochs"], "num_train_epochs"),
        ("zzz", ["dtype", "id"], None),
        ("x", [], None),
    ],
)
def test_the_nearest_name(word: str, known: list[str], expected: str | None):
    assert nearest(word, known) == expected
