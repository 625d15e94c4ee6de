"""SIGTERM: training finishes and saves its step, and the same command goes on; other stages stop as at Ctrl-C."""

import io
import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest
from rich.console import Console
from transformers import TrainerControl, TrainerState

from cft.errors import Terminated
from cft.train.loop.stopping import SaveOnTerm
from tests.support.command import cft, started
from tests.support.training import make_recipe, run_train, same_weights, write_examples

ARGS = {"num_train_epochs": 4, "gradient_accumulation_steps": 2, "save_steps": 1000, "learning_rate": 1e-2}


def train_and_signal(recipe, examples, folder, at_substep: int, monkeypatch, signals: int = 1) -> str:
    """Train, send SIGTERM to ourselves at the end of the micro-batch number `at_substep`; what was printed."""
    from cft.train import job, sft

    class Signals(job.TrainProgress):
        seen = 0

        def on_substep_end(self, args, state, control, **kwargs):
            super().on_substep_end(args, state, control, **kwargs)
            Signals.seen += 1
            if Signals.seen == at_substep:
                for _ in range(signals):
                    os.kill(os.getpid(), signal.SIGTERM)

    console = Console(file=io.StringIO(), width=200)
    with monkeypatch.context() as patch, pytest.raises(Terminated):
        patch.setattr(job, "TrainProgress", Signals)
        sft.train(recipe, examples, folder, console=console)
    return console.file.getvalue()


def test_the_step_is_finished_saved_and_gone_on_from(tiny_model, tmp_path, monkeypatch):
    examples = write_examples(tmp_path / "examples.jsonl", 8)
    recipe = make_recipe(tiny_model, ARGS, {"lora_dropout": 0.2})
    before = signal.getsignal(signal.SIGTERM)
    said = train_and_signal(recipe, examples, tmp_path, 3, monkeypatch)
    assert "SIGTERM: this step is finished and saved" in said and "the same command goes on from step 3" in said
    assert signal.getsignal(signal.SIGTERM) is before
    assert "going on from step 3" in run_train(recipe, examples, tmp_path)[1]
    run_train(recipe, examples, tmp_path / "undisturbed")
    assert same_weights(tmp_path / "adapter", tmp_path / "undisturbed" / "adapter")


def test_steps_that_share_completions_are_finished_together():
    stop, said = SaveOnTerm(Console(file=io.StringIO(), width=200), every=4), {}
    stop._on_signal(signal.SIGTERM, None)
    for step in range(5, 9):
        control = TrainerControl()
        stop.on_step_end(None, TrainerState(global_step=step), control)
        said[step] = control.should_save, control.should_training_stop
    assert said == {**dict.fromkeys((5, 6, 7), (False, False)), 8: (True, True)}
    assert "the steps on these completions (4) are finished and saved" in stop.console.file.getvalue()


def test_a_second_sigterm_does_not_wait(tiny_model, tmp_path, monkeypatch):
    examples = write_examples(tmp_path / "examples.jsonl", 8)
    said = train_and_signal(make_recipe(tiny_model, ARGS), examples, tmp_path, 3, monkeypatch, signals=2)
    assert "the same command goes on from the start" in said


def test_in_another_thread_training_runs_and_signals_are_left_alone(tiny_model, tmp_path):
    examples = write_examples(tmp_path / "examples.jsonl", 2)
    thread = threading.Thread(target=run_train, args=(make_recipe(tiny_model), examples, tmp_path))
    thread.start()
    thread.join(120)
    assert (tmp_path / "adapter").is_dir()


def test_the_command_exits_143_and_goes_on(tiny_model, tmp_path):
    """A run of many short steps, stopped while it trains, then finished by the same command."""
    settings = ["quickstart", f"model.id={tiny_model}", "model.dtype=float32", "train.args.max_length=4096"]
    settings += ["train.args.num_train_epochs=3", "data.max_examples=12", "--json"]
    assert cft("data", "make", *settings, cwd=tmp_path).returncode == 0
    streams = [os.devnull, *(str(tmp_path / name) for name in ("stdout", "stderr"))]
    process = started("train", *settings, cwd=tmp_path, streams=streams)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("runs/quickstart/*/train/checkpoints/checkpoint-*/complete")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 143
    out, err = (Path(stream).read_text() for stream in streams[1:])
    assert "the same command goes on from step" in err and "Stopped. What is done is kept" in err and out == ""
    done = cft("train", *settings, cwd=tmp_path)
    assert done.returncode == 0 and "going on from step" in done.stderr
    assert Path(tmp_path, json.loads(done.stdout)["run"], "train", "adapter").is_dir()
