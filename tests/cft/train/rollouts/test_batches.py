"""The arithmetic of completions and optimizer steps, held against TRL's own configuration and sampler."""

import pytest
from trl import GRPOConfig
from trl.trainer.utils import RepeatSampler

from cft.train.rollouts.batches import RolloutBatches
from cft.train.rollouts.prompts import PromptRows


@pytest.mark.parametrize(
    ("args", "rows"),
    [
        ({}, 1),
        ({"num_train_epochs": 3}, 5),
        ({"steps_per_generation": 16, "num_train_epochs": 2}, 1),
        ({"generation_batch_size": 96, "num_iterations": 2}, 4),
        ({"steps_per_generation": 2, "num_train_epochs": 4}, 1),
        ({"per_device_train_batch_size": 4, "num_generations": 4}, 3),
    ],
)
def test_the_batches_are_those_of_trl(args, rows, tmp_path):
    batches = RolloutBatches.of(args)
    config = GRPOConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, **batches.args)
    assert config.steps_per_generation * config.per_device_train_batch_size == batches.completions
    generate_every = config.steps_per_generation * config.num_iterations
    assert batches.clips == (config.gradient_accumulation_steps % generate_every != 0)

    steps = batches.planned_steps(args, rows)
    data_set = range(batches.generations(steps) * batches.prompts)
    drawn = list(RepeatSampler(data_set, config.num_generations, batches.prompts, generate_every, shuffle=False))
    assert set(drawn) == set(data_set) and len(data_set) >= rows * args.get("num_train_epochs", 1)  # none is left out
    micro_batches = len(drawn) // batches.completions  # TRL loads a generation at a time
    assert 0 <= steps * config.gradient_accumulation_steps - micro_batches < config.gradient_accumulation_steps
    assert batches.planned_steps({"max_steps": 7}, rows) == 7


def test_one_step_a_generation_does_not_clip_and_several_do():
    assert not RolloutBatches.of({}).clips and RolloutBatches.of({}).steps == 1
    several = RolloutBatches.of({"steps_per_generation": 16})
    assert several.clips and several.steps == 4 and several.generations(24) == 6
    assert RolloutBatches.of({"num_iterations": 2}).clips


def test_right_and_wrong_candidates_take_turns_in_an_order_of_chance():
    rows = [{"id": number, "correct": number % 3 == 0} for number in range(12)]  # 4 right, 8 wrong
    drawn = PromptRows(rows, [1] * 12, 8).in_order(24, seed=0)
    assert [row["correct"] for row in drawn[:12]] == [True, False] * 4 + [False] * 4
    halves = [[row["id"] for row in half] for half in (drawn[:12], drawn[12:])]
    assert sorted(halves[0]) == sorted(halves[1]) == list(range(12)) and halves[0] != halves[1]
