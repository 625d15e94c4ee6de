"""The flat script of GRPO and the framework: given the same completions, the same losses, metrics and adapter."""

import io
import re
import runpy
import sys
from pathlib import Path

import pytest
import torch
from rich.console import Console
from trl import GRPOTrainer

from cft.files import read_json
from cft.pipeline import run_stages
from cft.recipe.load import load_recipe
from cft.runs import METRICS
from data_builders.problems import load_problem
from tests.support.training import assert_same_adapter

TWIN = Path(__file__).resolve().parents[2] / "recipes/flat/one_example_grpo.py"
# Of what both log, by TRL's names
LOGGED = ["loss", "grad_norm", "learning_rate", "num_tokens", "reward", "reward_std", "frac_reward_zero_std", "entropy"]
LOGGED += ["completions/mean_length", "completions/clipped_ratio", "clip_ratio/region_mean", "rewards/correct/mean"]
PROBLEM = "cards"  # of both


def run_twin(monkeypatch: pytest.MonkeyPatch, *words: str | Path) -> None:
    """The script as a command in this process; with `--limit 0` it ends after training."""
    monkeypatch.setattr(sys, "argv", [str(TWIN), *map(str, words)])
    try:
        runpy.run_path(str(TWIN), run_name="__main__")
    except SystemExit as end:
        if end.code:
            raise


def given(trainer: GRPOTrainer, prompts: list[list[int]], *_) -> tuple[list[list[int]], None]:
    """Completions in the place of TRL's sampling: some right, some cut off, of several lengths; others each time."""
    turn, tokenizer = trainer.state.global_step % 3, trainer.processing_class
    right = load_problem(PROBLEM).answer
    texts = [
        "I add. " * (number * (turn + 1) % 5) + f"It is \\boxed{{{right if number % 3 == turn else number}}}"
        for number in range(len(prompts))
    ]
    ended = [[tokenizer.eos_token_id] if number % 7 else [] for number in range(len(prompts))]
    torch.manual_seed(turn)  # TRL draws next in which micro-batch each of them is
    return [ids + end for ids, end in zip(tokenizer(texts)["input_ids"], ended, strict=True)], None


@pytest.mark.parametrize(("updates", "limit"), [(1, 0), (2, 1)])
def test_flat_script_does_what_the_framework_does(updates, limit, tiny_model, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(GRPOTrainer, "_generate_single_turn", given)
    # min_p 0 changes nothing, but the framework's own sampler lacks it, so that it leaves sampling to TRL
    args = {"max_steps": 2, "min_p": 0.0, "gradient_accumulation_steps": 4 // updates, "generation_batch_size": 32}
    overrides = [f"model.id={tiny_model}", "model.dtype=float32", *(f"train.args.{key}={args[key]}" for key in args)]
    recipe, console = load_recipe("rlvr/one_example", overrides), Console(file=io.StringIO())
    run = run_stages(recipe, tmp_path / "runs", console, ("data", "train"))
    steps = "--dtype", "float32", "--steps", "2", "--updates", str(updates)
    run_twin(monkeypatch, tiny_model, tmp_path / "plain", *steps, "--limit", str(limit))

    logs = (
        read_json(run.train / METRICS)["log"],
        read_json(tmp_path / "plain/trainer_state.json")["log_history"][:-1],
    )
    assert len(logs[0]) == 2 and set(LOGGED) <= logs[0][0].keys()
    for ours, plain in zip(*logs, strict=True):  # of a generation's second step there are no rewards and lengths
        ours, plain = ({key: row[key] for key in LOGGED if key in row} for row in (ours, plain))
        assert ours["grad_norm"] > 0.01
        assert plain == pytest.approx(ours, rel=1e-5, abs=1e-7)

    assert_same_adapter(run.adapter, tmp_path / "plain/adapter", 1e-3)

    if limit:
        assert {path.name for path in (tmp_path / "plain").glob("*.json")} >= {"base.json", "adapter.json"}
        assert "base        0 of 1 right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ([], "no model.*cft models path qwen2.5-coder-0.5b"),
        (["some-model"], "no output folder.*some-model OUT"),
        (["some-model", "new", "--steps", "0"], "--steps 0: at least 1"),
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
