"""Which step the points choose, when they stop the training, and what a recipe may not ask for."""

import pytest

from cft.recipe.blocks import Recipe, SelectBlock
from cft.train.select.choice import best_step, leaks, planned_answers, reason_to_stop, steps_to_ask

SELECT = ("  method: cft\n", "  method: cft\n  select: {SELECT}\n")


def point(step: int, right: int, leaked: int = 0, n: int = 40) -> dict:
    return {"step": step, "accuracy": right / n, "n": n, "leaked": leaked}


@pytest.mark.parametrize(
    ("points", "step"),
    [
        ([point(0, 30)], None),
        ([point(0, 30), point(3, 10), point(6, 12), point(9, 11)], 6),  # the base is never chosen
        ([point(3, 12), point(6, 12)], 3),  # of equals the earliest
        ([point(6, 12), point(3, 12)], 3),
        ([point(3, 10), point(6, 20, leaked=2)], 3),  # a step that leaks is not chosen
        ([point(3, 10, leaked=2), point(6, 20, leaked=9)], 6),  # unless all do
        ([point(0, 5, leaked=4), point(3, 10, leaked=5)], 3),
    ],
)
def test_the_most_accurate_step_is_chosen(points, step) -> None:
    assert best_step(points, 0.05) == step


def test_leakage_counts_above_the_bases_own_and_from_two_answers_on() -> None:
    points = [point(0, 5, leaked=1)]
    assert [leaks(point(3, 5, leaked=n), points, 0.05) for n in (1, 2, 3)] == [False, False, True]
    assert [leaks(point(3, 5, leaked=n, n=200), [], 0.05) for n in (9, 10)] == [False, True]
    assert not leaks(point(3, 5, leaked=1, n=5), [], 0.05)
    assert not leaks(point(3, 5, leaked=40), [], None)


def test_training_stops_after_so_many_askings_without_a_new_best() -> None:
    points = [point(0, 9), point(3, 10), point(6, 20), point(9, 20), point(12, 8)]
    assert reason_to_stop(points[:1], SelectBlock(every=3, patience=1)) is None
    assert reason_to_stop(points[:3], SelectBlock(every=3, patience=1)) is None
    assert reason_to_stop(points, SelectBlock(every=3, patience=3)) is None
    assert reason_to_stop(points, SelectBlock(every=3, patience=None)) is None
    assert reason_to_stop(points, SelectBlock(every=3, patience=2)) == (
        "2 askings since step 6 (50.0% of 40 validation answers right) found nothing better; after step 12 it is 20.0%"
    )


def test_a_verdict_in_the_answers_stops_whatever_the_accuracy() -> None:
    points = [point(0, 9), point(3, 10), point(6, 30, leaked=2)]
    assert reason_to_stop(points, SelectBlock(every=3)).startswith("2 of 40 validation answers after step 6 pass a ver")
    assert reason_to_stop(points, SelectBlock(every=3, leak=0.1)) is None
    assert reason_to_stop(points, SelectBlock(every=3, leak=None)) is None


def test_with_every_the_last_step_is_asked_too() -> None:
    assert steps_to_ask(SelectBlock(every=3), 12) == [3, 6, 9, 12]
    assert steps_to_ask(SelectBlock(every=5), 12) == [5, 10, 12]
    assert steps_to_ask(SelectBlock(steps=[9, 2]), 12) == [2, 9]


def test_answers_are_planned_for(tmp_path) -> None:
    def answers(**select) -> int:
        raw = {
            "name": "test", "model": {"id": "m"}, "eval": {"tasks": ["cft_wordproblems"]},
            "data": {"builder": "critiques", "problems": [], "teachers": [{"kind": "file", "path": "bakery"}]},
            "train": {"method": "cft", "select": select or None},
        }  # fmt: skip
        return planned_answers(Recipe.model_validate(raw), 12, 300)

    assert answers() == 0
    assert answers(every=5) == 4 * 100
    assert answers(steps=[2], limit=None, include_base=False) == 300
    assert answers(every=20) == 0  # training will say what is wrong


@pytest.mark.parametrize(
    ("select", "fault"),
    [
        (
            "{every: 4, task: sums}",
            'demo.yaml:12 train.select.task = "sums": is in eval.tasks, so the test items',
        ),
        ("{task: other}", "has neither steps nor every"),
        ("{every: 4, steps: [2]}", "has both steps and every"),
        ("{evry: 4}", "Did you mean every?"),
        ("{every: 0}", "train.select.every"),
        ("{steps: [3, 3]}", "names 3 twice"),
        ("{every: 4, leak: 5}", "train.select.leak"),
    ],
)
def test_a_recipe_that_cannot_choose_is_refused(recipe_faults, select, fault) -> None:
    lines = recipe_faults((SELECT[0], SELECT[1].replace("{SELECT}", select)))
    assert any(fault in line for line in lines), lines


def test_without_training_there_is_nothing_to_choose(recipe_faults) -> None:
    lines = recipe_faults(("  method: cft\n", "  method: none\n  select: {every: 4}\n"), overrides=["eval.arms=[base]"])
    assert any("train.select" in line and "cft or sft" in line for line in lines), lines
