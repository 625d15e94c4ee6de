"""The numbers of a report: accuracy with an interval, and the paired comparison of two arms on the same items.

Rows are graded answers: dicts with `outcome`, `response`, `tokens` and `finish_reason`. All accuracies and differences
are fractions in [0, 1] and [-1, 1]; all intervals are 95 %. The unit that is resampled is the question
(Miller 2024, arXiv:2411.00640).
"""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from scipy.optimize import brentq
from scipy.stats import binomtest, bootstrap, norm

OUTCOMES = ("correct", "wrong", "no_answer", "truncated", "ungradable")
UNBOXED = ("no_answer", "truncated")  # outcomes of an answer without a complete box
ALPHA = 0.05
POWER = 0.80
RESAMPLES = 9999
SEED = 0

Z_ALPHA = float(norm.ppf(1 - ALPHA / 2))
Z_POWER = float(norm.ppf(POWER))

Interval = tuple[float, float]


def wilson(correct: int, n: int) -> Interval:
    """Wilson score interval of the proportion `correct / n`."""
    interval = binomtest(correct, n).proportion_ci(confidence_level=1 - ALPHA, method="wilson")
    return float(interval.low), float(interval.high)


def paired_interval(before: Sequence[bool], after: Sequence[bool]) -> Interval:
    """Interval of mean(after) − mean(before) over the same questions, in the same order.

    BCa bootstrap over questions with a fixed seed. When all questions changed alike a bootstrap has nothing to
    resample and would claim a width of zero: then it is the score interval of Tango (1998, Statistics in Medicine 17,
    891-908), which has a closed form there.
    """
    differences = np.asarray(after, dtype=int) - np.asarray(before, dtype=int)
    n = len(differences)
    if np.all(differences == differences[0]):
        z2 = Z_ALPHA**2
        if differences[0] == 0:
            return -z2 / (n + z2), z2 / (n + z2)
        bound = (n - z2) / (n + z2)
        return (bound, 1.0) if differences[0] > 0 else (-1.0, -bound)
    interval = bootstrap(
        (differences,),
        np.mean,
        n_resamples=RESAMPLES,
        batch=max(1, 4_000_000 // n),  # resampled values held in memory at once
        vectorized=True,
        confidence_level=1 - ALPHA,
        method="BCa",
        rng=np.random.default_rng(SEED),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def mcnemar(gained: int, lost: int) -> float:
    """Two-sided p of the exact McNemar test on the questions whose correctness changed; 1 when none did."""
    return float(binomtest(gained, gained + lost, 0.5).pvalue) if gained + lost else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p values, in the order given: the price of comparing several arms with one base."""
    adjusted, running = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted


def smallest_detectable(n: int, discordant: int) -> float | None:
    """Smallest true paired difference that McNemar's test finds with 80 % power on `n` questions.

    Normal approximation (Connor 1987, Biometrics 43, 207-211), with the share of questions that changed as observed,
    or as large as the difference itself where that is more. None when not even a difference of 1 would be found.
    """

    def surplus(difference: float) -> float:
        changed = max(discordant / n, difference)
        noise = Z_ALPHA * math.sqrt(changed) + Z_POWER * math.sqrt(changed - difference**2)
        return difference * math.sqrt(n) - noise

    return float(brentq(surplus, 1e-9, 1.0)) if surplus(1.0) > 0 else None


def questions_needed(gained: int, lost: int, n: int) -> int | None:
    """Questions at which the observed difference would be found with 80 % power; None when there is no difference.

    The same approximation as `smallest_detectable`, solved for the number of questions.
    """
    if gained == lost:
        return None
    changed, difference = (gained + lost) / n, abs(gained - lost) / n
    noise = Z_ALPHA * math.sqrt(changed) + Z_POWER * math.sqrt(changed - difference**2)
    return math.ceil((noise / difference) ** 2)


def is_shown(interval: Interval, p: float) -> bool:
    """Whether a difference is shown: its interval leaves out 0 and the exact test agrees.

    Both, because with only a few changed questions a bootstrap interval is too short: 3 gained and 0 lost of 150 give
    an interval above 0 and p = 0.25.
    """
    low, high = interval
    return (low > 0 or high < 0) and p < ALPHA


def summarise(rows: Sequence[dict]) -> dict:
    """Accuracy with its interval, counts by outcome, and length of one arm's answers."""
    counts = Counter(row["outcome"] for row in rows)
    n, correct = len(rows), counts["correct"]
    boxed = n - sum(counts[outcome] for outcome in UNBOXED)
    return {
        "accuracy": correct / n,
        "ci": list(wilson(correct, n)),
        "n": n,
        "outcomes": {outcome: counts[outcome] for outcome in OUTCOMES},
        "boxed": boxed,
        "accuracy_boxed": correct / boxed if boxed else None,
        "hit_limit": sum(row["finish_reason"] == "length" for row in rows),
        "tokens_per_answer": sum(row["tokens"] for row in rows) / n,
    }


def compare(base: Sequence[dict], arm: Sequence[dict]) -> dict:
    """Paired comparison of `arm` with `base`: row i of both answers the same question.

    `format` splits the change in two: questions where the arm that failed gave no complete box (a matter of form, as
    far as one can see), and questions where both gave one (a matter of content). The net of the two parts, divided by
    n, is the difference.
    """
    n = len(base)
    before = [row["outcome"] == "correct" for row in base]
    after = [row["outcome"] == "correct" for row in arm]
    gained = [i for i in range(n) if after[i] and not before[i]]
    lost = [i for i in range(n) if before[i] and not after[i]]
    gained_unboxed = sum(base[i]["outcome"] in UNBOXED for i in gained)
    lost_unboxed = sum(arm[i]["outcome"] in UNBOXED for i in lost)
    gained_boxed, lost_boxed = len(gained) - gained_unboxed, len(lost) - lost_unboxed
    both = [i for i in range(n) if base[i]["outcome"] not in UNBOXED and arm[i]["outcome"] not in UNBOXED]
    interval, p = paired_interval(before, after), mcnemar(len(gained), len(lost))
    return {
        "difference": (len(gained) - len(lost)) / n,
        "ci": list(interval),
        "mcnemar_p": p,
        "shown": is_shown(interval, p),
        "gained": len(gained),
        "lost": len(lost),
        "n": n,
        "both_correct": sum(b and a for b, a in zip(before, after, strict=True)),
        "both_failed": sum(not b and not a for b, a in zip(before, after, strict=True)),
        "smallest_detectable": smallest_detectable(n, len(gained) + len(lost)),
        "questions_needed": questions_needed(len(gained), len(lost), n),
        "same_text": sum(b["response"] == a["response"] for b, a in zip(base, arm, strict=True)),
        "format": {
            "gained_unboxed": gained_unboxed,
            "gained_boxed": gained_boxed,
            "lost_unboxed": lost_unboxed,
            "lost_boxed": lost_boxed,
            "both_boxed": len(both),
            "both_boxed_accuracy": sum(after[i] for i in both) / len(both) if both else None,
            "both_boxed_against": sum(before[i] for i in both) / len(both) if both else None,
            "both_boxed_p": mcnemar(gained_boxed, lost_boxed),
        },
    }
