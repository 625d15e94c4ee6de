"""`cft sweep` as a user meets it: real runs of a tiny model, a table, a run that fails, a run that is stopped."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.command import cft, started

RECIPE = """
name: tiny
model: {{id: {model}, dtype: float32}}
data:
  builder: critiques
  problems: [bakery]
  teachers: [{{kind: file, path: bakery}}]
  max_examples: 4
train:
  method: cft
  lora: {{r: 4, target_modules: all-linear}}
  args: {{learning_rate: 1.0e-3, per_device_train_batch_size: 1, gradient_accumulation_steps: 2, max_length: 4096}}
eval: {{tasks: [cft_wordproblems_validation], limit: 6, max_new_tokens: 8, batch_size: 6}}
"""
SWEEP = """
name: tries
description: Two sizes, and a point that cannot be trained.
recipe: tiny.yaml
vary: {data.max_examples: [2, 4]}
points:
  broken: {train.lora.target_modules: [no_such_layer]}
"""


@pytest.fixture(scope="module")
def swept(tmp_path_factory, tiny_model) -> tuple[Path, subprocess.CompletedProcess]:
    """The working directory of one sweep, and what the command said."""
    cwd = tmp_path_factory.mktemp("sweep")
    (cwd / "tiny.yaml").write_text(RECIPE.format(model=tiny_model))
    (cwd / "sweep.yaml").write_text(SWEEP)
    return cwd, cft("sweep", "sweep.yaml", cwd=cwd)


def table_of(cwd: Path) -> dict:
    return json.loads((cwd / "runs" / "sweeps" / "tries" / "sweep.json").read_text())


def test_a_point_that_fails_is_told_and_the_others_go_on(swept):
    cwd, done = swept
    assert done.returncode == 2, done.stderr
    assert "1 of 3 runs failed; the same command tries them again." in done.stderr
    runs = table_of(cwd)["runs"]
    assert [(run["point"], run["status"]) for run in runs] == [
        ("max_examples 2", "done"), ("max_examples 4", "done"), ("broken", "failed"),
    ]  # fmt: skip
    assert "no_such_layer" in runs[2]["error"] and "no_such_layer" in done.stdout


def test_the_table_has_the_training_and_the_score_of_every_point(swept):
    cwd, done = swept
    (task,) = table_of(cwd)["tasks"]
    assert (task["task"], task["n"], [base["name"] for base in task["bases"]]) == (
        "cft_wordproblems_validation", 6, ["base"],
    )  # fmt: skip
    for row, rows, steps in zip(task["rows"], (2, 4), (1, 2), strict=True):
        metrics = next(
            json.loads((cwd / run["run"] / "train" / "metrics.json").read_text())["summary"]
            for run in table_of(cwd)["runs"]
            if run["point"] == row["point"]
        )
        assert (row["rows"], row["steps"], row["value"]) == (rows, steps, rows)
        assert row["trained_tokens"] == metrics["completion_tokens"] and row["last_loss"] == metrics["last_loss"]
        assert row["accuracy"] == 0.0 and row["ci"][1] > 0.2 and row["p_holm"] == 1.0 and row["shown"] is False
        assert row["truncated"] + row["no_box"] == 6
    page = (cwd / "runs" / "sweeps" / "tries" / "sweep.md").read_text()
    assert "| max_examples 4 | 4 |" in page and "## Failed" in page and "2 of 3 runs done" in page
    assert (cwd / "runs" / "sweeps" / "tries" / "sweep.png").read_bytes()[:4] == b"\x89PNG"
    assert "max_examples 4" in done.stdout and "table: runs/sweeps/tries/sweep.md" in done.stdout


def test_the_base_is_scored_once_for_all_points(swept):
    cwd, done = swept
    folders = sorted(cwd.glob("runs/tries/*/eval/*/base/arm.json"))
    assert len(folders) == 2 and len({path.read_bytes() for path in folders}) == 1
    assert done.stderr.count("base: done before, not run again") == 1


def test_the_same_command_goes_on_and_the_points_can_be_run_alone(swept):
    cwd, _ = swept
    command = table_of(cwd)["runs"][1]["command"].split()
    alone = cft(*command[1:], "--json", cwd=cwd)
    assert json.loads(alone.stdout)["run"] == table_of(cwd)["runs"][1]["run"]
    again = cft("sweep", "sweep.yaml", "--json", "points=null", cwd=cwd)
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("train: done before, not run again") == 2
    assert [run["status"] for run in json.loads(again.stdout)["runs"]] == ["done", "done"]


def test_the_plan_of_a_sweep_runs_nothing(swept, tmp_path):
    cwd, _ = swept
    done = cft("sweep", "sweep.yaml", "--plan", "--runs", str(tmp_path / "other"), "--json", cwd=cwd)
    plan = json.loads(done.stdout)
    assert done.returncode == 0 and not list(tmp_path.rglob("recipe.yaml"))
    first, second, _ = plan["runs"]
    assert set(first["stages"]) == {"data", "train", "eval"} and 0 < second["stages"]["eval"] < first["stages"]["eval"]
    assert plan["seconds"] == sum(row["seconds"] for row in plan["runs"]) and plan["cost_usd"] == 0
    shown = cft("sweep", "sweep.yaml", "--plan", cwd=cwd)
    assert "sweep of tiny.yaml, 3 runs" in shown.stdout and "total: ~" in shown.stdout


def test_several_seeds_are_one_row_with_an_interval_for_other_seeds(swept):
    cwd, _ = swept
    done = cft(
        "sweep", "sweep.yaml", "points=null", "vary.data.max_examples=[2]", "seeds=[0, 1]", "name=seeds", cwd=cwd
    )
    assert done.returncode == 0, done.stderr
    (task,) = json.loads((cwd / "runs" / "sweeps" / "seeds" / "sweep.json").read_text())["tasks"]
    mean, *single = task["rows"]
    assert (mean["seeds"], mean["seed"], [row["seed"] for row in single]) == (2, None, [0, 1])
    assert mean["accuracy"] == sum(row["accuracy"] for row in single) / 2
    assert mean["p_holm"] is not None and single[0]["p_holm"] is None
    assert "max_examples 2, 2 seeds" in done.stdout


def test_a_prompt_of_the_base_stands_once_and_is_no_point(swept):
    cwd, _ = swept
    done = cft("sweep", "sweep.yaml", "points=null", "eval.arms=[base, adapter, base@plain]", "name=prompts", cwd=cwd)
    assert done.returncode == 0, done.stderr
    (task,) = json.loads((cwd / "runs" / "sweeps" / "prompts" / "sweep.json").read_text())["tasks"]
    assert [base["name"] for base in task["bases"]] == ["base", "base@plain"]
    assert [(row["point"], row["arm"]) for row in task["rows"]] == [
        ("max_examples 2", "adapter"), ("max_examples 4", "adapter"),
    ]  # fmt: skip


def test_an_interrupted_sweep_leaves_its_table_and_goes_on(swept, tmp_path):
    cwd, _ = swept
    command = ["sweep", "sweep.yaml", "points=null", "name=stopped", "train.args.max_steps=4000"]
    process = started(*command, cwd=cwd, streams=[os.devnull, os.devnull, str(tmp_path / "stderr")])
    deadline = time.monotonic() + 120
    while not list(cwd.glob("runs/stopped/*/train/checkpoints")) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130 and "the same command goes on" in (tmp_path / "stderr").read_text()
    table = json.loads((cwd / "runs" / "sweeps" / "stopped" / "sweep.json").read_text())
    assert [run["status"] for run in table["runs"]] == ["not run yet", "not run yet"]


def test_faults_exit_with_2_before_anything_runs(swept, tmp_path):
    cwd, _ = swept
    done = cft("sweep", "sweep.yaml", "train.lora.rr=3", "--runs", str(tmp_path / "none"), "--json", cwd=cwd)
    assert done.returncode == 2 and "train.lora.rr" in json.loads(done.stdout)["error"]
    assert not (tmp_path / "none").exists()


def test_without_a_file_the_shipped_sweeps_are_listed(tmp_path):
    rows = json.loads(cft("sweep", "--json", cwd=tmp_path).stdout)
    assert {"critiques", "teachers", "rank", "right_share", "learning_rate"} <= {row["name"] for row in rows}
    assert all(row["about"] for row in rows)


def test_a_shipped_sweep_can_be_copied_and_changed(tmp_path):
    done = cft("copy", "rank", "mine.yaml", cwd=tmp_path)
    assert "cft sweep mine.yaml --plan" in done.stdout
    planned = cft("sweep", "mine.yaml", "vary.train.lora.r=[2]", "--plan", "--json", cwd=tmp_path)
    assert [row["point"] for row in json.loads(planned.stdout)["runs"]] == ["r 2"]
