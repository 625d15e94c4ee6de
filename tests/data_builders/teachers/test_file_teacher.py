"""Critiques from files: what is at fault is told with its line."""

import json

import pytest

from cft.errors import DataError
from cft.recipe.blocks import FileTeacher
from data_builders.teachers.file import chosen_critiques, find_critiques, load_critiques

ROW = {"problem": "What is 2 + 2?", "answer": "4", "solution": "2 + 2 = 5", "critique": "That is incorrect: \\boxed{4}"}


def load(tmp_path, *lines):
    path = tmp_path / "mine.jsonl"
    path.write_bytes(b"".join(x if isinstance(x, bytes) else json.dumps(x).encode() + b"\n" for x in lines))
    return load_critiques(path)


def test_minimal_and_full_rows(tmp_path):
    full = ROW | {"solution": "5", "answer": 4, "student": "me", "style": "short", "truncated": True, "note": "out"}
    minimal, rich = load(tmp_path, ROW, full)
    assert (minimal.line, minimal.answer, minimal.truncated) == (1, "4", False)
    assert (rich.student, rich.style, rich.truncated, rich.answer) == ("me", "short", True, "4")


def test_shipped_file_loads_by_name():
    rows = load_critiques(find_critiques("bakery"))
    two = FileTeacher(kind="file", path="bakery", styles=["numbered check", "step check"])
    assert chosen_critiques(FileTeacher(kind="file", path="bakery")) == rows
    assert chosen_critiques(two) == [row for row in rows if row.style in ("numbered check", "step check")]


def test_a_style_that_no_row_has_names_those_there_are():
    with pytest.raises(DataError, match=r"no critique has the style 'numbred'. Styles there: .*numbered check"):
        chosen_critiques(FileTeacher(kind="file", path="bakery", styles=["numbred"]))


@pytest.mark.parametrize(
    ("second", "fault"),
    [
        ({"problem": "p", "answer": "1", "solution": "s"}, "line 2: has no 'critique'"),
        (ROW | {"critique": 7}, "line 2: 'critique' is 7; write a text"),
        (ROW | {"solution": "  "}, "line 2: 'solution'"),
        (ROW | {"answer": None}, "line 2: 'answer'"),
        (ROW | {"solution": "x", "truncated": "no"}, "line 2: 'truncated' is 'no'; write true or false"),
        (ROW | {"critique": ROW["critique"] + " "}, "line 2: has the solution and critique of line 1 again"),
        (
            ROW | {"critique": "9" * 200_001},
            "line 2: 'critique' has 200,001 characters, more than any such text (200,000); shorten it",
        ),
        (b"\n", "line 2: is empty"),
        (b'{"problem": "torn', "line 2: is not JSON"),
        (b"\xff\xfe\n", "line 2: is not UTF-8"),
        (b"[1]\n", "line 2: is a JSON list"),
    ],
)
def test_faults_name_their_line(tmp_path, second, fault):
    with pytest.raises(DataError) as error:
        load(tmp_path, ROW, second)
    assert fault in str(error.value)


def test_all_faulty_lines_are_listed(tmp_path):
    with pytest.raises(DataError) as error:
        load(tmp_path, {"problem": "p"}, ROW, {**ROW, "answer": []})
    assert "line 1: has no 'answer'" in str(error.value) and "line 3: 'answer'" in str(error.value)


def test_empty_or_unknown_file(tmp_path):
    with pytest.raises(DataError, match="no rows"):
        load(tmp_path)
    with pytest.raises(DataError, match="bakery"):
        find_critiques("bakkery")
