r"""Published scores with the protocol they were measured under, and whether they may be put beside ours.

`baselines.yaml` holds the numbers. Nobody types in what is comparable: `comparison` works it out from the protocols
alone, and what a paper does not state is a reason against, as is what differs.

>>> ours = Protocol(model="Qwen2.5-Math-1.5B", prompt="qwen25-math-cot", temperature=0, samples=1, max_tokens=3072,
...                 grader="cft", precision="bfloat16", selection="none")
>>> for row in against(load_baselines(), "math500", ours)[:2]:
...     print(row.baseline.value, row.comparable, row.reasons)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cft.errors import EvalError
from cft.suggest import did_you_mean
from eval.baselines.schema import Baseline, Baselines, Protocol, load_baselines

__all__ = [
    "Baseline",
    "Baselines",
    "Comparable",
    "Compared",
    "Protocol",
    "Range",
    "against",
    "comparison",
    "impossible",
    "load_baselines",
    "mean_gaps",
    "ranges",
]

BIASED = {"test": "on the test benchmark itself", "best per benchmark": "anew for each benchmark, on its test items"}


@dataclass(frozen=True)
class Comparable:
    """Whether two scores may be compared, and if not, why."""

    comparable: bool
    reasons: list[str]

    def __bool__(self) -> bool:
        return self.comparable


def comparison(published: Protocol, ours: Protocol, graders: Mapping[str, str] | None = None) -> Comparable:
    """Whether a published score and ours were measured alike.

    Args:
        published: the protocol of the published score.
        ours: our own.
        graders: what each grader accepts, in words, for the reasons (`Baselines.graders`).
    """
    reasons = []

    def must_agree(what: str, theirs: Any, mine: Any) -> None:
        if theirs is None or mine is None:
            reasons.append(f"{what} not stated" if theirs is None else f"{what} {theirs}, ours not stated")
        elif theirs != mine:
            reasons.append(f"{what} {theirs}, ours {mine}")

    if published.model != ours.model:
        reasons.append(f"other model: {published.model or 'not stated'}")
    if published.metric != ours.metric:
        reasons.append(f"metric {published.metric}, ours {ours.metric}")
    must_agree("prompt", published.prompt, ours.prompt)
    must_agree("decoding", _decoding(published), _decoding(ours))
    must_agree("token limit", published.max_tokens, ours.max_tokens)
    if None in (published.grader, ours.grader):
        must_agree("grader", published.grader, ours.grader)
    elif published.grader != ours.grader:
        theirs, mine = ((graders or {}).get(g, g).rstrip(".") for g in (published.grader, ours.grader))
        reasons.append(f"grader: {theirs} (ours: {mine})")
    must_agree("precision", published.precision, ours.precision)
    # A last step and a choice on validation questions are both fair; a choice on the test benchmark is not.
    if published.selection is None or ours.selection is None:
        must_agree("checkpoint selection", published.selection, ours.selection)
    elif published.selection != ours.selection and {published.selection, ours.selection} & BIASED.keys():
        for whose, choice in (("", published.selection), ("our ", ours.selection)):
            if choice in BIASED:
                reasons.append(f"{whose}checkpoint chosen {BIASED[choice]}")
    return Comparable(not reasons, reasons)


def _decoding(protocol: Protocol) -> str | None:
    """In words. How many samples are averaged moves the error of a mean, not the mean, so it is left out."""
    if protocol.temperature is None:
        return None
    if protocol.temperature == 0:
        return "greedy"
    return f"at temperature {protocol.temperature:g}" + (f", top-p {protocol.top_p:g}" if protocol.top_p else "")


@dataclass(frozen=True)
class Compared:
    """A published score beside ours."""

    baseline: Baseline
    comparable: bool
    reasons: list[str]


def against(baselines: Baselines, benchmark: str, ours: Protocol) -> list[Compared]:
    """The published scores of a benchmark, for the report: our model first, then the likest protocol, then the highest.

    Raises:
        EvalError: the benchmark, or the prompt or grader of `ours`, is not in the file.
    """
    for what, word, words in (("prompt", ours.prompt, baselines.prompts), ("grader", ours.grader, baselines.graders)):
        if word is not None and word not in words:
            raise EvalError(f"unknown {what} {word!r} of our protocol. {did_you_mean(word, words)}")
    rows = [
        Compared(row, verdict.comparable, verdict.reasons)
        for row in baselines.of(benchmark)
        for verdict in [comparison(row.protocol, ours, baselines.graders)]
    ]
    return sorted(rows, key=lambda r: (r.baseline.model != ours.model, len(r.reasons), -r.baseline.value))


@dataclass(frozen=True)
class Range:
    """What is published for one untrained model on one benchmark, lowest first."""

    model: str
    entries: list[Baseline]

    @property
    def low(self) -> Baseline:
        """The lowest."""
        return self.entries[0]

    @property
    def high(self) -> Baseline:
        """The highest."""
        return self.entries[-1]

    @property
    def width(self) -> float:
        """Points between the two."""
        return round(self.high.value - self.low.value, 1)


def ranges(baselines: Baselines, benchmark: str, leave_out: tuple[str, ...] = ()) -> list[Range]:
    """How far published accuracies of the same untrained models disagree, widest first.

    Args:
        baselines: what `load_baselines` gives.
        benchmark: its name, with or without "cft_".
        leave_out: prompts that do not count, such as ("r1-template",).
    """
    models: dict[str, list[Baseline]] = {}
    for row in sorted(baselines.of(benchmark), key=lambda r: r.value):
        if row.data is None and row.protocol.metric == "accuracy" and row.protocol.prompt not in leave_out:
            models.setdefault(row.model, []).append(row)
    found = [Range(model, entries) for model, entries in models.items() if len(entries) > 1]
    return sorted(found, key=lambda r: -r.width)


def mean_gaps(baselines: Baselines, tolerance: float = 0.1) -> list[tuple[Baseline, float]]:
    """Published means that are not the mean of their own parts, with the mean worked out anew.

    Args:
        baselines: what `load_baselines` gives.
        tolerance: points; parts and mean are each rounded to 0.1, so up to 0.1 is rounding.
    """
    by_row: dict[int, dict[str, float]] = {}
    for row in baselines.rows:
        by_row.setdefault(row.row, {})[row.benchmark] = row.value
    gaps = []
    for row in baselines.rows:
        parts = baselines.benchmarks[row.benchmark].mean_of
        if parts and by_row[row.row].keys() >= set(parts):
            mean = sum(by_row[row.row][part] for part in parts) / len(parts)
            if abs(mean - row.value) > tolerance + 1e-9:
                gaps.append((row, round(mean, 2)))
    return gaps


def impossible(baselines: Baselines) -> list[Baseline]:
    """Published scores that no number of right answers gives, with the questions and samples that are stated."""
    found = []
    for row in baselines.rows:
        items, samples = baselines.benchmarks[row.benchmark].items, row.protocol.samples
        if items and samples and row.spread is None:
            answers = items * samples
            nearest = round(row.value * answers / 100) / answers * 100
            if abs(nearest - row.value) > 0.05 + 1e-9:  # scores are printed to 0.1
                found.append(row)
    return found
