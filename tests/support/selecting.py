"""Trainings whose step is chosen on validation items."""

import json
from pathlib import Path

from cft.recipe.blocks import Recipe
from tests.support.training import make_recipe

ARGS = {"num_train_epochs": 6, "gradient_accumulation_steps": 2, "save_steps": 1, "learning_rate": 3e-3,
        "lr_scheduler_type": "constant", "warmup_steps": 0}  # fmt: skip
LORA = {"r": 16, "lora_alpha": 256}
QUESTIONS = [f"What is {n} - {n - 4}?" for n in range(10, 22)]
ANSWER = "\\boxed{4}"


def write_rows(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_examples(path: Path, completion: str, n: int = 8) -> Path:
    prompts = [f"What is {n} - {n - 4}?\nPlease reason step by step." for n in range(30, 30 + n)]
    return write_rows(path, [
        {"id": f"row{i}", "prompt": [{"role": "user", "content": prompt}],
         "completion": [{"role": "assistant", "content": completion}]}
        for i, prompt in enumerate(prompts)
    ])  # fmt: skip


def recipe_with(model: Path, folder: Path, args: dict | None = None, lora: dict | None = None, **select) -> Recipe:
    """The recipe that chooses on folder/validation.jsonl; `steps=None` leaves `train.select` out."""
    raw = make_recipe(model, ARGS | (args or {}), LORA | (lora or {})).model_dump(mode="json")
    raw["eval"] |= {"data": {"cft_math500": str(folder / "test.jsonl")}, "max_new_tokens": 24, "batch_size": 3}
    block = {"task": "cft_math_validation", "data": str(folder / "validation.jsonl"), "patience": None} | select
    raw["train"]["select"] = block if block.get("steps") or block.get("every") else None
    return Recipe.model_validate(raw)


def curve(train: Path) -> dict:
    return json.loads((train / "selection" / "curve.json").read_text())
