"""Several sampled answers to a question: their arrangement, pass@k and maj@k."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from cft.errors import EvalError
from eval.statistics.intervals import Interval, mean_interval

UNBOXED = ("no_answer", "truncated")  # outcomes of an answer without a complete box

Curve = dict[str, tuple[float, Interval]]  # value and interval by number of samples


@dataclass(frozen=True)
class Samples:
    """One arm's rows, by question and sample.

    Attributes:
        doc_ids: n questions.
        rows: n lists of the question's k rows, in the order of their `sample`.
    """

    doc_ids: list[int | str]
    rows: list[list[dict]]

    @property
    def k(self) -> int:
        """Samples of every question."""
        return len(self.rows[0])

    @cached_property
    def correct(self) -> np.ndarray:
        """Whether an answer is correct, shape (n, k)."""
        return np.array([[row["outcome"] == "correct" for row in rows] for rows in self.rows])

    @cached_property
    def boxed(self) -> np.ndarray:
        """Whether an answer has a complete box, shape (n, k)."""
        return np.array([[row["outcome"] not in UNBOXED for row in rows] for rows in self.rows])

    @cached_property
    def shares(self) -> np.ndarray:
        """Share of correct samples, shape (n,)."""
        return self.correct.mean(axis=1)

    @property
    def texts(self) -> list[list[str]]:
        """Responses of every question."""
        return [[row["response"] for row in rows] for rows in self.rows]

    def take(self, indices: Sequence[int]) -> "Samples":
        """These questions only."""
        return Samples([self.doc_ids[i] for i in indices], [self.rows[i] for i in indices])


def shown(message: dict) -> str:
    """A tool's result in the text of an answer, its `response`."""
    return f"<tool_response>\n{message['content']}\n</tool_response>"


def arrange(rows: Sequence[dict]) -> Samples:
    """Rows by question, in an order that does not depend on that of the rows: a bootstrap would show it.

    Raises:
        EvalError: there are none, a sample is there twice, or a question has more or fewer samples than the first.
    """
    if not rows:
        raise EvalError("there are no answers to sum up. Score the arm with `cft eval`.")
    questions: dict[int | str, dict[int, dict]] = {}
    for row in rows:
        samples = questions.setdefault(row["doc_id"], {})
        sample = row.get("sample") or 0
        if sample in samples:
            raise EvalError(f"doc_id {row['doc_id']!r}: sample {sample} is there twice. Score the arm again.")
        samples[sample] = row
    k = len(next(iter(questions.values())))
    for doc_id, samples in questions.items():
        if len(samples) != k:
            raise EvalError(
                f"doc_id {doc_id!r} has {len(samples)} samples where doc_id {next(iter(questions))!r} has {k}. "
                "An arm needs the same number of samples of every question: let `cft eval` finish it."
            )
    doc_ids = sorted(questions, key=lambda doc_id: (len(str(doc_id)), str(doc_id)))  # numbers in their order
    return Samples(doc_ids, [[questions[doc_id][i] for i in sorted(questions[doc_id])] for doc_id in doc_ids])


def curve_sizes(k: int) -> list[int]:
    """1, 2, 4, ... and k: numbers of samples at which pass@k and maj@k are given."""
    return sorted({2**power for power in range(k.bit_length())} | {k})


def pass_curve(arm: Samples) -> Curve:
    """pass@k with its interval: the chance that at least one of so many samples is correct.

    Unbiased: the mean over questions of 1 - C(k - c, size) / C(k, size), where c of k samples are correct (Chen et al.
    2021, arXiv:2107.03374). The interval is that of a mean over questions (`mean_interval`).
    """
    k = arm.k

    def value(index: int, size: int) -> float:
        return 1 - math.comb(k - int(arm.correct[index].sum()), size) / math.comb(k, size)

    return _curve(arm, value)


def majority_curve(arm: Samples) -> Curve:
    """maj@k with its interval: expected accuracy of the most frequent answer among so many samples.

    Exact, over all choices of that many of a question's k samples. Samples without a box do not vote; a tie is broken
    at random, so each of the tied answers counts by its share; a choice without any vote is wrong. Equal answers share
    `same_as`; where a row has no such key, answers of the same text are equal.
    """
    ballots = [_ballot(rows) for rows in arm.rows]

    def value(index: int, size: int) -> float:
        groups, silent = ballots[index]
        votes = [own for own, _ in groups]
        return sum(
            right * _win_chance(own, tuple(sorted(votes[:i] + votes[i + 1 :])), silent, size)
            for i, (own, right) in enumerate(groups)
            if right
        )

    return _curve(arm, value)


def _curve(arm: Samples, value: Callable[[int, int], float]) -> Curve:
    """Mean over questions of `value(question, size)` for every size, with its interval."""
    curve = {}
    for size in curve_sizes(arm.k):
        values = np.array([value(index, size) for index in range(len(arm.rows))])
        # Of k samples, k / size independent sets of that size can be made.
        curve[str(size)] = float(values.mean()), mean_interval(values, len(values) * arm.k / size)
    return curve


def _ballot(rows: list[dict]) -> tuple[list[tuple[int, float]], int]:
    """(votes, share of them that is correct) of each answer, and the number of samples that do not vote."""
    votes: Counter = Counter()
    right: Counter = Counter()
    for row in rows:
        # "answer" and "same_as" may hold the same values, so the kind of key goes with it.
        group = ("same_as", row["same_as"]) if "same_as" in row else ("answer", row.get("answer"))
        if row["outcome"] not in UNBOXED and group[1] is not None:
            votes[group] += 1
            right[group] += row["outcome"] == "correct"
    return [(count, right[group] / count) for group, count in votes.items()], len(rows) - votes.total()


@lru_cache(maxsize=100_000)
def _win_chance(own: int, others: tuple[int, ...], silent: int, size: int) -> float:
    """Chance that one answer wins the vote of `size` samples drawn from all, ties broken at random.

    Args:
        own: samples with this answer.
        others: samples with each of the other answers.
        silent: samples that do not vote.
        size: samples drawn.
    """
    won = 0.0
    for votes in range(1, min(own, size) + 1):
        rest = size - votes
        # ways[ties][drawn]: to draw so many samples of the other answers, none with more than `votes`, so many with
        # just as many. Whole numbers in Python would be exact, floats are within 1e-12 and much faster.
        ways = np.zeros((rest // votes + 1, rest + 1))
        ways[0, 0] = 1
        for other in others:
            added = np.zeros_like(ways)
            for drawn in range(min(other, votes - 1, rest) + 1):
                added[:, drawn:] += math.comb(other, drawn) * ways[:, : rest + 1 - drawn]
            if other >= votes <= rest:
                added[1:, votes:] += math.comb(other, votes) * ways[:-1, : rest + 1 - votes]
            ways = added
        unvoted = np.array([math.comb(silent, rest - drawn) for drawn in range(rest + 1)], dtype=float)
        ties = 1 / (1 + np.arange(len(ways)))
        won += math.comb(own, votes) * float(ties @ ways @ unvoted)
    return won / math.comb(own + sum(others) + silent, size)
