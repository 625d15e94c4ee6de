"""Files survive a kill, and a user's damaged file is described line by line."""

import json
import subprocess
import sys

import pytest

from cft.errors import DataError
from cft.files import append_jsonl, content_id, read_jsonl, read_own_jsonl, sha256_folder, write_json, write_text


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})
    with pytest.raises(ValueError):
        write_json(path, {"new": float("nan")})
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "\ud800")
    assert json.loads(path.read_text()) == {"old": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_torn_last_line_of_our_own_file_is_cut_off_and_the_file_goes_on(tmp_path):
    path = tmp_path / "rows.jsonl"
    append_jsonl(path, [{"a": 1}, {"a": 2}])
    with path.open("ab") as file:
        file.write(b'{"a": 3, "tex')
    assert read_own_jsonl(path) == [{"a": 1}, {"a": 2}]
    append_jsonl(path, [{"a": 3}])
    assert read_own_jsonl(path) == [{"a": 1}, {"a": 2}, {"a": 3}]


def test_a_torn_line_in_the_middle_of_our_own_file_is_not_passed_over(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n{"a": \n{"a": 3}\n')
    with pytest.raises(DataError, match="line 2"):
        read_own_jsonl(path)


def test_all_faulty_lines_of_a_users_file_are_named_at_once(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 1}\n\n[1, 2]\n{"a": "\xff"}\n{"a": 5}\n{"a": ')
    with pytest.raises(DataError) as caught:
        read_jsonl(path)
    message = str(caught.value)
    for part in ("4 faulty", "line 2: is empty", "line 3: is a JSON list", "line 4: is not UTF-8", "line 6", "torn"):
        assert part in message
    assert "line 1" not in message and "line 5" not in message


@pytest.mark.parametrize("content", [b"", None])
def test_an_empty_or_missing_file_is_an_error_that_names_it(tmp_path, content):
    path = tmp_path / "rows.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"rows\.jsonl"):
        read_jsonl(path)


def test_ids_do_not_depend_on_key_order_or_on_the_process():
    here = content_id({"b": [1, "é"], "a": None})
    assert here == content_id({"a": None, "b": [1, "é"]}) != content_id({"a": None, "b": [1, "e"]})
    code = "from cft.files import content_id; print(content_id({'b': [1, 'é'], 'a': None}))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == here


def test_a_folders_hash_changes_with_names_and_bytes(tmp_path):
    (tmp_path / "x").write_text("1")
    first = sha256_folder(tmp_path)
    (tmp_path / "x").rename(tmp_path / "y")
    second = sha256_folder(tmp_path)
    (tmp_path / "y").write_text("2")
    assert len({first, second, sha256_folder(tmp_path)}) == 3
