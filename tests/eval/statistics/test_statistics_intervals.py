"""Intervals and exact tests, against published tables, hand computation, enumeration and simulation."""

import math

import numpy as np
import pytest
from scipy.stats import permutation_test

from eval.statistics import intervals

Z2 = 3.8414588  # 1.959964 squared


def changes(gained: int, lost: int, kept: int, failed: int) -> tuple[list[bool], list[bool]]:
    """Correctness before and after, for the four kinds of question."""
    before = [False] * gained + [True] * lost + [True] * kept + [False] * failed
    after = [True] * gained + [False] * lost + [True] * kept + [False] * failed
    return before, after


@pytest.mark.parametrize(
    ("correct", "n", "low", "high"),
    # Newcombe 1998, Statistics in Medicine 17, 857-872, table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_agrees_with_the_published_table(correct: int, n: int, low: float, high: float):
    assert intervals.wilson(correct, n) == pytest.approx((low, high), abs=6e-5)


def test_mcnemar_is_the_exact_binomial_tail():
    assert intervals.mcnemar(9, 1) == pytest.approx(2 * (1 + 10) / 1024)
    assert intervals.mcnemar(1, 9) == pytest.approx(2 * (1 + 10) / 1024)
    assert intervals.mcnemar(3, 0) == pytest.approx(0.25)
    assert intervals.mcnemar(50, 30) == pytest.approx(0.033, abs=5e-4)
    assert intervals.mcnemar(0, 0) == 1.0


def test_paired_interval_agrees_with_the_normal_one_on_a_large_sample():
    before, after = changes(gained=50, lost=30, kept=200, failed=220)
    # variance of the differences: 80/500 - (20/500)^2
    half = 1.959964 * math.sqrt((0.16 - 0.0016) / 500)
    assert intervals.paired_interval(before, after) == pytest.approx((0.04 - half, 0.04 + half), abs=0.005)


def test_paired_interval_is_narrower_when_fewer_questions_change():
    few = intervals.paired_interval(*changes(gained=12, lost=4, kept=42, failed=42))
    many = intervals.paired_interval(*changes(gained=34, lost=26, kept=20, failed=20))
    assert few[1] - few[0] < many[1] - many[0]
    assert few[0] > 0 > many[0]


def test_paired_interval_is_the_same_every_time_and_turns_with_the_sign():
    before, after = changes(gained=14, lost=6, kept=40, failed=40)
    assert intervals.paired_interval(before, after) == intervals.paired_interval(before, after)
    low, high = intervals.paired_interval(before, after)
    assert intervals.paired_interval(after, before) == pytest.approx((-high, -low), abs=0.02)


@pytest.mark.parametrize("correct", [True, False])
def test_no_change_at_all_still_leaves_uncertainty(correct: bool):
    low, high = intervals.paired_interval([correct] * 150, [correct] * 150)
    assert (low, high) == pytest.approx((-Z2 / (150 + Z2), Z2 / (150 + Z2)))


def test_all_questions_changed_alike():
    # Score interval of 10 of 10 signs, stretched from [0, 1] to [-1, 1]: (10 - 3.8415) / (10 + 3.8415).
    assert intervals.paired_interval([False] * 10, [True] * 10) == pytest.approx((0.44493, 1.0), abs=1e-4)
    assert intervals.paired_interval([True] * 10, [False] * 10) == pytest.approx((-1.0, -0.44493), abs=1e-4)


def test_one_question_says_next_to_nothing():
    low, high = intervals.paired_interval([False], [True])
    assert low < 0 and high == 1.0
    low, high = intervals.paired_interval([True], [True])
    assert low < -0.7 and high > 0.7


@pytest.mark.parametrize(("gained", "lost"), [(1, 0), (0, 1), (1, 1), (2, 0), (3, 2)])
def test_nearly_equal_data_gives_finite_ordered_bounds(gained: int, lost: int):
    low, high = intervals.paired_interval(*changes(gained, lost, kept=1, failed=0))
    assert -1 <= low <= (gained - lost) / (gained + lost + 1) <= high <= 1


def test_holm_by_hand():
    assert intervals.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert intervals.holm([0.6, 0.9]) == [1.0, 1.0]
    assert intervals.holm([]) == []


def test_one_sample_a_question_gives_the_wilson_interval():
    values = np.array([1.0] * 15 + [0.0] * 133)
    assert intervals.mean_interval(values, 148) == pytest.approx(intervals.wilson(15, 148))


def test_identical_samples_tell_no_more_than_one_and_independent_ones_all_they_hold():
    solved = np.array([1.0] * 40 + [0.0] * 60)
    assert intervals.effective_questions(solved, 1600) == pytest.approx(99)  # n - 1: the variance is estimated
    independent = np.random.default_rng(0).binomial(16, 0.4, size=4000) / 16
    assert intervals.effective_questions(independent, 64_000) == pytest.approx(64_000, rel=0.1)
    assert intervals.effective_questions(np.full(10, 0.5), 40) == 40
    assert intervals.effective_questions(np.zeros(30), 480) == 30


@pytest.mark.parametrize(("n", "k", "a", "b"), [(30, 4, 0.3, 0.7), (30, 16, 1, 1), (100, 8, 0.1, 0.9), (30, 4, 0.1, 3)])
def test_the_interval_of_sampled_accuracy_covers_the_truth_of_drawn_questions(n: int, k: int, a: float, b: float):
    rng = np.random.default_rng(0)
    truth, covered, runs = a / (a + b), 0, 800
    for _ in range(runs):
        low, high = intervals.mean_interval(rng.binomial(k, rng.beta(a, b, n)) / k, n * k)
        covered += low <= truth <= high
    assert 0.92 <= covered / runs <= 0.98


@pytest.mark.parametrize(("n", "k"), [(40, 4), (100, 8)])
def test_the_paired_interval_of_sampled_answers_is_neither_short_nor_double(n: int, k: int):
    rng = np.random.default_rng(1)
    covered, runs, truth = 0, 300, 0.1 * 0.7 / 1.2  # a tenth of what each question lacks
    for _ in range(runs):
        rates = rng.beta(0.5, 0.7, n)
        low, high = intervals.paired_interval(rng.binomial(k, rates) / k, rng.binomial(k, 0.9 * rates + 0.1) / k)
        covered += low <= truth <= high
    assert 0.91 <= covered / runs <= 0.98


def test_the_sign_flip_test_is_mcnemar_where_differences_are_single_answers():
    differences = np.array([1] * 17 + [-1] * 8 + [0] * 215)
    assert intervals.sign_flip_p(differences) == pytest.approx(intervals.mcnemar(17, 8), rel=1e-12)
    assert intervals.sign_flip_p(-3 * differences) == pytest.approx(intervals.mcnemar(17, 8), rel=1e-12)


@pytest.mark.parametrize("differences", [[3, -1, 4, 1, -5, 2, 6, -5, 3], [0, 0, 2], [4, 4, 4, -2], [-1, 0], [0, 0]])
def test_the_sign_flip_test_agrees_with_scipy_where_scipy_is_exact(differences: list[int]):
    values = np.array(differences)
    expected = permutation_test((values,), np.sum, permutation_type="samples", n_resamples=10_000).pvalue
    assert intervals.sign_flip_p(values) == pytest.approx(expected)


def test_the_sign_flip_test_has_no_floor():
    assert intervals.sign_flip_p(np.array([5] * 60)) == pytest.approx(2 * 0.5**60)
