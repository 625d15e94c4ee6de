"""Evaluation of base and adapter on the tiny model: what it writes, that it resumes, and that plain lm_eval agrees."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cft.errors import EvalError
from cft.files import sha256_file
from eval.tasks.wordproblems import word_problems
from tests.support.evaluating import TASK, count_batches, make_adapter, make_recipe, rows, run
from tests.support.tiny import make_tiny_model

ROOT = Path(__file__).parents[3]
BATCHES = [2, 1, 2, 1]  # of the six items two at a time: prompts of unlike length do not share a batch
FIELDS = "task arm doc_id sample question gold prompt_sha256 response tokens finish_reason outcome answer same_as"


@pytest.fixture(scope="module")
def adapter(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA adapter of the tiny model whose weights are random, not zero."""
    return make_adapter(tiny_model, tmp_path_factory.mktemp("adapter"))


@pytest.fixture(scope="module")
def finished(tiny_model: Path, adapter: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """The folder of an undisturbed evaluation, and what it returned."""
    folder = tmp_path_factory.mktemp("finished")
    return folder, run(make_recipe(tiny_model), folder, adapter)[0]


def test_each_arm_folder_holds_graded_answers_in_doc_order(finished):
    folder, results = finished
    for arm in ("base", "adapter"):
        found = rows(folder, arm)
        assert [" ".join(row) for row in found] == [FIELDS] * 6
        assert [row["question"] for row in found] == [item["question"] for item in word_problems("test", 6)]
        assert [row["gold"] for row in found] == [item["answer"] for item in word_problems("test", 6)]
        for row in found:
            assert row["tokens"] == 24 if row["finish_reason"] == "length" else 1 <= row["tokens"] <= 24
            assert row["outcome"] == ("truncated" if row["finish_reason"] == "length" else "no_answer")
        summary = json.loads((folder / TASK / arm / "arm.json").read_text("utf-8"))
        assert summary == results[TASK][arm]
        assert (summary["n"], summary["tokens"]) == (6, sum(row["tokens"] for row in found))
        assert summary["metrics"]["exact_match"] == 0.0
        assert summary["seconds"] > 0 and summary["peak_memory_mb"] > 0
        names = sorted(path.name.split("_")[0] for path in (folder / TASK / arm).iterdir())
        assert names == ["answers.jsonl", "arm.json", "results", "samples"]


def test_adapter_changes_answers_and_base_is_untouched_by_it(finished, tiny_model, tmp_path):
    folder, _ = finished
    assert [row["response"] for row in rows(folder, "base")] != [row["response"] for row in rows(folder, "adapter")]
    run(make_recipe(tiny_model, arms=["base"]), tmp_path, None)
    assert rows(tmp_path, "base") == rows(folder, "base")


def test_finished_arms_are_not_run_again_until_something_changes(finished, tiny_model, adapter, tmp_path, monkeypatch):
    folder = Path(shutil.copytree(finished[0], tmp_path / "copy"))
    calls = count_batches(monkeypatch)
    results, printed = run(make_recipe(tiny_model), folder, adapter)
    assert (results, calls) == (finished[1], []) and printed.count("done before") == 2
    run(make_recipe(tiny_model), folder, make_adapter(tiny_model, tmp_path / "other", rank=2))
    assert calls == BATCHES  # the adapter's, none of the base
    results, _ = run(make_recipe(tiny_model, limit=3), folder, adapter)
    assert sum(calls) == 6 + 2 * 3 and results[TASK]["base"]["n"] == len(rows(folder, "base")) == 3


def test_answers_of_another_run_are_taken_where_they_are_of_the_same_arm(finished, tiny_model, tmp_path, monkeypatch):
    calls = count_batches(monkeypatch)
    adapter = make_adapter(tiny_model, tmp_path / "other", rank=2)
    elsewhere = {"others": lambda task, arm: [tmp_path / "nothing", finished[0] / task / arm]}
    results, printed = run(make_recipe(tiny_model), tmp_path / "run", adapter, **elsewhere)
    assert calls == BATCHES and printed.count("done before") == 1  # only the adapter, which is another one, answers
    assert results[TASK]["base"] == finished[1][TASK]["base"]
    assert rows(tmp_path / "run", "base") == rows(finished[0], "base")
    run(make_recipe(tiny_model, arms=["base"], max_new_tokens=8), tmp_path / "short", None, **elsewhere)
    assert calls == 2 * BATCHES


@pytest.mark.parametrize("torn", [False, True])
def test_killed_evaluation_goes_on_and_ends_with_the_same_bytes(
    torn, finished, tiny_model, adapter, tmp_path, monkeypatch
):
    recipe = make_recipe(tiny_model)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        count_batches(patch, stop_after=7)  # all of the base, three batches of the adapter
        run(recipe, tmp_path, adapter)
    assert not (tmp_path / TASK / "adapter" / "arm.json").exists()
    (log,) = (tmp_path / TASK / "adapter").iterdir()
    if torn:  # the power went while the third batch was written
        log.write_bytes(log.read_bytes()[:-30])
    calls = count_batches(monkeypatch)
    run(recipe, tmp_path, adapter)
    assert calls == BATCHES[2 if torn else 3 :]
    for arm in ("base", "adapter"):
        files = [folder / TASK / arm / "answers.jsonl" for folder in (tmp_path, finished[0])]
        assert sha256_file(files[0]) == sha256_file(files[1])


def test_progress_of_other_settings_is_not_mixed_in(tiny_model, adapter, tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        count_batches(patch, stop_after=2)
        run(make_recipe(tiny_model, arms=["adapter"]), tmp_path, adapter)
    calls = count_batches(monkeypatch)
    run(make_recipe(tiny_model, arms=["adapter"], max_new_tokens=8), tmp_path, adapter)
    assert calls == BATCHES and max(row["tokens"] for row in rows(tmp_path, "adapter")) <= 8


def test_plain_lm_eval_gives_the_same_answers(finished, tiny_model, adapter, tmp_path):
    """`lm_eval --model hf` with the adapter, from another folder; the token limit is the only setting given to it."""
    command = [
        *(sys.executable, "-m", "lm_eval", "run", "--model", "hf", "--device", "cpu", "--batch_size", "2"),
        *("--model_args", f"pretrained={tiny_model},peft={adapter},dtype=float32"),
        *("--include_path", str(ROOT / "eval" / "tasks"), "--tasks", TASK, "--apply_chat_template"),
        *("--limit", "4", "--gen_kwargs", "max_gen_toks=24", "--output_path", str(tmp_path), "--log_samples"),
    ]
    env = os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    out = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True)
    assert out.returncode == 0, out.stderr
    (samples,) = tmp_path.rglob("samples_*.jsonl")
    theirs = [json.loads(line) for line in samples.read_text("utf-8").splitlines()]
    ours = rows(finished[0], "adapter")[:4]
    assert [s["resps"][0][0] for s in sorted(theirs, key=lambda s: s["doc_id"])] == [row["response"] for row in ours]
    (mine,) = (finished[0] / TASK / "adapter").glob("samples_*.jsonl")
    written = [json.loads(line) for line in mine.read_text("utf-8").splitlines()[:4]]
    prompts, others = ([s["arguments"]["gen_args_0"]["arg_0"] for s in samples] for samples in (written, theirs))
    assert prompts == others


# bad input


def test_unknown_tasks_are_named_with_the_nearest_known_one(tiny_model, tmp_path):
    with pytest.raises(EvalError, match=r"'cft_wordproblem'.*cft_wordproblems"):
        run(make_recipe(tiny_model, arms=["base"], tasks=["cft_wordproblem"]), tmp_path, None)


def test_no_adapter_and_one_of_a_model_with_another_name_are_refused(tiny_model, adapter, tmp_path):
    with pytest.raises(EvalError, match="there is none"):
        run(make_recipe(tiny_model), tmp_path, None)
    with pytest.raises(EvalError, match=r"is no adapter; adapter_config\.json"):
        run(make_recipe(tiny_model), tmp_path / "out", tmp_path)
    other = make_tiny_model(tmp_path / "other")
    with pytest.raises(EvalError, match=r"was trained on .*tiny.*but the recipe's model is .*other"):
        run(make_recipe(other), tmp_path / "out", adapter)


def test_adapter_whose_shapes_do_not_fit_is_refused(tiny_model, adapter, tmp_path):
    from safetensors.torch import load_file, save_file

    broken = Path(shutil.copytree(adapter, tmp_path / "broken"))
    weights = load_file(broken / "adapter_model.safetensors")
    save_file({k: w[..., :-1].contiguous() for k, w in weights.items()}, broken / "adapter_model.safetensors")
    with pytest.raises(EvalError, match="does not fit the model"):
        run(make_recipe(tiny_model), tmp_path / "out", broken)
    save_file({k: w for k, w in weights.items() if "layers.1" not in k}, broken / "adapter_model.safetensors")
    with pytest.raises(EvalError, match="does not fit the model"):
        run(make_recipe(tiny_model), tmp_path / "out", broken)


def test_context_that_is_too_short_is_told_with_its_numbers(tiny_model, tmp_path):
    told = r"eval\.max_new_tokens is 4000: \d+ together, but the model reads 4096.*at most \d+"
    with pytest.raises(EvalError, match=told):
        run(make_recipe(tiny_model, arms=["base"], max_new_tokens=4000), tmp_path, None)
