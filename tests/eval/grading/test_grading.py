r"""Which answers are equal, and what is read out of a response.

The whole of MATH-500 is graded too when CFT_TEST_DATA names a folder with `math500.jsonl` (`answer`, `solution`).
"""

import itertools
import json
import os
from pathlib import Path

import pytest

from eval.grading import Grade, grade, last_box, same_answer

# Each pair holds in both directions.
EQUAL = [
    # numbers
    ("33", "033"), ("0.5", "1/2"), ("0.5", r"\frac12"), (r"\frac{1}{2}", r"\dfrac{2}{4}"),
    (r"\frac 59", r"\frac{5}{9}"), ("1,000", "1000"), (r"10,\!080", "10080"), ("10{,}080", "10,080"),
    (r"11,\! 111,\! 111,\! 100", "11111111100"), ("10 080", "10,080"), (r"10\,080", "10080"), ("16", "16.0"),
    ("16", "16."), (".5", "0.5"), ("5", "+5"), ("0", "-0"), (r"\frac{-1}{2}", r"-\frac12"), (r"1\frac{4}{5}", "9/5"),
    (r"1\frac{4}{5}", "1.8"), ("1 4/5", r"1\frac45"), (r"137 \frac{1}{2}", "137.5"), (r"6.72\times10^{-5}", ".0000672"),
    ("1e3", "1000"), (r"0.\overline{3}", r"\frac13"), ("1" + "0" * 900, "1," + ",".join(["000"] * 300)), ("½", "0.5"),
    ("−5", "-5"), ("５", "5"), ("15", "١٥"),
    # wrappers
    ("$5$", "5"), (r"\(5\)", "5"), ("{5}", "5"), ("**5**", "5"), ("5", "=5"),
    (r"\left( 3, \frac{\pi}{2} \right)", r"(3,\pi/2)"), (r"\boxed{5}", "5"), ("(5)", "5"), (r"\displaystyle 5", "5"),
    # units
    ("50", r"50\%"), ("50", "50 percent"), (r"\$18.90", "18.9"), (r"\$32,\!348", "32348"),
    ("$18", r"18\text{ dollars}"), ("18", "18 dollars per day"), ("90", r"90^\circ"), (r"90^{\circ}", "90 degrees"),
    ("90°", r"90^\circ"), (r"864 \mbox{ inches}^2", "864"), (r"15\mbox{ cm}^2", "15 cm^2"),
    (r"\frac{270}7\text{ degrees}", r"38\frac47"), (r"5.4 \text{ cents}", "5.4"), (r"12\pi \text{ cm}^3", r"12 \pi"),
    ("42", "42 apples"), ("42", r"\text{42 apples}"), ("60", "5 dozen"), ("2 million", "2,000,000"),
    (r"45^\circ, 135^\circ", "45, 135"),
    # words and letters
    (r"\text{even}", "Even"), (r"\text{Evelyn}", "evelyn"), (r"\text{No}", "no"), (r"\text{(C)}", "C"),
    (r"\textbf{(C)}", "(C)"), (r"\text{C,E}", "E and C"), (r"\text{13}", "13"),
    (r"\text{no solution}", "No  solution."),
    # names and equations
    ("x=5", "5"), ("f(x)=2x", "2x"), (r"P(A) = \frac12", "0.5"), ("y = 2x + 3", "2x+3"), ("x=5", "5=x"),
    ("5x - 7y + 11z + 4 = 0", "7y-5x-11z-4=0"), ("(x,y)=(1,2)", "(1,2)"), ("x_1=5", "5"), (r"\text{Area} = 5", "5"),
    (r"x \in [-2,7]", "[-2,7]"),
    # lists, tuples, sets, intervals, matrices
    ("1,-2", "-2, 1"), ("1,-2", r"\{-2,1\}"), ("1,-2", "-2 or 1"), ("1,-2", r"-2 \text{ and } 1"), ("x=1, x=2", "2,1"),
    ("100,200,300", "300, 200, 100"), (r"\pm 5", "-5, 5"), (r"1 \pm \sqrt{19}", r"1-\sqrt{19}, 1+\sqrt{19}"),
    (r"\{1\pm\sqrt{5},-2\}", r"-2,1+\sqrt5,1-\sqrt5"), ("(1,2)", "1,2"), ("(1,2)", r"\langle 1, 2\rangle"),
    ("(1,2)", "x=1, y=2"), (r"\{5\}", "5"), ("(3,4]", r"\left(3, 4\right]"), (r"(0,9) \cup (9,36)", r"(9,36)\cup(0,9)"),
    (r"(2,\infty)", "x>2"), (r"[-2,7]", r"-2\le x\le 7"),
    (r"\begin{pmatrix} -1/3 \\ 2/3 \end{pmatrix}", r"\begin{bmatrix} -\frac13 \\ \frac23 \end{bmatrix}"),
    # expressions
    ("p - q", "-q+p"), (r"11\sqrt2", r"11 \cdot \sqrt{2}"), (r"5\sqrt{2}", r"\sqrt{50}"),
    (r"\frac{\sqrt{3}}{3}", r"\frac{1}{\sqrt3}"), ("(a+5)(b+2)", "ab+2a+5b+10"), ("6+9i", "9i + 6"),
    ("1-12i", "1 - 12 i"), ("2i", r"\sqrt{-4}"), ("2^{10}", "1024"), ("5!", "120"), ("10", "5(2)"),
    (r"\cot x", r"\frac{\cos x}{\sin x}"), (r"1,000\pi", r"1000\pi"), ("x²", "x^2"), ("5√2", r"5\sqrt{2}"),
    ("2x**2", "2x^2"), (r"\log_2 7", r"\frac{\ln 7}{\ln 2}"), ("x>5", "5<x"), (r"\pi", "pi"), ("1.5x", r"\frac{3x}{2}"),
    # bases
    ("2516_8", "2516_{8}"), ("152A_{11}", "152a_{11}"), ("25_10", "25_{10}"),
]  # fmt: skip

UNEQUAL = [
    # numbers
    ("5", "6"), ("5", "-5"), ("16", "16.0001"), (r"\frac13", "0.333333"), (r"\frac13", "0.33333333333333333"),
    (r"\pi", "3.14159265358979"), (r"\sqrt2", "1.41421356237"), ("3.14", "3.14..."), ("5", r"5\ldots"),
    ("11/2", "1 1/2"), (r"3\frac72", "3.5"), ("34", "3 4"), ("7", "3 4"), ("1,5", "1.5"), ("10,080", "10.080"),
    ("345", "3:45"), ("5", "NaN"), ("5", r"\frac{5}{0}"), ("1" + "0" * 900, "1" + "0" * 899),
    (r"0.\overline{3}", "0.3"), ("0.5", r"\approx 0.5"),
    # units
    ("0.5", r"50\%"), (r"\frac12", r"50\%"), (r"5.4 \text{ cents}", r"\$5.4"), (r"\$18.90", "189 cents"),
    (r"90^\circ", r"\frac{\pi}{2}"), (r"90^\circ", r"90 \text{ cm}"), ("5", "5 million"), ("5", "5 dozen"),
    ("5", "5 squared"), ("5", "5 tenths"), ("5", "5 remainder 2"), ("5", "5 less than x"), ("2m", "2"), ("5x", "5"),
    ("5ab", "5"), (r"3\pi", "3"),
    # words and letters
    (r"\text{even}", "odd"), (r"\text{east}", "seat"), ("east", "seat"), (r"\text{(C)}", "c"), (r"\text{(C)}", "(D)"),
    ("10", "eleven"), ("5", "The answer is not 5"), ("5", r"\text{The answer is about 5}"),
    ("3R^2", "3r^2"), ("e", "E"),
    (r"\text{C,E}", "C"),
    # names and equations
    ("x=5", "y=5"), ("x=5", "x=6"), ("10", "2x=10"), ("25", "x^2=25"), ("5", "4=5"), ("14", r"7\cdot 3=14"),
    ("5", "y=5x"), (r"x\ne3", "x=3"), (r"x \equiv 5 \pmod 7", "5"),
    # lists, tuples, sets, intervals, matrices
    ("5", "5, 6"), ("5", "5 or 6"), ("5", r"5\text{ or }6"), (r"\pm5", "5"), ("1,2", "1,2,3"),
    (r"\{1,1,2\}", r"\{1,2\}"), ("(1,2)", "(2,1)"), ("(1,2)", "[1,2]"), ("(1,2)", r"\{1,2\}"), ("(1,2)", "2,1"),
    ("(3,4]", "(3,4)"), ("(3,4]", "3,4"), (r"(2,\infty)", r"x\ge2"), (r"(-\infty,2)", r"(2,\infty)"),
    (r"(0,9) \cup (9,36)", "(0,36)"), ("x>5", "x<5"),
    (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{pmatrix} 1 & 2 \end{pmatrix}"),
    (r"\begin{pmatrix} 1 & 2 \end{pmatrix}", "(1,2)"),
    (r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}", r"\begin{vmatrix} 1 & 2 \\ 3 & 4 \end{vmatrix}"),
    # expressions
    ("x+1", "x-1"), ("6+9i", "6-9i"), ("2i", "2"), ("|x|", "x"), ("1/2", "1/2x"), (r"\infty", r"-\infty"),
    ("a_1", "a_2"), ("f'(x)", "f(x)"), ("x²", "x2"), (r"\ln 2", r"\log_{10} 2"), (r"\theta", r"\phi"),
    (r"\overline{CD}", "CD"),
    # bases
    ("2516_8", "2516"), ("52_8", "42"), ("52_8", "52_9"), ("52_8", "53_8"), ("25_6", "17"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other", "equal"), [(*p, True) for p in EQUAL] + [(*p, False) for p in UNEQUAL])
def test_equality_of_answers(one: str, other: str, equal: bool):
    assert same_answer(one, other) is equal
    assert same_answer(other, one) is equal


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("x=5", "x=4=5"),
        ("5", r"\text{at least }5"),
        (r"\text{no solution}", r"-\infty<x<\infty"),
        ("5", r"5\text{ hours and }30\text{ minutes}"),
    ],
)
def test_unequal_where_the_first_is_the_gold(gold: str, answer: str):
    assert same_answer(gold, answer) is False


@pytest.mark.parametrize("gold", ["(5", r"\frac{1}{", r"5 \text{ if } x>0"])
def test_a_gold_that_cannot_be_read_is_equal_only_to_itself(gold: str):
    assert same_answer(gold, gold) is True
    assert same_answer(gold, "5") is None
    assert grade(gold, r"\boxed{5}").outcome == "ungradable"


@pytest.mark.parametrize("answer", ["(5", r"\frac{1}{", "5)", "}{", r"\frac", "^", "5 5 5", "<>", ",", "\\"])
def test_an_answer_that_cannot_be_read_is_wrong(answer: str):
    assert same_answer("5", answer) is False


def test_an_answer_far_too_long_is_not_decided():
    nines = "9" * 100_000
    assert grade("5", rf"\boxed{{{nines}}}") == Grade("ungradable", nines)
    assert same_answer(nines, nines) is True
    assert same_answer("5", "(" * 1000 + "5" + ")" * 1000) is None


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (r"\boxed{5}", "5"),
        (r"\boxed {5}", "5"),
        (r"\boxed{ 5 }", "5"),
        (r"\\boxed{5}", "5"),
        (r"put it in \boxed format. Then \boxed{5}", "5"),
        (r"\boxed{3}, no: \boxed{\frac{1}{2}}.", r"\frac{1}{2}"),
        (r"\boxed{3} and then \boxed{4", "3"),
        (r"\boxed{3} and then \boxed{4}", "4"),
        (r"\boxed{3}, \boxed{4}, and \boxed{5}.", "3, 4, 5"),
        (r"$\boxed{3}$\text{ and }$\boxed{4}$", "3, 4"),
        (r"$x = \boxed{3}$. $x = \boxed{4}$", "4"),
        (r"\boxed{\boxed{5}}", r"\boxed{5}"),
        (r"\boxed{\frac{1}{2} so \boxed{3}", "3"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{\left\{ x \right.}", r"\left\{ x \right."),
        (r"} { \boxed{5} }", "5"),
        (r"\boxed{}", ""),
        (r"\boxed{5} then \boxed{}", ""),
        (r"\boxed5", None),
        (r"\fbox{5}", None),
        (r"boxed{5}", None),
        (r"\boxed{5", None),
        ("", None),
        (r"<think>\boxed{4}</think> \boxed{5}", "5"),
        (r"<think>\boxed{4}</think> four", None),
        (r"\boxed{" * 20_000, None),
    ],
)
def test_the_last_complete_box(text: str, content: str | None):
    assert last_box(text) == content


@pytest.mark.parametrize(
    ("gold", "response", "truncated", "expected"),
    [
        ("5", r"So \boxed{5}.", False, Grade("correct", "5")),
        ("5", r"So \boxed{\boxed{5}}.", False, Grade("correct", r"\boxed{5}")),
        ("5", r"\boxed{5}, or \boxed{6}.", False, Grade("wrong", "5, 6")),
        ("6", r"\boxed{5}, or \boxed{6}.", False, Grade("wrong", "5, 6")),
        ("0.5", r"$\boxed{\frac12}$ or $\boxed{0.5}$", False, Grade("correct", r"\frac12, 0.5")),
        ("2, 6", r"The values are \boxed{6} and \boxed{2}.", False, Grade("correct", "6, 2")),
        ("2, 6", r"First \boxed{2}. So the answer is \boxed{6}.", False, Grade("wrong", "6")),
        ("6", r"First \boxed{2}. So the answer is \boxed{6}.", False, Grade("correct", "6")),
        ("(2,6)", "$a = \\boxed{2}$\n$b = \\boxed{6}$", False, Grade("correct", "a=2, b=6")),
        ("b=6, a=2", r"$a = \boxed{2}$ and $b = \boxed{6}$", False, Grade("correct", "a=2, b=6")),
        ("b=2, a=6", r"$a = \boxed{2}$ and $b = \boxed{6}$", False, Grade("wrong", "a=2, b=6")),
        ("9", "$r = \\boxed{3}$\n\n$A = \\boxed{9}$", False, Grade("correct", "r=3, A=9")),
        ("6", r"$a = \boxed{2}$ and $b = \boxed{6}$", False, Grade("wrong", "a=2, b=6")),
        ("8", r"$m = \boxed{3}$ and $n = \boxed{5}$, so $m+n = \boxed{8}$.", False, Grade("correct", "8")),
        (r"\$18", r"\boxed{\$18.00}", False, Grade("correct", r"\$18.00")),
        ("5", "The answer is 5.", False, Grade("no_answer", None)),
        ("5", r"\boxed{ }", False, Grade("no_answer", None)),
        ("5", r"\boxed{5}</think> So it is five.", False, Grade("no_answer", None)),
        ("5", "and so on and", True, Grade("truncated", None)),
        ("5", r"\boxed{5} and so on and", True, Grade("truncated", "5")),
        ("", r"\boxed{5}", False, Grade("ungradable", "5")),
        (" ", "nothing", False, Grade("ungradable", None)),
    ],
)
def test_outcomes(gold: str, response: str, truncated: bool, expected: Grade):
    assert grade(gold, response, truncated=truncated) == expected


def _math500() -> list[dict[str, str]]:
    folder = os.environ.get("CFT_TEST_DATA")
    if not folder:
        pytest.skip("CFT_TEST_DATA does not name a folder with math500.jsonl")
    return [json.loads(line) for line in (Path(folder) / "math500.jsonl").read_text(encoding="utf-8").splitlines()]


def test_every_gold_answer_of_math500_is_correct():
    rows = [(row["answer"], row["solution"]) for row in _math500()]
    assert [answer for answer, _ in rows if grade(answer, rf"\boxed{{{answer}}}").outcome != "correct"] == []
    assert [answer for answer, solution in rows if grade(answer, solution).outcome != "correct"] == []


def test_every_gold_answer_of_math500_is_correct_in_another_spelling():
    """So that answers are compared, and not only found identical."""

    def respell(answer: str) -> str:
        others = {r"\frac": r"\dfrac", " ": "  ", r"\sqrt": r"\,\sqrt", "(": r"\left(", ")": r"\right)"}
        for plain, other in others.items():
            answer = answer.replace(plain, other)
        return f"$ {answer} $."

    golds = {row["answer"] for row in _math500()}
    assert [gold for gold in golds if same_answer(gold, respell(gold)) is not True] == []


def test_neighbouring_gold_answers_of_math500_are_equal_only_where_a_unit_or_bracket_is_missing():
    golds = sorted({row["answer"] for row in _math500()})
    assert [pair for pair in itertools.pairwise(golds) if same_answer(*pair) is not False] == [
        ("120", r"120^\circ"),
        ("15", r"15\mbox{ cm}^2"),
        ("30", r"30^\circ"),
        ("36", r"36^\circ"),
    ]
