"""A task is a YAML file and no code: one in a folder of the user's own is planned, run and reported."""

import json
from pathlib import Path

import pytest

from cft.errors import EvalError
from cft.recipe.blocks import EvalBlock
from eval.tasks.lm_tasks import TASKS_FOLDER, find_task
from tests.support.command import cft

YAML = f"""\
task: own_sums
include: {TASKS_FOLDER}/prompts/chat
custom_dataset: !function eval.tasks.items.load
dataset_kwargs:
  items: {{task: own_sums, question: [asked], answer: [due]}}
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder with a task, and a file with its five items beside it."""
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "sums.yaml").write_text(YAML, encoding="utf-8")
    lines = [json.dumps({"asked": f"What is {n} + {n}?", "due": str(2 * n)}) for n in range(5)]
    (tmp_path / "sums.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tmp_path


def test_a_yaml_file_is_enough_for_plan_run_and_report(own, tiny_model):
    command = ["quickstart", f"model.id={tiny_model}", "model.dtype=float32", "data={builder: none}"]
    command += ["train={method: none}", "eval.task_dir=tasks", "eval.limit=null", "eval.max_new_tokens=8"]
    command += ["eval.arms=[base, base@plain]"]
    known = ["eval.tasks=[own_sums]", "eval.data.own_sums=sums.jsonl"]
    (stage,) = json.loads(cft("plan", *command, *known, "--json", cwd=own).stdout)["stages"]
    assert stage["rows"] == "own_sums: 5 items x 2 arms (base, base@plain)"
    done = cft("run", *command, *known, cwd=own)
    assert done.returncode == 0, done.stderr
    (report,) = own.glob("runs/*/*/report/report.json")
    found = json.loads(report.read_text("utf-8"))
    assert (found["task"], [arm["n"] for arm in found["arms"]]) == ("own_sums", [5, 5])
    for verb in ("plan", "eval"):
        told = cft(verb, *command, "eval.tasks=[own_sum]", cwd=own)
        assert told.returncode == 2 and "unknown task 'own_sum'. Did you mean own_sums?" in told.stderr


def test_the_rows_of_a_local_file_are_planned_and_not_the_usual_number(own):
    def size(**block) -> int | None:
        return find_task("cft_gsm8k", EvalBlock(tasks=["cft_gsm8k"], **block)).size

    file = own / "mine.jsonl"
    file.write_text('{"question": "One and one?", "answer": "#### 2"}\n' * 919, encoding="utf-8")
    assert (size(), size(data={"cft_gsm8k": str(file)})) == (1319, 919)
    file.rename(own / "gsm8k.jsonl")
    assert size(data_dir=str(own)) == 919


def test_a_task_of_unknown_size_needs_a_limit(own):
    task = find_task("own_sums", EvalBlock(tasks=["own_sums"], task_dir=str(own / "tasks")))
    assert task.count(3) == 3
    with pytest.raises(EvalError, match=r"own_sums: it is not known how many items.*sums\.yaml"):
        task.count(None)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("task: [", "cannot be read as YAML"),
        ("- task", "is no mapping"),
        ("task: a\ninclude: nowhere", "nowhere: cannot be read"),
        ("task: cft_gsm8k", "has a task 'cft_gsm8k' already"),
    ],
)
def test_damaged_folders_of_tasks_are_told(text, told, own):
    (own / "tasks" / "bad.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(EvalError, match=told):
        find_task("own_sums", EvalBlock(tasks=["own_sums"], task_dir=str(own / "tasks")))
    with pytest.raises(EvalError, match=r"is no folder\. Correct eval.task_dir"):
        find_task("own_sums", EvalBlock(tasks=["own_sums"], task_dir=str(own / "none")))
