"""Office tasks, their score and the expert: disjoint splits, end states that cannot be faked, whole demonstrations."""

import json
import re
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import pytest

from cft.errors import DataError, EvalError
from cft.files import dump_jsonl, read_jsonl
from data_builders.teachers.file import find_critiques
from eval.tasks.tools import expert
from eval.tasks.tools.expert import OFFICE, SCRIPTS, demonstrate, demonstrations
from eval.tasks.tools.names import POOLS, SPLITS
from eval.tasks.tools.office import Office
from eval.tasks.tools.score import outcome
from eval.tasks.tools.tasks import LEVELS, REQUESTS, draw, messages, tasks

SHIPPED = Path(__file__).resolve().parents[4] / "recipes/trajectories/office.jsonl"
TOOLS = ["calculate", "list_files", "read_file", "search", "sql", "write_file"]
ROWS = {split: tasks(split, 400) for split in SPLITS}


def boxed(answer):
    return rf"So it is \boxed{{{answer}}}."


def test_no_two_splits_share_a_request_a_file_or_a_name():
    for one, other in combinations(SPLITS, 2):
        for what in (lambda row: [row["request"]], lambda row: row["files"].values(), lambda row: [row["id"]]):
            texts = [{text for row in ROWS[split] for text in what(row)} for split in (one, other)]
            assert not texts[0] & texts[1]
    assert all(len(set(pool)) == len(pool) for pool in POOLS.values())


def test_no_request_is_asked_twice_and_the_last_wording_never_in_training():
    for rows in ROWS.values():
        assert len({row["request"] for row in rows}) == len(rows) == 400
    assert all(len(wordings) >= 4 for wordings in REQUESTS.values())
    said = "\n".join(row["request"] for row in ROWS["train"])
    assert "is to cost" not in said and "is to cost" in "\n".join(row["request"] for row in ROWS["test"])


def test_tasks_are_the_same_in_every_process_and_go_round_all_kinds_and_levels():
    rows = ROWS["test"][: len(LEVELS)]
    assert [(row["kind"], row["level"]) for row in rows] == LEVELS
    assert len({kind for kind, _ in LEVELS}) >= 8 and {level for _, level in LEVELS} == {1, 2, 3, 4}
    code = "import json, sys; from eval.tasks.tools import expert, tasks; print(json.dumps(tasks.tasks('test', 26)))"
    rows_there, *modules = subprocess.check_output(
        [sys.executable, "-c", code + "; print(*sys.modules, sep='\\n')"], text=True
    ).splitlines()
    assert json.loads(rows_there) == rows
    assert not {"torch", "transformers"} & set(modules)


def test_an_unknown_split_is_refused():
    with pytest.raises(EvalError, match=r"'dev'.*train, validation, test"):
        tasks("dev", 3)


@pytest.mark.parametrize("row", ROWS["validation"][:78], ids=lambda row: row["id"])
def test_only_the_right_files_with_the_right_answer_are_correct(row):
    after, before, answer = row["expected"]["files"], row["files"], row["expected"]["answer"]
    assert outcome(row, after, boxed(answer)) == "correct"
    assert outcome(row, {path: text.replace("\n", "\r\n") for path, text in after.items()}, boxed(answer)) == "correct"
    assert outcome(row, after | {"extra.txt": ""}, boxed(answer)) == "wrong"  # the right files and one more
    first = min(after)
    assert outcome(row, {path: text for path, text in after.items() if path != first}, boxed(answer)) == "wrong"
    assert outcome(row, after | {first: after[first].replace(",", ", ", 1) + "x"}, boxed(answer)) == "wrong"
    if after != before:  # an answer without the deed
        assert outcome(row, before, boxed(answer)) == "wrong"
    assert outcome(row, after, f"It is {answer}, I think.") == "no_answer"
    assert outcome(row, after, f"It is {answer}. {boxed('123456')}") == "wrong"  # right in the text, not in the box
    assert outcome(row, after, f"{boxed(answer)} Or rather {boxed('123456')}") == "wrong"
    assert outcome(row, after, f"{answer}", cut=True) == "truncated"
    if row["expected"]["possible"]:
        assert outcome(row, before, boxed("impossible")) == "wrong"
        assert outcome(row, after, boxed("impossible")) == "wrong"
    else:
        assert outcome(row, before, boxed("0")) == outcome(row, before, boxed("not impossible")) == "wrong"
        assert outcome(row, before | {first: "changed"}, boxed("impossible")) == "wrong"


@pytest.mark.parametrize(("kind", "level"), LEVELS)
def test_every_script_solves_other_tasks_of_its_kind_by_the_tools(kind, level):
    assert len(SCRIPTS[f"{kind} {level}"]) == 3
    for number in range(3, 6):  # not those that are shipped
        row = demonstrate(kind, level, number, script=number % 3)
        results = "\n".join(m["content"] for m in row["messages"] if m["role"] == "tool")
        written = "\n".join(json.dumps(m["tool_calls"]) for m in row["messages"] if "tool_calls" in m)
        answer = draw(kind, level, "train", number)[1]["answer"]
        assert answer is None or answer in results + written  # it was seen or worked out on the way


def test_a_script_that_ends_in_a_wrong_state_makes_no_demonstration(monkeypatch):
    monkeypatch.setitem(expert.SCRIPTS, "update 1", [[["", "read_file", {"path": "staff.csv"}], "Changed. {box}"]])
    with pytest.raises(DataError, match=r"office-train-update-1-0, script 0: the demonstration is wrong"):
        demonstrate("update", 1, 0, script=0)


def test_the_shipped_demonstrations_are_the_78_that_the_expert_makes():
    rows = demonstrations()
    assert SHIPPED.read_text(encoding="utf-8") == dump_jsonl(rows)
    assert len(rows) == 78 and {(row["kind"], row["level"]) for row in rows} == {*LEVELS}
    turns = [m["content"] for row in rows for m in row["messages"] if m["role"] == "assistant" and m["content"]]
    assert len(set(turns)) >= len(turns) - 2  # no sentence is a copy of another


def test_the_shipped_critiques_of_trajectories_agree_with_the_files_of_their_tasks():
    queries = 0
    for _, row in read_jsonl(find_critiques("office")):
        _, split, kind, level, number = row["task"].split("-")
        task, _ = draw(kind, int(level), split, int(number))
        assert (split, row["problem"], row["answer"]) == ("train", task["request"], task["expected"]["answer"])
        office = Office()
        office.reset(files=task["expected"]["files"])
        for query in re.findall(r"`(SELECT [^`]+)`", row["critique"]):
            _, *found = office.sql(query).splitlines()
            assert found and (len(found) > 1 or found[0] in row["critique"]), query
            queries += 1
    assert queries == 13


def test_trl_takes_the_office_as_an_environment_and_trains_a_step_in_it(tmp_path, monkeypatch):
    import trl
    from datasets import Dataset
    from transformers.utils import get_json_schema
    from trl import GRPOConfig, GRPOTrainer

    from tests.support.tiny import make_tiny_model

    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
    template = Path(trl.__file__).parent / "chat_templates/qwen2_5.jinja"
    model = make_tiny_model(tmp_path / "model", chat_template=template.read_text(encoding="utf-8"))
    seen = []

    def reward(completions, environments, **_):
        seen.extend(environments)
        return [float(len(environment.files)) for environment in environments]

    rows = [row | {"prompt": messages(row)} for row in ROWS["train"][:2]]
    settings = {"per_device_train_batch_size": 2, "num_generations": 2, "max_completion_length": 8, "max_steps": 1}
    trainer = GRPOTrainer(
        model=str(model),
        reward_funcs=reward,
        args=GRPOConfig(output_dir=str(tmp_path / "out"), report_to=[], use_cpu=True, save_strategy="no", **settings),
        train_dataset=Dataset.from_list([{"prompt": row["prompt"], "files": row["files"]} for row in rows]),
        environment_factory=Office,
    )
    assert [tool.__name__ for tool in trainer.tools] == TOOLS == [tool["function"]["name"] for tool in OFFICE.schemas]
    assert [get_json_schema(tool) for tool in trainer.tools] == OFFICE.schemas
    trainer.train()
    assert len(seen) == 2 and all(environment.files in [row["files"] for row in rows] for environment in seen)
