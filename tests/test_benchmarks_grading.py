r"""The comparison of graders: what it counts, lists and survives. minerva_math needs an antlr4 of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import qwen_rules
from benchmarks.grading import Child, compare, grade_all, response_rows
from cft.errors import DataError

REPOSITORY = Path(__file__).parent.parent
ROWS = [
    {"gold": "0.5", "response": r"So \boxed{\frac12}."},
    {"gold": "50", "response": r"So \boxed{0.5}."},  # qwen forgives a factor of 100
    {"gold": "5", "response": "The answer is 5."},  # ours wants a box
    {"gold": "7", "response": r"So \boxed{8}."},
]


def verdicts(*correct: bool | None) -> list[dict]:
    return [{"correct": one, "answer": str(one), "seconds": 0.5} for one in correct]


def test_counts_agreement_and_disagreements():
    graded = {"ours": verdicts(True, False, False, False), "qwen": verdicts(True, True, None, False)}
    rows = [{**row, "equal": equal} for row, equal in zip(ROWS, (True, False, True, False), strict=True)]
    found = compare(rows, graded, processes=2)
    assert found["graders"]["ours"] == {
        "correct": 1, "wrongly_accepted": 0, "wrongly_rejected": 1, "hung_or_died": 0, "slowest_s": 0.5,
        "s_per_10000": 2500.0,
    }  # fmt: skip
    assert found["graders"]["qwen"]["wrongly_accepted"] == found["graders"]["qwen"]["hung_or_died"] == 1
    assert found["agreement"]["ours"] == {"ours": 1.0, "qwen": 0.5}
    assert [row["place"] for row in found["disagreements"]] == [1, 2]
    assert found["disagreements"][0]["qwen"] == {"correct": True, "answer": "True"}


def test_rows_without_truth_have_no_errors():
    found = compare(ROWS, {"ours": verdicts(True, True, True, True)}, processes=1)
    assert "wrongly_accepted" not in found["graders"]["ours"]


def test_each_grader_grades_in_processes_of_its_own():
    assert [one["correct"] for one in grade_all("ours", ROWS, None, 2)] == [True, False, False, False]
    assert [one["correct"] for one in grade_all("math_verify", ROWS, None, 2)] == [True, False, True, False]
    assert [one["correct"] for one in grade_all("qwen", ROWS, None, 2)] == [True, True, True, False]


def test_a_grader_that_dies_is_counted_and_started_again():
    child = Child("ours", None)
    try:
        child.start()
        child.process.kill()
        child.process.wait()
        assert child.grade("5", r"\boxed{5}")["correct"] is None
        assert child.grade("5", r"\boxed{5}")["correct"] is True
    finally:
        child.close()


def test_the_command_prints_a_table_and_writes_all_disagreements(tmp_path: Path):
    answers, out = tmp_path / "answers.jsonl", tmp_path / "out.jsonl"
    answers.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.grading", answers, "--processes", "1", "--out", out, "--shown", "1"],
        cwd=REPOSITORY, env=os.environ | {"COLUMNS": "200"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "minerva_math is left out" in done.stderr and "antlr4-python3-runtime==4.11" in done.stderr
    assert "2 of 4 answers on which they disagree" in done.stderr
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [(row["gold"], row["ours"]["correct"], row["qwen"]["correct"]) for row in rows] == [
        ("50", False, True),
        ("5", False, True),
    ]
    counts = json.loads(out.with_suffix(".json").read_text(encoding="utf-8"))
    assert counts["graders"]["ours"]["correct"] == 1 and counts["machine"]["cores"] >= 1


def test_rows_of_pairs_are_put_in_a_box_and_long_ones_written_out(tmp_path: Path):
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"gold": "1", "repeat_gold": 2, "answer": "1", "repeat": 3, "equal": false}\n', encoding="utf-8")
    row = response_rows(path)[0]
    assert (row["gold"], row["response"], row["equal"]) == ("11", r"\boxed{111}", False)


@pytest.mark.parametrize(
    ("text", "fault"), [("", "has no rows"), ('{"gold": "5"}\n', "1 has no `gold` and `response`")]
)
def test_a_file_without_answers_is_refused(tmp_path: Path, text: str, fault: str):
    path = tmp_path / "answers.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=fault):
        response_rows(path)


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        (r"\boxed{3} then \boxed{\frac12}.", r"\frac{1}{2}"),
        (r"\boxed{4 and so on", "4soon"),
        (r"$\boxed 5$", "5"),
        ("the answer is 12 cm.", "12"),
        ("first 3, then 1,234", "1234"),
        ("no number", ""),
        ("The final answer is $x+1$. I hope it is correct.", "x+1"),
    ],
)
def test_what_the_rules_of_qwen_read_out(response: str, answer: str):
    assert qwen_rules.extract(response) == answer


@pytest.mark.parametrize(
    ("text", "spelling"),
    [
        (r"x=\dfrac{1}{2}", r"\frac{1}{2}"), ("3/4", r"\frac{3}{4}"), (r"\sqrt2", r"\sqrt{2}"), ("5.0", "5"),
        (r"90^\circ", "90"), (r"12 \text{ cm}", "12"), (r"50\%", "50"), (r"\$18", "18"), (".5", "0.5"), ("two", "2"),
        (r"\left(1, 2\right)", "(1,2)"), (r"\begin{bmatrix} 1 \end{bmatrix}", r"\begin{pmatrix}1\end{pmatrix}"),
    ],
)  # fmt: skip
def test_how_the_rules_of_qwen_spell_an_answer(text: str, spelling: str):
    assert qwen_rules.spell(text) == spelling


@pytest.mark.parametrize(
    ("answer", "gold", "equal"),
    [
        ("5", "5", True), ("0.5", "50", True), ("1.00001", "1", True), ("1.001", "1", False), ("(B)", "B", True),
        ("(0.5,2)", "[0.5,2)", True), ("(1,2)", "(1.0,2.0)", True), ("(1,2)", "(2,1)", False), ("x+1", "1+x", True),
        ("x=5", "5", True), ("x-y=1", "y-x=-1", True), ("x+1", "x+2", False), ("{1,2}", "1,2", True), ("", "5", False),
        (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}1.0\\2.0\end{pmatrix}", True),
        (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}1&2\end{pmatrix}", False),
    ],
)  # fmt: skip
def test_what_is_equal_by_the_rules_of_qwen(answer: str, gold: str, equal: bool):
    assert qwen_rules.equal(answer, gold) is equal
