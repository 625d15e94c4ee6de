"""Power: which true difference a paired comparison finds, before it is measured and after.

Everything rests on the second moment q = E[d^2] of d, a question's share of correct samples in one arm minus that in
the other. With one answer a question it is the share of questions whose correctness changes, and the formula is that
for McNemar's test (Connor 1987, Biometrics 43, 207-211). Differences are fractions; power is 80 % at 5 %, two-sided.
"""

import math

from scipy.optimize import brentq
from scipy.special import ndtri  # the normal quantile; scipy.stats takes a quarter of a second to import

ALPHA = 0.05  # of every interval and test
POWER = 0.80
MOST_SAMPLES = 64  # that a plan suggests
TARGET = 0.02  # difference that a plan works out the effort for
Z_ALPHA, Z_POWER = float(ndtri(1 - ALPHA / 2)), float(ndtri(POWER))

# Assumptions of a plan. Estimates: another model, task or adapter has others.
# Greedy: share of answers that change from right to wrong or back. Measured with `recipes/quickstart.yaml`: 17 gained
# and 8 lost of 240.
CHANGED = 25 / 240
# Sampled: mean square of the change in a question's solve rate, 14 points squared. Not measured.
SHIFT = 0.14**2
# Sampled: variance of one answer about its question's solve rate, the mean of p (1 - p): 1/6 if solve rates p were
# spread evenly over [0, 1]; less where most questions are always or never solved. Not measured.
WITHIN = 1 / 6


def second_moment(samples: int, *, changed: float, within: float = 0.0) -> float:
    """E[d^2] expected of `samples` answers a question: `changed` + 2 x `within` / `samples`.

    Args:
        samples: answers to every question, of each arm.
        changed: mean square of the true change in solve rate; of greedy answers: share of questions that change.
        within: variance of one answer within a question, mean over questions; 0 for greedy decoding.
    """
    return min(1.0, changed + 2 * within / samples)


def detectable(n: int, samples: int = 1, *, changed: float = CHANGED, within: float = 0.0) -> float | None:
    """Smallest true paired difference that n questions x `samples` find; None when not even a difference of 1.

    The equation for the number of questions of Miller (2024, arXiv:2411.00640), solved for the difference; the other
    arguments are those of `second_moment`.
    """
    return smallest_detectable(n, second_moment(samples, changed=changed, within=within), 1 / samples)


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
    return math.ceil((_noise(difference, max(moment, difference**2)) / difference) ** 2)


def samples_needed(n: int, difference: float, *, changed: float, within: float) -> int | None:
    """Samples a question at which n questions find `difference`; None when `MOST_SAMPLES` are not enough.

    Samples only average out the noise within questions: what is left is how differently the questions change.
    """
    moments = {k: second_moment(k, changed=changed, within=within) for k in range(1, MOST_SAMPLES + 1 if within else 1)}
    return next((k for k, moment in moments.items() if questions_needed(difference, moment) <= n), None)


def forecast(n: int, samples: int = 1, *, sampled: bool = False, available: int | None = None) -> dict:
    """What a plan says of n questions x `samples`, under this module's assumptions.

    Args:
        n: questions.
        samples: answers to each, of each arm.
        sampled: whether answers are drawn; else they are greedy.
        available: questions of the task, if it is known.

    Returns:
        difference: smallest that is found, None when none is. changed, within: the assumptions (`second_moment`).
        target: 0.02. questions_needed, samples_needed: to find it with all else as it is; the latter None when more
            samples are no help.
        questions, samples, available: as given.
    """
    assumed = {"changed": SHIFT, "within": WITHIN} if sampled else {"changed": CHANGED, "within": 0.0}
    return {
        "difference": detectable(n, samples, **assumed),
        "questions": n,
        "samples": samples,
        "available": available,
        "target": TARGET,
        "questions_needed": questions_needed(TARGET, second_moment(samples, **assumed)),
        "samples_needed": samples_needed(n, TARGET, **assumed),
        **assumed,
    }


def forecast_sentence(forecast: dict) -> str:
    """A forecast in words, with what it assumes."""
    if forecast["within"]:
        shift, disagree = 100 * forecast["changed"] ** 0.5, 200 * forecast["within"]
        assumed = f"solve rates change by {shift:.0f} points and {disagree:.0f} % of two answers to a question disagree"
    else:
        assumed = f"{100 * forecast['changed']:.0f} % of answers change"
    found, target, needed = forecast["difference"], forecast["target"], forecast["questions_needed"]
    finds = f"a difference of about {100 * found:.1f} points" if found else "no difference at all"
    text = f"finds {finds} ({100 * POWER:.0f} % power; assumes that {assumed})"
    if found and found <= target:
        return text
    per_item = f" x {forecast['samples']} samples" if forecast["samples"] > 1 else ""
    samples = f" or {forecast['samples_needed']} samples an item" if forecast["samples_needed"] else ""
    short = forecast["available"] is not None and forecast["available"] < needed
    has = f" (the task has {forecast['available']:,})" if short else ""
    return f"{text}; +{100 * target:.0f} points need ~{needed:,} items{per_item}{has}{samples}"


def _noise(difference: float, moment: float) -> float:
    return Z_ALPHA * math.sqrt(moment) + Z_POWER * math.sqrt(moment - difference**2)
