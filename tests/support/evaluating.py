"""Evaluations of the tiny model."""

import io
import json
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from rich.console import Console
from transformers import AutoModelForCausalLM

import eval.answering.batched
from cft.recipe.blocks import Recipe
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
