"""A training in the report: its curves, where the reward saturates, and what a damaged log does not break."""

import json
import random
from pathlib import Path

from cft.files import write_json
from eval.report.plots import svg
from eval.report.stack import PANEL
from eval.report.training import caption, training_of
from tests.support.reports import make_rows, report, save_arm

# 40 steps: a running mean spans 5. The reward jumps from 0.25 to 1 at step 11.
LOG = [
    {"step": step, "reward": 0.25 if step < 11 else 1.0, "rewards/correct/mean": 0.5, "rewards/_own$x$_/mean": 0.5}
    | dict.fromkeys(("loss", "entropy", "kl", "completions/mean_length", "completions/clipped_ratio"), 0.2)
    | dict.fromkeys(("gibberish", "frac_reward_zero_std", "clip_ratio/region_mean", "grad_norm"), 0.0)
    for step in range(1, 41)
]
POINT = {"n": 9, "leaked": 0, "no_box": 0, "truncated": 0, "tokens": 5.0}
POINTS = [{"step": step, "accuracy": step / 100, "ci": [step / 200, step / 50], **POINT} for step in (0, 10, 40)]
CURVE = {"task": "v", "rule": "best", "selected_step": 40, "last_step": 40, "stopped_early": False, "points": POINTS}


def made(folder: Path, metrics: str) -> tuple[dict, str, str]:
    """The report of a run whose metrics.json has this text: its JSON, Markdown and page."""
    for arm in ("base", "adapter"):
        save_arm(folder / "eval", make_rows(["correct", "wrong", "wrong"], arm, responses=[arm] * 3))
    (folder / "train").mkdir(exist_ok=True)
    (folder / "train" / "metrics.json").write_text(metrics)
    text, page = (folder / "report" / name for name in ("report.md", "report.html"))
    return report(folder), text.read_text(), page.read_text()


def drawn(log: list[dict], selection: dict | None = None) -> str:
    return svg(PANEL, {"task": "sums", "training": training_of(log, selection)})


def test_the_reward_saturates_where_its_running_mean_is_near_its_highest() -> None:
    training = training_of(LOG, CURVE)
    assert training["window"] == 5 and training["series"]["reward"]["smoothed"][8:13] == [0.4, 0.55, 0.7, 0.85, 1.0]
    assert training["saturation"] == {"step": 13, "highest": 1.0, "before": 0.375, "after": 1.0, "shown": True}
    assert caption(training)[1] == (
        "Vertical line, step 13: the train reward first reaches 95 % of its highest running mean (1). Validation "
        "accuracy 10.0 % (5.0 to 20.0) at step 10, 40.0 % (20.0 to 80.0) at step 40."
    )


def test_rewards_by_chance_constant_ones_and_a_single_step_do_not_saturate() -> None:
    coin = random.Random(0)
    tossed = [[{"step": at, "reward": sum(coin.choices([0, 1], k=8)) / 8} for at in range(1, 101)] for _ in range(20)]
    words = [caption(training_of(log, None))[1] for log in tossed]
    assert all(told.startswith("No saturation to mark: ") for told in words)
    assert any("on average before it and 0." in told for told in words)
    assert training_of([row | {"reward": 1.0} for row in LOG], None)["saturation"] is None
    assert "saturated" not in drawn(LOG[:1])


def test_gaps_stay_gaps_and_rewards_of_every_eighth_step_are_none() -> None:
    log = [{"step": s, "entropy": None if s in (2, 3) else float("nan") if s == 4 else 1.0} for s in range(1, 20)]
    for row in log[::8]:
        row["reward"] = row["self_distillation/flat_group_fraction"] = row["step"] / 10  # SDPOTrainer's name of one
    series = training_of(log, None)["series"]
    assert series["entropy"]["values"][:5] == series["entropy"]["smoothed"][:5] == [1.0, None, None, None, 1.0]
    assert (
        series["frac_reward_zero_std"]
        == series["reward"]
        == {"steps": [1, 9, 17], "values": [0.1, 0.9, 1.7], "smoothed": [0.1, 0.9, 1.7]}
    )


def test_a_long_log_becomes_means_of_at_most_200_points() -> None:
    training = training_of([{"step": step, "entropy": float(step)} for step in range(1, 2002)], None)
    entropy = training["series"]["entropy"]
    assert (len(entropy["values"]), entropy["steps"][1], entropy["values"][1]) == (182, 17, 17.0)
    assert caption(training)[0] == "Thick: running means over 51 steps; thin: means of 11 logged steps."


def test_there_is_a_panel_for_what_was_logged_and_none_for_what_was_not() -> None:
    whole = drawn(LOG, CURVE)
    for words in ("validation acc", "saturated: step 13", " correct<", "_own$x$_", " truncated<", "KL", "clip ratio"):
        assert words in whole
    assert ">loss<" not in whole
    sft = drawn([{"step": step, "loss": 1.0, "grad_norm": 1.0} for step in (1, 2)])
    assert ">loss<" in sft and not any(words in sft for words in ("reward", "entropy", "validation", "%"))


def test_picture_words_and_numbers_are_in_all_three_reports(tmp_path: Path) -> None:
    write_json(tmp_path / "train" / "selection" / "curve.json", CURVE)
    stored, text, page = made(tmp_path, json.dumps({"summary": {"steps": 40}, "log": LOG}))
    assert json.loads((tmp_path / "report" / "report.json").read_text())["training"] == training_of(LOG, CURVE)
    described, told = "By optimizer step: validation accuracy, %; train reward; entropy", caption(stored["training"])
    assert f"![{described}" in text and "](training.png)\n\n" + "  \n".join(told) in text
    assert f'aria-label="{described}' in page and all(line in page for line in told)
    assert (tmp_path / "report" / "training.png").stat().st_size > 20_000


def test_a_damaged_log_is_told_and_the_report_is_there(tmp_path: Path) -> None:
    stored, text, page = made(tmp_path, '{"summary": {"steps": 4}, "log": [1]}')
    assert stored["training"] is None and "training.png" not in text and 'id="training"' not in page
    assert "curves and number of steps are missing here" in stored["warnings"][0] and "metrics.json" in text


def test_odd_values_in_a_log_are_gaps(tmp_path: Path) -> None:
    odd = ["x", True, [1], None, 1e40, float("inf"), 10**35, {}]
    log = [{"step": step, "loss": value, "kl": value} for step, value in enumerate(odd, 1)]
    log += [{"step": step, "loss": 1.0} for step in (None, "3", -1, 2.5, 10**20)] + [{"step": 9, "loss": 2.5}]
    stored, _, page = made(tmp_path, json.dumps({"summary": {"steps": "4"}, "log": log}))
    assert list(stored["training"]["series"]) == ["loss"] and 'id="training"' in page
    assert stored["training"]["series"]["loss"]["values"] == [None] * 8 + [2.5]
