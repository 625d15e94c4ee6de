"""`cft collect` as a user meets it: a model behind a server that solves as the expert does, one here, and a person."""

import json
import sys
import time
from pathlib import Path

import pytest
import yaml

from cft.errors import EvalError
from cft.models.generate import Completion
from cft.recipe.blocks import TrajectoriesData
from data_builders.teachers.file import load_critiques
from data_builders.trajectories.build import rows
from data_builders.trajectories.read import Report
from eval.collecting.collection import Collection, begun, find_tools, finished, transcript
from eval.tasks.lm_tasks import TASKS_FOLDER
from eval.tasks.tools.expert import demonstrate
from eval.tasks.tools.tasks import LEVELS, draw
from tests.support.asking import odd_server, whole
from tests.support.command import cft, started

SKIP = 78  # the rows behind the shipped demonstrations: of each kind and level the fourth
COUNT = 6
LINES = [demonstrate(kind, level, 3, script=0)["messages"] for kind, level in LEVELS[:COUNT]]
BAD = {0: "I do not know.", 1: r"It is \boxed{0}."}  # task -> what is said in place of its last message


def said(message: dict) -> str:
    """A message of the expert, as a model writes it."""
    calls = [json.dumps(call["function"]) for call in message.get("tool_calls", ())]
    return "\n".join([message["content"], *(f"<tool_call>\n{call}\n</tool_call>" for call in calls)])


def teacher(path: str, body: dict) -> dict:
    """Solves as the expert does, but for `BAD`; reads the conversation only as any server may."""
    messages = body["messages"]
    assert {one["role"] for one in messages} <= {"system", "user", "assistant"} and "tools" not in body
    number = [lines[1]["content"] for lines in LINES].index(messages[1]["content"])
    turns = [one for one in LINES[number] if one["role"] == "assistant"]
    turn = sum(one["role"] == "assistant" for one in messages)
    last = turn == len(turns) - 1 and number in BAD
    return whole(BAD[number] if last else said(turns[turn]))


def collect(folder: Path, *options: str, given: bytes = b"", tasks: int = COUNT):
    where = ["--skip", str(SKIP), "--tasks", str(tasks), "--out", "own", "--json"]
    return cft("collect", "cft_office", *where, *options, cwd=folder, given=given)


def kept(folder: Path) -> list[list[dict]]:
    names = ("trajectories.jsonl", "failed.jsonl")
    return [[json.loads(line) for line in (folder / "own" / name).read_text("utf-8").splitlines()] for name in names]


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "own").iterdir()}


def test_a_served_model_solves_and_what_is_correct_trains_what_failed_does_not(tmp_path):
    with odd_server(teacher) as (url, seen):
        options = ["--model", "odd-1", "--base-url", url]
        done = collect(tmp_path, *options)
        assert done.returncode == 0, done.stderr
        asked, found = len(seen), json.loads(done.stdout)
        assert collect(tmp_path, *options).stdout == done.stdout and len(seen) == asked  # nothing twice
    assert found["outcomes"] == {"correct": COUNT - 2, "no_answer": 1, "wrong": 1} and found["cost_usd"] == 0
    assert found["input_tokens"] == 9 * asked and found["output_tokens"] == 7 * asked
    right, failed = kept(tmp_path)
    shown = [[(m["role"], m["content"], m.get("name")) for m in one] for one in LINES[2:]]
    assert [[(m["role"], m["content"], m.get("name")) for m in row["messages"]] for row in right] == shown
    silent, wrong = failed
    assert (silent["outcome"], silent["ended"], silent["boxed"]) == ("no_answer", "answer", None)
    assert (wrong["outcome"], wrong["boxed"], wrong["answer"]) == (
        "wrong",
        "0",
        draw("total", 1, "train", 3)[0]["expected"]["answer"],
    )
    assert wrong["problem"] == LINES[1][1]["content"] and wrong["differing_files"] == []
    assert wrong["solution"].startswith("assistant: ") and wrong["solution"].endswith(r"assistant: It is \boxed{0}.")
    card = (tmp_path / "own" / "README.md").read_text("utf-8")
    assert (
        "| lookup | 1 | no_answer | 1 |" in card
        and "| by | odd-1 |" in card
        and f"| output_tokens | {7 * asked} |" in card
    )

    report = Report()
    trained = [*rows(TrajectoriesData(builder="trajectories", path=str(tmp_path / "own")), report)]
    assert [row["id"] for row in trained] == [row["id"] for row in right]
    assert report.counts["refused"] == {"its outcome is not correct": 2} and not report.counts["repaired"]
    critique = {"critique": r"It is wrong. \boxed{1}"}
    (tmp_path / "critiques.jsonl").write_text("".join(json.dumps(row | critique) + "\n" for row in failed), "utf-8")
    assert [row.student for row in load_critiques(tmp_path / "critiques.jsonl")] == ["odd-1", "odd-1"]


def test_a_killed_collection_goes_on_and_asks_only_for_what_is_owed(tmp_path):
    def slow(path: str, body: dict) -> dict:
        time.sleep(0.2)
        return teacher(path, body)

    with odd_server(slow) as (url, seen):
        options = ["--model", "odd-1", "--base-url", url]
        (tmp_path / "whole").mkdir()
        assert collect(tmp_path / "whole", *options).returncode == 0
        needed, ledger = len(seen), tmp_path / "runs" / "calls" / "odd-1.jsonl"
        where = ["--skip", str(SKIP), "--tasks", str(COUNT), "--out", "own", "--json"]
        process = started("collect", "cft_office", *where, *options, cwd=tmp_path)
        while not ledger.exists() or ledger.read_bytes().count(b"\n") < COUNT + 2:
            time.sleep(0.05)
        process.kill()
        process.wait()
        answered = ledger.read_bytes().count(b"\n")
        begun_before = len(seen)
        assert answered < needed and collect(tmp_path, *options).returncode == 0
        assert len(seen) - begun_before == needed - answered
    assert bytes_of(tmp_path) == bytes_of(tmp_path / "whole")


def test_a_model_that_is_loaded_here_gives_the_same_dialogues_again(tmp_path, tiny_model):
    options = ["--model", str(tiny_model), "--samples", "2", "--max-new-tokens", "16", "--runs"]
    one = collect(tmp_path, *options, "runs", tasks=2)
    assert one.returncode == 0 and json.loads(one.stdout)["input_tokens"] is None, one.stderr
    first, (_, failed) = bytes_of(tmp_path), kept(tmp_path)
    assert [row["id"][-2:] for row in failed] == ["-0", "-1"] * 2 and failed[0]["solution"] != failed[1]["solution"]
    assert {row["outcome"] for row in failed} == {"truncated"} == {"truncated" for row in failed if row["truncated"]}
    more = collect(tmp_path, *options, "runs", tasks=3)
    assert more.returncode == 0 and json.loads(more.stdout)["planned"] == 6 and kept(tmp_path)[1][:4] == failed
    for path in (tmp_path / "own").iterdir():
        path.unlink()
    assert collect(tmp_path, *options, "elsewhere", tasks=2).returncode == 0 and bytes_of(tmp_path) == first


def test_a_person_solves_is_told_faults_and_goes_on_later_where_it_stopped(tmp_path):
    typed = []
    for message in (one for one in LINES[0] if one["role"] == "assistant"):
        calls = [call["function"] for call in message.get("tool_calls", ())]
        typed += [message["content"], *(f"{call['name']} {json.dumps(call['arguments'])}" for call in calls)]
    faults = ['reed {"a": 1}', 'read_file {"path": 3', 'read_file {"file": "x"}', '<tool_call>{"name"</tool_call>']
    first = collect(tmp_path, "--person", given="\n".join([*faults, *typed, "skip", "list_files", "quit"]).encode())
    assert first.returncode == 0 and json.loads(first.stdout)["outcomes"] == {"correct": 1}
    told = " ".join(first.stderr.split())
    assert told.count("Nothing was done.") == 4 and "no tool 'reed'" in told and "missing a required argument" in told
    (right,), failed = kept(tmp_path)
    assert [m["content"] for m in right["messages"]] == [m["content"] for m in LINES[0]] and failed == []

    later = collect(tmp_path, "--person", given=b'{"name": "list_files", "arguments": {}}\nIt is \\boxed{[bold]0}')
    (again,), (wrong,) = kept(tmp_path)
    assert again == right and wrong["kind"] == "total" and wrong["boxed"] == "[bold]0"
    assert (
        wrong["solution"].splitlines()[0] == "call list_files {}"
        and "outcome wrong, ended answer, answer " in later.stderr
    )
    odd = collect(tmp_path, "--person", given=b"caf\xe9")
    assert odd.returncode == 2 and "is not UTF-8" in odd.stderr and kept(tmp_path) == [[right], [wrong]]


FREE = ("other", "twice")


def own_rows(split: str, size: int) -> list[dict]:
    """Rows that are the same in all splits but those of FREE, one of which has ids that are there twice."""
    return [
        row | {"id": split if split == "twice" else f"{split}-{i}"}
        for i, row in enumerate(
            draw("total", 1, "train", n + 9 * (split in ("other", "twice")))[0] for n in range(size)
        )
    ]


def failing(*_, **__) -> str:
    raise RuntimeError("no outcome today")


@pytest.fixture
def own(tmp_path, monkeypatch) -> str:
    """A folder with a task whose rows are `own_rows`."""
    names = {
        "environment": "eval.tasks.tools.office:Office",
        "outcome": f"{__name__}:failing",
        "rows": f"{__name__}:own_rows",
    }
    names |= {"messages": "eval.tasks.tools.tasks:messages", "split": "train", "size": 3}
    task = {"task": "own", "include": f"{TASKS_FOLDER}/prompts/tools", "dataset_kwargs": {"tools": names}}
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "own.yaml").write_text(yaml.safe_dump(task), encoding="utf-8")
    monkeypatch.setattr(sys, "path", [*sys.path])
    return str(tmp_path / "tasks")


def test_no_row_that_a_task_scores_is_collected(own):
    task = find_tools("own", own)
    for split, row in (("train", "train-1"), ("more", "more-1")):  # by its own split, and under another name
        with pytest.raises(
            EvalError, match=rf"{row} of the split '{split}' is scored, by own. Name another .*own_rows"
        ):
            begun(task, split, 1, 5, folder=own)
    assert [*begun(task, "other", 0, 2, folder=own)] == ["other-0", "other-1"]
    for name, split in (("cft_office_validation", "test"), ("cft_office", "validation"), ("cft_office", "test")):
        with pytest.raises(EvalError, match=rf"is scored, by cft_office{'' if split == 'test' else '_validation'}\."):
            begun(find_tools(name), split, 0, 1)
    with pytest.raises(EvalError, match=r"has no row behind the first 9"):
        begun(task, "none", 9, 0)
    with pytest.raises(EvalError, match="two rows of the split 'twice' have the id 'twice'"):
        begun(task, "twice", 0, 2, folder=own)


def test_an_answer_that_broke_off_behind_its_box_is_not_trained_on():
    task = find_tools("cft_office")
    for reason, outcome in (("stop", None), ("length", "truncated")):
        (talk,) = begun(task, "train", 0, 1).values()
        talk.take(Completion(rf"It is \boxed{{{talk.row['expected']['answer']}}}, which I found in the", 9, reason))
        row = finished("a", talk, "m")
        assert row.get("outcome") == outcome and row.get("truncated", False) == (outcome is not None)


def test_a_collection_keeps_its_rows_when_more_cannot_be_asked(tmp_path):
    with odd_server(teacher) as (url, _):
        assert collect(tmp_path, "--model", "odd-1", "--base-url", url).returncode == 0
    before = kept(tmp_path)
    (tmp_path / "runs" / "calls" / "odd-1.jsonl").unlink()
    more = collect(tmp_path, "--model", "odd-1", "--base-url", url, tasks=COUNT + 1)
    assert more.returncode == 2 and kept(tmp_path) == before


def test_a_function_of_the_task_that_fails_and_tasks_without_tools_are_told(own, tmp_path):
    talk = begun(find_tools("own", own), "other", 0, 1, folder=own)
    with pytest.raises(EvalError, match=r"other-0 cannot be scored \(RuntimeError no outcome today\). Correct the env"):
        Collection(tmp_path / "out", {"by": "x"}, talk).end("other-0")
    with pytest.raises(EvalError, match=r"unknown task 'cft_ofice'. Did you mean cft_office"):
        find_tools("cft_ofice")
    with pytest.raises(EvalError, match=r"cft_math500: has no tools .* Name one that has: cft_office, "):
        find_tools("cft_math500")


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path):
    settings = {"task": "t", "by": "x", "tasks": 2, "turns": 8}
    Collection(tmp_path / "own", settings, {}).save()
    Collection(tmp_path / "own", settings | {"tasks": 3}, {})
    with pytest.raises(EvalError, match=r"other settings.\n  tasks: 2 there, 1 now\n  turns: 8 there, 9 now"):
        Collection(tmp_path / "own", settings | {"tasks": 1, "turns": 9}, {})
    (tmp_path / "own" / "notes.txt").touch()
    with pytest.raises(EvalError, match=r"is not what cft collect wrote \(notes.txt\). Name another folder with --out"):
        Collection(tmp_path / "own", settings, {})
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "failed.jsonl").touch()
    with pytest.raises(EvalError, match=r"not what cft collect wrote \(failed.jsonl\)"):
        Collection(tmp_path / "rows", settings, {})
    with pytest.raises(EvalError, match=r"failed.jsonl: is not .* \(no folder\)"):
        Collection(tmp_path / "rows" / "failed.jsonl", settings, {})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "neither --model nor --person"),
        (["--person", "--model", "m"], "both --model and --person"),
        (["--person", "--samples", "2"], "--person solves once"),
        (["--model", "m", "--samples", "2", "--temperature", "0"], "set --temperature above 0"),
        (["--model", "m", "--samples", "0"], "--samples"),
        (["--model", "m", "--split", "nowhere"], "Unknown split 'nowhere'"),
        (["--model", "m", "--temperature", "inf"], "finite"),
        (["--model", "m", "--base-url", "localhost"], "is no address of a server"),
        (["--model", "m", "--base-url", "http://localhost:9/v1"], "localhost:9"),
    ],
)
def test_what_cannot_be_meant_is_told_before_anything_is_written(options, said, tmp_path):
    done = collect(tmp_path, *options)
    assert done.returncode == 2 and said in " ".join(done.stderr.split()) and not (tmp_path / "own").exists()


def test_a_transcript_leaves_out_the_task_and_thoughts():
    call = {"function": {"name": "sql", "arguments": {"query": "é"}}}
    messages = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
    messages += [{"role": "assistant", "content": "<think>t</think>\nlook", "tool_calls": [call]}]
    messages += [
        {"role": "tool", "name": "sql", "content": "1"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
    ]
    assert transcript(messages) == 'assistant: look\ncall sql {"query": "é"}\nresult: 1\ncall sql {"query": "é"}'
