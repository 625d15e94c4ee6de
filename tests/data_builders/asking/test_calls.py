"""The ledger: an answer that is there is never asked for again, whatever happened to the file."""

import json
import subprocess
import sys

import pytest

from cft.errors import DataError
from data_builders.asking.calls import Answer, Call, Ledger, Price, cost_of, ledger_path, read_ledger
from tests.support.building import Scripted

BACKEND = Scripted(lambda call: f"answer {call.sample}", price=Price(2, 8))


def call(sample=0, **changes):
    settings = {
        "model": "m", "messages": [{"role": "user", "content": "What is 2 + 2?"}],
        "sampling": {"temperature": 1, "max_tokens": 9}, "template": "solve", "seed": 0,
    }  # fmt: skip
    return Call(sample=sample, **settings | changes)


def fill(path, count):
    with Ledger(path) as ledger:
        BACKEND.answer([call(k) for k in range(count)], ledger)
    return path


@pytest.mark.parametrize(
    "change",
    [
        {"model": "n"},
        {"messages": [{"role": "user", "content": "What is 2 + 3?"}]},
        {"messages": [{"role": "system", "content": "What is 2 + 2?"}]},
        {"sampling": {"temperature": 0.5, "max_tokens": 9}},
        {"template": "solve@2"},
        {"sample": 1},
        {"seed": 1},
    ],
)
def test_all_that_may_change_the_answer_changes_the_key(change):
    changed = Call(**{**vars(call()), **change})
    assert changed.key != call().key == call(sampling={"max_tokens": 9, "temperature": 1}).key


def test_a_row_tells_where_an_answer_came_from_and_what_it_cost(tmp_path):
    fill(tmp_path / "m.jsonl", 1)
    (row,) = read_ledger(tmp_path / "m.jsonl").values()
    assert (row["model"], row["served_model"], row["host"], row["finish_reason"]) == ("m", "m", "script", "stop")
    assert (row["text"], row["attempts"], row["template"], row["sample"]) == ("answer 0", 1, "solve", 0)
    assert row["cost_usd"] == pytest.approx((row["input_tokens"] * 2 + row["output_tokens"] * 8) / 1e6)
    assert len(row["prompt_sha256"]) == len(row["output_sha256"]) == 64 and row["time"].endswith("Z")


def test_cost_is_unknown_when_a_price_or_a_usage_is(tmp_path):
    for price, answer in (
        (None, Answer("x", "ok", "stop", None, 3, 4)),
        (Price(1, 1), Answer("x", "ok", "stop", None, None, 4)),
    ):
        with Ledger(tmp_path / f"{price}.jsonl") as ledger:
            ledger.add(call(), answer, Scripted(str, price=price))
            assert cost_of(ledger.rows.values()) is None
    assert cost_of([]) == 0


@pytest.mark.parametrize("cut", [1, 10, 200])
def test_a_torn_last_line_is_owed_again(tmp_path, cut):
    path = fill(tmp_path / "m.jsonl", 3)
    path.write_bytes(path.read_bytes()[:-cut])
    with Ledger(path) as ledger:
        assert [c.sample for c in ledger.owed([call(k) for k in range(3)])] == [2]
        BACKEND.answer([call(k) for k in range(3)], ledger)
    assert len(read_ledger(path)) == 3 and all(json.loads(line) for line in path.read_text().splitlines())


def test_a_faulty_line_in_the_middle_is_named_and_nothing_is_lost(tmp_path):
    path = fill(tmp_path / "m.jsonl", 3)
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([lines[0], b"{oops", *lines[1:]]))
    before = path.read_bytes()
    with pytest.raises(DataError, match="line 2: is not JSON"), Ledger(path):
        pass
    assert path.read_bytes() == before


def test_a_key_that_is_there_twice_counts_once_and_the_first_stands(tmp_path):
    path = fill(tmp_path / "m.jsonl", 2)
    first = path.read_text().splitlines()[0]
    path.write_text(path.read_text() + json.dumps(json.loads(first) | {"text": "other"}) + "\n")
    with Ledger(path) as ledger:
        assert len(ledger.rows) == 2 and ledger.rows[call().key]["text"] == "answer 0"


def test_failures_stay_owed_and_are_cleared_away_when_they_pile_up(tmp_path):
    path = fill(tmp_path / "m.jsonl", 2)
    with Ledger(path) as ledger:
        for k in range(150):
            ledger.add_failure(call(k + 2), "500", 6, BACKEND)
        assert len(ledger.owed([call(k) for k in range(4)])) == 2
    assert len(path.read_text().splitlines()) == 152
    with Ledger(path) as ledger:
        assert len(ledger.rows) == 2
    assert len(path.read_text().splitlines()) == 2 and not list(tmp_path.glob(".*tmp"))


def test_two_processes_do_not_write_one_file(tmp_path):
    path = tmp_path / "m.jsonl"
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from data_builders.asking.calls import Ledger\nfrom cft.errors import DataError\n"
        "try:\n    with Ledger(Path(sys.argv[1])): print('open')\nexcept DataError as error: print(error)"
    )
    with Ledger(path):
        out = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
        assert "another process is asking this model" in out.stdout
    out = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert out.stdout == "open\n"


def test_names_of_models_become_names_of_files_that_differ(tmp_path):
    names = ["qwen2.5-coder-0.5b", "org/name", "org-name", "org:name", "../../etc/passwd", "/", "模型", "a" * 300]
    paths = [ledger_path(tmp_path, name) for name in names]
    assert len(set(paths)) == len(names) and all(p.parent == tmp_path and len(p.name) < 100 for p in paths)
    assert paths[0].name == "qwen2.5-coder-0.5b.jsonl"


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"cost_usd": ...}, "cost_usd: is missing"),
        ({"cost_usd": "x"}, "cost_usd: "),
        ({"cost_usd": -1.0}, "cost_usd: "),
        ({"output_tokens": "7"}, "output_tokens: "),
        ({"text": None}, "text: "),
        ({"status": "done"}, "status: "),
        ({"key": 5}, "key: "),
    ],
)
def test_a_damaged_row_is_named_and_nothing_is_lost(tmp_path, change, fault):
    path = fill(tmp_path / "m.jsonl", 3)
    lines = path.read_text().splitlines()
    row = {key: value for key, value in (json.loads(lines[1]) | change).items() if value is not ...}
    path.write_text("\n".join([lines[0], json.dumps(row), lines[2], ""]))
    before = path.read_bytes()
    for read in (read_ledger, lambda it: Ledger(it).__enter__()):
        with pytest.raises(DataError, match=rf"m.jsonl: 1 damaged line\(s\)\n  line 2: {fault}[^\n]*\nCorrect them"):
            read(path)
    assert path.read_bytes() == before and [it.name for it in tmp_path.iterdir()] == ["m.jsonl"]


def test_a_ledger_is_the_users_own_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "m.jsonl"
    path.touch(0o644)
    (tmp_path / ".m.jsonl.123.tmp").touch()  # of a process that was killed
    (tmp_path / ".other.jsonl.123.tmp").touch()
    fill(path, 2)
    assert path.stat().st_mode & 0o777 == 0o600
    assert sorted(it.name for it in tmp_path.iterdir()) == [".other.jsonl.123.tmp", "m.jsonl"]
