"""What a training takes of this device's memory, what it leaves to the evaluation, and what it does without enough."""

import gc
import json
import weakref
from pathlib import Path

import pytest
import torch

from cft.recipe.blocks import Recipe
from cft.train import job
from eval.answering import arms
from tests.support import evaluating
from tests.support.training import (
    distance,
    finish,
    make_recipe,
    run_train,
    started,
    train_and_tell,
    weights,
    write_examples,
)

pytestmark = pytest.mark.gpu
ARGS = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 1, "max_steps": 2, "learning_rate": 1e-2}
CAP = 600  # MiB


def test_the_peak_is_that_of_this_training_as_torch_measures_it(tiny_model, tmp_path, need_gpu):
    need_gpu("a peak that begins anew")
    large = torch.empty(300 * 2**20, dtype=torch.uint8, device="cuda")  # of an earlier stage
    del large
    summary, _ = run_train(make_recipe(tiny_model, ARGS), write_examples(tmp_path / "examples.jsonl", 4), tmp_path)
    assert 0 < summary["peak_memory_mb"] < 250
    assert summary["peak_memory_mb"] <= torch.cuda.max_memory_allocated() / 2**20 + 0.1


def train_with_little(recipe: dict, examples: Path, folder: Path) -> None:
    """Train in a process that may have CAP MiB of the GPU."""
    torch.cuda.set_per_process_memory_fraction(CAP * 2**20 / torch.cuda.get_device_properties(0).total_memory)
    train_and_tell(recipe, examples, folder, {})


def test_with_too_little_memory_it_goes_on_with_smaller_micro_batches(tiny_model, tmp_path, need_gpu):
    """tests/cft/train/test_fallback.py has it for a CPU."""
    need_gpu("memory that can be capped")
    # Eager attention keeps every token's weight on every other: 32 rows of some 1,000 tokens take gigabytes
    args = ARGS | {"per_device_train_batch_size": 32, "activation_checkpointing": False, "learning_rate": 1e-3}
    recipe = make_recipe(tiny_model, args, dtype="float32", attn_implementation="eager")
    examples = write_examples(tmp_path / "examples.jsonl", 32, repeat=20)
    capped, free = tmp_path / "capped", tmp_path / "free"
    capped.mkdir()
    end = finish(started(train_with_little, recipe.model_dump(), examples, capped), capped)
    assert "out of memory with micro-batches of 32 row(s): going on with micro-batches of 16 row(s), the same 32" in end
    whole, _ = run_train(recipe, examples, free)
    used = json.loads((capped / "metrics.json").read_text())["summary"]
    assert used["micro_batch"] < 32 and used["rows_a_step"] == whole["rows_a_step"] == 32
    assert used["steps"] == whole["steps"] == 2 and used["peak_memory_mb"] <= CAP < whole["peak_memory_mb"]
    assert distance(weights(capped / "adapter"), weights(free / "adapter")) < 0.01


def answer_alone(recipe: dict, adapter: Path, folder: Path) -> None:
    evaluating.run(Recipe.model_validate(recipe), folder, adapter)


@pytest.fixture
def bases(monkeypatch):
    """For each base that training and evaluation have loaded: how many earlier ones were still in memory then."""
    models, alive = [], []
    for module in (job, arms):

        def watched(*args, load=module.load_model, **given):
            alive.append(sum(model() is not None for model in models))
            models.append(weakref.ref(model := load(*args, **given)))
            return model

        monkeypatch.setattr(module, "load_model", watched)
    gc.collect()
    gc.disable()  # it would come by chance
    yield alive
    gc.enable()


def test_after_training_the_same_process_holds_one_base_and_answers_as_a_new_one(tiny_model, tmp_path, device, bases):
    recipe = evaluating.make_recipe(tiny_model, limit=4)
    train = make_recipe(tiny_model, ARGS | {"max_steps": 4}, dtype="float32")
    run_train(train, write_examples(tmp_path / "examples.jsonl", 4), tmp_path)
    adapter, here, alone = tmp_path / "adapter", tmp_path / "here", tmp_path / "alone"
    results, _ = evaluating.run(recipe, here, adapter)
    assert bases == [0, 0]
    process = started(answer_alone, recipe.model_dump(), adapter, alone)
    process.join(300)
    assert process.exitcode == 0
    for arm in ("base", "adapter"):
        rows, others = evaluating.rows(here, arm), evaluating.rows(alone, arm)
        assert len(rows) == 4 and [row["response"] for row in rows] == [row["response"] for row in others]
        assert results[evaluating.TASK][arm]["settings"]["device"].partition(":")[0] == device
