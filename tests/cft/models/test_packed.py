"""Packed weights change no bit of what a model writes, and leave no trace."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from cft.models.generate import generate
from cft.models.packed import can_pack, onednn_has_bfloat16, packed_linears

needs_onednn = pytest.mark.skipif(not onednn_has_bfloat16(), reason="oneDNN has no bfloat16 on this processor")


@pytest.fixture
def model(tiny_model):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.bfloat16).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn_like(weight) * 0.3)
    return model


@needs_onednn
@pytest.mark.parametrize("rows", [1, 7, 64])
@pytest.mark.parametrize("bias", [False, True])
def test_a_packed_layer_gives_the_same_bits(rows, bias):
    torch.manual_seed(rows)
    layer = torch.nn.Sequential(torch.nn.Linear(96, 200, bias=bias, dtype=torch.bfloat16))
    x = torch.randn(rows, 5, 96, dtype=torch.bfloat16)
    with torch.inference_mode():
        plain = layer(x)
        with packed_linears(layer, rows):
            assert torch.equal(layer(x), plain)


@needs_onednn
def test_an_adapter_on_packed_layers_writes_the_same_text(model, tiny_model, monkeypatch):
    adapted = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)).eval()
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    prompts = ["one", "and two, three"]
    packed = generate(adapted, tokenizer, prompts, max_new_tokens=12)
    monkeypatch.setattr("cft.models.packed.can_pack", lambda layer: False)
    assert packed == generate(adapted, tokenizer, prompts, max_new_tokens=12)


@needs_onednn
def test_the_layers_are_as_before_when_the_context_ends_even_by_an_error(model):
    count = sum(map(can_pack, model.modules()))
    with pytest.raises(KeyboardInterrupt), packed_linears(model, 2):
        assert sum("forward" in vars(layer) for layer in model.modules()) == count > 4
        raise KeyboardInterrupt
    assert not any("forward" in vars(layer) for layer in model.modules())


def test_only_plain_linear_layers_in_bfloat16_are_packed():
    class Quantised(torch.nn.Linear):
        pass

    assert not can_pack(Quantised(8, 8, dtype=torch.bfloat16))
    assert not can_pack(torch.nn.Linear(8, 8))
    assert not can_pack(torch.nn.Linear(8, 8, dtype=torch.bfloat16, device="meta"))
    assert not can_pack(torch.nn.LayerNorm(8))
