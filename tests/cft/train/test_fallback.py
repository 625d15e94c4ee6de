"""Too little memory makes training go on with safer settings and the same rows a step, or end in a clear error."""

import json
import resource
from pathlib import Path

import pytest

from cft.errors import TrainError
from cft.train.loop.fallback import Setting, ladder, next_safer, safer_for
from tests.support.training import finish, in_process, make_recipe, run_train, weights, write_examples

limited = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="limits memory by what Linux tells of it")


def test_safer_settings_come_in_the_order_of_what_they_cost():
    start = Setting(rows=4, accumulation=2, checkpointing="none")
    found = list(ladder(start, may_quantize=True))
    assert [(s.rows, s.accumulation, s.checkpointing, s.quantization) for s in found] == [
        (4, 2, "none", "none"),
        (2, 4, "none", "none"),
        (1, 8, "none", "none"),
        (1, 8, "selective", "none"),
        (1, 8, "full", "none"),
        (1, 8, "full", "nf4"),
    ]
    assert list(ladder(start, may_quantize=False)) == found[:-1]


@pytest.mark.parametrize(
    ("rows", "accumulation", "then"), [(6, 1, (3, 2)), (7, 1, (1, 7)), (5, 4, (2, 10)), (9, 3, (3, 9))]
)
def test_a_step_keeps_its_rows(rows, accumulation, then):
    safer = next_safer(Setting(rows, accumulation, "full"), may_quantize=False)
    assert (safer.rows, safer.accumulation) == then and safer.rows_a_step == rows * accumulation


@pytest.mark.parametrize(("processes", "then"), [(1, (2, 10)), (2, (2, 10)), (4, (1, 20)), (3, None)])
def test_several_processes_can_share_what_is_next(processes, then):
    safer = safer_for(processes, Setting(5, 4, "full"), may_quantize=False)
    assert (safer and (safer.rows, safer.accumulation)) == then


def test_the_overrides_are_those_that_lead_there(tiny_model):
    from cft.recipe.load import load_recipe
    from cft.train.loop.defaults import our_defaults

    before = Setting(4, 2, "none")
    for after in ladder(before, may_quantize=True):
        overrides = [override.replace("'", "") for override in after.overrides(before)]
        given = ["train.args.per_device_train_batch_size=4", "train.args.gradient_accumulation_steps=2"]
        recipe = load_recipe("quickstart", ["model.dtype=float32", *(overrides or given)], libraries=True)
        args = our_defaults("cpu", "float32", recipe.train.args) | recipe.train.args
        assert Setting.of(args, recipe.model.quantization) == after


@limited
def test_training_goes_on_with_smaller_micro_batches_and_learns_the_same(tiny_model, tmp_path):
    examples = write_examples(tmp_path / "examples.jsonl", 32, repeat=20)
    args = {"per_device_train_batch_size": 32, "gradient_accumulation_steps": 1, "num_train_epochs": 2}
    # Eager attention keeps every token's weight on every other: 32 rows take some 3 GB, 8 rows a quarter of it
    recipe = make_recipe(tiny_model, args | {"learning_rate": 1e-3}, dtype="float32", attn_implementation="eager")
    end = finish(in_process(recipe, examples, tmp_path, {resource.RLIMIT_AS: 2_000_000_000}), tmp_path)
    assert "out of memory with micro-batches of 32 row(s): going on with micro-batches of 16 row(s), the same 32" in end
    free, _ = run_train(recipe, examples, tmp_path / "free")
    used = json.loads((tmp_path / "metrics.json").read_text())["summary"]
    assert used["micro_batch"] < 32 and used["rows_a_step"] == 32 and used["steps"] == free["steps"] == 2
    assert f"per_device_train_batch_size={used['micro_batch']}" in used["fell_back_to"] and "fell_back_to" not in free
    assert used["last_loss"] == pytest.approx(free["last_loss"], rel=1e-5)
    mine, theirs = weights(tmp_path / "adapter"), weights(tmp_path / "free" / "adapter")
    assert all((value - theirs[key]).abs().max() < 1e-4 for key, value in mine.items())


def test_when_nothing_is_left_the_error_lists_what_was_tried(tiny_model, tmp_path, monkeypatch):
    from cft.train.loop.trainer import CompletionTrainer

    def too_much(self):
        raise MemoryError

    monkeypatch.setattr(CompletionTrainer, "try_longest_batch", too_much)
    examples = write_examples(tmp_path / "examples.jsonl", 4)
    with pytest.raises(TrainError) as caught:
        run_train(make_recipe(tiny_model, {"per_device_train_batch_size": 2}), examples, tmp_path)
    text = str(caught.value)
    assert text.startswith("out of memory on this machine, with rows of up to ")
    for words in (
        "2 row(s)\n",
        "1 row(s)\n",
        "1 row(s), selective checkpointing\n",
        "1 row(s), gradient checkpointing\n",
    ):
        assert words in text
    assert "smaller model" in text and "nf4" not in text and not (tmp_path / "adapter").exists()


def test_a_run_that_fell_back_goes_on_with_the_safer_setting(tiny_model, tmp_path, monkeypatch):
    """Out of memory in the third step: it goes on from the checkpoint of the second, and so does a later start."""
    from cft.train import sft
    from cft.train.loop.trainer import CompletionTrainer

    examples = write_examples(tmp_path / "examples.jsonl", 8)
    args = {"num_train_epochs": 4, "per_device_train_batch_size": 4, "save_steps": 1, "learning_rate": 1e-2}
    recipe = make_recipe(tiny_model, args, dtype="float32")
    undisturbed, _ = run_train(recipe, examples, tmp_path / "undisturbed")
    real, stops = CompletionTrainer.training_step, [MemoryError, KeyboardInterrupt]

    def training_step(self, *given):
        loss = real(self, *given)
        if stops and self.state.global_step == (2 if stops[0] is MemoryError else 3):
            raise stops.pop(0)
        return loss

    monkeypatch.setattr(sft.CompletionTrainer, "training_step", training_step)
    with pytest.raises(KeyboardInterrupt):
        run_train(recipe, examples, tmp_path)
    assert json.loads((tmp_path / "checkpoints" / "setting.json").read_text())["rows"] == 2
    summary, said = run_train(recipe, examples, tmp_path)
    assert "going on from step 3" in said and "out of memory" not in said
    assert summary["micro_batch"] == 2 and summary["steps"] == undisturbed["steps"] == 4
    mine, theirs = weights(tmp_path / "adapter"), weights(tmp_path / "undisturbed" / "adapter")
    assert all((value - theirs[key]).abs().max() < 1e-4 for key, value in mine.items())
