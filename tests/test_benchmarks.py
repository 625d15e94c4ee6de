"""The benchmarks run on the tiny model and write what they promise. No speed is asserted."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import common, rollouts, training

REPOSITORY = Path(__file__).parent.parent


def benchmark(script: str, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", f"benchmarks.{script}", "--threads", "1", *arguments],
        cwd=REPOSITORY, env=os.environ | {"COLUMNS": "200"}, capture_output=True, text=True,
    )  # fmt: skip


def check_common(result: dict, sides: list[str], rounds: int, *, processes: bool = True) -> None:
    assert {"date", "cpu", "cores", "threads", "versions"} <= result["machine"].keys()
    assert result["machine"]["threads"] == 1
    assert len(result["rounds"]) == rounds
    for one in result["rounds"]:
        assert list(one) == sides
        if processes:  # one for each turn
            assert all(one[side]["peak_memory_mb"] > 50 for side in sides)
    for key, ratio in result["ratios"].items():
        ours, theirs = (result["medians"][side][key] for side in sides[:2])
        assert ratio == pytest.approx(ours / theirs, abs=0.001)


@pytest.mark.parametrize("compiled", [[], pytest.param(["compiled"], marks=pytest.mark.soak)])
def test_training(tiny_model: Path, tmp_path: Path, compiled: list[str]):
    out = tmp_path / "new" / "training.json"
    done = benchmark(
        "training", "--rows", "8", "--steps", "1", "--repeats", "1", "--max-length", "4096",
        "--model", str(tiny_model), "--json", str(out), *(f"--{name}" for name in compiled),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text())
    check_common(result, ["cft train", "trl sft", *(f"cft train, {name}" for name in compiled)], 1)
    assert result["rows"] == 8 and result["tokens"] > 8 * 1000  # a byte is a token
    for measured in result["medians"].values():
        assert measured["tokens_per_second"] == pytest.approx(result["tokens"] / measured["train_seconds"], rel=0.05)
        assert measured["process_seconds"] > measured["train_seconds"]
    flags = [flag["flag"] for flag in result["trl_flags"]]
    assert {"--lora_r 16", "--lora_target_modules all-linear", "--max_length 4096"} <= set(flags)
    assert all(flag["why"] for flag in result["trl_flags"])
    assert "tokens per second" in done.stderr and done.stdout == ""


@pytest.mark.parametrize(("rows", "steps"), [(12, 3), (16, 1), (0, 1), (8, 0)])
def test_training_refuses_parts_of_epochs(rows: int, steps: int):
    with pytest.raises(SystemExit, match=r"not whole epochs.* multiple of 8"):
        training.main(rows=rows, steps=steps)


def test_a_failed_process_ends_with_its_own_words(tmp_path: Path):
    with pytest.raises(SystemExit, match=r"(?s)no such thing.*exit status 3 of: .*python"):
        common.run_process(
            [sys.executable, "-c", "import sys; print('no such thing', file=sys.stderr); exit(3)"], tmp_path, 1
        )


def test_memory_is_that_of_one_process(tmp_path: Path):
    """Measured from a process that has loaded what a benchmark loads: its own memory must not hide a small child's."""
    program = """
import sys
from pathlib import Path
from benchmarks import common, evaluation, training
assert "torch" not in sys.modules
for i, code in enumerate(("x = b'1' * 300_000_000", "pass")):
    print(common.run_process([sys.executable, "-c", code], Path(sys.argv[1]) / str(i), 1).peak_memory_mb)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    large, small = map(int, done.stdout.split())
    assert large > 290 and small < 200


def test_medians_and_ratios():
    rounds = [{"a": {"speed": speed}, "b": {"speed": 2}} for speed in (9, 3, 4)]
    result = common.summarise(rounds, ["speed"])
    assert result["medians"] == {"a": {"speed": 4}, "b": {"speed": 2}} and result["ratios"] == {"speed": 2}


def test_evaluation(tiny_model: Path, tmp_path: Path):
    out = tmp_path / "evaluation.json"
    done = benchmark(
        "evaluation", "--limit", "3", "--batch-size", "2", "--max-new-tokens", "6",
        "--model", str(tiny_model), "--json", str(out),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text())
    check_common(result, ["cft eval", "lm_eval"], 1)
    assert result["items"] == 3 and result["batch_size"] == {"cft eval": 2, "lm_eval": 1}
    assert 0 <= result["same_text"] <= 3
    for measured in result["medians"].values():
        assert 0 < measured["tokens"] <= 3 * 40  # at most 6 tokens an answer, more when damaged bytes are read again
        assert measured["correct"] == 0
    assert result["ratios"].keys() == {"items_per_second", "tokens_per_second"}
    assert "items per second" in done.stderr


def test_rollouts(tiny_model: Path, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as the command sets it
    monkeypatch.setattr(common.console, "width", 200)
    out, settings = tmp_path / "rollouts.json", {"problem": "bakery", "model": str(tiny_model), "threads": 1, "busy": 0}
    rollouts.main(completions=8, max_new_tokens=6, repeats=2, out=out, **settings)
    result = json.loads(out.read_text())
    check_common(result, ["cft grpo", "trl grpo"], 2, processes=False)
    assert result["ratios"].keys() == {"completions_per_second", "tokens_per_second", "steps_per_hour"}
    for measured in (side for one in result["rounds"] for side in one.values()):
        assert 1 <= measured["longest"] <= 6 and 8 <= measured["tokens"] <= 8 * 6
        assert 0 < measured["rollout_seconds"] < measured["step_seconds"]
        assert measured["completions_per_second"] == pytest.approx(8 / measured["rollout_seconds"], rel=0.1)
    assert "completions per second" in capsys.readouterr().err


@pytest.mark.parametrize("completions", [0, 4, 12])
def test_rollouts_refuse_parts_of_micro_batches(completions: int):
    with pytest.raises(SystemExit, match=f"--completions {completions}.*multiple of 8"):
        rollouts.main(completions=completions)


def test_asking_beside_the_client(tmp_path: Path):
    out = tmp_path / "asking.json"
    command = ["-m", "benchmarks.asking", "--calls", "12", "--in-flight", "2", "--repeats", "1", "--json", str(out)]
    done = subprocess.run([sys.executable, *command], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text())
    assert list(result["medians"]) == ["cft engine", "openai client"] and result["calls"] == 12
