"""Tasks with tools: a toy environment, scripted messages of a model, and what is kept and scored of the dialogues."""

import io
import json
import sys
import time
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from cft.errors import EvalError, ModelError
from cft.models.generate import Completion
from cft.pipeline import check_prompts, run_stages
from cft.plan.plan import make_plan
from eval.answering.dialogue import MOST_CALLS, TURNS
from eval.answering.scoring import graded_rows
from eval.elicitors.table import ELICITORS
from eval.report.report import write_report
from eval.statistics.statistics import summarise
from eval.tasks.lm_tasks import TASKS_FOLDER, Items, find_task, task_files
from eval.tasks.tools.environment import MOST_RESULT, Environment, ToolCall, read_calls, sources
from eval.tasks.tools.score import outcome
from tests.support.evaluating import count_batches, make_adapter, make_recipe, run
from tests.support.tiny import TOOLS_TEMPLATE, make_tiny_model

HERE = __name__


class Notebook:
    """Two tools; what they read and write are files."""

    def reset(self, *, files: dict, **row) -> str:
        self.files = dict(files)
        return " Begin."

    def read(self, path: str) -> str:
        """Read a file.

        Args:
            path: Its name.
        """
        return self.files[path]

    def write(self, path: str, text: str) -> str:
        """Write a file.

        Args:
            path: Its name.
            text: Its text.
        """
        self.files[path] = text
        return "written"


def call(name: str, **arguments) -> str:
    return "<tool_call>\n" + json.dumps({"name": name, "arguments": arguments}) + "\n</tool_call>"


WRITE, BOX = call("write", path="b", text="7"), r"Done: \boxed{7}"
BROKEN = [
    *("<tool_call>{'name': 'read'}</tool_call>", '<tool_call>{"name": "read", "arguments": [1]}</tool_call>'),
    *(call("burn"), call("read", file="a"), call("read", path="none"), call("read", path="long"), WRITE),
]
SAID = {  # request -> the messages of the model
    "copy": ["I read it first.\n" + call("read", path="a"), WRITE, BOX],
    "bare": ['```json\n{"name": "write", "arguments": {"path": "b", "text": "7"}}\n```', BOX],
    "lazy": [BOX],
    "silent": [WRITE, "It is 7."],
    "endless": [call("read", path="a")] * 99,
    "broken": ["\n".join(BROKEN), BOX],
    "many": [WRITE * 50, BOX],
    "cut": [WRITE, "..."],
    "large": [call("read", path="long") * 2] * 9,
}
OUTCOMES = ["correct", "correct", "wrong", "no_answer", "truncated", "correct", "correct", "truncated", "truncated"]
ENDS = ["answer", "answer", "answer", "answer", "turns", "answer", "answer", "tokens", "context"]
FORMS = ["tool_call", "json", "none", "tool_call", "tool_call", "tool_call", "tool_call", "tool_call", "tool_call"]


def problems(split: str, size: int) -> list[dict]:
    files = {"a": "7", "long": "x" * 9000}
    expected = {"files": files | {"b": "7"}, "answer": "7"}
    row = {"kind": "toy", "level": 1, "files": files, "expected": expected}
    return [row | {"id": name, "request": name} for name in list(SAID)[:size]]


def asked(row: dict) -> list[dict]:
    return [{"role": "system", "content": "You have tools."}, {"role": "user", "content": row["request"]}]


def scripted(model, tokenizer, prompts, *, max_new_tokens, **how) -> list[Completion]:
    found = []
    for prompt in prompts:
        name = prompt.partition("<|im_start|>user\n")[2].partition(" Begin.")[0]
        text = SAID[name][prompt.count("<|im_start|>assistant") - 1]
        found.append(Completion(text, len(text), "length" if text == "..." else "stop"))
    return found


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """The tiny model with a template that shows tools, and with room for long dialogues: its tokens are bytes."""
    folder = make_tiny_model(tmp_path_factory.mktemp("models") / "tools", TOOLS_TEMPLATE)
    config = json.loads((folder / "config.json").read_text("utf-8")) | {"max_position_embeddings": 20_000}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


@pytest.fixture
def toys(tmp_path, monkeypatch) -> str:
    """A folder with the task; its model speaks by the script."""
    monkeypatch.setitem(ELICITORS, "scripted", f"{HERE}:scripted")
    monkeypatch.setattr(sys, "path", [*sys.path])
    tools = {"environment": f"{HERE}:Notebook", "outcome": "eval.tasks.tools.score:outcome", "rows": f"{HERE}:problems"}
    tools |= {"messages": f"{HERE}:asked", "split": "test", "size": 9}
    task = {"task": "toys", "include": f"{TASKS_FOLDER}/prompts/tools", "dataset_kwargs": {"tools": tools}}
    (tmp_path / "tasks").mkdir()
    metadata = {"size": 9, "prompt_tokens": 900, "answer_tokens": 50}
    (tmp_path / "tasks" / "toys.yaml").write_text(yaml.safe_dump(task | {"metadata": metadata}), encoding="utf-8")
    return str(tmp_path / "tasks")


def rename(toys: str, **names) -> dict:
    """Change what the task's YAML names; what it then names."""
    file = Path(toys) / "toys.yaml"
    task = yaml.safe_load(file.read_text("utf-8"))
    task["dataset_kwargs"]["tools"] |= names
    file.write_text(yaml.safe_dump(task), encoding="utf-8")
    return task["dataset_kwargs"]["tools"]


def recipe_of(model: Path, toys: str, **block):
    return make_recipe(model, **{"tasks": ["toys"], "task_dir": toys, "limit": None, "batch_size": 3} | block)


def rows_of(folder: Path) -> list[dict]:
    path = folder / "toys" / "base+scripted" / "answers.jsonl"
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_tools_are_run_until_the_model_answers_wrong_calls_are_told_and_the_end_state_is_scored(model, toys, tmp_path):
    results, _ = run(recipe_of(model, toys, arms=["base+scripted"]), tmp_path, None)
    rows = {row["question"]: row for row in rows_of(tmp_path)}
    kept = {name: row["trajectory"] for name, row in rows.items()}
    assert [row["outcome"] for row in rows.values()] == OUTCOMES
    assert [name for name, row in rows.items() if row["finish_reason"] == "length"] == ["cut"]
    assert [row["ended"] for row in kept.values()] == ENDS and [row["format"] for row in kept.values()] == FORMS
    assert results["toys"]["base+scripted"]["metrics"]["exact_match"] == pytest.approx(4 / 9)
    assert rows["copy"]["tokens"] == sum(map(len, SAID["copy"])) and kept["endless"]["calls"] == TURNS
    assert rows["copy"]["response"].count("<tool_response>") == 2
    system, user, first, read, *_, last = kept["copy"]["messages"]
    assert (system["content"], user["content"], read["content"]) == ("You have tools.", "copy Begin.", "7")
    (made,) = first["tool_calls"]
    assert first["content"] == "I read it first." and made["id"] == read["tool_call_id"]
    assert made["function"] == {"name": "read", "arguments": {"path": "a"}} and "tool_calls" not in last
    assert kept["copy"]["files"]["b"] == "7" and kept["copy"]["tools"][0]["function"]["name"] == "read"
    told = [message["content"] for message in kept["broken"]["messages"] if message["role"] == "tool"]
    said = ["is not JSON", "no object", "no tool 'burn'", "It takes path", "KeyError", f"cut: {MOST_RESULT}", "written"]
    assert [word in text for word, text in zip(said, told, strict=True)] == [True] * len(BROKEN)
    assert all(text.startswith("error: ") for text in told[:5])
    many = [message for message in kept["many"]["messages"] if message["role"] == "tool"]
    assert len(many) == MOST_CALLS and "42 more calls were not run" in many[-1]["content"]


def test_killed_dialogues_go_on_from_their_last_batch_and_are_graded_again(model, toys, tmp_path, monkeypatch):
    recipe, turns = recipe_of(model, toys, arms=["base+scripted"]), []
    run(recipe, tmp_path / "whole", None)

    def failing(*args, **how) -> list[Completion]:
        turns.append(how["seed"])
        if len(turns) == 10:
            raise KeyboardInterrupt
        return scripted(*args, **how)

    monkeypatch.setattr(sys.modules[HERE], "failing", failing, raising=False)
    monkeypatch.setitem(ELICITORS, "scripted", f"{HERE}:failing")
    with pytest.raises(KeyboardInterrupt):
        run(recipe, tmp_path / "killed", None)
    run(recipe, tmp_path / "killed", None)
    assert len(turns) > len(set(turns)) and turns.count(turns[0]) == 1  # turns of the interrupted batch came twice
    assert rows_of(tmp_path / "killed") == rows_of(tmp_path / "whole")
    done = tmp_path / "whole" / "toys" / "base+scripted" / "arm.json"
    done.write_text(done.read_text("utf-8").replace('"grader": "', '"grader": "earlier '), encoding="utf-8")
    count = len(turns)
    assert "graded again" in run(recipe, tmp_path / "whole", None)[1] and len(turns) == count
    assert rows_of(tmp_path / "whole") == rows_of(tmp_path / "killed")


def test_an_environment_may_lie_beside_its_yaml_and_is_asked_again_when_it_changes(model, toys, tmp_path, monkeypatch):
    own, recipe = Path(toys) / "toys_own.py", recipe_of(model, toys, arms=["base+scripted"], limit=1)
    own.write_text(f"from {HERE} import Notebook\nclass Own(Notebook): pass\n", encoding="utf-8")
    tools = rename(toys, environment="toys_own:Own")
    run(recipe, tmp_path / "out", None)
    assert own in task_files(recipe)
    own.write_text(own.read_text("utf-8") + "# another rule\n", encoding="utf-8")
    assert "done before" not in run(recipe, tmp_path / "out", None)[1]
    (tmp_path / "toys_own.py").write_text("class Own: pass\n", encoding="utf-8")
    with pytest.raises(EvalError, match=r"toys_own\.py: .*toys_own\.py is loaded in its place"):
        sources(tools, tmp_path / "toys.yaml")
    monkeypatch.delitem(sys.modules, "toys_own")


def test_samples_vote_together_only_with_one_answer_and_one_end_state():
    (row,) = problems("test", 1)
    environment, right = Environment(Notebook, outcome), row["expected"]["files"]
    ends = [right, right | {"b": "7\n"}, right | {"b": "8"}, right | {"b": "9"}, right]
    about = {"messages": [{"role": "assistant", "content": BOX}], "ended": "answer"}
    said = [Completion(BOX, 9, "stop", about | {"files": files}) for files in ends]
    said[4] = Completion("7", 9, "stop", about | {"files": right, "messages": [{"role": "assistant", "content": "7"}]})
    docs = [{"question": "copy", "row": json.dumps(row)}]
    rows = graded_rows("toys", "base", Items(None, None, docs, ["7"], ["p"], True, (), [], environment), said)
    assert [row["same_as"] for row in rows] == [0, 0, 2, 3, None]
    assert summarise(rows)["maj_at_k"]["5"] == 1.0


class Bare(Notebook):
    def burn(self, path):
        return ""


def empty(split: str, size: int) -> list:
    return []


def lost(*_) -> list:
    raise RuntimeError("no rows today")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ({"size": "x"}, r"toys\.yaml: dataset_kwargs\.tools\.size is 'x'\. Write a whole number"),
        ({"size": -1}, r"size is -1\. Write a whole number"),
        ({"rows": f"{HERE}:lost"}, r":lost gives no list of rows \(RuntimeError no rows today\)"),
        ({"rows": "builtins:print"}, r"builtins:print gives no list of rows \(TypeError"),
        ({"rows": f"{HERE}:empty"}, r":empty gives no rows of split 'test'\. Correct it"),
        ({"messages": f"{HERE}:lost"}, r":lost or the environment's reset cannot take a row \(RuntimeError"),
        ({"environment": f"{HERE}:Bare"}, r"tools cannot be shown to a model \(Docstring.* burn .*Give each"),
    ],
)
def test_faults_of_a_task_of_ones_own_are_told(names, said, model, toys):
    rename(toys, **names)
    with pytest.raises(EvalError, match=said):
        find_task("toys", recipe_of(model, toys).eval).items(None, lambda messages, tools: str(messages), 1)


def test_a_long_call_is_read_at_once():
    begin = time.thread_time()
    assert read_calls("<tool_call>" + " " * 50_000)[0][0].name == "unreadable"
    assert time.thread_time() - begin < 1


def test_base_and_adapter_of_a_real_model_are_paired(model, toys, tmp_path, monkeypatch):
    adapter, sizes = make_adapter(model, tmp_path / "adapter"), count_batches(monkeypatch)
    recipe = recipe_of(model, toys, limit=4, samples=2, temperature=1.0)
    run(recipe, tmp_path / "eval", adapter)
    assert sum(sizes) == 16  # the tiny model calls nothing
    names = {"arms": ["base", "adapter"], "tasks": ["toys"]}
    found = write_report("toys", tmp_path / "eval", tmp_path / "out", environment={}, **names)
    assert found["comparisons"][0]["n"] == 4 and (tmp_path / "out" / "report.html").is_file()


@pytest.mark.parametrize(
    ("text", "names", "rest"),
    [
        ('{"name": "a", "arguments": {}}\n{"name": "b", "parameters": {"x": 1}}', ["a", "b"], ""),
        ('Now: ```json\n{"name": "a", "arguments": "{\\"x\\": 1}"}\n``` so', ["a"], "Now:  so"),
        ('<think>{"name": "a", "arguments": {}}</think>no', [], '<think>{"name": "a", "arguments": {}}</think>no'),
        ('{"name": "Ann", "age": 3}', [], '{"name": "Ann", "age": 3}'),
        ('<tool_call>{"name": "a", "arguments": {}}', ["a"], ""),
        ('<tool_call>{"name": "a", "arguments": {"x": "\\ud800"}}</tool_call>', ["unreadable"], ""),
        ('{"name": "a", "arguments": ' + "[" * 9999, [], '{"name": "a", "arguments": ' + "[" * 9999),
    ],
)
def test_calls_are_read_with_and_without_their_marks(text, names, rest):
    calls, outside = read_calls(text)
    assert ([call.name for call in calls], outside) == (names, rest)
    assert all(isinstance(call, ToolCall) and isinstance(call.arguments, dict) for call in calls)


def test_what_a_task_with_tools_is_not_offered_for_is_told_before_anything_runs(model, toys, tiny_model, tmp_path):
    with pytest.raises(EvalError, match=r"Remove base@fewshot, or score toys"):
        check_prompts(recipe_of(model, toys, arms=["base", "base@fewshot"]))
    with pytest.raises(EvalError, match=r"eval\.endpoint: toys .* Leave eval\.endpoint out"):
        check_prompts(recipe_of(model, toys, endpoint={"base_url": "http://localhost:1/v1"}, served={"base": "x"}))
    with pytest.raises(ModelError, match=r"toys .* drops tools\. Take a model"):
        run_stages(recipe_of(tiny_model, toys), tmp_path / "runs", Console(file=io.StringIO()))
    assert not (tmp_path / "runs").exists()
    (stage,) = [one for one in make_plan(recipe_of(model, toys), tmp_path)["stages"] if one["stage"] == "eval"]
    assert stage["estimates"]["tokens"] == 2 * 9 * (900 + 50)  # of all turns
