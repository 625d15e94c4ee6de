"""Texts and gold answers as data sets have them: read rightly, or refused with file, line and the way out."""

import json

import pytest

from cft.errors import DataError, EvalError
from cft.words import damage
from data_builders.golds import read_gold
from data_builders.problems import load_problem
from data_builders.ranking import load_pool
from data_builders.teachers.file import load_critiques
from eval.tasks.items import load


@pytest.mark.parametrize(
    ("written", "gold"),
    [
        ("['12']", "12"),
        ("['$2$', '$3$']", "2, 3"),
        ('["\\\\frac{1}{2}", ]', "\\frac{1}{2}"),
        ("[1, 2]", "[1, 2]"),  # an interval
        ("#### 9", "9"),
        ("3 * 4 = <<3*4=12>>12\n#### 1,012", "1012"),
        ("\\boxed{12}", "12"),
        ("So it is $\\boxed{\\frac{1}{2}}$.", "\\frac{1}{2}"),
        ("\\(6\\) and \\(7\\)", "6 and 7"),
        ("\\[6.\\]", "6"),
        ("$$7$$", "7"),
        ("**7**", "7"),
        ("The final answer is: 8.", "8"),
        (1e16, "10000000000000000"),
        (1e-07, "0.0000001"),
        (12, "12"),
        (["\\(1\\)", 2], "1, 2"),
        ("(a) 3\n(b) 4", "(a) 3\n(b) 4"),
        ("\\begin{pmatrix}\nu \\\\\ne \\\\\nv\n\\end{pmatrix}", "\\begin{pmatrix}\nu \\\\\ne \\\\\nv\n\\end{pmatrix}"),
    ],
)
def test_odd_golds_are_read_as_they_are_meant(written, gold):
    assert read_gold(written) == gold


@pytest.mark.parametrize(
    ("written", "fault"),
    [
        ("['\\frac{1}{2}']", "U.000C before 'rac"),
        ("['a', b']", "a list written as text"),
        ("\\boxed{1} or \\boxed{2}", "several boxes"),
        ("####", "is empty"),
        ("NaN", "as of a missing value; write the answer"),
        ("\\boxed{}", "is empty"),
        ("9" * 3000, "has 3,000 characters, but an answer is short"),
        (True, "is True; write a text or a number"),
        ({"a": 1}, "write a text or a number"),
        (float("inf"), "is inf, which is no number"),
    ],
)
def test_golds_that_cannot_be_told_are_refused_in_words(written, fault):
    with pytest.raises(ValueError, match=fault):
        read_gold(written)


GOLDS = (
    r"\frac12; 2 \times 10^5; \text{Monday}; \theta; \tan 3; x \neq 0; \ne 0; \nu; \nabla f; \rho; x \to 0; \boxed{5}"
)
GOLDS += r"; \beta; \right); 3 \not= 4; \triangle ABC; \tau; \rangle"
TEXTS = (
    r"Let $x \neq 0$; so $2 \times 3$ is; by $\nabla f$; if $x \to 0$ then; $\tan x$; the $\text{area}$; a\rightarrow b"
)
TEXTS += r"; $\frac{1}{2}$; angle $\theta$; $a \notin B$; $\beta$; in $\triangle ABC$"


def undoubled(text: str) -> str:
    """What JSON makes of LaTeX whose backslashes were not doubled."""
    for letter, character in zip("bfnrt", "\b\f\n\r\t", strict=True):
        text = text.replace(f"\\{letter}", character)
    return text


@pytest.mark.parametrize("gold", GOLDS.split("; "))
def test_a_gold_whose_backslashes_were_not_doubled_is_refused_and_the_whole_one_taken(gold):
    assert read_gold(gold)
    with pytest.raises(ValueError, match="lost its backslash; write"):
        read_gold(undoubled(gold))


@pytest.mark.parametrize("text", TEXTS.split("; "))
def test_a_text_whose_backslashes_were_not_doubled_is_told_from_a_whole_one(text):
    assert damage(text) is None
    assert "lost its backslash" in damage(undoubled(text))


@pytest.mark.parametrize(
    "text",
    [
        "1.\tan apple\n2.\ta pear\n\tto the right",
        "Let\nu = x + 1,\ne = 2 and\ni = 3.\nequal parts\nnear\nnot\nright",
        "x | y\n--|--\n1\t2\r\n3\t4",
        "We use (1).\neq. (2) gives 3",
        "import sympy as sp\neq1 = sp.Eq(x, 2)\neq = sp.Eq(x, 3)\nleq_count = 1",
        "naïve café — 3 × 4 \U0001f600 \u2028 A line\u2028of two\x85 and more",
        "x\to\tx\n\to\tx\nx\t\to",
    ],
)
def test_prose_with_tabs_and_lines_is_no_damage(text):
    assert damage(text) is None


@pytest.mark.parametrize("text", ["\u2028eftarrow", "\u2028ambda = 1", "\u2029i r^2", "2\u2029hi"])
def test_what_yaml_makes_of_latex_capitals_is_damage(text):
    assert "lost its backslash" in damage(text)


DAMAGES = ["nul \0 here", "\f", "a\x1b[31m", "It is \boxed{5}.", "2 \times 3", "x" * 200_001]
ROW = {"problem": "What is 2 + 2?", "answer": "4", "solution": "2 + 2 = 5", "critique": "That is wrong: \\boxed{4}"}


@pytest.mark.parametrize("text", DAMAGES, ids=range(len(DAMAGES)))
def test_every_reader_of_a_users_texts_names_the_line_of_a_damaged_one(text, tmp_path):
    path = tmp_path / "rows.jsonl"
    for key in ROW:
        path.write_text("".join(json.dumps(row) + "\n" for row in (ROW, ROW | {key: text})))
        with pytest.raises(DataError, match=f"rows.jsonl: 1 fault[^\n]*\n  line 2: '{key}' h"):
            load_critiques(path)
        if key in ("problem", "answer"):
            with pytest.raises(DataError, match="line 2: "):
                load_pool(str(path))
            with pytest.raises(EvalError, match=f"line 2: {key} h"):
                load({"task": "cft_own"}, cft_own=str(path))
    if len(text) > 1 and len(text) < 1000:
        path = tmp_path / "own.yaml"
        path.write_text("id: a\nsource: b\nlicence: c\nanswer: 1\nquestion: " + json.dumps(text) + "\n")
        with pytest.raises(DataError, match=r"own.yaml:5 question: holds "):
            load_problem(str(path))


ODD_YAML = {
    "answer: 2026-13-45": None,
    "answer: 0x1F": None,
    "answer: 12:30": "12:30",
    "answer: 010": "10",
    "answer: 1_000": "1_000",
    "answer: !!int abc": "tag|cannot be read",
    "answer: !!timestamp x": "has the tag",
    "answer: &a [*a]": "is an alias",
    "answer: " + "[" * 40 + "]" * 40: "nested too deeply",
    "answer: " + "[" * 4000: "nested too deeply",
    "answer: " + "9" * 5000: "cannot be read as int|beyond",
    "answer: " + "9" * 50: "is beyond",
    "answer: .inf": "is no finite number",
    'answer: "\\UFFFFFFFF"': "is not YAML",
    'answer: "\\ud800"': r"U\+D800",
    "answer: 1\nanswer: 2": "the key is there twice",
    "answer: 1\ngiven: {a: {value: 1e999999, says: x}}": "no finite number",
    "answer: 1\ngiven: {a: {value: '1e999999999', says: x}}": "write a number",
    "answer: 2\nsteps: [{name: b, says: x, expression: '2', value: 2, label: 5}]": "label is 5",
    "answer: 1\nsteps: [{name: b, says: x, expression: '2*9**9**9**9', value: 4}]": "may only hold numbers",
}


@pytest.mark.parametrize("lines", ODD_YAML, ids=range(len(ODD_YAML)))
def test_odd_yaml_in_a_problem_is_harmless_or_a_named_fault(lines, tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text(f"id: a\nsource: b\nlicence: c\nquestion: Is 2 two?\n{lines}\n")
    written = lines.removeprefix("answer: ")
    if ODD_YAML[lines] in (None, "10", written):
        assert load_problem(str(path)).answer == (ODD_YAML[lines] or written)
    else:
        with pytest.raises(DataError, match=ODD_YAML[lines]) as caught:
            load_problem(str(path))
        assert str(caught.value).startswith(str(path)) and len(str(caught.value)) < 2000
