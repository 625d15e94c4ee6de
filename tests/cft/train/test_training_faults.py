"""What a library refuses is said in one sentence of ours, with the key at fault and no doubled full stop."""

from pathlib import Path

import pytest

from cft.errors import TrainError
from cft.train.loop.faults import training_arguments
from tests.support.training import make_recipe, run_train, write_examples


def test_peft_s_own_full_stop_is_not_doubled(tiny_model, tmp_path: Path):
    recipe = make_recipe(tiny_model, lora={"r": 2, "target_modules": ["no_such_layer"]})
    with pytest.raises(TrainError, match=r"no_such_layer.*try again\. See peft\.LoraConfig and trl\.SFTConfig\.$"):
        run_train(recipe, write_examples(tmp_path / "examples.jsonl", 2), tmp_path / "train")


def test_settings_that_do_not_go_together_are_named(tmp_path: Path):
    with pytest.raises(TrainError, match=r"^train\.args: logging strategy .* non-zero --logging_steps\. See trl"):
        training_arguments({"logging_steps": 0, "use_cpu": True, "bf16": False}, 0, tmp_path)
