"""A training that is killed and goes on ends with the weights of one that nothing disturbed."""

import pytest
import torch

from cft.train.loop.checkpoints import newest, step_of
from tests.support.training import (
    distance,
    finish,
    in_process,
    make_recipe,
    run_train,
    same_weights,
    wait_until,
    weights,
    write_examples,
)

pytestmark = pytest.mark.gpu
ARGS = {"num_train_epochs": 4, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 1, "save_steps": 1}
# As a share of the weights' length. On a GPU attention adds up its gradient in any order, and Adam turns the rounding
# of a gradient near zero into steps of the full learning rate
ROUNDING = 0.01


@pytest.mark.parametrize("deterministic", [True, False])
def test_after_sigkill_it_ends_with_the_same_weights(tiny_model, tmp_path, device, deterministic):
    """Bit for bit on a CPU, and on a GPU with train.args.full_determinism; else on a GPU to rounding."""
    if device == "cpu" and not deterministic:
        pytest.skip("tests/cft/train/test_train.py has it for a CPU")
    examples = write_examples(tmp_path / "examples.jsonl", 6)
    args = ARGS | {"full_determinism": deterministic, "learning_rate": 1e-3}
    recipe = make_recipe(tiny_model, args, {"lora_dropout": 0.2})
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
    undisturbed, process = in_process(recipe, examples, whole), in_process(recipe, examples, killed)
    wait_until(lambda: (last := newest(killed / "checkpoints")) and step_of(last) >= 3, process)
    process.kill()
    process.join()
    assert not (killed / "adapter").exists()
    assert "going on from step" in finish(in_process(recipe, examples, killed), killed)
    finish(undisturbed, whole)
    one, other = whole / "adapter", killed / "adapter"
    if deterministic or device == "cpu":
        assert same_weights(one, other)
    else:
        assert distance(weights(other), weights(one)) < ROUNDING


def test_determinism_ends_with_the_training(tiny_model, tmp_path):
    """Evaluation in the same process computes as in one of its own."""
    examples = write_examples(tmp_path / "examples.jsonl", 2)
    run_train(make_recipe(tiny_model, {"full_determinism": True, "max_steps": 1}), examples, tmp_path)
    assert not torch.are_deterministic_algorithms_enabled()
