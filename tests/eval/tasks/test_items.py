"""Items of benchmarks: what a local file may look like, where it is looked for, and that a download is pinned."""

import contextlib
import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import datasets
import pyarrow
import pyarrow.parquet
import pytest

from cft.errors import EvalError
from data_builders.golds import clean
from eval.grading import same_answer
from eval.tasks.item_files import download, local_file
from eval.tasks.items import load
from eval.tasks.source import Source

ROWS = [{"problem": "One and one?", "answer": "2"}, {"problem": "Half of one?", "answer": "\\frac{1}{2}"}]
ITEMS = [{"question": "One and one?", "answer": "2"}, {"question": "Half of one?", "answer": "\\frac{1}{2}"}]


def jsonl(rows: list) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def write(path: Path, text: str = jsonl(ROWS)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def write_parquet(path: Path, rows: list) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


def items_of(rows: list, folder: Path, **source) -> list[dict]:
    path = write(folder / "rows.jsonl", jsonl(rows))
    return load({"task": "cft_own"} | source, cft_own=str(path))["test"].to_list()


def fault_of(source: dict, **metadata) -> str:
    with pytest.raises(EvalError) as error:
        load(source, **metadata)
    return str(error.value)


# What a file may look like


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("rows.jsonl", jsonl(ROWS)),
        ("rows.json", jsonl(ROWS)),
        ("rows.json", json.dumps(ROWS)),
        ("rows.json", json.dumps({"examples": ROWS, "canary": "do not train on this"}, indent=2)),
        ("one.json", jsonl(ROWS[:1])),
        ("rows.parquet", None),
    ],
)
def test_json_lines_a_list_an_object_with_a_list_and_parquet_are_the_same_items(name, text, tmp_path):
    path = write(tmp_path / name, text) if text else write_parquet(tmp_path / name, ROWS)
    assert load({"task": "cft_own"}, cft_own=path)["test"].to_list() == ITEMS[: 1 if name == "one.json" else 2]


@pytest.mark.parametrize(
    ("row", "item"),
    [
        ({"question": " Why? ", "gold": 7}, ("Why?", "7")),
        ({"problem": "Why?", "final_answer": ["$3$", "$x=\\frac{1}{2}$."]}, ("Why?", "3, x=\\frac{1}{2}")),
        ({"problem": "Why?", "answer": 27.0}, ("Why?", "27.0")),
        ({"problem": "Why?", "solution": "Or \\boxed{1}? No: \\boxed{\\frac{\\pi}{2}}."}, ("Why?", "\\frac{\\pi}{2}")),
        ({"problem": "Why?", "solution": "By \\boxed{9}.", "answer": "4"}, ("Why?", "4")),
    ],
)
def test_usual_keys_and_forms_of_an_answer_are_understood(row, item, tmp_path):
    assert items_of([row], tmp_path) == [dict(zip(("question", "answer"), item, strict=True))]


def test_the_answer_of_a_gsm8k_row_is_its_last_line(tmp_path):
    rows = [{"question": "How much?", "answer": "It is 2 * 500 = <<2*500=1000>>1,000.\n#### 1,000"}]
    assert items_of(rows, tmp_path, after="####") == [{"question": "How much?", "answer": "1000"}]


def test_keys_of_ones_own_can_be_named(tmp_path):
    rows = [{"input": "Did it?", "target": "Yes", "answer": "not this one"}]
    assert items_of(rows, tmp_path, question=["input"], answer=["target"]) == [{"question": "Did it?", "answer": "Yes"}]


def test_subject_and_level_are_texts_and_may_be_missing_in_a_row(tmp_path):
    rows = [{"problem": "a", "answer": 1}, {"problem": "b", "answer": 2, "level": 3, "type": "Algebra"}]
    found = items_of(rows, tmp_path, subject="type", level="level")
    assert [(item["subject"], item["level"]) for item in found] == [(None, None), ("Algebra", "3")]
    assert list(items_of(rows[:1], tmp_path, subject="type", level="level")[0]) == ["question", "answer"]


@pytest.mark.parametrize(
    ("gold", "cleaned", "also"),
    [
        ("$\\frac{1}{2}$", "\\frac{1}{2}", "0.5"),
        ("$69$,$84$", "69,84", "84, 69"),
        ("$(-\\infty, 0) \\cup\\{1\\}$.", "(-\\infty, 0) \\cup\\{1\\}", "(-\\infty,0)\\cup\\{1\\}"),
        ("\\$5", "\\$5", "5"),
        ("np.arcsin(10/13)", "\\arcsin(10/13)", "\\arcsin\\left(\\frac{10}{13}\\right)"),
        ("-1./3", "-1/3", "-\\frac{1}{3}"),
        ("7.5/3", "7.5/3", "2.5"),
    ],
)
def test_gold_answers_are_cleaned_so_that_the_grader_reads_them(gold, cleaned, also):
    assert clean(gold) == cleaned
    assert same_answer(cleaned, also) is True


# Faults of a file


def test_all_faulty_rows_are_named_at_once(tmp_path):
    rows = [
        {"problem": "a", "answer": "1"},
        {"prompt": "b", "label": "2"},
        {"problem": "c", "answer": None},
        {"problem": "d", "answer": True},
        {"problem": "e", "answer": "\frac{1}{2}"},
        {"problem": "f", "answer": []},
        {"problem": "g", "answer": ["1", {}]},
        {"problem": "  ", "answer": "1"},
        {"problem": "h", "solution": "no box"},
        {"problem": "i", "answer": "$ $"},
        {"answer": "1", "problem": "a"},
    ]
    words = [
        "line 2: lacks problem and answer; its keys are prompt, label",
        "line 3: answer is None; write a text or a number",
        "line 4: answer is True",
        "line 5: answer holds the character U+000C before 'rac{1}{2}', as a LaTeX command does that lost its backslash",
        "line 6: answer is []",
        "line 7: answer is {}",
        "line 8: problem is '  '; write a text",
        "line 9: solution has no answer in \\boxed{}",
        "line 10: answer is empty",
        "line 11: repeats line 1",
    ]
    path = write(tmp_path / "rows.jsonl", jsonl(rows))
    message = fault_of({"task": "cft_own"}, cft_own=path)
    assert message.startswith(f"cft_own: {path} has 10 faulty line(s).")
    assert [word for word in words if word not in message] == []
    write(path, jsonl([{"problem": "a"}] * 12))
    assert "has 12 faulty" in (message := fault_of({"task": "cft_own"}, cft_own=path)) and "and 2 more" in message


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("rows.json", "[]", "has no rows"),
        ("rows.json", '{"examples": []}', "has no rows"),
        ("rows.json", "[1, 2]", "item 1: is a JSON int"),
        ("rows.json", '[{"problem": "a"}]', "item 1: lacks answer"),
        ("rows.json", '[{"problem": "a",', "is not JSON, Expecting"),
        ("rows.parquet", "no Parquet", "cannot be read as Parquet"),
        ("rows.jsonl", "", "has no rows"),
    ],
)
def test_a_damaged_file_is_named_with_its_fault(name, text, words, tmp_path):
    path = write(tmp_path / name, text)
    message = fault_of({"task": "cft_own"}, cft_own=path)
    assert words in message and str(path) in message and "cft_own" in message


def test_a_missing_file_is_named(tmp_path):
    for name in ("none.jsonl", "none.json", "none.parquet"):
        assert f"{tmp_path / name}: cannot be read" in fault_of({"task": "cft_own"}, cft_own=tmp_path / name)


# Where a file is looked for


@pytest.mark.parametrize(
    "name",
    ["aime99.jsonl", "aime99.json", "cft_aime99.jsonl", "aime_99.jsonl", "aime99/test.jsonl", "aime_99/task.json",
     "aime99/data/test-00000-of-00001.jsonl"],
)  # fmt: skip
def test_a_folder_of_data_may_have_the_usual_layouts(name, tmp_path):
    source = Source(task="cft_aime99", names=("aime_99",))
    path = write(tmp_path / name)
    write(tmp_path / "aime98.jsonl")
    write(tmp_path / "aime99" / "train.jsonl")
    assert local_file(source, {"data_dir": str(tmp_path)}) == path


def test_parquet_of_a_hub_download_is_found_and_json_lines_go_first(tmp_path):
    parquet = write_parquet(tmp_path / "own" / "main" / "test-00000-of-00001.parquet", ROWS)
    assert local_file(Source(task="cft_own"), {"data_dir": tmp_path}) == parquet
    lines = write(tmp_path / "own" / "test.jsonl")
    assert local_file(Source(task="cft_own"), {"data_dir": tmp_path}) == lines


def test_a_file_named_for_the_task_or_its_variant_goes_before_the_folder(tmp_path):
    write(tmp_path / "own.jsonl")
    for name in ("cft_own", "cft_own_sampled", "cft_own_fewshot"):
        assert local_file(Source(task="cft_own"), {"data_dir": tmp_path, name: "F"}) == Path("F")
    assert local_file(Source(task="cft_own"), {"cft_own_other": "F", "pretrained": "M"}) is None


def test_no_file_and_several_files_in_the_folder_are_errors(tmp_path):
    source = {"task": "cft_own", "hub": "a/b", "revision": "0" * 40}
    message = fault_of(source, data_dir=tmp_path)
    assert str(tmp_path) in message and "own and cft_own" in message and "eval.data.cft_own=FILE" in message
    write(tmp_path / "own.jsonl")
    write(tmp_path / "own" / "test.jsonl")
    assert "2 files" in (message := fault_of(source, data_dir=tmp_path)) and str(tmp_path / "own.jsonl") in message


# The pinned sources


@contextlib.contextmanager
def server(content: bytes) -> Iterator[tuple[str, list[str]]]:
    """A web server of one file; yields its address and the paths that were asked for."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200 if self.path == "/items.jsonl" else 404)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_) -> None:
            pass

    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{httpd.server_port}", asked
    finally:
        httpd.shutdown()
        httpd.server_close()


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CFT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_pinned_file_is_fetched_once_and_fixed_when_the_cache_is_damaged(cache):
    content = jsonl(ROWS).encode()
    with server(content) as (address, asked):
        source = {"task": "cft_own", "url": f"{address}/items.jsonl", "sha256": hashlib.sha256(content).hexdigest()}
        for _ in range(2):
            assert load(source)["test"].to_list() == ITEMS
        assert asked == ["/items.jsonl"]
        (kept,) = (cache / "data").iterdir()
        kept.write_bytes(content[:10])
        assert download(Source(**source)) == kept and kept.read_bytes() == content and len(asked) == 2
    assert load(source)["test"].to_list() == ITEMS  # the server is gone


def test_a_file_that_is_not_the_pinned_one_is_refused_and_not_kept(cache):
    with server(jsonl(ROWS).encode()) as (address, _):
        message = fault_of({"task": "cft_own", "url": f"{address}/items.jsonl", "sha256": "0" * 64})
    assert "other bytes than the pinned ones" in message and "0" * 64 in message and "eval.data.cft_own" in message
    assert not list(cache.rglob("*.jsonl"))


def test_an_address_that_does_not_answer_shows_the_way_to_a_local_file(cache):
    with server(b"") as (address, _):
        missing = fault_of({"task": "cft_own", "url": f"{address}/other.jsonl", "sha256": "0" * 64})
    gone = fault_of({"task": "cft_own", "url": f"{address}/items.jsonl", "sha256": "0" * 64})
    assert "404" in missing and "refused" in gone
    assert all(f"{address}/" in text and "eval.data.cft_own=FILE" in text for text in (missing, gone))


def test_a_cache_that_cannot_be_written_is_named(cache):
    write(cache, "a file, no folder")
    content = jsonl(ROWS).encode()
    with server(content) as (address, _):
        digest = hashlib.sha256(content).hexdigest()
        message = fault_of({"task": "cft_own", "url": f"{address}/items.jsonl", "sha256": digest})
    assert str(cache) in message and "CFT_CACHE" in message


def test_a_data_set_is_loaded_with_its_split_and_one_that_is_not_there_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    write(tmp_path / "set" / "test.jsonl")
    write(tmp_path / "set" / "train.jsonl", jsonl([{"problem": "of the training set", "answer": "1"}]))
    source = {"task": "cft_own", "hub": str(tmp_path / "set"), "revision": "0" * 40}
    assert load(source)["test"].to_list() == ITEMS
    message = fault_of(source | {"hub": str(tmp_path / "no_set")})
    assert "no_set cannot be loaded from the hub" in message and "eval.data.cft_own=FILE" in message


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"hub": "a/b"}, "needs a revision"),
        ({"hub": "a/b", "revision": "main"}, "revision"),
        ({"url": "https://example.org/items.jsonl"}, "without its sha256"),
        ({}, "neither hub nor url"),
        ({"hub": "a/b", "revison": "0" * 40}, "revison"),
    ],
)
def test_a_source_that_is_not_pinned_or_misspelt_is_refused(source, words):
    message = fault_of({"task": "cft_own"} | source)
    assert words in message and "cft_own" in message
