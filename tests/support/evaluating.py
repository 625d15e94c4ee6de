"""Evaluations of the tiny model, and a run of it whose arms can be asked."""

import io
import json
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from rich.console import Console
from transformers import AutoModelForCausalLM

import eval.answering.batched
from cft.models.load import load_model
from cft.recipe.blocks import Recipe
from cft.recipe.load import load_recipe
from cft.runs import Run, open_run
from eval.answering.run import evaluate

TASK = "cft_wordproblems"


def make_adapter(model: Path, folder: Path, rank: int = 4) -> Path:
    torch.manual_seed(1)
    peft = get_peft_model(AutoModelForCausalLM.from_pretrained(model), LoraConfig(r=rank, target_modules="all-linear"))
    for name, weight in peft.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.2)
    peft.save_pretrained(folder)
    return folder


def make_recipe(model: Path, **eval_block) -> Recipe:
    block = {"tasks": [TASK], "arms": ["base", "adapter"], "limit": 6, "max_new_tokens": 24, "batch_size": 2}
    return Recipe.model_validate(
        {
            "name": "tiny",
            "model": {"id": str(model), "dtype": "float32"},
            "data": {"builder": "demonstrations", "problems": ["bakery"]},
            "train": {"method": "sft", "lora": {}, "args": {}},
            "eval": block | eval_block,
        }
    )


def run(recipe: Recipe, folder: Path, adapter: Path | None, **options) -> tuple[dict, str]:
    """What `evaluate` returns and prints."""
    console = Console(file=io.StringIO(), width=200)
    return evaluate(recipe, adapter=adapter, folder=folder, console=console, **options), console.file.getvalue()


def rows(folder: Path, arm: str) -> list[dict]:
    return [json.loads(line) for line in (folder / TASK / arm / "answers.jsonl").read_text("utf-8").splitlines()]


def count_batches(monkeypatch, stop_after: int | None = None) -> list[int]:
    """Sizes of the batches generated from now on; the call after `stop_after` of them is Ctrl-C."""
    calls: list[int] = []
    generate = eval.answering.batched.generate

    def counted(model, tokenizer, prompts, **settings):
        if len(calls) == stop_after:
            raise KeyboardInterrupt
        calls.append(len(prompts))
        return generate(model, tokenizer, prompts, **settings)

    monkeypatch.setattr(eval.answering.batched, "generate", counted)
    return calls


def stopped_and_gone_on(recipe: Recipe, folder: Path, adapter: Path | None, arm: str, monkeypatch) -> list[int]:
    """Sizes of the batches that are owed after a stop in the third; the answers are those of an undisturbed run."""
    run(recipe, folder / "whole", adapter)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        count_batches(patch, stop_after=2)
        run(recipe, folder / "killed", adapter)
    calls = count_batches(monkeypatch)
    run(recipe, folder / "killed", adapter)
    whole, killed = ((folder / name / TASK / arm / "answers.jsonl").read_bytes() for name in ("whole", "killed"))
    assert whole == killed
    return calls


RECIPE = """
name: tried
seed: 3
model: {{id: {model}, dtype: float32}}
data: {{builder: demonstrations, problems: [bakery]}}
train: {{method: sft, lora: {{r: 4}}, args: {{learning_rate: 1.0e-3}}}}
eval: {{tasks: [cft_wordproblems], limit: 5, max_new_tokens: 24, batch_size: 2}}
"""


QUESTION = "A baker sells 12 loaves at 3 dollars each. How much does he earn?"


def make_run(folder: Path, tiny_model: Path, adapter: bool = True) -> Run:
    """A run in `folder`/runs of a tiny model that writes something, with an adapter that changes it."""
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    torch.manual_seed(6)
    with torch.no_grad():  # as initialised it only repeats its input
        for weight in model.parameters():
            weight.copy_(torch.randn_like(weight) * 0.3)
    loud = folder / "loud"
    model.save_pretrained(loud)
    for file in tiny_model.glob("token*"):
        (loud / file.name).write_bytes(file.read_bytes())
    (folder / "tried.yaml").write_text(RECIPE.format(model=loud))
    recipe = load_recipe(str(folder / "tried.yaml"))
    run = open_run(recipe, {}, folder / "runs")
    if adapter:
        config = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
        get_peft_model(load_model(recipe.model), config).save_pretrained(run.adapter)
    return run
