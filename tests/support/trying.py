"""A run whose arms can be asked."""

from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from cft.models.load import load_model
from cft.recipe.load import load_recipe
from cft.runs import Run, open_run

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
