"""4-bit weights on this device: what they stand for, what training them leaves as it is, and a plain adapter."""

import json

import pytest
import torch

from cft.models.load import load_model
from cft.recipe.blocks import ModelBlock
from tests.support.training import make_recipe, make_trainer, run_train, weights, write_examples

pytestmark = pytest.mark.gpu
bitsandbytes = pytest.importorskip("bitsandbytes")


def packed_weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Copies of the 4-bit weights of a model, with their scales."""
    found = {}
    for name, layer in model.named_modules():
        if isinstance(layer, bitsandbytes.nn.Linear4bit):
            found[name] = layer.weight.data.clone().cpu()
            found[f"{name}.scales"] = layer.weight.quant_state.absmax.clone().cpu()
    return found


@torch.no_grad()
def test_they_answer_as_the_weights_that_they_stand_for(tiny_model):
    block = ModelBlock(id=str(tiny_model), dtype="float32", quantization="nf4")
    model, plain = load_model(block), load_model(block.model_copy(update={"quantization": "none"}))
    changed = 0
    for name, layer in model.named_modules():
        if isinstance(layer, bitsandbytes.nn.Linear4bit):
            weight = bitsandbytes.functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state)
            assert 0 < (weight - plain.get_submodule(name).weight).norm() < 0.2 * weight.norm()
            plain.get_submodule(name).weight.copy_(weight)
            changed += 1
    assert changed == 14  # seven linear layers in each of two decoder layers
    ids = torch.arange(3, 60, device=model.device)[None]
    one, other = (some(input_ids=ids, use_cache=False).logits for some in (model, plain))
    assert (one - other).norm() < 0.01 * other.norm()  # with AVX-512 bitsandbytes multiplies in bfloat16


def test_training_changes_the_adapter_and_no_bit_of_the_base(tiny_model, tmp_path):
    args = {"max_steps": 2, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 1, "save_strategy": "no"}
    trainer = make_trainer(tiny_model, tmp_path, args=args, quantization="nf4")
    before = packed_weights(trainer.model)
    trained = {name: w.detach().clone() for name, w in trainer.model.named_parameters() if w.requires_grad}
    trainer.train()
    after = packed_weights(trainer.model)
    assert len(before) == 28 and all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    moved = {name: w for name, w in trainer.model.named_parameters() if w.requires_grad}
    assert moved.keys() == trained.keys() and any(not torch.equal(w, trained[name]) for name, w in moved.items())


def test_the_adapter_is_one_that_plain_peft_loads_on_the_full_base(tiny_model, tmp_path):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    recipe = make_recipe(tiny_model, {"max_steps": 2}, quantization="nf4")
    run_train(recipe, write_examples(tmp_path / "examples.jsonl", 4), tmp_path)
    adapter = tmp_path / "adapter"
    config = json.loads((adapter / "adapter_config.json").read_text())
    assert config["peft_type"] == "LORA" and config["base_model_name_or_path"] == str(tiny_model)
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model), adapter)
    loaded = {name.replace(".default", ""): w for name, w in model.state_dict().items() if ".lora_" in name}
    saved = weights(adapter)
    assert loaded.keys() == saved.keys() and all(
        torch.equal(w.float(), saved[name].float()) for name, w in loaded.items()
    )
