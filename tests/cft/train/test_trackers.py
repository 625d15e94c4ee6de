"""Trackers: off unless named, known by name, and what they record is what metrics.json holds."""

import importlib.util
import io
import json

import pytest
from rich.console import Console

from cft.errors import TrainError
from cft.train.loop.trackers import check_tracker, reporting
from tests.support.training import make_recipe, write_examples


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    for name in ("TENSORBOARD_LOGGING_DIR", "WANDB_PROJECT", "WANDB_DIR"):
        monkeypatch.delenv(name, raising=False)


def test_nothing_is_reported_unless_asked(tmp_path):
    assert reporting("none", tmp_path) == {}


@pytest.mark.parametrize(
    ("name", "words"), [("wandbb", r"Did you mean wandb\?"), ("mlflow", "Known here: none, tensorb")]
)
def test_an_unknown_tracker_is_refused(name, words):
    with pytest.raises(TrainError, match=rf"--tracker {name}: is not known\. {words}"):
        check_tracker(name)


def test_one_that_is_not_installed_is_refused_with_the_command(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(TrainError, match=r"trackio is not installed\. pip install trackio"):
        check_tracker("trackio")


def test_a_project_of_the_users_own_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    import os

    asked = reporting("tensorboard", tmp_path / "quickstart" / "abc" / "train")
    assert os.environ["WANDB_PROJECT"] == "mine"
    assert asked == {"report_to": "tensorboard", "project": "one-problem-cft", "run_name": "quickstart-abc"}


def test_tensorboard_holds_the_losses_of_the_log(tiny_model, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from cft.train.sft import train

    examples = write_examples(tmp_path / "examples.jsonl", 4)
    recipe = make_recipe(tiny_model, {"gradient_accumulation_steps": 1})
    train(recipe, examples, tmp_path, console=Console(file=io.StringIO()), tracker="tensorboard")
    log = json.loads((tmp_path / "metrics.json").read_text())["log"]
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    recorded = [(event.step, event.value) for event in events.Scalars("train/loss")]
    assert recorded == [(row["step"], pytest.approx(row["loss"], rel=1e-5)) for row in log]
