"""train.select in several processes: they share the asking and choose what one process chooses."""

import json
import signal
import time
from pathlib import Path

import pytest

from cft.errors import TrainError
from cft.recipe.blocks import Recipe
from cft.train.launch.start import check_launch
from tests.support.launching import launched, ranks_of, started
from tests.support.selecting import curve, recipe_with
from tests.support.training import run_train, same_weights

pytestmark = pytest.mark.usefixtures("one_thread")


def recipe_for(learner: Path, folder: Path, **select) -> Recipe:
    """In float32, whose rounding is too small to change an answer; it keeps step 12 too, and stops early."""
    raw = recipe_with(learner, folder, every=4, patience=2, **select).model_dump(mode="json")
    raw["model"]["dtype"], raw["train"]["keep_steps"] = "float32", [12]
    return Recipe.model_validate(raw)


@pytest.fixture(scope="module")
def one(learner, folder) -> Path:
    """The training in one process. Its 12th step is the first to answer all items right."""
    summary, _ = run_train(recipe_for(learner, folder), folder / "examples.jsonl", folder / "one")
    assert (summary["selected_step"], summary["steps"]) == (12, 20)
    return folder / "one"


def answers(train: Path, step: int) -> list[dict]:
    return [json.loads(line) for line in (train / f"selection/step-{step}.jsonl").read_text().splitlines()]


def assert_same_choice(one: Path, other: Path, summary: dict, shown: str) -> None:
    assert curve(other) == curve(one)
    for point in curve(one)["points"]:
        assert answers(other, point["step"]) == answers(one, point["step"])
    assert same_weights(other / "adapter", other / "steps/step-12")
    assert (summary["selected_step"], summary["steps"], summary["processes"]) == (12, 20, 2)
    assert shown.count("stopped early after step 20 of 24") == 1  # one speaks
    left = {path.name for path in (other / "selection").iterdir()}
    assert left == {"owner.json", "curve.json"} | {f"step-{step}.jsonl" for step in range(0, 21, 4)}


@pytest.mark.soak
def test_two_processes_choose_the_step_that_one_chooses(one, learner, folder, tmp_path) -> None:
    summary, shown = launched(recipe_for(learner, folder), folder / "examples.jsonl", tmp_path)
    assert shown.count("of 12 right") == 6
    assert_same_choice(one, tmp_path, summary, shown)


def test_terminated_while_they_ask_they_go_on_with_the_batches_still_owed(one, learner, folder, tmp_path) -> None:
    recipe = recipe_for(learner, folder, batch_size=1)  # many short batches: the signal comes before the last
    process = started(recipe, folder / "examples.jsonl", tmp_path)
    log = tmp_path / "selection" / "progress-8.jsonl"
    while not log.exists() and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGTERM)
    assert "Terminated" in process.communicate(timeout=60)[1]
    assert process.returncode and not ranks_of(tmp_path) and not (tmp_path / "adapter").exists()
    assert list(tmp_path.glob("checkpoints/*/complete"))
    summary, shown = launched(recipe, folder / "examples.jsonl", tmp_path)
    assert "going on from step" in shown and shown.count("of 12 right") == 4
    assert_same_choice(one, tmp_path, summary, shown)


def test_processes_that_share_the_weights_are_refused(learner, folder, monkeypatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(TrainError, match=r"^--launch fsdp2: train.select cannot ask .* Use --launch ddp"):
        check_launch("fsdp2", 2, recipe_for(learner, folder))
