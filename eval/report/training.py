"""A training by optimizer step, from its log: the numbers of report.json's `training` and the caption of their picture.

A model may go on learning long after its one problem is learnt (post-saturation generalization: One-Shot RLVR, arXiv
2504.20571, section 3.2), so the step at which the train reward saturates is looked for.
"""

import re
from math import ceil, isnan, nan
from pathlib import Path

import numpy as np

from cft.errors import RunError
from cft.runs import METRICS, read_known
from cft.words import spread, tidy
from eval.report.tables import bounds, percent

MOST_POINTS = 200  # of a series; a longer one becomes means of neighbours
MOST_WINDOW = 51  # steps of the running mean, which is a tenth of a shorter training
NEAR = 0.95  # share of its highest running mean at which a reward is saturated
NOISE = 3  # standard errors by which it must then have risen; without any rise that happens in 1 of 100 runs
HUGE = 1e30  # what is larger is damage or divergence
REWARD, LOSS, REWARD_PART, SUM = "reward", "loss", re.compile(r"rewards/(.+)/mean"), "sum"
# Title -> {column of the log: label}. Titles with % are of shares.
PARTS = {
    "entropy of a token, nats": {"entropy": ""},
    "tokens a completion, mean": {"completions/mean_length": ""},
    "% of completions": {"completions/clipped_ratio": "truncated", "gibberish": "gibberish"},
    "% of groups without a signal": {"frac_reward_zero_std": ""},
    "% of tokens clipped (clip ratio)": {"clip_ratio/region_mean": ""},
    "KL divergence from the base": {"kl": ""},
}
DRAWN = {REWARD, LOSS, *(name for columns in PARTS.values() for name in columns)}
SDPO = {"self_distillation/flat_group_fraction": "frac_reward_zero_std"}  # what SDPOTrainer calls a column of GRPO's


def load_log(train: Path) -> tuple[dict, list[dict], list[str]]:
    """Summary and log of a training folder, empty where there are none; and what a reader must know if damaged."""
    try:
        metrics = read_known(train / METRICS, exact=False) or {}
    except RunError as error:
        return {}, [], [f"the training's curves and number of steps are missing here: {error}"]
    return metrics.get("summary", {}), metrics.get("log", []), []


def training_of(log: list[dict], selection: dict | None) -> dict | None:
    """What the picture shows; None where the log has none of it.

    Args:
        log: a row a logged step, under TRL's names. A column that a row lacks was not measured at that step; a value
            that is no number is a gap.
        selection: how the step was chosen (`eval.report.curve.load_curve`), if it was.

    Returns:
        window: steps of the running means; averaged: logged steps that a point stands for; series: {name: {"steps",
        "values", "smoothed"}}, None for a gap; saturation: see `saturation_of`; validation: points of the curve.
    """
    columns: dict[str, dict[int, float]] = {}
    for row in log:
        step = row.get("step")
        for key, value in row.items() if type(step) is int and 0 < step < 10**9 else ():
            name = SDPO.get(key) or tidy(key)
            if name in DRAWN or REWARD_PART.fullmatch(name):
                number = type(value) in (int, float) and abs(value) < HUGE
                columns.setdefault(name, {})[step] = float(value) if number else nan
    columns = {name: column for name, column in columns.items() if not all(map(isnan, column.values()))}
    if not columns:
        return None
    half = min(MOST_WINDOW, max(map(max, columns.values())) // 10) // 2
    whole = {}
    for name, column in columns.items():
        steps, values = (np.array(side) for side in zip(*sorted(column.items()), strict=True))
        ends = np.searchsorted(steps, steps - half), np.searchsorted(steps, steps + half, "right")
        smoothed = [_mean(values[start:end]) for start, end in zip(*ends, strict=True)]
        whole[name] = steps, values, np.where(np.isnan(values), nan, smoothed)
    return {
        "window": 2 * half + 1,
        "averaged": ceil(max(map(len, columns.values())) / MOST_POINTS),
        "series": {name: _thinned(*found) for name, found in whole.items()},
        "saturation": saturation_of(*whole[REWARD]) if REWARD in whole else None,
        "validation": spread(selection["points"], MOST_POINTS) if selection else [],
    }


def saturation_of(steps: np.ndarray, values: np.ndarray, smoothed: np.ndarray) -> dict | None:
    """The first step whose running mean is NEAR the highest; None if that is the first of all, or nothing is above 0.

    With the mean reward before that step and from it on; `shown` if it rose by more than NOISE standard errors.
    """
    steps, values, smoothed = (side[~np.isnan(values)] for side in (steps, values, smoothed))
    highest = smoothed.max()
    first = int(np.argmax(smoothed >= NEAR * highest))
    if highest <= 0 or not first:
        return None
    sides = values[:first], values[first:]
    variance = sum(((side - side.mean()) ** 2).sum() for side in sides) / max(1, len(values) - 2)
    before, after = (float(side.mean()) for side in sides)
    shown = len(values) > 3 and after - before > NOISE * (variance * sum(1 / len(side) for side in sides)) ** 0.5
    found = {"step": int(steps[first]), "highest": float(highest), "before": before, "after": after}
    return found | {"shown": bool(shown)}


def parts(training: dict) -> dict[str, dict[str, str]]:
    """The panels that there is something for: validation (without columns), train reward or else loss, then PARTS."""
    there = training["series"]
    rewards = {name: match[1] for name in there if (match := REWARD_PART.fullmatch(name))}
    rewards = {REWARD: SUM} | rewards if len(rewards) > 1 else {REWARD: ""}
    found = {"validation accuracy, %": {}} if training["validation"] else {}
    for title, columns in {"train reward": rewards, "loss": {} if REWARD in there else {LOSS: ""}, **PARTS}.items():
        if shown := {name: label for name, label in columns.items() if name in there}:
            found[title] = shown
    return found


def caption(training: dict) -> list[str]:
    """Two lines: what is drawn, and where the reward saturates with the validation accuracy then and at the end."""
    window, averaged, found = training["window"], training["averaged"], training["saturation"]
    drawn = f"means of {averaged} logged steps" if averaged > 1 else "logged steps"
    drawn = f"Thick: running means over {window} steps; thin: {drawn}." if window > 1 else f"Points: {drawn}."
    if validation := training["validation"]:
        drawn += " Bars: 95 % intervals on the validation items; dashed: the base."
    if not found:
        return [drawn, "No saturation to mark: the log has no train reward above 0 that rises."]
    highest = f"highest {'running mean' if window > 1 else 'value'} ({found['highest']:.3g})"
    told = f"the train reward first reaches {100 * NEAR:.0f} % of its {highest}"
    if not found["shown"]:
        means = f"is {found['before']:.3g} on average before it and {found['after']:.3g} from there on"
        return [drawn, f"No saturation to mark: {told} at step {found['step']}, but {means}."]
    then = [point for point in validation if point["step"] <= found["step"]]
    ends = {point["step"]: point for point in [*then[-1:], *validation[-1:]]}
    ends = [f"{percent(point['accuracy'])} ({bounds(point['ci'])}) at step {step}" for step, point in ends.items()]
    told = f"Vertical line, step {found['step']}: {told}."
    return [drawn, f"{told} Validation accuracy {', '.join(ends)}." if ends else told]


def _thinned(steps: np.ndarray, values: np.ndarray, smoothed: np.ndarray) -> dict:
    """A series of at most MOST_POINTS as JSON, each the mean of its neighbours at their middle step."""
    size = ceil(len(steps) / MOST_POINTS)
    blocks = [slice(start, start + size) for start in range(0, len(steps), size)]
    means = ([_mean(side[block]) for block in blocks] for side in (values, smoothed))
    values, smoothed = ([None if isnan(mean) else float(f"{mean:.6g}") for mean in side] for side in means)
    return {"steps": [int(np.median(steps[block])) for block in blocks], "values": values, "smoothed": smoothed}


def _mean(values: np.ndarray) -> float:
    """The mean without gaps; NaN where all is one."""
    there = values[~np.isnan(values)]
    return float(there.mean()) if len(there) else nan
