"""What a critique calculates itself must be true; what it repeats of the candidate need not be."""

import pytest

from data_builders.arithmetic.claims import claims
from data_builders.filter.falsehoods import false_calculations

CANDIDATE = "Monday: \\(14 \\times 9 = 116\\). Tuesday: half of 14 is 8, and 37 + 12 = 59."


@pytest.mark.parametrize(
    "text",
    [
        "14 × 9 = 136.",
        "\\(7^3 - 3 \\cdot 5 \\cdot 7 = 230\\)",
        "7² − 2 · 5 = 40",
        "26 times 4 is 106.",
        "120 divided by 8 is 16.",
        "Half of 85, the student's number, would be 43.5 anyway.",
        "25% of 80 is 20, then 10% of 60 is 8.",
        "2401 = 5 · 460 + 1, so the rest is 1.",
        "The circumference is 2 × 3.14159 × 0.7 ≈ 4.938 m.",
        "The student is mistaken, since 7 × 7 is not 49.",
        "The student has 4 × 17 = 68, but that is not what four seventeens make.",
        "15/4 = 3.8.",
        "9 · 0 + 7 = 8 · 2 = 16",
    ],
)
def test_false(text):
    assert false_calculations(text, CANDIDATE)


@pytest.mark.parametrize(
    "text",
    [
        "14 × 9 = 126, not 116.",
        "It says 14 · 9 = 116 and half of 14 is 8; both are slips.",  # the candidate's own
        'The line "20 × 3 = 50" is false.',
        "\\((a + b)^2 - 2ab = 7^2 - 2 \\cdot 5 = 49 - 10 = 39\\)",
        "t² − 7t + 5 = 0, so t³ = 7t² − 5t.",
        "a^2 + b^2 + 10 = 49, hence a^2 + b^2 = 39.",
        "3(n + 2) = 3x + 6 = 153",
        "Monday is 126 plus 37 × 2 = 74, that is 200.",
        "20 × 6 = 120, and that is not 140.",
        "7 × 2 = 14 is not Tuesday's money.",
        "14 × 9 is not 116.",
        "Half of the 14 boxes is 14 / 2 = 7, and 50% of 14 is 14 × 0.5 = 7.",
        "100/3 = 33.33, and 2 × 3.14159 × 0.7 ≈ 4.4.",
        "(45 min = 0.75 h, 20 min = 1/3 h)",
        "2^n + 1 = 5 only for n = 2",
    ],
)
def test_true_or_not_its_own(text):
    assert false_calculations(text, CANDIDATE) == []


@pytest.mark.parametrize(
    ("text", "value", "slip"),
    [("7^2 - 2 \\cdot 5 = 39", 39, False), ("7³ − 105 = 238", 238, False), ("(1 + 2)^{2} + 1 = 11", 11, True)],
)
def test_powers_are_calculated(text, value, slip):
    (claim,) = claims(text)
    assert claim.value == value and bool(claim.slip) is slip
