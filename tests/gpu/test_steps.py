"""A training step computes what plain transformers does: loss and gradients, on this device, in each type."""

import json

import pytest
import torch

from cft.errors import TrainError
from cft.train import sft
from cft.train.loop.faults import training_arguments
from cft.train.loop.head import is_plain_frozen_head
from cft.train.loop.trainer import CompletionTrainer, plain
from tests.support.training import (
    distance,
    gradients,
    make_recipe,
    make_trainer,
    run_train,
    step,
    weights,
    write_examples,
)

pytestmark = pytest.mark.gpu
KINDS = {
    "padded": {},
    "packed": {"args": {"padding_free": True}},
    "recomputed": {"args": {"activation_checkpointing": True}},
    "whole model": {"full": True},
}


def plain_step(trainer) -> tuple[float, dict]:
    """Loss and gradients from the logits of each row alone, as transformers gives them."""
    model, total, count = plain(trainer.model).train(), 0.0, 0
    for row in trainer.train_dataset:
        ids, labels = (torch.tensor([row[key]], device=model.device) for key in ("input_ids", "labels"))
        logits = model(input_ids=ids, use_cache=False).logits[0, :-1].float()
        total += torch.nn.functional.cross_entropy(logits, labels[0, 1:], reduction="sum")
        count += (labels[0, 1:] != -100).sum()
    (total / count).backward()
    return (total / count).item(), gradients(trainer.model)


@pytest.mark.parametrize("head", ["ours", "TRL"])
@pytest.mark.parametrize("kind", KINDS)
def test_loss_and_gradients_are_those_of_the_plain_logits(tiny_model, tmp_path, kind, head):
    found, masks = {}, []
    for dtype in ("float32", "bfloat16"):
        options = {"args": {}} | KINDS[kind]
        trainer = make_trainer(tiny_model, tmp_path, dtype=dtype, **options)
        trainer.projects_completions_only = head == "ours"
        trainer.needs_no_logits = head == "ours" and is_plain_frozen_head(plain(trainer.model))
        assert trainer.needs_no_logits == (head == "ours" and kind != "whole model")
        plain(trainer.model).base_model.register_forward_pre_hook(
            lambda model, args, given: masks.append(given.get("attention_mask")), with_kwargs=True
        )
        found[dtype] = step(trainer, [0, 1, 2, 3])
        assert set(masks) == {None}  # with one attention is slower, and nothing needs it
        if dtype == "float32":
            loss, expected = plain_step(trainer)
    assert found["float32"][0] == pytest.approx(loss, rel=1e-5) and distance(found["float32"][1], expected) < 1e-4
    assert found["bfloat16"][0] == pytest.approx(loss, rel=0.02) and distance(found["bfloat16"][1], expected) < 0.1


@pytest.mark.parametrize("block", [{}, {"dtype": "float16"}, {"dtype": "float16", "quantization": "nf4"}], ids=str)
def test_the_loss_falls_over_ten_steps(tiny_model, tmp_path, need_gpu, block):
    if block:
        need_gpu("float16 autocast and its scaler of gradients")
    args = {"max_steps": 10, "learning_rate": 1e-2, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 1}
    examples = write_examples(tmp_path / "examples.jsonl", 4)
    summary, _ = run_train(make_recipe(tiny_model, args, **block), examples, tmp_path)
    assert summary["steps"] == 10 and summary["last_loss"] < summary["first_loss"] - 0.5
    assert summary.get("skipped_steps", 0) < 5
    for tensor in weights(tmp_path / "adapter").values():
        assert tensor.dtype == torch.float32 and tensor.isfinite().all()


@pytest.fixture
def scaled(device, monkeypatch):
    """Training scales its gradients, as in float16, beginning with a given scale."""

    def begin_with(scale: float) -> None:
        class Scaled(CompletionTrainer):
            def __init__(self, **given):
                super().__init__(**given)
                self.accelerator.scaler = torch.amp.GradScaler(device, init_scale=scale)

        monkeypatch.setattr(sft, "CompletionTrainer", Scaled)

    return begin_with


def test_a_step_whose_gradient_overflows_is_skipped_and_counted(tiny_model, tmp_path, scaled):
    scaled(2.0**127)  # a loss above 2 times this is above what float32 has
    examples = write_examples(tmp_path / "examples.jsonl", 8)
    args = {"gradient_accumulation_steps": 1, "learning_rate": 1e-3}
    summary, _ = run_train(make_recipe(tiny_model, args, dtype="float32"), examples, tmp_path)
    log = json.loads((tmp_path / "metrics.json").read_text())["log"]
    skipped = [row for row in log if "skipped_steps" in row]
    assert 0 < summary["skipped_steps"] == len(skipped) < len(log) == summary["steps"]
    assert any("grad_norm" not in row for row in skipped)  # it was no number


def test_a_gradient_that_no_scale_saves_is_a_divergence(tiny_model, tmp_path, scaled):
    scaled(2.0)
    examples = write_examples(tmp_path / "examples.jsonl", 8)
    args = {"gradient_accumulation_steps": 1, "learning_rate": 1e30, "max_grad_norm": 1e30, "warmup_steps": 0}
    with pytest.raises(TrainError, match="diverged: the gradient of step"):
        run_train(make_recipe(tiny_model, args, dtype="float32"), examples, tmp_path)


def test_a_lone_process_takes_one_of_several_gpus(tiny_model, tmp_path, device, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    args = training_arguments({"per_device_train_batch_size": 3, "bf16": False}, 0, tmp_path)
    assert args.n_gpu == 1 and args.train_batch_size == 3
