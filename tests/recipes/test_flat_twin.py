"""The flat script and the framework: the same rows, losses, adapter and answers."""

import io
import json
import re
import runpy
import sys
from pathlib import Path

import pytest
import torch
from rich.console import Console

from cft.files import read_json, read_own_jsonl
from cft.pipeline import run_stages
from cft.recipe.load import load_recipe
from cft.rows import load_rows, tokenize_row
from tests.support.training import assert_same_adapter

TWIN = Path(__file__).resolve().parents[2] / "recipes/flat/one_problem_cft.py"


def run_twin(monkeypatch: pytest.MonkeyPatch, *words: str | Path) -> dict:
    """The script as a command in this process; its variables at the end."""
    monkeypatch.setattr(sys, "argv", [str(TWIN), *map(str, words)])
    return runpy.run_path(str(TWIN), run_name="__main__")


def test_flat_script_does_what_the_framework_does(tiny_model, tmp_path, monkeypatch, capsys):
    # In float32: in bfloat16 two ways to compute one loss differ by so much that small faults would hide
    overrides = ["model.dtype=float32", "train.args.max_length=4096", "eval.limit=2", f"model.id={tiny_model}"]
    recipe, console = load_recipe("quickstart", overrides), Console(file=io.StringIO())
    run = run_stages(recipe, tmp_path / "runs", console, ("data", "train", "eval"))
    twin = run_twin(monkeypatch, tiny_model, tmp_path / "out", "--dtype", "float32", "--limit", "2")

    rows = [tokenize_row(row, twin["tokenizer"]) for row in load_rows(run.examples)]
    trained = twin["trainer"].train_dataset
    assert trained["input_ids"][:] == [row.input_ids for row in rows]
    assert trained["labels"][:] == [row.labels for row in rows]

    logs = read_json(run.adapter.parent / "metrics.json")["log"], twin["trainer"].state.log_history[:-1]
    ours, plain = (torch.tensor([[row["learning_rate"], row["loss"], row["grad_norm"]] for row in log]) for log in logs)
    assert len(ours) == 12
    torch.testing.assert_close(plain, ours, rtol=1e-5, atol=0)

    assert_same_adapter(run.adapter, twin["adapter"], 1e-4)

    for arm in ("base", "adapter"):  # what lm-eval wrote down: the item, the prompt, the true answer, the answer
        (path,) = (run.path / "eval/cft_wordproblems" / arm).glob("samples_*.jsonl")
        ours, plain = read_own_jsonl(path), json.loads((tmp_path / "out" / f"{arm}.json").read_text("utf-8"))
        keys = "doc_hash", "prompt_hash", "target_hash", "resps", "exact_match"
        assert [[row[key] for key in keys] for row in plain] == [[row[key] for key in keys] for row in ours]
    assert "base        0 of 2 right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ([], "no model.*cft models path qwen2.5-coder-0.5b"),
        (["some-model"], "no output folder.*some-model OUT"),
        (["/nowhere", "out"], "/nowhere cannot be loaded.*cft models path"),
        (["some-model", "."], "adapter exists.*another output folder"),
    ],
)
def test_flat_script_names_the_fault_and_the_fix(words, fault, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("adapter").mkdir()
    with pytest.raises(SystemExit, match="2"):
        run_twin(monkeypatch, *words)
    assert re.search(fault, capsys.readouterr().err, re.DOTALL)
