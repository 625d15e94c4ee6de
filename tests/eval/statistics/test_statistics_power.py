"""Power formulas, against enumeration, simulation and the literature."""

import math

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from eval.statistics import power
from eval.statistics.intervals import sign_flip_p


def exact_power(n: int, changed: float, difference: float) -> float:
    """Power of the exact McNemar test, by enumeration of all counts of gained and lost questions."""
    found = 0.0
    for discordant in range(n + 1):
        weight = binom.pmf(discordant, n, changed)
        if weight < 1e-7:
            continue
        share = 0.5 + difference / (2 * changed)
        for gained in range(discordant + 1):
            if discordant and binomtest(gained, discordant).pvalue < 0.05:
                found += weight * binom.pmf(gained, discordant, share)
    return found


@pytest.mark.parametrize(("n", "discordant"), [(100, 30), (100, 12)])
def test_smallest_detectable_difference_has_about_80_percent_power(n: int, discordant: int):
    difference = power.smallest_detectable(n, discordant / n)
    # The exact test is a little more cautious than the approximation it is planned with.
    assert 0.70 < exact_power(n, discordant / n, difference) < 0.82


def test_smallest_detectable_difference_agrees_with_the_simple_formula():
    # 500 questions of which 21 % change: 2.8016 * sqrt(0.21 / 500) = 5.74 points.
    assert power.smallest_detectable(500, 0.21) == pytest.approx(0.0574, abs=0.0006)


def test_smallest_detectable_difference_without_changes_needs_enough_changed_questions():
    # A difference d needs at least d * n changed questions: sqrt(100 d) = 1.9600 + 0.8416 sqrt(1 - d), by hand.
    assert power.smallest_detectable(100, 0) == pytest.approx(0.07666, abs=5e-5)
    assert power.smallest_detectable(3, 0) is None


def test_questions_needed_is_the_inverse_of_the_smallest_detectable_difference():
    assert power.questions_needed(0.0, 0.1) is None
    needed = power.questions_needed(10 / 150, 30 / 150)
    assert needed > 150
    assert power.smallest_detectable(needed, 30 / 150) == pytest.approx(10 / 150, rel=0.01)
    assert power.questions_needed(-10 / 150, 30 / 150) == needed


def test_a_plan_for_one_greedy_answer_is_what_the_report_says_when_the_assumption_comes_true():
    assert power.detectable(240, changed=25 / 240) == power.smallest_detectable(240, 25 / 240)


def test_more_samples_find_less_but_never_less_than_the_questions_allow():
    found = [power.detectable(240, k, changed=0.02, within=0.15) for k in (1, 4, 16, 256)]
    assert found == sorted(found, reverse=True) and found[0] > 2 * found[-1]
    assert found[-1] > power.smallest_detectable(240, 0.02, grain=1 / 256)


def test_questions_needed_agree_with_the_published_equation():
    # Miller 2024: n = (1.96 + 0.84)^2 (omega^2 + sigma_A^2 / K_A + sigma_B^2 / K_B) / difference^2.
    moment = power.second_moment(1, changed=1 / 9, within=1 / 6)
    assert power.questions_needed(0.03, moment) == pytest.approx(
        (1.96 + 0.8416) ** 2 * (1 / 9 + 1 / 3) / 0.03**2, rel=0.01
    )


@pytest.mark.parametrize(("n", "k", "changed"), [(30, 16, 0.02), (100, 4, 0.02), (240, 8, 0.01), (500, 4, 0.01)])
def test_the_detectable_difference_of_sampled_answers_is_found_with_about_80_percent_power(
    n: int, k: int, changed: float
):
    rng, runs = np.random.default_rng(0), 300
    within = 0.25 - 0.4**2 / 12  # of solve rates spread evenly over [0.3, 0.7]
    difference = power.detectable(n, k, changed=changed, within=within)
    spread = math.sqrt(max(0.0, changed - difference**2))
    found = 0
    for _ in range(runs):
        base = rng.uniform(0.3, 0.7, n)
        arm = base + difference + spread * rng.choice([-1, 1], n)
        found += sign_flip_p(rng.binomial(k, arm) - rng.binomial(k, base)) < 0.05
    assert 0.72 <= found / runs <= 0.88


def test_samples_needed_reach_the_difference_or_are_said_to_be_no_help():
    needed = power.samples_needed(500, 0.03, changed=0.02, within=0.15)
    assert power.detectable(500, needed, changed=0.02, within=0.15) <= 0.03
    assert power.detectable(500, needed - 1, changed=0.02, within=0.15) > 0.03
    assert power.samples_needed(50, 0.03, changed=0.02, within=0.15) is None  # the questions themselves differ too much
    assert power.samples_needed(500, 0.03, changed=0.02, within=0.0) is None


def test_a_forecast_says_what_it_assumes_and_what_the_target_would_need():
    greedy = power.forecast(240, available=300)
    assert power.questions_needed(0.02, greedy["changed"]) == greedy["questions_needed"]
    assert power.forecast_sentence(greedy) == (
        "finds a difference of about 5.8 points (80 % power; assumes that 10 % of answers change); "
        f"+2 points need ~{greedy['questions_needed']:,} items (the task has 300)"
    )
    assert greedy["questions_needed"] > 240 and greedy["samples_needed"] is None


def test_a_forecast_of_sampled_answers_offers_more_samples_where_they_help():
    sampled = power.forecast(500, 4, sampled=True)
    assert power.forecast(500, sampled["samples_needed"], sampled=True)["difference"] <= 0.02
    sentence = power.forecast_sentence(sampled)
    assert "33 % of two answers to a question disagree" in sentence
    assert f"items x 4 samples or {sampled['samples_needed']} samples an item" in sentence
    assert "need" not in power.forecast_sentence(power.forecast(5000, 16, sampled=True))  # finds the target already
    assert "no difference at all" in power.forecast_sentence(power.forecast(3))
