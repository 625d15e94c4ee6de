"""The effect of a recipe over several training runs."""

import math

import numpy as np
import pytest
from scipy.stats import t

from cft.errors import EvalError
from eval.statistics.intervals import paired_interval
from eval.statistics.seeds import seed_effect


def drawn(rng: np.random.Generator, seeds: int, n: int, sd: float, k: int) -> np.ndarray:
    """Differences of sampled answers; questions and seeds both move the solve rate, by +4 points in the mean."""
    base = rng.uniform(0.25, 0.65, n)
    arm = base + 0.04 + rng.uniform(-0.15, 0.15, n) + sd * rng.uniform(-(3**0.5), 3**0.5, (seeds, 1))
    return (rng.binomial(k, arm) - rng.binomial(k, base)) / k


@pytest.mark.parametrize(
    ("seeds", "n", "sd", "k"),
    [(3, 50, 0.0, 1), (3, 240, 0.02, 4), (5, 240, 0.05, 1), (5, 50, 0.02, 8), (10, 240, 0.03, 8)],
)
def test_the_interval_covers_the_mean_over_other_seeds_and_questions(seeds: int, n: int, sd: float, k: int):
    rng, runs = np.random.default_rng(0), 500
    covered = 0
    for _ in range(runs):
        low, high = seed_effect(drawn(rng, seeds, n, sd, k))["ci"]
        covered += low <= 0.04 <= high
    assert 0.91 <= covered / runs <= 0.99


def test_the_spread_between_seeds_is_told_from_the_noise_of_the_questions():
    rng = np.random.default_rng(0)
    assert seed_effect(drawn(rng, 200, 400, 0.05, 4))["sd_between_seeds"] == pytest.approx(0.05, rel=0.15)
    still = np.mean([seed_effect(drawn(rng, 8, 400, 0.0, 4))["sd_between_seeds"] for _ in range(20)])
    assert still < 0.01


def test_two_seeds_and_two_questions_by_hand():
    # Means 0.5 and 0.25 of the seeds, 0.5 and 0.25 of the questions: MS 1/16 each, residual 9/16; so components 0.
    effect = seed_effect([[1.0, 0.0], [0.0, 0.5]])
    assert effect["difference"] == 0.375 and effect["seed_differences"] == [0.5, 0.25]
    assert effect["sd_between_seeds"] == 0.0
    # variance (9/16) / 4; degrees of freedom (9/16)^2 / (1/256 + 1/256 + 81/256)
    df = 81 / 83
    half = t.ppf(0.975, df) * math.sqrt(9 / 64)
    assert effect["df"] == pytest.approx(df)
    assert effect["ci"] == [max(-1, 0.375 - half), min(1, 0.375 + half)]


def test_one_seed_gives_the_interval_of_its_questions_and_says_that_seeds_cannot_be_judged():
    row = [1.0] * 8 + [-1.0] * 3 + [0.0] * 60
    effect = seed_effect([row])
    assert effect["ci"] == list(paired_interval([0.0] * len(row), row))
    assert effect["sd_between_seeds"] is None and effect["p"] is None
    assert "one seed" in effect["note"]


def test_seeds_that_agree_on_every_question_still_leave_the_questions_uncertain():
    effect = seed_effect([[1.0, 0.0, 0.0, -1.0, 1.0]] * 4)
    assert effect["sd_between_seeds"] == 0.0
    assert effect["ci"][0] < -0.5 and effect["ci"][1] > 0.9


@pytest.mark.parametrize("value", [0.0, 0.25])
def test_without_any_spread_the_interval_still_has_a_width(value: float):
    effect = seed_effect(np.full((3, 100), value))
    assert effect["ci"][0] < value < effect["ci"][1] and effect["p"] is None and "alike" in effect["note"]


def test_one_question_says_next_to_nothing():
    low, high = seed_effect([[1.0], [0.0]])["ci"]
    assert low < -0.5 and high > 0.8


@pytest.mark.parametrize("wrong", [[], [[]], [0.1, 0.2], [[0.1, 0.2], [0.1]], [[math.nan, 0.0]], [[37.5, 10.0]]])
def test_what_is_no_table_of_differences_is_refused(wrong: list):
    with pytest.raises(EvalError, match=r"^seeds: .*(Give|Score)"):
        seed_effect(wrong)
