"""Critiques are held against the truth before they train."""

import pytest

from data_builders.build import with_box
from data_builders.filter.verdict import find_verdict, takes_back
from data_builders.filter.verify import check, strange_quotes

QUESTION = "A bakery sold 14 boxes at $9 a box. How many dollars did it earn?"
SOLUTION = "The revenue is \\(14 \\times 9 = 116\\), so the bakery earned **\\$116**. \\boxed{116}"
ASKED = {"question": QUESTION, "candidate": SOLUTION}
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
        (GOOD.replace("is incorrect", "stands there"), None),
        (GOOD.replace("\\boxed{126}", "126."), None),
        (GOOD.replace("is incorrect", "stands there").replace("\\boxed{126}", "found."), "no verdict"),
        (GOOD.replace("is incorrect", "is correct"), "verdict disagrees"),
        (GOOD.replace("\\boxed{126}", "found."), "no boxed answer"),
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
        ("I find no mistakes in these lines.", None),
        ("**Conclusion: right** [END]", "correct"),
        ("14 × 9 = 126 is correct. The answer 140 is wrong.", "incorrect"),
        ("The solution is not correct.", "incorrect"),
        ("The answer can't be right.", "incorrect"),
        ("Conclusion: wrong [END]", "incorrect"),
        ("Step 1 is right. Judgement: incorrect.", "incorrect"),
        ("1632 dollars is far too high, so this is incorrect.", "incorrect"),
        ("The solution is unfinished.", "incorrect"),
        ('The student says "my answer is correct", but the result is incorrect.', "incorrect"),
        ("Not correct. The tax is on the reduced price.", "incorrect"),
        ("| Price | not computed | 60 | ✗ |\n\n**Verdict:** the solution is wrong.", "incorrect"),
        ("### Verdict\nNot right.\n\n### Why\nThe sum is 7.", "incorrect"),
        ("I can't accept this answer.", "incorrect"),
        ("I wouldn't call this correct.", "incorrect"),
        ("Nope — misread ratio.", "incorrect"),
        ("Overall: ✗ wrong", "incorrect"),
        ("The approach is right, but the answer is not.", None),
        ("The work is right up to here. So 83 is not the correct answer.", None),
        ("The student forgot the second branch; the sum is 3.", None),
        ("**Correct ✅** The list is complete.", "correct"),
        ("Yep, this is right.", "correct"),
        ("I have gone through it line by line & it stands.", None),
        ("Nothing wrong here. Seven parts, twelve apiece.", None),
        ("The reasoning is sound and the answer correct.", "correct"),
        ("Correct answer: 361.", None),
        ("The correct answer is 361.", None),
        ("Is the answer correct? Let me check whether the solution is right.", None),
        ("If 37 + 12 were 59 the answer would be right.", None),
        ("14 × 9 = 126. Good.", None),
        ("", None),
    ],
)
def test_verdicts(text, verdict):
    assert find_verdict(text) == verdict


@pytest.mark.parametrize(
    ("text", "implied", "verdict"),
    [
        ("I can't let this pass: the squares overlap.", "incorrect", "incorrect"),
        ("Some students forget the last term. You did not, so no complaints from me.", "correct", "correct"),
        ("There is a mistake in the second line.", "correct", "incorrect"),
        ("Nothing here is wrong, and there is no mistake in the sums.", "correct", "correct"),
        ("Everything was done by the book. The solution is correct.", "incorrect", "correct"),
        ("The answer 93 is correct, but one line before it does not hold.", "correct", "correct"),
    ],
)
def test_without_clear_words_the_answer_of_the_critique_implies_its_verdict(text, implied, verdict):
    assert find_verdict(text, implied) == verdict


@pytest.mark.parametrize(
    ("text", "taken_back"),
    [
        ("The solution is wrong: the tax is 6. So, all in all, the student's solution is correct.", True),
        (
            "Verdict: incorrect. 84 ÷ 7 = 12, as the student has, so the solution is right and deserves full credit.",
            True,
        ),
        ("❌ Wrong, since (4,4) is one outcome.\n\n**Final verdict:** ✅ the student's answer is right.", True),
        ("The answer is correct. Having looked at it all, I must mark the solution as incorrect.", True),
        ("Incorrect. x = 31. On second thought the student's answer is right.", True),
        ("The work is right up to line 3; after that it fails. The solution is incorrect.", False),
        ("The answer would be right if the tax came first. It is wrong as it stands.", False),
        ("The method is correct, but two sums are wrong, so the final answer is incorrect.", False),
        ("To make sure the answer is right, we check it. The answer 371 is incorrect. The right answer is 361.", False),
    ],
)
def test_a_verdict_that_is_taken_back(text, taken_back):
    assert takes_back(text) is taken_back


def test_quotes_match_through_markup_and_may_come_from_the_problem():
    text = 'It says "14 * 9 = 116" and “earned $116”, while the problem has "14 boxes at $9 ... How many dollars".'
    assert strange_quotes(text, SOLUTION, QUESTION) == []
    assert strange_quotes('It says "14 boxes at 8".', SOLUTION, QUESTION) == ["14 boxes at 8"]


@pytest.mark.parametrize(
    ("text", "candidate", "strange"),
    [
        ('"By Fermat, 3^6 ≡ 1" is true.', "By Fermat, $3^6\\equiv1\\pmod7$.", []),
        ('Step 2, "radius is half the hypotenuse": no.', "The radius of the circle is half the hypotenuse.", []),
        ('Choosing "2 women, then anyone" counts some twice.', "Choose 2 women. Then choose 2 of the other 9.", []),
        (
            'The student writes "2 women, then all".',
            "Choose 2 women. Then choose 2 of the other 9.",
            ["2 women, then all"],
        ),
        ('The "3 women" are too many.', "Choose 2 women.", ["3 women"]),
        ('No: "height 4, so area $2\\cdot4$".', "The height is 4, so the area is $2\\cdot4=8$.", []),
        (
            'No: "height 4, so area $2+4$".',
            "The height is 4, so the area is $2\\cdot4=8$.",
            ["height 4, so area $2+4$"],
        ),
    ],
)
def test_quotes_that_are_near_the_words_and_ways_of_speaking(text, candidate, strange):
    assert strange_quotes(text, candidate, "") == strange


def test_an_example_whose_critique_has_no_box_gets_one():
    for text, ending in ((GOOD, GOOD), (GOOD.replace("\\boxed{126}", "126."), "The answer is 126.\n\n\\boxed{126}")):
        completion = with_box(text, check(text, gold="126", outcome="wrong", **ASKED).answer)
        assert completion.endswith(ending) and completion.startswith(text)
