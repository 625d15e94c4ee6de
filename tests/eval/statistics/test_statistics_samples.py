"""Several samples a question: pass@k and maj@k against enumeration of all choices of samples."""

from collections import Counter
from itertools import combinations

import pytest

from cft.errors import EvalError
from eval.statistics.samples import arrange, curve_sizes, majority_curve, pass_curve

RIGHT, WRONG = "correct", "wrong"


def question(doc_id: int, answers: str) -> list[dict]:
    """One row a letter: R and r are two spellings of the right answer, - has no box, all others are wrong answers."""
    rows = []
    for sample, letter in enumerate(answers):
        outcome = {"R": RIGHT, "r": RIGHT, "-": "no_answer"}.get(letter, WRONG)
        first = answers.lower().index(letter.lower()) if letter != "-" else None
        answer = letter if letter != "-" else None
        rows.append({"doc_id": doc_id, "sample": sample, "outcome": outcome, "answer": answer, "same_as": first})
    return rows


def voted(answers: str, size: int) -> float:
    """Expected correctness of the majority vote, over all choices of `size` samples."""
    total, choices = 0.0, list(combinations(answers.lower(), size))
    for choice in choices:
        votes = Counter(letter for letter in choice if letter != "-")
        best = [letter for letter, count in votes.items() if count == max(votes.values())]
        total += best.count("r") / len(best) if best else 0.0
    return total / len(choices)


@pytest.mark.parametrize(
    "answers",
    ["RrRa", "RRab", "aaRR--Rb", "abcdefgR", "--------", "R-------", "rRaabbccdd", "RRRRaaaab", "aaaRRbbbccr-", "a"],
)
def test_the_majority_vote_is_that_of_all_choices_of_samples(answers: str):
    curve = majority_curve(arrange(question(0, answers)))
    assert {size: value for size, (value, _) in curve.items()} == pytest.approx(
        {str(size): voted(answers, size) for size in curve_sizes(len(answers))}
    )


@pytest.mark.parametrize("answers", ["RrRa", "Raaaaaaa", "aaaa", "RRRRR", "aR-Rba"])
def test_pass_at_k_is_the_share_of_choices_with_a_correct_sample(answers: str):
    for size, (value, _) in pass_curve(arrange(question(0, answers))).items():
        choices = list(combinations(answers.lower(), int(size)))
        assert value == pytest.approx(sum("r" in choice for choice in choices) / len(choices))


def test_curves_are_means_over_questions_and_start_at_the_accuracy():
    arm = arrange(question(0, "RRaa") + question(1, "abcd") + question(2, "RrRR"))
    assert list(pass_curve(arm)) == ["1", "2", "4"] == list(majority_curve(arm))
    assert pass_curve(arm)["1"][0] == majority_curve(arm)["1"][0] == pytest.approx(0.5) == arm.shares.mean()
    assert pass_curve(arm)["4"][0] == pytest.approx(2 / 3)
    for value, (low, high) in [*pass_curve(arm).values(), *majority_curve(arm).values()]:
        assert 0 <= low < value < high <= 1


def test_a_curve_ends_at_the_number_of_samples():
    assert [curve_sizes(k) for k in (1, 10, 16)] == [[1], [1, 2, 4, 8, 10], [1, 2, 4, 8, 16]]


def test_answers_vote_by_their_text_where_no_groups_were_made():
    rows = question(0, "Rraab")
    by_group = majority_curve(arrange(rows))["5"][0]
    for row in rows:
        del row["same_as"]
    assert (by_group, majority_curve(arrange(rows))["5"][0]) == (0.5, 0.0)  # R and r no longer vote together


def test_an_answer_of_undecided_correctness_counts_by_its_share():
    rows = question(0, "RRRa")
    rows[2]["outcome"] = "ungradable"
    assert majority_curve(arrange(rows))["4"][0] == pytest.approx(2 / 3)


def test_questions_come_in_one_order_however_the_rows_do():
    rows = question(10, "Ra") + question(9, "aR")
    assert arrange(rows).doc_ids == arrange(rows[::-1]).doc_ids == [9, 10]
    assert arrange(rows[::-1]).rows == arrange(rows).rows


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        ([], "no answers"),
        (question(0, "Ra") + question(7, "RaR"), "doc_id 7 has 3 samples where doc_id 0 has 2"),
        (question(0, "Ra") + question(3, "R") + question(3, "a"), "doc_id 3: sample 0 is there twice"),
    ],
)
def test_rows_that_are_no_full_table_are_refused(rows: list[dict], fault: str):
    with pytest.raises(EvalError, match=fault):
        arrange(rows)
