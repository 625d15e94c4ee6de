"""Whatever stands in a foreign file, its reader names the file, the place and the fix."""

import os
from typing import Annotated, NotRequired

import pytest
from pydantic import Field

from cft.errors import DataError, ModelError, RunError
from cft.files import read_json, read_jsonl, sha256_file
from cft.foreign import read_text, user_path

DEEP = "[" * 500 + "]" * 500
DAMAGED = {  # what a JSON object holds under "a" -> what is said of it
    DEEP: "nested too deeply",
    '{"b":' * 100 + "1" + "}" * 100: "nested too deeply",
    "[" * 100_000: "nested too deeply",
    "9" * 5000: "a whole number of 5000 digits, more than 40; put it in quotes",
    "1e999": "1e999, which is no number",
    "-Infinity": "-Infinity, which is no number",
    "NaN": "write a finite number, or null",
    r'"\ud83d"': r"holds \\ud83d, half of a character",
    r'"\sqrt{2}"': r"a backslash of LaTeX is written \\\\",
    r'"\underline{2}"': r"a backslash of LaTeX is written \\\\",
    "1, }": "is not JSON",
}


@pytest.mark.parametrize("value", DAMAGED)
def test_a_json_value_that_cannot_be_used_is_named_with_its_line(tmp_path, value):
    path = tmp_path / "rows.jsonl"
    path.write_text(f'{{"a": 1}}\n{{"a": {value}}}\n')
    with pytest.raises(DataError, match=rf"rows\.jsonl: 1 faulty[^\n]*\n  line 2: [^\n]*{DAMAGED[value]}"):
        read_jsonl(path)
    path.write_text(f'{{"a": {value}}}')
    with pytest.raises(RunError, match=rf"rows\.jsonl: [^\n]*{DAMAGED[value]}"):
        read_json(path)


def test_what_transformers_takes_in_the_files_of_models_is_taken(tmp_path):
    path = tmp_path / "config.json"
    path.write_text('{"time_step_limit": [0.0, Infinity], "a": 1}')
    assert read_json(path, error=ModelError) == {"time_step_limit": [0.0, float("inf")], "a": 1}


def test_a_whole_emoji_written_as_two_escapes_is_taken(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(r'{"a": "\ud83d\ude00"}')
    assert read_jsonl(path) == [(1, {"a": "😀"})]


def test_a_byte_order_mark_is_passed_over_and_utf16_is_refused_by_name(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes('{"a": "é"}\n'.encode("utf-8-sig"))
    assert read_jsonl(path) == [(1, {"a": "é"})]
    assert read_json(path) == {"a": "é"}
    for encoding in ("utf-16", "utf-16-be"):
        mark = "" if encoding == "utf-16" else "\ufeff"
        path.write_bytes(f'{mark}{{"a": "é"}}\n'.encode(encoding))
        for read in (read_jsonl, read_json, read_text):
            with pytest.raises((DataError, RuntimeError), match=r"is UTF-16\. Save the file as UTF-8"):
                read(path)


def test_all_values_of_another_type_than_the_reader_needs_are_named_at_once(tmp_path):
    path, size = tmp_path / "config.json", Annotated[int, Field(gt=0)]
    shape = {"layers": size, "heads": size, "name": str, "eos": NotRequired[int | list[int]]}
    path.write_text('{"layers": "64", "heads": 0, "eos": [1, "x"], "other": {}}')
    with pytest.raises(ModelError) as caught:
        read_json(path, shape, ModelError)
    message = str(caught.value)
    for part in ("config.json", "layers: is '64'", "heads: is 0, input should be greater than 0", "name: is missing"):
        assert part in message
    assert "eos" in message and "other:" not in message
    path.write_text('{"layers": 2, "heads": 1, "name": "a", "other": [1]}')
    assert read_json(path, shape, ModelError)["other"] == [1]
    path.write_text("[1]")
    with pytest.raises(ModelError, match="is a JSON list, not an object"):
        read_json(path, shape, ModelError)
    assert read_json(tmp_path / "none.json", shape, ModelError) is None


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
@pytest.mark.parametrize("read", [read_json, read_jsonl, read_text, sha256_file])
def test_what_is_no_ordinary_file_is_refused_and_waits_for_nobody(tmp_path, kind, read):
    path = {"pipe": tmp_path / "fifo", "device": "/dev/zero", "folder": tmp_path}[kind]
    if kind == "pipe":
        os.mkfifo(path)
    with pytest.raises((DataError, RuntimeError), match=f"is a {kind}, not a file"):
        read(path)


def test_a_path_that_no_system_could_have_is_refused_in_words(tmp_path):
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    (tmp_path / "file").touch()
    for text in ("a" * 300, "x\0y", "~nobody-here/x", f"{tmp_path}/file/below", str(loop)):
        with pytest.raises(ModelError, match="cannot be used as a path"):
            user_path(text, ModelError)
    assert user_path(str(tmp_path / "not there")) == tmp_path / "not there"
