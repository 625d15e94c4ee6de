"""Power: which true difference a paired comparison finds, before it is measured and after.

Everything rests on the second moment q = E[d^2] of d, a question's share of correct samples in one arm minus that in
the other. With one answer a question it is the share of questions whose correctness changes, and the formula is that
for McNemar's test (Connor 1987, Biometrics 43, 207-211). Differences are fractions; power is 80 % at 5 %, two-sided.
"""

import math

from scipy.optimize import brentq
from scipy.stats import norm

from cft.errors import EvalError
from eval.intervals import Z_ALPHA

POWER = 0.80
Z_POWER = float(norm.ppf(POWER))

# Assumptions of a plan; estimates.
# Quickstart: greedy, 240 word problems, 17 gained and 8 lost; Qwen2.5-Coder-0.5B and a LoRA of it.
CHANGED = 25 / 240
# Variance of one sampled answer about its question's solve rate, the mean of p (1 - p): 1/6 if solve rates p were
# spread evenly over [0, 1]; less where most questions are always or never solved. Not measured.
WITHIN = 1 / 6


def second_moment(samples: int, *, changed: float, within: float = 0.0) -> float:
    """E[d^2] expected of `samples` answers a question: `changed` + 2 x `within` / `samples`.

    Args:
        samples: answers to every question, of each arm.
        changed: mean square of the true change in solve rate; of greedy answers: share of questions that change.
        within: variance of one answer within a question, mean over questions; 0 for greedy decoding.

    Raises:
        EvalError: a number is out of its range.
    """
    if samples < 1 or not 0 <= changed <= 1 or not 0 <= within <= 0.25:
        raise EvalError(
            f"power: samples = {samples}, changed = {changed}, within = {within}. "
            "Give samples of 1 or more, changed between 0 and 1, within between 0 and 0.25."
        )
    return min(1.0, changed + 2 * within / samples)


def detectable(n: int, samples: int = 1, *, changed: float = CHANGED, within: float = 0.0) -> float | None:
    """Smallest true paired difference that n questions x `samples` find; None when not even a difference of 1.

    The equation for the number of questions of Miller (2024, arXiv:2411.00640), solved for the difference. The other
    arguments are those of `second_moment`.

    Raises:
        EvalError: a number is out of its range.
    """
    if n < 1:
        raise EvalError(f"power: n = {n} questions. Give 1 or more.")
    return smallest_detectable(n, second_moment(samples, changed=changed, within=within))


def smallest_detectable(n: int, moment: float, grain: float = 1.0) -> float | None:
    """Smallest true paired difference that is found on `n` questions; None when not even a difference of 1 would be.

    Args:
        n: questions.
        moment: second moment of the differences, as observed or expected.
        grain: smallest change that a question can have: 1 with one answer a question. A difference d comes with a
            second moment of at least d x grain, which counts where it is more than `moment`.
    """

    def surplus(difference: float) -> float:
        return difference * math.sqrt(n) - _noise(difference, max(moment, difference * grain, difference**2))

    return float(brentq(surplus, 1e-9, 1.0)) if surplus(1.0) > 0 and surplus(1e-9) < 0 else None


def questions_needed(difference: float, moment: float) -> int | None:
    """Questions at which a true `difference` would be found; None when there is no difference.

    The same approximation as `smallest_detectable`, solved for the number of questions.
    """
    if abs(difference) < 1e-12:
        return None
    moment = max(moment, difference**2)
    return math.ceil((_noise(difference, moment) / difference) ** 2)


def samples_needed(n: int, difference: float, *, changed: float, within: float) -> int | None:
    """Samples a question at which n questions find `difference`; None when no number of samples would do.

    Samples only average out the noise within questions: what is left is how differently the questions change.
    """
    if not within or questions_needed(difference, max(changed, difference)) > n:
        return None
    samples = 1
    while questions_needed(difference, max(second_moment(samples, changed=changed, within=within), difference**2)) > n:
        samples += 1
    return samples


def _noise(difference: float, moment: float) -> float:
    return Z_ALPHA * math.sqrt(moment) + Z_POWER * math.sqrt(moment - difference**2)
