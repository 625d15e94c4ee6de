"""The content of every file that a recipe names is a part of what its stages depend on; hub ids are never files."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from pydantic import BaseModel

from cft.errors import DataError, EvalError, ModelError
from cft.models.source import resolve
from cft.pipeline import LOOK_UP, file_hashes
from cft.recipe.blocks import File, ModelBlock, Recipe
from data_builders.asking.in_process import ledger_name
from eval.tasks.item_files import read_rows
from eval.tasks.lm_tasks import TASKS_FOLDER, Task
from eval.tasks.source import Source
from tests.support.command import cft
from tests.support.tiny import CHAT_TEMPLATE

# Texts of a recipe that name no file.
NO_FILES = {
    *("Recipe.name", "Recipe.description", "ModelBlock.revision", "ModelBlock.attn_implementation"),
    *("FileTeacher.styles", "SelectBlock.task", "EvalBlock.tasks", "EvalBlock.served"),
    *("Arm.model", "Arm.prompt", "Arm.name", "ElicitorBlock.name", "FileReward.function"),
    *("CuratedData.hub", "CuratedData.revision", "CuratedData.solution", "CuratedData.answer", "CuratedData.subject"),
    *("EndpointBlock.base_url", "EndpointBlock.api_key_env", "EndpointBlock.extra_body"),
}
KINDS = {*LOOK_UP, "model", "items", "tasks", "if it is one"}


def parts(hint: Any) -> Iterator[Any]:
    """All types within a type; the values of a Literal are none."""
    yield hint
    for part in () if get_origin(hint) is Literal else get_args(hint):
        yield from parts(part)


def texts(block: type[BaseModel]) -> Iterator[tuple[str, list[str]]]:
    """`(Block.field, kinds of its marks)` of every field below that may hold a text."""
    for name, field in block.model_fields.items():
        within = list(parts(field.annotation))
        if str in within or Any in within:
            yield f"{block.__name__}.{name}", [mark.kind for mark in field.metadata if isinstance(mark, File)]
        for part in within:
            if isinstance(part, type) and issubclass(part, BaseModel):
                yield from texts(part)


def test_every_text_of_a_recipe_is_marked_as_a_file_or_listed_as_none():
    found = dict(texts(Recipe))
    assert {name for name, kinds in found.items() if not kinds} == NO_FILES
    assert {kind for kinds in found.values() for kind in kinds} == KINDS
    assert max(len(kinds) for kinds in found.values()) == 1


@pytest.fixture
def recipe(tmp_path, monkeypatch) -> Recipe:
    """A recipe that names a file wherever it can."""
    monkeypatch.chdir(tmp_path)
    for name in ("p.yaml", "c.jsonl", "t.md", "chat.jinja", "items.jsonl", "choose.jsonl", "lib.json", "common.yml"):
        Path(name).write_text(name)
    for name in ("tasks", "items", "rows"):
        Path(name).mkdir()
    Path("rows/test.jsonl").write_text("{}")
    Path("items/aime24.jsonl").write_text("{}")
    Path("tasks/mine.yaml").write_text("task: mine\ninclude: ../common.yml\ndataset_path: ./rows\n")
    Path("common.yml").write_text("process_docs: !function own.code.f\n")
    Path("own").mkdir()
    Path("own/code.py").write_text("def f(docs): return docs")
    teachers = [{"kind": "file", "path": "c.jsonl"}, {"kind": "model", "model": "m", "styles": ["t.md"]}]
    select = {"data": "choose.jsonl", "every": 1}
    return Recipe.model_validate(
        {
            "name": "all",
            "model": {"id": "m", "chat_template": "chat.jinja"},
            "data": {"builder": "critiques", "problems": ["bakery", "p.yaml"], "teachers": teachers},
            "train": {"method": "cft", "args": {"a": {"b": ["./lib.json"]}}, "select": select},
            "eval": {"tasks": ["mine"], "task_dir": "tasks", "data": {"mine": "items.jsonl"}, "data_dir": "items"},
        }
    )


@pytest.mark.parametrize(
    ("file", "label", "block"),
    [
        ("p.yaml", "problem p.yaml", "data"),
        ("c.jsonl", "critiques c.jsonl", "data"),
        ("t.md", "template t.md", "data"),
        ("chat.jinja", "model.chat_template", "model"),
        ("lib.json", "train.args.a.b.0", "train"),
        ("choose.jsonl", "train.select.data", "train"),
        ("items.jsonl", "mine", "eval"),
        ("items/aime24.jsonl", "data_dir", "eval"),
        ("tasks/mine.yaml", "task_dir", "eval"),
        ("common.yml", "task_dir", "eval"),
        ("own/code.py", "task_dir", "eval"),
        ("rows/test.jsonl", "task_dir", "eval"),
    ],
)
def test_a_changed_file_changes_its_own_hash_and_that_of_its_block(recipe, file, label, block):
    before, of_block = file_hashes(recipe), file_hashes(recipe, block)
    Path("unnamed.jsonl").write_text("nobody names it")
    assert file_hashes(recipe) == before and of_block.items() <= before.items()
    Path(file).write_text(Path(file).read_text() + "\n# another line")
    after = file_hashes(recipe)
    assert [key for key in after if after[key] != before[key]] == [label]
    assert file_hashes(recipe, block)[label] == after[label] != of_block[label]


@pytest.mark.parametrize(("file", "told"), [("chat.jinja", "model.chat_template: chat.jinja"), ("items.jsonl", "mine")])
def test_a_file_that_is_missing_or_never_ends_is_named(recipe, file, told):
    Path(file).unlink()
    with pytest.raises(DataError, match=f"{told}.* cannot be read"):
        file_hashes(recipe)
    os.mkfifo(file)
    with pytest.raises(DataError, match=f"{file}: is a pipe, not a file"):
        file_hashes(recipe)


RECIPE = """
name: tiny
model: {{id: {model}, dtype: float32, chat_template: chat.jinja}}
data: {{builder: critiques, problems: [bakery], teachers: [{{kind: file, path: bakery}}], max_examples: 2}}
train: {{method: cft, lora: {{r: 2}}, args: {{max_steps: 1, max_length: 4096, per_device_train_batch_size: 1}}}}
eval: {{tasks: [cft_wordproblems], limit: 2, max_new_tokens: 4}}
"""


def test_another_chat_template_in_the_same_file_is_trained_and_scored_anew(tmp_path, tiny_model):
    def run() -> str:
        done = cft("run", "tiny.yaml", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return " ".join(done.stderr.split())

    (tmp_path / "tiny.yaml").write_text(RECIPE.format(model=tiny_model))
    (tmp_path / "chat.jinja").write_text(CHAT_TEMPLATE)
    run()
    assert [f"{stage}: done before" in run() for stage in ("data", "train", "eval")] == [True] * 3
    (tmp_path / "chat.jinja").write_text("Be brief.\n" + CHAT_TEMPLATE)
    shown = run()
    assert "data: done before" in shown and "train: done before" not in shown and "eval: " in shown
    assert "eval: done before" not in shown and "cft_wordproblems, base: done before" not in shown
    answers = [path.read_text() for path in tmp_path.glob("runs/*/*/eval/*/base/answers.jsonl")]
    prompts = {json.loads(text.splitlines()[0])["prompt_sha256"] for text in answers}
    assert len(answers) == len(prompts) == 2
    newest = max(tmp_path.glob("runs/tiny/*"), key=lambda path: path.stat().st_mtime)
    config = newest / "train" / "adapter" / "adapter_config.json"
    config.write_text(config.read_text().replace('"lora_alpha": 32', '"lora_alpha": 16'))
    shown = run()
    assert "train: done before" in shown and "eval: done before" not in shown
    assert "cft_wordproblems, base: done before" in shown and "cft_wordproblems, adapter: done" not in shown


@pytest.mark.parametrize("file", ["tokenizer_config.json", "generation_config.json", "chat_template.jinja", "code.py"])
def test_every_file_that_decides_what_a_model_folder_computes_is_in_its_identity(tiny_model, tmp_path, file):
    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    before = resolve(ModelBlock(id=str(folder))).identity
    (folder / "README.md").write_text("not read by anything")
    assert resolve(ModelBlock(id=str(folder))).identity == before
    with (folder / file).open("a") as out:
        out.write("\n ")
    assert resolve(ModelBlock(id=str(folder))).identity != before


def test_answers_of_a_local_student_are_kept_for_the_same_weights_and_template_only(tiny_model, tmp_path):
    folder, template = Path(shutil.copytree(tiny_model, tmp_path / "model")), tmp_path / "chat.jinja"
    template.write_text(CHAT_TEMPLATE)
    names = {ledger_name(ModelBlock(id=str(folder), dtype=dtype)) for dtype in ("float32", "bfloat16")}
    for text in (CHAT_TEMPLATE, f"Be brief. {CHAT_TEMPLATE}"):
        template.write_text(text)
        names |= {ledger_name(ModelBlock(id=str(folder), dtype="float32", chat_template=str(template)))}
    (folder / "generation_config.json").write_text("{}")
    names |= {ledger_name(ModelBlock(id=str(folder), dtype="float32"))}
    assert len(names) == 5
    assert ledger_name(ModelBlock(id=str(folder), dtype="float32")) in names


@pytest.fixture
def squatted(tmp_path, tiny_model, monkeypatch, no_hub) -> str:
    """A working folder that has folders with the names of a data set and of a model on the hub."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    Path("org/set").mkdir(parents=True)
    Path("org/set/test.jsonl").write_text(json.dumps({"problem": "1 + 1?", "answer": "2"}))
    shutil.copytree(tiny_model, "org/model")
    return "org"


def test_a_folder_with_the_name_of_a_data_set_is_not_taken_for_it(squatted):
    source = Source(task="cft_math500", hub="org/set", revision="0" * 40)
    with pytest.raises(EvalError, match="org/set cannot be loaded from the hub"):
        read_rows(source, {})
    own = Task("own", TASKS_FOLDER / "own.yaml", {"dataset_path": "org/set"}, {})
    with pytest.raises(EvalError, match=r"own.yaml: dataset_path org/set is an id on the hub.* Write \./org/set"):
        own.load()


def test_a_folder_with_the_name_of_a_model_on_the_hub_is_not_taken_for_it(squatted):
    assert resolve(ModelBlock(id="org/model"), fetch=False).kind is None
    with pytest.raises(ModelError, match=r"write \./org/model for that"):
        resolve(ModelBlock(id="org/model"))
    assert resolve(ModelBlock(id="./org/model")).kind == "folder"
