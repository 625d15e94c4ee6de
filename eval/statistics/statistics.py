"""The numbers of a report: accuracy with an interval, and the paired comparison of two arms on the same questions.

Rows are graded answers, one for each question and sample: dicts with `doc_id`, `sample` (0-based; 0 if missing),
`outcome`, `response`, `tokens`, `finish_reason`, and for votes `answer` and `same_as`. An arm has k samples of every
question; two arms may have different k. All accuracies and differences are fractions in [0, 1] and [-1, 1]; all
intervals are 95 %. The question is the unit: its k answers count through their mean, and are never taken for k
independent questions (Miller 2024, arXiv:2411.00640).

`eval.statistics.intervals` says why these intervals and tests.
"""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from cft.errors import EvalError
from eval.statistics.intervals import holm, is_shown, mcnemar, mean_interval, paired_interval, sign_flip_p, wilson
from eval.statistics.power import questions_needed, smallest_detectable
from eval.statistics.samples import UNBOXED, Samples, arrange, majority_curve, pass_curve

OUTCOMES = ("correct", "wrong", "no_answer", "truncated", "ungradable")


def summarise(rows: Sequence[dict]) -> dict:
    """Accuracy with its interval, counts by outcome, and length of one arm's answers.

    Args:
        rows: k answers to each of n questions, in any order.

    Returns:
        accuracy: mean over questions of the mean over samples (avg@k).
        ci: [low, high], Wilson's. For k > 1 with the effective number of questions in place of n (`mean_interval`).
        n: questions. samples: k.
        outcomes: {outcome: answers}, of all n x k answers. boxed, hit_limit: answers too.
        accuracy_boxed: correct / boxed, None when no answer has a box. tokens_per_answer: mean.
        pass_at_k: {"1": accuracy, "2": …, "4": …, …, str(k): …}: chance that at least one of so many samples is
            correct, in rising order. maj_at_k: accuracy of their majority vote (`majority_curve`).
        pass_at_k_ci, maj_at_k_ci: {"1": [low, high], …}.

    Raises:
        EvalError: no rows, or not the same samples of every question.
    """
    arm, answers = arrange(rows), len(rows)
    counts = Counter(row["outcome"] for row in rows)
    boxed = answers - sum(counts[outcome] for outcome in UNBOXED)
    passes, votes = pass_curve(arm), majority_curve(arm)
    return {
        "accuracy": counts["correct"] / answers,
        "ci": list(_accuracy_interval(arm)),
        "n": len(arm.doc_ids),
        "samples": arm.k,
        "outcomes": {outcome: counts[outcome] for outcome in OUTCOMES},
        "boxed": boxed,
        "accuracy_boxed": counts["correct"] / boxed if boxed else None,
        "hit_limit": sum(row["finish_reason"] == "length" for row in rows),
        "tokens_per_answer": sum(row["tokens"] for row in rows) / answers,
        "pass_at_k": {key: value for key, (value, _) in passes.items()},
        "pass_at_k_ci": {key: list(bounds) for key, (_, bounds) in passes.items()},
        "maj_at_k": {key: value for key, (value, _) in votes.items()},
        "maj_at_k_ci": {key: list(bounds) for key, (_, bounds) in votes.items()},
    }


def compare(base: Sequence[dict], arm: Sequence[dict]) -> dict:
    """Paired comparison of `arm` with `base` on the same questions; rows are paired by doc_id.

    Returns:
        (b and a are a question's share of correct samples in base and arm)
        difference: mean of a - b over the questions.
        ci: [low, high], bootstrap over questions (`paired_interval`).
        test: "mcnemar" when both arms have one sample a question, else "permutation": the sign-flip test over
            questions, which is the same test there and takes shares of correct samples as well.
        p: of that test, exact. mcnemar_p: the same number, only where the test is McNemar's.
        shown: whether the interval leaves out 0 and p < 0.05.
        n: questions. samples: [k of base, k of arm].
        gained, lost: questions with a > b, with a < b. both_correct, both_failed: with a = b = 1, with a = b = 0.
        smallest_detectable: true difference that would be found with 80 % power, None when there is none.
        questions_needed: at which the observed difference would be found, None when there is no difference.
        same_text: questions answered in the same words, sample by sample.
        format: what part of the change is form (`_format_split`).

    Raises:
        EvalError: no rows, not the same samples of every question, or other questions in base than in arm.
    """
    before, after = _paired(base, arm)
    b, a = before.shares, after.shares
    n, grain = len(b), math.lcm(before.k, after.k)
    steps = np.rint((a - b) * grain).astype(int)  # in units of the smallest change a question can have
    gained, lost = int((steps > 0).sum()), int((steps < 0).sum())
    single = grain == 1
    interval, p = paired_interval(b, a), mcnemar(gained, lost) if single else sign_flip_p(steps)
    difference, moment = int(steps.sum()) / (grain * n), float((steps**2).sum()) / (grain**2 * n)
    return {
        "difference": difference,
        "ci": list(interval),
        "test": "mcnemar" if single else "permutation",
        "p": p,
        **({"mcnemar_p": p} if single else {}),
        "shown": is_shown(interval, p),
        "gained": gained,
        "lost": lost,
        "n": n,
        "samples": [before.k, after.k],
        "both_correct": int(((b == 1) & (a == 1)).sum()),
        "both_failed": int(((b == 0) & (a == 0)).sum()),
        "smallest_detectable": smallest_detectable(n, moment, 1 / grain),
        "questions_needed": questions_needed(difference, moment),
        "same_text": sum(x == y for x, y in zip(before.texts, after.texts, strict=True)),
        "format": _format_split(before, after),
    }


def by_group(base: Sequence[dict], arm: Sequence[dict], key: str) -> list[dict]:
    """Accuracy of both arms and their paired difference within each group of questions, such as subject or level.

    Args:
        base, arm: as in `compare`. The same rows twice give the groups of one arm.
        key: of the rows, whose text names the group: "subject", "level", ...

    Returns:
        A dict for each group, by name (by number where all names are numbers); questions without the key are left out:
        group (its name), n (questions), base and arm ({"accuracy": ..., "ci": [low, high]}), difference, ci, p, gained
        and lost as in `compare`, and p_holm: p after Holm's correction over the groups.

    Raises:
        EvalError: see `compare`; or one question is in two groups.
    """
    before, after = _paired(base, arm)
    groups: dict[str, list[int]] = {}
    for index, (doc_id, rows) in enumerate(zip(before.doc_ids, before.rows, strict=True)):
        names = {str(row[key]) for row in (*rows, *after.rows[index]) if row.get(key) not in (None, "")}
        if len(names) > 1:
            raise EvalError(f"doc_id {doc_id!r}: {key} is {' and '.join(sorted(names))}. Score both arms again.")
        for name in names:
            groups.setdefault(name, []).append(index)
    numeric = all(name.isdecimal() for name in groups)
    found = []
    for name in sorted(groups, key=lambda name: (int(name) if numeric else 0, name)):
        parts = [side.take(groups[name]) for side in (before, after)]
        compared = compare(*([row for rows in part.rows for row in rows] for part in parts))
        scores = [{"accuracy": float(part.shares.mean()), "ci": list(_accuracy_interval(part))} for part in parts]
        kept = {name: compared[name] for name in ("difference", "ci", "p", "gained", "lost")}
        found.append({"group": name, "n": len(groups[name]), "base": scores[0], "arm": scores[1], **kept})
    for entry, p in zip(found, holm([entry["p"] for entry in found]), strict=True):
        entry["p_holm"] = p
    return found


def _paired(base: Sequence[dict], arm: Sequence[dict]) -> tuple[Samples, Samples]:
    before, after = arrange(base), arrange(arm)
    differ = set(before.doc_ids) ^ set(after.doc_ids)
    if differ:
        raise EvalError(
            f"{len(differ)} questions were answered by only one of two arms (of {len(before.doc_ids)} and "
            f"{len(after.doc_ids)} questions), first doc_id {min(map(str, differ))}. Score both arms on the same items."
        )
    return before, after


def _accuracy_interval(arm: Samples) -> tuple[float, float]:
    if arm.k == 1:
        return wilson(int(arm.correct.sum()), len(arm.doc_ids))
    return mean_interval(arm.shares, arm.correct.size)


def _format_split(before: Samples, after: Samples) -> dict:
    """The change in two parts: one of the two answers has no complete box (form), or both have one (content).

    Every sample of the base is set against every sample of the arm, each pair with weight 1 / (number of pairs of the
    question), so with one sample a question these are counts of questions:
        gained_unboxed, lost_unboxed: the arm that failed gave no box. gained_boxed, lost_boxed: both gave one.
        both_boxed: pairs in which both gave a box; both_boxed_accuracy of the arm, both_boxed_against of the base there
            (None without such pairs), both_boxed_p of the test of `compare`.
    Gained minus lost of both parts, divided by n, is the difference.
    """
    b, a, box_b, box_a = before.correct, after.correct, before.boxed, after.boxed

    def pairs(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return x.sum(axis=1) * y.sum(axis=1)  # samples of the base with x times samples of the arm with y

    size = before.k * after.k
    gained_boxed, lost_boxed = pairs(box_b & ~b, a), pairs(b, box_a & ~a)
    both = int(pairs(box_b, box_a).sum())

    def weight(count: int) -> int | float:
        return count // size if count % size == 0 else count / size

    net = gained_boxed - lost_boxed
    p = mcnemar(int(gained_boxed.sum()), int(lost_boxed.sum())) if size == 1 else sign_flip_p(net)
    return {
        "gained_unboxed": weight(int(pairs(~box_b, a).sum())),
        "gained_boxed": weight(int(gained_boxed.sum())),
        "lost_unboxed": weight(int(pairs(b, ~box_a).sum())),
        "lost_boxed": weight(int(lost_boxed.sum())),
        "both_boxed": weight(both),
        "both_boxed_accuracy": int(pairs(box_b, a).sum()) / both if both else None,
        "both_boxed_against": int(pairs(b, box_a).sum()) / both if both else None,
        "both_boxed_p": p,
    }
