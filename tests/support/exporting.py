"""Runs to export: a tiny base that is not degenerate, and adapters of every kind on it."""

import json
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from cft.files import write_json, write_jsonl
from cft.models.load import load_model
from cft.recipe.load import load_recipe
from cft.runs import Run, open_run
from cft.train.card import write_card
from data_builders.prompts import training_row

RECIPE = """
name: handed
seed: 3
model: {{id: {model}, dtype: {dtype}, quantization: {quantization}}}
data: {{builder: demonstrations, problems: [bakery]}}
train: {{method: sft, lora: {{r: 4}}, args: {{learning_rate: 1.0e-3}}}}
eval: {{tasks: [cft_math500], limit: 5, max_new_tokens: 24, batch_size: 2}}
"""
ROWS = [(f"What is {i} plus {i}?", f"It is {2 * i}: \\boxed{{{2 * i}}}.") for i in range(3, 8)]
ARMS = [
    {"name": "base", "accuracy": 0.2, "ci": [0.1, 0.3], "n": 100},
    {"name": "adapter", "accuracy": 0.252, "ci": [0.17, 0.35], "n": 100},
]
REPORT = {"task": "cft_math500", "arms": ARMS, "comparisons": []}


def make_base(tiny_model: Path, folder: Path, dtype: torch.dtype = torch.bfloat16) -> Path:
    """The tiny model with weights large enough that its layers matter."""
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    torch.manual_seed(6)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" not in name:
                weight.copy_(torch.randn_like(weight) * 0.1)
    model.to(dtype).save_pretrained(folder)
    for file in tiny_model.glob("*token*"):
        (folder / file.name).write_bytes(file.read_bytes())
    for file in tiny_model.glob("*.jinja"):
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def make_run(
    root: Path, base: Path, *, dtype: str = "bfloat16", quantization: str = "none", size: float = 0.02, **lora
) -> Run:
    """A run with a finished train stage. Its adapter has random weights: B is normal with deviation `size`."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "handed.yaml").write_text(RECIPE.format(model=base, dtype=dtype, quantization=quantization))
    recipe = load_recipe(str(root / "handed.yaml"))
    run = open_run(recipe, {}, root / "runs")
    rows = [{"id": f"row-{i}", **training_row(*row)} for i, row in enumerate(ROWS)]
    write_jsonl(run.examples, rows)
    write_jsonl(run.examples.with_name("problems.jsonl"), [{"question": ROWS[0][0]}])
    write_json(run.path / "data" / "manifest.json", {"fingerprint": "d"})
    write_json(run.path / "train" / "manifest.json", {"fingerprint": "t"})
    summary = {"steps": 4, "rows": 5}
    write_json(run.path / "train" / "metrics.json", {"summary": summary})
    save_adapter(recipe, run.adapter, size, **lora)
    from cft.models.source import resolve

    log = [{"step": 1, "loss": 2.0}]
    write_card(run.adapter, recipe=recipe, source=resolve(recipe.model), summary=summary, log=log, versions={})
    return run


def save_adapter(recipe, folder: Path, size: float, **lora) -> None:
    """A LoRA adapter of these settings on the recipe's base."""
    torch.manual_seed(1)
    given = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear"} | lora
    model = get_peft_model(load_model(recipe.model.model_copy(update={"quantization": "none"})), LoraConfig(**given))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name or "lora_embedding_B" in name:
                weight.copy_(torch.randn_like(weight) * size)
            elif "modules_to_save" in name and weight.requires_grad:
                weight += torch.randn_like(weight) * 5 * size
            elif "magnitude" in name:
                weight *= 1.1
    model.save_pretrained(folder)


def scored(run: Run, report: dict = REPORT) -> Run:
    """The run with a report."""
    write_json(run.report / "report.json", report | {"recipe": run.path.parent.name, "tasks": [report]})
    return run


def front(folder: Path) -> str:
    """The metadata of a card, as text."""
    return (folder / "README.md").read_text().split("---\n")[1]


def record(folder: Path) -> dict:
    return json.loads((folder / "export.json").read_text())
