"""The memory plan: real models' sizes, parts that follow what makes them, and a card that is judged by both stages."""

import json

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from cft.devices import find_card
from cft.errors import ModelError
from cft.models.architecture import Architecture
from cft.models.catalogue import load_entries
from cft.plan.footprint import NF4, footprint
from cft.plan.memory import memory_lines, plan_memory
from cft.recipe.load import load_recipe
from cft.train.loop.fallback import Setting
from tests.support.command import cft

SMALL = Architecture(64, 160, 2, 4, 2, 300, head_dim=32)
ROWS = [(300, 300), (500, 400)]


@pytest.mark.parametrize("name", list(load_entries()))
def test_the_listed_sizes_give_the_published_parameters(name):
    entry = load_entries()[name]
    assert entry.architecture.parameters == entry.parameters


def random_model(kind: str):
    sizes = {"hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 2, "num_attention_heads": 4}
    sizes |= {"num_key_value_heads": 2, "vocab_size": 300, "tie_word_embeddings": kind != "llama"}
    sizes |= {"head_dim": 32} if kind != "qwen2" else {}
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **sizes))


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3", "gemma3_text"])
def test_weights_and_adapter_are_counted_as_torch_and_peft_do(kind):
    from peft import LoraConfig, get_peft_model

    model = random_model(kind)
    sizes = Architecture.from_config(model.config.to_dict())
    assert sizes.parameters == sum(p.numel() for p in model.parameters())
    for targets in ("all-linear", ["q_proj", "down_proj"]):
        adapted = get_peft_model(random_model(kind), LoraConfig(r=6, target_modules=targets, task_type="CAUSAL_LM"))
        trained = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
        assert sizes.lora_parameters(6, targets) == trained


def test_what_a_layer_keeps_is_what_autograd_keeps():
    """The saved tensors of real layers; a tensor that is kept twice counts once."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    sizes = {"hidden_size": 64, "intermediate_size": 256, "num_attention_heads": 4, "num_key_value_heads": 2}
    model = Qwen2ForCausalLM(Qwen2Config(**sizes, num_hidden_layers=3, vocab_size=50)).to(torch.bfloat16)
    model.requires_grad_(False)
    model.get_input_embeddings().weight.requires_grad_()  # so that activations have a backward, as below an adapter
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    tokens = 512
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model.model(input_ids=torch.ones(1, tokens, dtype=torch.long), use_cache=False)
    measured = sum(size for size, _ in kept.values()) / tokens / 3
    planned = Architecture.from_config(model.config.to_dict()).kept_bytes(2, "sdpa", tokens)
    assert planned == pytest.approx(measured, rel=0.25)  # frozen linear layers keep no input here, LoRA's do


def of(setting: Setting, **changes):
    given = {"rows": ROWS, "dtype": "bfloat16", "lora": {"r": 8, "target_modules": "all-linear"}, "on_gpu": True}
    return footprint(SMALL, setting, **given | changes)


def test_each_part_follows_what_makes_it():
    plain = Setting(4, 2, "none")
    assert of(plain).weights == 2 * SMALL.parameters and of(plain, dtype="float32").weights == 4 * SMALL.parameters
    linear, other = SMALL.linear_parameters, SMALL.parameters - SMALL.linear_parameters
    assert of(Setting(4, 2, "none", "nf4")).weights == NF4 * linear + 2 * other
    trained = SMALL.lora_parameters(8)
    assert (of(plain).adapter, of(plain).optimizer) == (4 * trained, 12 * trained)
    assert of(plain, optimizer="paged_adamw_8bit").optimizer == 6 * trained
    assert of(plain, lora=None).optimizer == 12 * SMALL.parameters and of(plain, lora=None).adapter == 0
    assert of(Setting(2, 4, "none")).activations == of(plain).activations / 2
    sizes = [of(Setting(4, 2, kind)).activations for kind in ("none", "selective", "full")]
    assert sizes == sorted(sizes, reverse=True)
    assert of(plain, attention="eager").activations > of(plain).activations
    assert of(plain, lora=None).logits > of(plain).logits


def plan(rows=ROWS, gpu=None, device="cuda", recipe="one_problem_cft/qwen2.5_math_7b_lora", *overrides):
    loaded = load_recipe(recipe, list(overrides))
    return plan_memory(loaded, load_entries()[loaded.model.id].architecture, rows, gpu and find_card(gpu), device)


def test_a_card_that_is_too_small_gets_the_first_knob_after_which_it_fits():
    fits = plan(gpu="24")
    assert fits["fits"] and fits["spare_gb"] > 0 and fits["knob"] is None
    assert "fits 24 GB card (22.6 GB to use) with ~" in memory_lines(fits)[1]
    tight = plan(gpu="16")
    assert not tight["fits"] and tight["knob"][-1] == "model.quantization=nf4" and tight["knob_gb"] < 15
    assert "too much. First turn, for ~" in memory_lines(tight)[1]
    loaded = load_recipe("one_problem_cft/qwen2.5_math_7b_lora", [word.replace("'", "") for word in tight["knob"]])
    sizes = load_entries()["qwen2.5-math-7b"].architecture
    assert plan_memory(loaded, sizes, ROWS, find_card("16"), "cuda")["fits"]
    hopeless = plan(gpu="3")
    assert hopeless["knob"] is None and "whatever is turned" in memory_lines(hopeless)[1]


@pytest.mark.parametrize(
    ("asked", "gigabytes"),
    [
        ("12", 12),
        ("16 GB", 16),
        ("RTX 4090", 24),
        ("nvidia geforce rtx 3060", 12),
        ("h200", 141),
        ("H100-NVL", 94),
        ("A100 40GB", 40),
        ("L40", 48),
        ("b200", 180),
    ],
)
def test_cards_are_found_by_memory_or_name(asked, gigabytes):
    assert find_card(asked).bytes == gigabytes * 1e9


@pytest.mark.parametrize(
    ("asked", "words"), [("rtx 4099", "Did you mean rtx 4090"), ("-3", "neither"), ("0", "neither")]
)
def test_a_card_that_is_none_is_an_error(asked, words):
    with pytest.raises(ModelError, match=words):
        find_card(asked)


def test_the_command_plans_for_a_card_that_is_not_here(tmp_path):
    done = cft("plan", "one_problem_cft/qwen2.5_math_7b_qlora", "--gpu", "RTX 4090", "--json", cwd=tmp_path)
    told = json.loads(done.stdout)
    memory = told["memory"]
    assert memory["fits"] and memory["room"]["name"] == "RTX 4090" and memory["training"]["weights"] > 5
    seconds = [stage["estimates"]["seconds"] for stage in told["stages"] if stage["stage"] in ("train", "eval")]
    assert seconds[0] > 60 and seconds[-1] > 60 and told["estimates"]["total_seconds"] > sum(seconds)
    wrong = cft("plan", "quickstart", "--gpu", "twelve", cwd=tmp_path)
    assert wrong.returncode == 2 and "--gpu twelve: is neither" in wrong.stderr
