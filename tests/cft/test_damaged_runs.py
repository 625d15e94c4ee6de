"""A run folder that somebody changed by hand: the file, the line and the way out are named, and nothing is guessed."""

import shutil

import pytest

from cft.cli.trace import trace_item
from cft.errors import DataError, RunError
from cft.files import write_json, write_jsonl
from cft.recipe.load import load_recipe
from cft.runs import ARM, METRICS, Run, open_run, read_known, read_rows
from data_builders.inspect.inspection import load_items

DEEP = "[" * 3000
PROBLEM = {"id": "p", "question": "1 + 1?", "answer": "2"}
CANDIDATE = {"id": "a", "problem": "p", "student": "s", "text": "3", "outcome": "wrong", "answer": "3"}
CRITIQUE = {"id": "k", "candidate": "a", "teacher": "t", "style": "s", "text": "no", "verdict": "wrong", "answer": "2"}
EXAMPLE = {"id": "e", "critique": "k", "prompt": [{"role": "user", "content": "x"}], "completion": []}
ROWS = {
    "problems": [PROBLEM],
    "candidates": [CANDIDATE],
    "critiques": [CRITIQUE | {"accepted": True, "reason": None}],
    "examples": [EXAMPLE],
}


@pytest.fixture
def run(tmp_path) -> Run:
    run = open_run(load_recipe("smoke"), {}, tmp_path / "runs")
    stage = run.stage("data", {})
    for name, rows in ROWS.items():
        write_jsonl(run.data / f"{name}.jsonl", rows)
    stage.finish(seed=0, counts={})
    assert len(load_items(run.data)) == 1 and trace_item(run, None)["examples"] == ["e"]
    return run


@pytest.mark.parametrize(
    "text", ["", "{", "[1]", "5", DEEP, '{"fingerprint": 5}', '{"a": 1e999}', "\x00" * 90, "folder"]
)
@pytest.mark.parametrize("name", ["manifest.json", "started.json"])
def test_a_damaged_manifest_is_named_with_what_to_do(run: Run, text: str, name: str):
    path = run.data / name
    path.unlink()
    path.mkdir() if text == "folder" else path.write_text(text)
    with pytest.raises(RunError, match=rf"data/{name}: ") as caught:
        run.stage("data", {}).finish(seed=0, counts={})
    assert "delete it and give the command again" in str(caught.value) or text == "folder"
    shutil.rmtree(run.data)
    assert run.stage("data", {}).finish(seed=0, counts={})["starts"] == 1


@pytest.mark.parametrize("text", ["", "{", "[1]", DEEP, '{"summary": 5}', '{"summary": {}, "log": [1]}'])
def test_damaged_metrics_are_named(run: Run, text: str):
    run.train.mkdir()
    (run.train / METRICS).write_text(text)
    with pytest.raises(RunError, match=rf"train/{METRICS}: "):
        read_known(run.train / METRICS)


def test_what_a_report_computes_with_has_its_type(tmp_path):
    for key, value in {"seconds": "5", "peak_memory_mb": [1], "n": -1, "settings": 5, "tokens": 10**300}.items():
        write_json(tmp_path / ARM, {"n": 1, "seconds": 2.5, key: value})
        with pytest.raises(RunError, match=rf"{ARM}: {key}: is |whole number of 301 digits"):
            read_known(tmp_path / ARM)


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize(
    "line", ["[1]", DEEP, "{}", '{"id": [1]}', '{"id": 5}', '{"n": ' + "9" * 400 + "}", "\x00\x00"]
)
def test_a_damaged_row_is_named_by_whoever_reads_it(run: Run, name: str, line: str):
    path = run.data / f"{name}.jsonl"
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(DataError, match=rf"{name}\.jsonl: 1 faulty line\(s\)\n  line 2: "):
        load_items(run.data)
    with pytest.raises(DataError, match="line 2: "):
        trace_item(run, "e") if name != "problems" else read_rows(path)
