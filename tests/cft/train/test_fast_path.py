"""The fast ways of training compute the same as the plain ones: the head's loss, the order of rows, packed rows."""

import pytest
import torch
from torch.nn import Embedding

from cft.errors import TrainError
from cft.train.loop.head import CHUNK, FrozenHeadLoss, is_plain_frozen_head
from cft.train.loop.trainer import StepSampler
from tests.support.training import assert_close_weights, make_recipe, run_train, same_weights, write_examples


@pytest.mark.parametrize("bias", [False, True])
def test_the_heads_loss_and_gradient_are_those_of_cross_entropy(bias):
    torch.manual_seed(0)
    head = torch.nn.Linear(16, 50, bias=bias).requires_grad_(False)
    hidden = torch.randn(2 * CHUNK + 3, 16, requires_grad=True)
    targets = torch.randint(50, (len(hidden),))
    plain = torch.nn.functional.cross_entropy(head(hidden), targets, reduction="sum")
    (expected,) = torch.autograd.grad(plain / 7, hidden)
    loss = FrozenHeadLoss.apply(hidden, head.weight, head.bias, targets)
    (gradient,) = torch.autograd.grad(loss / 7, hidden)
    assert loss.item() == pytest.approx(plain.item(), rel=1e-6)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6)


def test_a_row_without_loss_is_no_fault():
    hidden = torch.zeros(0, 4, requires_grad=True)
    loss = FrozenHeadLoss.apply(hidden, torch.randn(5, 4), None, torch.zeros(0, dtype=torch.long))
    loss.backward()
    assert loss.item() == 0 and hidden.grad.shape == (0, 4)


def test_models_that_change_their_logits_or_train_their_head_are_left_alone(tiny_model):
    from transformers import AutoModelForCausalLM, Gemma2Config, Gemma2ForCausalLM

    plain = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    assert not is_plain_frozen_head(plain)  # its head would be trained
    assert is_plain_frozen_head(plain.requires_grad_(False)) and not plain.training
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes |= {"num_key_value_heads": 1, "head_dim": 16, "vocab_size": 100}
    for cap in (None, 5.0):
        gemma = Gemma2ForCausalLM(Gemma2Config(**sizes, final_logit_softcapping=cap)).requires_grad_(False)
        assert is_plain_frozen_head(gemma) == (cap is None)


def test_a_step_has_the_same_rows_whatever_the_micro_batch_and_like_lengths_side_by_side():
    lengths = [10, 900, 20, 800, 30, 700, 40, 600, 50, 500]
    sampler = StepSampler(lengths, rows_a_step=4, seed=3)
    order = list(sampler)
    assert sorted(order) == list(range(10)) and order == list(sampler) and len(sampler) == 10
    steps = [order[i : i + 4] for i in range(0, 10, 4)]
    for step in steps:
        assert [lengths[i] for i in step] == sorted((lengths[i] for i in step), reverse=True)
    assert steps != sorted(steps, key=lambda step: -lengths[step[0]])  # the steps themselves come at random
    sampler.set_epoch(1)
    assert list(sampler) != order and sorted(sampler) == list(range(10))


def test_micro_batches_of_any_size_train_the_same(tiny_model, tmp_path):
    examples = write_examples(tmp_path / "examples.jsonl", 8)
    for rows in (1, 2, 4):
        args = {"per_device_train_batch_size": rows, "gradient_accumulation_steps": 4 // rows, "num_train_epochs": 2}
        run_train(
            make_recipe(tiny_model, args | {"learning_rate": 1e-3}, dtype="float32"), examples, tmp_path / str(rows)
        )
    for rows in (2, 4):
        assert_close_weights(tmp_path / "1", tmp_path / str(rows))


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_padding_changes_nothing_and_a_cpu_sees_few_lengths(tiny_model, tmp_path, attention):
    examples = write_examples(tmp_path / "examples.jsonl", 8)
    widths = {}
    for multiple in (None, 64):
        seen = widths[multiple] = set()
        args = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2, "num_train_epochs": 2}
        args |= {"learning_rate": 1e-3} | ({} if multiple else {"pad_to_multiple_of": None})
        recipe = make_recipe(tiny_model, args, dtype="float32", attn_implementation=attention)
        with torch.nn.modules.module.register_module_forward_pre_hook(
            lambda module, given, seen=seen: seen.add(given[0].shape[1]) if isinstance(module, Embedding) else None
        ):
            run_train(recipe, examples, tmp_path / str(multiple))
    assert widths[64] == {3, 64, 128} and widths[None] == {3, 49, 64, 74}  # 3: the head; 64: what is saved is read back
    assert_close_weights(tmp_path / "64", tmp_path / "None")


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_rows_end_to_end_train_as_padded_rows_do(tiny_model, tmp_path, attention):
    """Padding-free: the same loss, the same weights, and every token counted."""
    examples = write_examples(tmp_path / "examples.jsonl", 8)
    args = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 1, "num_train_epochs": 2}
    args |= {"learning_rate": 1e-3}
    found = {}
    for free in (False, True):
        recipe = make_recipe(tiny_model, args | {"padding_free": free}, dtype="float32", attn_implementation=attention)
        found[free], _ = run_train(recipe, examples, tmp_path / str(free))
    assert found[True]["first_loss"] == pytest.approx(found[False]["first_loss"], rel=1e-4)
    assert found[True]["steps"] == found[False]["steps"] == 4
    assert_close_weights(tmp_path / "True", tmp_path / "False")
    assert not same_weights(tmp_path / "True" / "adapter", tmp_path / "False" / "adapter")  # it was another computation


def test_packed_rows_train_too(tiny_model, tmp_path):
    """TRL packs several rows into one of at most max_length tokens: fewer, fuller steps with the loss of all rows."""
    examples = write_examples(tmp_path / "examples.jsonl", 12)
    args = {"packing": True, "max_length": 256, "gradient_accumulation_steps": 1, "num_train_epochs": 2}
    summary, _ = run_train(make_recipe(tiny_model, args, dtype="float32"), examples, tmp_path / "packed")
    assert summary["rows"] == 12 and summary["steps"] < 12
    padded = make_recipe(tiny_model, {"per_device_train_batch_size": 12, "num_train_epochs": 1}, dtype="float32")
    plain, _ = run_train(padded, examples, tmp_path / "plain")
    assert summary["first_loss"] == pytest.approx(plain["first_loss"], rel=0.02)


def test_attention_that_mixes_packed_rows_is_refused(tiny_model, tmp_path, monkeypatch):
    """An attention function that ignores where rows begin, registered as a user of transformers would."""
    from transformers import AttentionInterface
    from transformers.integrations.sdpa_attention import sdpa_attention_forward
    from transformers.masking_utils import AttentionMaskInterface

    def careless(module, query, key, value, attention_mask, **kwargs):
        return sdpa_attention_forward(module, query, key, value, None, **kwargs | {"is_causal": True})

    AttentionInterface.register("careless", careless)
    AttentionMaskInterface.register("careless", lambda *args, **kwargs: None)
    examples = write_examples(tmp_path / "examples.jsonl", 4)
    args = {"per_device_train_batch_size": 2, "padding_free": True}
    with pytest.raises(TrainError, match=r"attn_implementation careless this model lets packed rows see each other"):
        run_train(make_recipe(tiny_model, args, dtype="float32", attn_implementation="careless"), examples, tmp_path)


def test_attention_that_recomputes_less_trains_the_same(tiny_model, tmp_path):
    examples = write_examples(tmp_path / "examples.jsonl", 4)
    kinds = {"none": {}, "full": {"gradient_checkpointing": True}}
    kinds["selective"] = {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"selective": True}}
    for name, args in kinds.items():
        run_train(make_recipe(tiny_model, args | {"learning_rate": 1e-3}), examples, tmp_path / name)
    for name in ("full", "selective"):
        assert_close_weights(tmp_path / name, tmp_path / "none")
