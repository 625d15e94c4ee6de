"""SIGTERM: training finishes and saves its step, and the same command goes on; other stages stop as at Ctrl-C."""

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from rich.console import Console

from cft.errors import Terminated
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
    command = [sys.executable, "-m", "cft.cli.main", "train", "quickstart", f"model.id={tiny_model}"]
    command += ["model.dtype=float32", "train.args.max_length=4096", "train.args.num_train_epochs=3", "--json"]
    assert subprocess.run([*command[:3], "data", "make", *command[4:-4], *command[-4:]], cwd=tmp_path).returncode == 0
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("runs/quickstart/*/train/checkpoints/checkpoint-*/complete")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 143, err
    assert "the same command goes on from step" in err and "Stopped. What is done is kept" in err and out == ""
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and "going on from step" in done.stderr
    assert Path(tmp_path, json.loads(done.stdout)["run"], "train", "adapter").is_dir()
