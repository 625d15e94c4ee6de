r"""Published scores with the protocol they were measured under, and whether they may be put beside ours.

`baselines.yaml` holds the numbers. Nobody types in what is comparable: `reasons_against` works it out from the
protocols alone, and what a paper does not state is a reason against, as is what differs.

>>> ours = Protocol(model="Qwen2.5-Math-1.5B", prompt="qwen25-math-cot", temperature=0, samples=1, max_tokens=3072,
...                 grader="cft", precision="bfloat16", selection="none")
>>> for row, reasons in beside(load_baselines(), "math500", ours)[:2]:
...     print(row.value, reasons)
"""

from collections.abc import Mapping
from typing import Any

from cft.errors import EvalError
from cft.suggest import did_you_mean
from eval.baselines.schema import Baseline, Baselines, Protocol

BIASED = {"test": "on the test benchmark itself", "best per benchmark": "again for each benchmark, on its test items"}


def reasons_against(published: Protocol, ours: Protocol, graders: Mapping[str, str] | None = None) -> list[str]:
    """Why a published score may not be compared with ours; empty where both were measured alike.

    Args:
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
    elif published.selection != ours.selection:
        for whose, choice in (("", published.selection), ("our ", ours.selection)):
            if choice in BIASED:
                reasons.append(f"{whose}checkpoint chosen {BIASED[choice]}")
    return reasons


def _decoding(protocol: Protocol) -> str | None:
    """In words. How many samples are averaged moves the error of a mean, not the mean, so it is left out."""
    if protocol.temperature is None:
        return None
    if protocol.temperature == 0:
        return "greedy"
    return f"at temperature {protocol.temperature:g}" + (f", top-p {protocol.top_p:g}" if protocol.top_p else "")


def beside(baselines: Baselines, benchmark: str, ours: Protocol) -> list[tuple[Baseline, list[str]]]:
    """The published scores of a benchmark with the reasons against each: our model first, then the likest, the highest.

    Raises:
        EvalError: the benchmark, or the prompt or grader of `ours`, is not in the file.
    """
    for what, word, words in (("prompt", ours.prompt, baselines.prompts), ("grader", ours.grader, baselines.graders)):
        if word is not None and word not in words:
            raise EvalError(f"unknown {what} {word!r} of our protocol. {did_you_mean(word, words)}")
    rows = [(row, reasons_against(row.protocol, ours, baselines.graders)) for row in baselines.of(benchmark)]
    return sorted(rows, key=lambda r: (r[0].model != ours.model, len(r[1]), -r[0].value))


def ranges(baselines: Baselines, benchmark: str, leave_out: tuple[str, ...] = ()) -> dict[str, list[Baseline]]:
    """The published accuracies of each untrained model that has several, lowest first; the widest range first.

    Args:
        benchmark: its name, with or without "cft_".
        leave_out: prompts that do not count, such as ("r1-template",).
    """
    models: dict[str, list[Baseline]] = {}
    for row in sorted(baselines.of(benchmark), key=lambda r: r.value):
        if row.data is None and row.protocol.metric == "accuracy" and row.protocol.prompt not in leave_out:
            models.setdefault(row.model, []).append(row)
    found = [(model, rows) for model, rows in models.items() if len(rows) > 1]
    return dict(sorted(found, key=lambda pair: -round(pair[1][-1].value - pair[1][0].value, 1)))
