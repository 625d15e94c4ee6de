"""Critiques are held against the truth before they train."""

import pytest

from data_builders.filter.verdict import find_verdict
from data_builders.filter.verify import check, strange_quotes

QUESTION = "A bakery sold 14 boxes at $9 a box. How many dollars did it earn?"
SOLUTION = "The revenue is \\(14 \\times 9 = 116\\), so the bakery earned **\\$116**. \\boxed{116}"
GOOD = (
    'The answer 116 is incorrect. The student writes "14 × 9 = 116", but 14 × 9 = 126, since 10 × 9 = 90 and '
    "4 × 9 = 36. The answer is \\boxed{126}"
)


def reason(text, outcome="wrong", gold="126"):
    return check(text, question=QUESTION, gold=gold, candidate=SOLUTION, outcome=outcome).reason


def test_a_good_critique_passes():
    checked = check(GOOD, question=QUESTION, gold="126", candidate=SOLUTION, outcome="wrong")
    assert (checked.verdict, checked.answer, checked.reason) == ("incorrect", "126", None)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "too short"),
        ("Incorrect. \\boxed{126}", "too short"),
        (GOOD.replace("is incorrect", "stands there"), "no verdict"),
        (GOOD.replace("is incorrect", "is correct"), "verdict disagrees"),
        (GOOD.replace("\\boxed{126}", "126"), "no boxed answer"),
        (GOOD.replace("\\boxed{126}", "\\boxed{116}"), "boxed answer wrong"),
        (GOOD.replace("14 × 9 = 116", "14 × 8 = 116"), "quote not in candidate"),
    ],
)
def test_each_reason(text, why):
    assert reason(text) == why


@pytest.mark.parametrize("outcome", ["truncated", "no_answer"])
def test_an_unfinished_candidate_counts_as_not_correct(outcome):
    assert reason(GOOD, outcome) is None
    assert reason(GOOD.replace("is incorrect", "is correct"), outcome) == "verdict disagrees"


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("The solution is correct.", "correct"),
        ("The final answer 361 is indeed correct.", "correct"),
        ("I find no mistakes in these lines.", "correct"),
        ("**Conclusion: right** [END]", "correct"),
        ("14 × 9 = 126 is correct. The answer 140 is wrong.", "incorrect"),
        ("The solution is not correct.", "incorrect"),
        ("The answer can't be right.", "incorrect"),
        ("Conclusion: wrong [END]", "incorrect"),
        ("Step 1 is right. Judgement: incorrect.", "incorrect"),
        ("1632 dollars is far too high, so this is incorrect.", "incorrect"),
        ("The solution is unfinished.", "incorrect"),
        ('The student says "my answer is correct", but the result is incorrect.', "incorrect"),
        ("The correct answer is 361.", None),
        ("Is the answer correct? Let me check whether the solution is right.", None),
        ("If 37 + 12 were 59 the answer would be right.", None),
        ("14 × 9 = 126. Good.", None),
        ("", None),
    ],
)
def test_verdicts(text, verdict):
    assert find_verdict(text) == verdict


def test_quotes_match_through_markup_and_may_come_from_the_problem():
    text = 'It says "14 * 9 = 116" and “earned $116”, while the problem has "14 boxes at $9 ... How many dollars".'
    assert strange_quotes(text, SOLUTION, QUESTION) == []
    assert strange_quotes('It says "14 boxes at 8".', SOLUTION, QUESTION) == ["14 boxes at 8"]
