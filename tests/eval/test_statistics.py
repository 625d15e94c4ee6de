"""The numbers of a report, against published tables, hand computation and enumeration."""

import math

import pytest
from scipy.stats import binom, binomtest

from eval import statistics

Z2 = 3.8414588  # 1.959964 squared


def changes(gained: int, lost: int, kept: int, failed: int) -> tuple[list[bool], list[bool]]:
    """Correctness before and after, for the four kinds of question."""
    before = [False] * gained + [True] * lost + [True] * kept + [False] * failed
    after = [True] * gained + [False] * lost + [True] * kept + [False] * failed
    return before, after


def answer(outcome: str, response: str = "text", tokens: int = 10) -> dict:
    limit = outcome == "truncated"
    return {
        "outcome": outcome,
        "response": response,
        "tokens": tokens,
        "finish_reason": "length" if limit else "stop",
    }


@pytest.mark.parametrize(
    ("correct", "n", "low", "high"),
    # Newcombe 1998, Statistics in Medicine 17, 857-872, table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_agrees_with_the_published_table(correct: int, n: int, low: float, high: float):
    assert statistics.wilson(correct, n) == pytest.approx((low, high), abs=6e-5)


def test_mcnemar_is_the_exact_binomial_tail():
    assert statistics.mcnemar(9, 1) == pytest.approx(2 * (1 + 10) / 1024)
    assert statistics.mcnemar(1, 9) == pytest.approx(2 * (1 + 10) / 1024)
    assert statistics.mcnemar(3, 0) == pytest.approx(0.25)
    assert statistics.mcnemar(50, 30) == pytest.approx(0.033, abs=5e-4)
    assert statistics.mcnemar(0, 0) == 1.0


def test_paired_interval_agrees_with_the_normal_one_on_a_large_sample():
    before, after = changes(gained=50, lost=30, kept=200, failed=220)
    # variance of the differences: 80/500 - (20/500)^2
    half = 1.959964 * math.sqrt((0.16 - 0.0016) / 500)
    assert statistics.paired_interval(before, after) == pytest.approx((0.04 - half, 0.04 + half), abs=0.005)


def test_paired_interval_is_narrower_when_fewer_questions_change():
    few = statistics.paired_interval(*changes(gained=12, lost=4, kept=42, failed=42))
    many = statistics.paired_interval(*changes(gained=34, lost=26, kept=20, failed=20))
    assert few[1] - few[0] < many[1] - many[0]
    assert few[0] > 0 > many[0]


def test_paired_interval_is_the_same_every_time_and_turns_with_the_sign():
    before, after = changes(gained=14, lost=6, kept=40, failed=40)
    assert statistics.paired_interval(before, after) == statistics.paired_interval(before, after)
    low, high = statistics.paired_interval(before, after)
    assert statistics.paired_interval(after, before) == pytest.approx((-high, -low), abs=0.02)


@pytest.mark.parametrize("correct", [True, False])
def test_no_change_at_all_still_leaves_uncertainty(correct: bool):
    low, high = statistics.paired_interval([correct] * 150, [correct] * 150)
    assert (low, high) == pytest.approx((-Z2 / (150 + Z2), Z2 / (150 + Z2)))


def test_all_questions_changed_alike():
    # Score interval of 10 of 10 signs, stretched from [0, 1] to [-1, 1]: (10 - 3.8415) / (10 + 3.8415).
    assert statistics.paired_interval([False] * 10, [True] * 10) == pytest.approx((0.44493, 1.0), abs=1e-4)
    assert statistics.paired_interval([True] * 10, [False] * 10) == pytest.approx((-1.0, -0.44493), abs=1e-4)


def test_one_question_says_next_to_nothing():
    low, high = statistics.paired_interval([False], [True])
    assert low < 0 and high == 1.0
    low, high = statistics.paired_interval([True], [True])
    assert low < -0.7 and high > 0.7


@pytest.mark.parametrize(("gained", "lost"), [(1, 0), (0, 1), (1, 1), (2, 0), (3, 2)])
def test_nearly_equal_data_gives_finite_ordered_bounds(gained: int, lost: int):
    low, high = statistics.paired_interval(*changes(gained, lost, kept=1, failed=0))
    assert -1 <= low <= (gained - lost) / (gained + lost + 1) <= high <= 1


def test_holm_by_hand():
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm([0.6, 0.9]) == [1.0, 1.0]
    assert statistics.holm([]) == []


def exact_power(n: int, changed: float, difference: float) -> float:
    """Power of the exact McNemar test, by enumeration of all counts of gained and lost questions."""
    power = 0.0
    for discordant in range(n + 1):
        weight = binom.pmf(discordant, n, changed)
        if weight < 1e-7:
            continue
        share = 0.5 + difference / (2 * changed)
        for gained in range(discordant + 1):
            if discordant and binomtest(gained, discordant).pvalue < 0.05:
                power += weight * binom.pmf(gained, discordant, share)
    return power


@pytest.mark.parametrize(("n", "discordant"), [(100, 30), (100, 12)])
def test_smallest_detectable_difference_has_about_80_percent_power(n: int, discordant: int):
    difference = statistics.smallest_detectable(n, discordant)
    # The exact test is a little more cautious than the approximation it is planned with.
    assert 0.70 < exact_power(n, discordant / n, difference) < 0.82


def test_smallest_detectable_difference_agrees_with_the_simple_formula():
    # 500 questions of which 21 % change: 2.8016 * sqrt(0.21 / 500) = 5.74 points.
    assert statistics.smallest_detectable(500, 105) == pytest.approx(0.0574, abs=0.0006)


def test_smallest_detectable_difference_without_changes_needs_enough_changed_questions():
    # A difference d needs at least d * n changed questions: sqrt(100 d) = 1.9600 + 0.8416 sqrt(1 - d), by hand.
    assert statistics.smallest_detectable(100, 0) == pytest.approx(0.07666, abs=5e-5)
    assert statistics.smallest_detectable(3, 0) is None


def test_questions_needed_is_the_inverse_of_the_smallest_detectable_difference():
    assert statistics.questions_needed(5, 5, 100) is None
    needed = statistics.questions_needed(20, 10, 150)
    assert needed > 150
    assert statistics.smallest_detectable(needed, round(needed * 30 / 150)) == pytest.approx(10 / 150, rel=0.01)
    assert statistics.questions_needed(10, 20, 150) == needed


def test_summary_counts_every_outcome():
    rows = [answer(o) for o in ("correct", "correct", "wrong", "no_answer", "truncated", "ungradable")]
    rows[1]["finish_reason"] = "length"  # boxed in time, then rambled on: still correct
    rows[0]["tokens"] = 70
    summary = statistics.summarise(rows)
    assert summary["accuracy"] == pytest.approx(2 / 6)
    assert summary["outcomes"] == {"correct": 2, "wrong": 1, "no_answer": 1, "truncated": 1, "ungradable": 1}
    assert summary["n"] == 6
    assert summary["boxed"] == 4
    assert summary["accuracy_boxed"] == 0.5
    assert summary["hit_limit"] == 2
    assert summary["tokens_per_answer"] == pytest.approx(20)


def test_accuracy_among_boxed_answers_is_none_when_nothing_is_boxed():
    assert statistics.summarise([answer("no_answer")])["accuracy_boxed"] is None


def test_comparison_splits_the_change_into_format_and_content():
    pairs = (
        [("no_answer", "correct")] * 4
        + [("truncated", "correct")] * 2
        + [("wrong", "correct")] * 3
        + [("ungradable", "correct")] * 1
        + [("correct", "truncated")] * 2
        + [("correct", "wrong")] * 1
        + [("correct", "correct")] * 5
        + [("wrong", "wrong")] * 2
    )
    comparison = statistics.compare([answer(b) for b, _ in pairs], [answer(a, "other") for _, a in pairs])
    assert (comparison["gained"], comparison["lost"], comparison["n"]) == (10, 3, 20)
    assert (comparison["both_correct"], comparison["both_failed"]) == (5, 2)
    assert comparison["difference"] == pytest.approx(7 / 20)
    assert comparison["mcnemar_p"] == pytest.approx(2 * (1 + 13 + 78 + 286) / 2**13)
    assert comparison["same_text"] == 0
    split = comparison["format"]
    assert (split["gained_unboxed"], split["gained_boxed"]) == (6, 4)
    assert (split["lost_unboxed"], split["lost_boxed"]) == (2, 1)
    assert split["both_boxed"] == 12
    assert split["both_boxed_against"] == pytest.approx(6 / 12)
    assert split["both_boxed_accuracy"] == pytest.approx(9 / 12)
    assert split["both_boxed_p"] == pytest.approx(2 * (1 + 5) / 32)


def test_a_difference_is_shown_only_when_interval_and_exact_test_agree():
    three_up = statistics.compare(
        [answer("wrong")] * 3 + [answer("correct")] * 147,
        [answer("correct")] * 150,
    )
    assert three_up["ci"][0] > 0 and three_up["mcnemar_p"] == pytest.approx(0.25)
    assert not three_up["shown"]
    ten_up = statistics.compare([answer("wrong")] * 10 + [answer("correct")] * 140, [answer("correct")] * 150)
    assert ten_up["shown"]
    assert not statistics.compare([answer("wrong")] * 9, [answer("wrong")] * 9)["shown"]
