"""Expressions are evaluated exactly, and the arithmetic that a text claims is found and judged."""

from fractions import Fraction

import pytest

from data_builders.arithmetic.claims import claims, words_before
from data_builders.arithmetic.equations import equations
from data_builders.arithmetic.expressions import evaluate, parse, show, show_number
from data_builders.arithmetic.identities import same
from data_builders.arithmetic.markup import braced
from data_builders.arithmetic.wordings import worded


def found(text: str) -> list[tuple[str, str, bool]]:
    """(expression, claimed value, whether it holds) of every claim."""
    return [(show(c.expression), show_number(c.value), c.slip is None) for c in claims(text)]


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("14 * 9", 126),
        ("(14 + 7) * 9 - 4 / 8", Fraction(377, 2)),
        ("0.1 + 0.2", Fraction(3, 10)),
        ("-3 + 5", 2),
        ("1 / (2 - 2)", None),
    ],
)
def test_evaluates_exactly(expression, value):
    assert evaluate(parse(expression)) == value


@pytest.mark.parametrize(
    "expression",
    [
        "2 ** 9",
        "__import__('os')",
        "f(2)",
        "a.b",
        "1 if 2 else 3",
        "14 *",
        "",
        "1e9",
        "9" * 40,
        "1+" * 200 + "1",
        "True",
    ],
)
def test_refuses_all_but_small_arithmetic(expression):
    with pytest.raises(ValueError):
        parse(expression)


def test_shows_expressions_as_people_write_them():
    assert show(parse("(14 + 7) * 9 - 8 / (2 * 2)")) == "(14 + 7) × 9 − 8 / (2 × 2)"
    assert [show_number(Fraction(x)) for x in ("7", "-37/2", "1/3", "162.25")] == ["7", "−18.5", "1/3", "162.25"]


@pytest.mark.parametrize(
    ("text", "claim"),
    [
        (r"the revenue is \(14 \times 9 = 126\).", ("14 × 9", "126", True)),
        ("14*9=126", ("14 × 9", "126", True)),
        ("$126 + $74 = $190", ("126 + 74", "190", False)),
        (r"\[ \frac{14}{2} = 7 \]", ("14 / 2", "7", True)),
        ("14 boxes * $9/box = $126", ("14 × 9", "126", True)),
        (r"37 \text{ muffins} \times \$2 \, \text{per muffin} = \$84", ("37 × 2", "84", False)),
        ("37 plus 12 makes 49, and 37 + 12 is 49", ("37 + 12", "49", True)),
        ("1,200 + 300 = 1,500", ("1200 + 300", "1500", True)),
        ("100 / 3 = 33.33", ("100 / 3", "33.33", True)),
        ("14 - 37 = -23", ("14 − 37", "−23", True)),
    ],
)
def test_finds_a_claim(text, claim):
    assert found(text) == [claim]


@pytest.mark.parametrize(
    "text",
    [
        "Half of 14 is 7, and there were 14 boxes and 37 muffins.",
        "Monday × 9 = 126",
        "half of 14 + 2 = 9 in all",
        "x_1 * 9 = 12",
        "2(3 + 4) = 14",
        "50% × 14 = 7",
        "1. 2. 3.",
        "boxes_tuesday = 14 // 2 == 7",
        "",
    ],
)
def test_leaves_alone_what_it_does_not_understand(text):
    assert found(text) == []


def test_chain_makes_one_claim_a_side_and_finds_the_false_term():
    first, second = claims("14 × 9 + 37 × 2 = 126 + 84 = 210")
    assert (show(first.slip[0]), first.slip[1]) == ("37 × 2", 84)
    assert second.slip is None and second.goes_on


def test_running_equals_sign_is_two_claims():
    assert found("37 + 12 = 49 × 2 = 98") == [("37 + 12", "49", True), ("49 × 2", "98", True)]


def test_lines_and_bullets_do_not_run_together():
    text = "- Number of boxes = 14 / 2 = 7\n- 12 more muffins\n2. 37 + 12 = 49\nTuesday = 7 * 9 = 63"
    assert found(text) == [("14 / 2", "7", True), ("37 + 12", "49", True), ("7 × 9", "63", True)]


def test_claim_spans_its_own_words():
    text = "We get 14 boxes * $9/box = $126 for Monday."
    claim = claims(text)[0]
    assert text[claim.start : claim.end] == "14 boxes * $9/box = $126"


def test_words_before_a_claim():
    text = "It sold boxes. Therefore, the total revenue from Monday is:\n\\[ 14 \\times 9 = 126 \\]"
    assert words_before(text, text.index("14")) == "the total revenue from Monday"


@pytest.mark.parametrize(
    ("text", "sides"),
    [
        ("√72 = √(36 · 2) = 6√2", [True, True]),
        (r"$\frac13+\frac34=\frac{13}{12}=1\frac1{12}$", [True, True]),
        ("2⅓ + 1¾ = 49/12 (= 4 1/12)", [True]),
        (r"$\binom62\binom52=15\cdot10$ and 5! = 120 in all", [True, True]),
        ("80 − 20 % = 64, 25% − 10% = 15%", [True, True]),
        ("3ab(a + b) = 3a²b + 3ab²", [True]),
        ("a^{m+n} = a^m a^n", [True]),
        (r"$(1+i)^2 = 2i$", [True]),
        ("(a + b)^2 = a^2 + b^2", [False]),
        (r"$\sqrt{a^2+b^2}=a+b$", [False]),
        ("f(x) + 1 = 3, 1/2x = 4, the area = 12 cm · 5, 3 : 4 = 9, 12 = 4 times 3", []),
    ],
)
def test_equations_in_signs_are_read_and_compared(text, sides):
    assert [same(e.left, e.right) for e in equations(braced(text))] == sides


@pytest.mark.parametrize(
    ("words", "signs"),
    [
        ("one third is about 36 %", "1/3 ≈ 36 %"),
        ("five thirty-sixths, roughly 18 percent", "5/36 ≈ 18 %"),
        ("half of 85 is 43.5", "1/2 · 85 = 43.5"),
        ("a minute has 100 seconds", "1 minute = 100 seconds"),
        ("there are 60 minutes in an hour", "there are 60 minutes = 1 hour"),
        ("1 hour and 45 minutes is 105 minutes", "1 hour + 45 minutes = 105 minutes"),
        ("1.8 cubic metres are 1800 litres", "1.8 metres³ = 1800 litres"),
        ("dividing 91 by 7 gives 12", "91 ÷ 7 = 12"),
        ("Monday is 126 plus 37 × 2 = 74, that is 126 + 74 = 200", None),
        ("30 minutes or 1 hour", None),
    ],
)
def test_words_become_signs(words, signs):
    assert " ".join(worded(words).split()) == (signs or words)
