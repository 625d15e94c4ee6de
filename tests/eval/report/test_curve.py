"""The report of a run whose step was chosen on validation items: who chose, who did not, and the curve to see."""

import json
from pathlib import Path

import pytest

from cft.files import write_json
from eval.report.curve import curve_by_step, load_curve, sentences
from eval.report.page.page import page
from eval.report.plots import panels, svg
from eval.report.report import build_report, write_report
from tests.support.reports import arm, make_rows, save_arm, task_of


def point(step: int, right: int, leaked: int = 0, n: int = 40) -> dict:
    share = right / n
    ci = [max(0.0, share - 0.1), min(1.0, share + 0.1)]
    return {"step": step, "accuracy": share, "ci": ci, "n": n, "leaked": leaked, "truncated": 3, "no_box": 1,
            "tokens": 250.4}  # fmt: skip


def curve(points: list[dict], selected: int, stopped: str | bool = False) -> dict:
    return {"task": "cft_math_validation", "rule": "the best", "selected_step": selected, "last_step": 12,
            "stopped_early": stopped, "max_new_tokens": 320, "points": points}  # fmt: skip


ASKED = [point(0, 12), point(3, 14), point(6, 19), point(9, 17), point(12, 16, leaked=3)]
SCORED = {"base": 5, "step-3": 12, "adapter": 9, "step-12": 8}


@pytest.fixture
def chosen() -> dict:
    arms = {name: arm(name, right) for name, right in SCORED.items()}
    return task_of(arms, adapter_step=6, selection=curve(ASKED, 6))


def test_the_report_says_what_chose_the_step_and_what_did_not(chosen) -> None:
    told = sentences(chosen)
    assert told[0] == (
        "The adapter is that of step 6 of 12, chosen on 40 items of cft_math_validation, none of which is a test item. "
        "The test items had no part in the choice."
    )
    assert told[1] == (
        "On the items that chose it, it has 47.5 % (95 % interval 37.5 to 57.5; the untrained model 30.0 %). That is "
        "the best of 4 tries and so flatters it; the score to go by is that on cft_math500."
    )
    assert told[2:] == ["Rule: the best."]


def test_a_choice_of_one_step_flatters_nobody_and_needs_no_base() -> None:
    told = sentences(task_of({"adapter": arm("adapter", 9)}, selection=curve([point(12, 16)], 12)))
    assert "untrained" not in " ".join(told) and "flatters" not in " ".join(told)


def test_a_base_that_no_step_beats_and_a_training_that_stopped_are_told() -> None:
    stopped = "after step 6 of 12: 2 of 40 validation answers after step 6 pass a verdict"
    told = sentences(task_of({"adapter": arm("adapter", 9)}, selection=curve([*ASKED[:1], point(3, 12)], 3, stopped)))
    assert "No step was better than the untrained model on these items; the adapter is the best of the steps." in told
    assert f"Training stopped early {stopped}." in told


def test_the_adapter_stands_at_its_chosen_step_among_the_tested_ones(chosen) -> None:
    found = [(p["step"], p["arm"]) for p in chosen["steps"]]
    assert found == [(0, "base"), (3, "step-3"), (6, "adapter"), (12, "step-12")]


def test_the_table_has_every_asking(chosen) -> None:
    shown = curve_by_step(chosen)
    assert [row[0] for row in shown.rows] == ["0 (base)", "3", "6 (chosen)", "9", "12"]
    assert shown.rows[2] == ["6 (chosen)", "47.5 %", "37.5 to 57.5", "0", "1", "3", "250"]
    assert shown.rows[4][3] == "3"


def test_one_picture_has_validation_and_test_scores_and_says_which_is_which(chosen) -> None:
    drawn = dict(panels(chosen))
    assert "selection" in drawn and "steps" not in drawn
    picture = svg(drawn["selection"], chosen)
    marks = ("validation items", "base, same items", "chosen: step 6", "verdict in answers", "test items, not used")
    assert all(label in picture for label in marks)
    without = task_of({name: arm(name, right) for name, right in SCORED.items()}, adapter_step=12)
    assert "steps" in dict(panels(without)) and "selection" not in dict(panels(without))


def test_untested_steps_are_drawn_without_test_marks() -> None:
    task = task_of({"base": arm("base", 5), "adapter": arm("adapter", 9)}, adapter_step=6, selection=curve(ASKED, 6))
    assert "not used" not in svg(dict(panels(task))["selection"], task)


def test_the_run_folder_is_read_and_all_three_reports_have_it(tmp_path: Path) -> None:
    save_arm(tmp_path / "eval", make_rows(["correct"] * 5 + ["wrong"] * 15, "base"))
    save_arm(tmp_path / "eval", make_rows(["correct"] * 8 + ["wrong"] * 12, "adapter"))
    assert load_curve(tmp_path / "train") is None
    write_json(tmp_path / "train" / "selection" / "curve.json", curve(ASKED, 6))
    write_json(tmp_path / "train" / "metrics.json", {"summary": {"steps": 12, "selected_step": 6}})
    out, task = tmp_path / "report", make_rows(["wrong"], "base")[0]["task"]
    write_report("demo", tmp_path / "eval", out, environment={}, arms=["base", "adapter"], tasks=[task])
    text = (out / "report.md").read_text()
    assert "The test items had no part in the choice." in text and "| 6 (chosen) | 47.5 % |" in text
    assert (out / f"{task}-selection.png").stat().st_size > 10_000 and f"({task}-selection.png)" in text
    assert "How the step was chosen" in (out / "report.html").read_text()
    assert json.loads((out / "report.json").read_text())["selection"]["selected_step"] == 6


def test_without_a_choice_the_page_has_no_word_of_one() -> None:
    given = {"cft_math500": {"base": arm("base", 5), "adapter": arm("adapter", 9)}}
    assert "How the step was chosen" not in page(build_report("demo", given, {}), given)
