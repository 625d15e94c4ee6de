"""Training really trains: a tiny model learns a row, survives kills bit for bit, and leaves a plain PEFT folder."""

import io
import json
import random
import resource
import time
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from cft.errors import TrainError
from cft.recipe.blocks import Recipe
from tests.support.training import (
    ROWS,
    finish,
    in_process,
    interrupted,
    make_recipe,
    run_train,
    same_weights,
    wait_until,
    weights,
    write_examples,
)

KILLED_OFTEN = {"num_train_epochs": 5, "gradient_accumulation_steps": 2, "save_steps": 1, "learning_rate": 1e-2}


@pytest.fixture(scope="module")
def trained(tiny_model, tmp_path_factory) -> tuple[Path, dict, str]:
    folder = tmp_path_factory.mktemp("trained")
    examples = write_examples(folder / "examples.jsonl", 8)
    recipe = make_recipe(tiny_model, {"num_train_epochs": 4, "gradient_accumulation_steps": 2, "learning_rate": 1e-2})
    return folder, *run_train(recipe, examples, folder)


def test_the_loss_falls_and_every_step_is_logged(trained) -> None:
    folder, summary, _ = trained
    log = json.loads((folder / "metrics.json").read_text())["log"]
    assert [row["step"] for row in log] == list(range(1, 17)) and summary["steps"] == 16
    assert summary["first_loss"] == log[0]["loss"] and summary["last_loss"] == log[-1]["loss"]
    assert summary["last_loss"] < summary["first_loss"] - 0.5
    assert log[-1]["tokens"] == 4 * (summary["prompt_tokens"] + summary["completion_tokens"])
    assert all({"learning_rate", "grad_norm", "seconds", "tokens_per_second"} <= row.keys() for row in log)


def test_progress_is_plain_lines_without_a_terminal(trained) -> None:
    lines = trained[2].splitlines()
    assert lines[0].startswith("8 rows, ")
    assert lines[-1].startswith("step 16/16  loss ") and "tokens/s" in lines[-1] and lines[-1].endswith(" 0 s left")


def test_progress_is_a_bar_on_a_terminal(tiny_model, tmp_path) -> None:
    from cft.train.sft import train

    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    examples = write_examples(tmp_path / "examples.jsonl", 4)
    train(make_recipe(tiny_model, {"gradient_accumulation_steps": 2}), examples, tmp_path, console=console)
    shown = console.file.getvalue()
    assert "━" in shown and "step 2/2  loss" in shown


def test_plain_peft_loads_the_adapter(trained, tiny_model) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.bfloat16)
    model = PeftModel.from_pretrained(base, trained[0] / "adapter")
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": ROWS[0][0]}, {"role": "assistant", "content": ROWS[0][1]}], return_tensors="pt"
    )["input_ids"]
    with torch.no_grad():
        after = model(ids, labels=ids).loss
        with model.disable_adapter():
            before = model(ids, labels=ids).loss
    assert after < before - 0.3
    assert {tensor.dtype for tensor in weights(trained[0] / "adapter").values()} == {torch.float32}


def test_what_is_left_is_a_plain_adapter_folder(trained, tiny_model) -> None:
    folder = trained[0]
    assert sorted(p.name for p in folder.iterdir()) == ["adapter", "examples.jsonl", "metrics.json"]
    adapter = folder / "adapter"
    assert {p.name for p in adapter.iterdir()} == {"README.md", "adapter_config.json", "adapter_model.safetensors"}
    assert len({p.stat().st_mode for p in adapter.iterdir()}) == 1  # whoever may read one file may read all
    config = json.loads((adapter / "adapter_config.json").read_text())
    assert config["target_modules"] == sorted(config["target_modules"])
    assert config["base_model_name_or_path"] == str(tiny_model) and config["task_type"] == "CAUSAL_LM"
    assert (config["r"], config["lora_alpha"]) == (16, 32)
    assert {name.rpartition(".")[2] for name in config["target_modules"]} == {
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj",
    }  # fmt: skip


def test_the_card_says_what_made_the_adapter(trained) -> None:
    folder, summary, _ = trained
    text = (folder / "adapter" / "README.md").read_text()
    _, front, body = text.split("---\n", 2)
    assert yaml.safe_load(front) == {
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "tags": ["lora", "trl", "cft", "sft"],
    }
    for words in (summary["examples_sha256"], "| rows | 8 |", "| seed | 0 |", "trl 1.16", "learning_rate: 0.01"):
        assert words in body
    assert "Not scored yet" in body


def test_scores_replace_what_stood_there(trained) -> None:
    from cft.train.card import add_scores

    adapter = trained[0] / "adapter"
    arms = [{"name": "base", "accuracy": 0.2, "ci": [0.1, 0.3], "n": 100}]
    pair = {"arm": "adapter", "against": "base", "difference": 0.052, "ci": [0.01, 0.09], "test": "mcnemar", "p": 0.031,
            "gained": 9, "lost": 4}  # fmt: skip
    before = (adapter / "README.md").read_text()
    for accuracy in (0.1, 0.252):
        arms[1:] = [{"name": "adapter", "accuracy": accuracy, "ci": [0.15, 0.35], "n": 100}]
        add_scores(adapter, {"task": "words", "arms": arms, "comparisons": [pair]})
    text = (adapter / "README.md").read_text()
    assert "Not scored yet" not in text and "10.0%" in text and "| adapter | 25.2% | 15.0% to 35.0% | 100 |" in text
    assert text.count("| adapter |") == 1
    assert "+5.2 points (95 % interval +1.0 to +9.0, exact McNemar p = 0.031; 9 gained, 4 lost)" in text
    assert text.split("## Training")[1] == before.split("## Training")[1]


def test_the_loss_is_that_of_trl(tiny_model, tmp_path) -> None:
    """Projecting only the completion's positions changes neither loss nor gradients, padding included."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig

    from cft.rows import load_rows
    from cft.train.loop.trainer import CompletionTrainer
    from cft.train.preflight import preflight

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    rows = preflight(load_rows(write_examples(tmp_path / "examples.jsonl", 2)), tokenizer, 4096).rows
    trainer = CompletionTrainer(
        model=AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32),
        args=SFTConfig(str(tmp_path), use_cpu=True, bf16=False, report_to="none", gradient_checkpointing=False),
        processing_class=tokenizer,
        peft_config=LoraConfig(target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False),
        train_dataset=Dataset.from_list([{"input_ids": r.input_ids, "labels": r.labels} for r in rows]),
    )
    assert trainer.projects_completions_only
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(2)])
    results = []
    for fast in (True, False):
        trainer.projects_completions_only = fast
        for count in (None, torch.tensor(100)):
            loss = trainer.compute_loss(trainer.model, dict(batch), num_items_in_batch=count)
            loss.backward()
            gradients = [p.grad.clone() for p in trainer.model.parameters() if p.grad is not None]
            trainer.model.zero_grad()
            results.append((loss.item(), gradients))
    for (loss, gradients), (trl_loss, trl_gradients) in zip(results[:2], results[2:], strict=True):
        assert loss == pytest.approx(trl_loss, rel=1e-5)
        assert len(gradients) == len(trl_gradients) > 20
        for mine, theirs in zip(gradients, trl_gradients, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-5)


def test_trying_the_longest_batch_leaves_no_trace(tiny_model, tmp_path, monkeypatch) -> None:
    from cft.train.loop import trainer

    tried = []
    examples = write_examples(tmp_path / "examples.jsonl", 4)
    recipe = make_recipe(tiny_model, {"gradient_accumulation_steps": 2}, {"lora_dropout": 0.3})
    real = trainer.CompletionTrainer.try_longest_batch
    monkeypatch.setattr(
        trainer.CompletionTrainer, "try_longest_batch", lambda self: (real(self), tried.append(self.state.global_step))
    )
    run_train(recipe, examples, tmp_path / "with")
    monkeypatch.setattr(trainer.CompletionTrainer, "try_longest_batch", lambda self: None)
    run_train(recipe, examples, tmp_path / "without")
    assert tried == [0]
    assert same_weights(tmp_path / "with" / "adapter", tmp_path / "without" / "adapter")


# Kills, full disks and small memories happen to a process of their own. The fork server has the libraries loaded.


@pytest.fixture(scope="module")
def killed_often(tiny_model, tmp_path_factory) -> tuple[Recipe, Path, Path]:
    """Recipe, examples and folder of an undisturbed training of 15 steps, with dropout and a checkpoint a step."""
    folder = tmp_path_factory.mktemp("undisturbed")
    examples = write_examples(folder / "examples.jsonl", 6)
    recipe = make_recipe(tiny_model, KILLED_OFTEN, {"lora_dropout": 0.2})
    finish(in_process(recipe, examples, folder), folder)
    return recipe, examples, folder


def test_kill_9_at_any_moment_changes_no_bit(killed_often, tmp_path) -> None:
    from cft.train.loop.checkpoints import newest, step_of

    recipe, examples, undisturbed = killed_often
    checkpoints, moment = tmp_path / "checkpoints", random.Random(0)
    reached = []
    for _ in range(4):
        process = in_process(recipe, examples, tmp_path)
        target = (reached[-1] if reached else 0) + 2
        wait_until(lambda target=target: (last := newest(checkpoints)) and step_of(last) >= target, process)
        time.sleep(moment.uniform(0, 0.06))
        process.kill()
        process.join()
        if (tmp_path / "adapter").exists():  # a slow machine let it run to its end
            break
        reached.append(step_of(newest(checkpoints)))
    finished = (tmp_path / "adapter").exists()
    said = finish(in_process(recipe, examples, tmp_path), tmp_path)
    assert len(reached) >= 2 and (finished or f"going on from step {reached[-1]}" in said)
    assert same_weights(tmp_path / "adapter", undisturbed / "adapter")
    mine, theirs = (json.loads((f / "metrics.json").read_text())["log"] for f in (tmp_path, undisturbed))
    assert [(row["step"], row["loss"]) for row in mine] == [(row["step"], row["loss"]) for row in theirs]
    assert not checkpoints.exists()


def stopped_halfway(killed_often, folder: Path) -> Path:
    """The checkpoints folder of a training that was killed after step 5 or later."""
    from cft.train.loop.checkpoints import newest, step_of

    recipe, examples, _ = killed_often
    process = in_process(recipe, examples, folder)
    wait_until(lambda: (last := newest(folder / "checkpoints")) and step_of(last) >= 5, process)
    process.kill()
    process.join()
    return folder / "checkpoints"


def test_an_unfinished_checkpoint_is_not_used(killed_often, tmp_path) -> None:
    """As a kill within a save leaves it: newer than the complete one, its weights torn."""
    recipe, examples, undisturbed = killed_often
    checkpoints = stopped_halfway(killed_often, tmp_path)
    torn = checkpoints / "checkpoint-14"
    torn.mkdir()
    (torn / "adapter_model.safetensors").write_bytes(b"torn")
    (torn / "trainer_state.json").write_text('{"global_step": 14')
    assert "going on from step" in finish(in_process(recipe, examples, tmp_path), tmp_path)
    assert same_weights(tmp_path / "adapter", undisturbed / "adapter")


def test_checkpoints_of_other_settings_are_thrown_away(killed_often, tiny_model, tmp_path) -> None:
    _, examples, _ = killed_often
    stopped_halfway(killed_often, tmp_path)
    other = make_recipe(tiny_model, {"gradient_accumulation_steps": 2, "learning_rate": 1e-3})
    summary, said = run_train(other, examples, tmp_path)
    assert "belongs to other rows or settings" in said and "going on" not in said
    assert summary["steps"] == 3 and not (tmp_path / "checkpoints").exists()


def test_a_finished_training_is_not_repeated_and_other_rows_are(trained, tiny_model, tmp_path) -> None:
    folder, summary, _ = trained
    args = {"num_train_epochs": 4, "gradient_accumulation_steps": 2, "learning_rate": 1e-2}
    stamp = (folder / "adapter").stat().st_mtime_ns
    again, said = run_train(make_recipe(tiny_model, args), folder / "examples.jsonl", folder)
    assert again == summary and "step" not in said and (folder / "adapter").stat().st_mtime_ns == stamp
    import shutil

    copy = shutil.copytree(folder, tmp_path / "copy")
    changed, said = run_train(make_recipe(tiny_model), write_examples(copy / "examples.jsonl", 2), copy)
    assert changed["rows"] == 2 and "step 1/1" in said
    assert not same_weights(copy / "adapter", folder / "adapter")


def test_a_full_disk_leaves_nothing_half_written(killed_often, tmp_path) -> None:
    """No file may grow above 60 kB, so the first checkpoint's weights do not fit."""
    recipe, examples, undisturbed = killed_often
    end = finish(in_process(recipe, examples, tmp_path, {resource.RLIMIT_FSIZE: 60_000}), tmp_path)
    assert end.startswith(f"TrainError: {tmp_path}: cannot be written") and "MB are free" in end and "--runs" in end
    assert not list(tmp_path.glob("checkpoints/checkpoint-*")) and not (tmp_path / "adapter").exists()
    finish(in_process(recipe, examples, tmp_path), tmp_path)
    assert same_weights(tmp_path / "adapter", undisturbed / "adapter")


def test_ctrl_c_says_how_to_go_on(tiny_model, tmp_path, monkeypatch) -> None:
    examples = write_examples(tmp_path / "examples.jsonl", 6)
    recipe = make_recipe(tiny_model, KILLED_OFTEN)
    said = interrupted(recipe, examples, tmp_path, monkeypatch, step=2)
    assert "stopped; the same command goes on from step 2" in said
    assert "going on from step 2" in run_train(recipe, examples, tmp_path)[1]


def test_divergence_is_an_error_with_a_fix(tiny_model, tmp_path) -> None:
    examples = write_examples(tmp_path / "examples.jsonl", 4)
    args = {"num_train_epochs": 4, "learning_rate": 1e30, "max_grad_norm": 1e30, "warmup_steps": 0}
    with pytest.raises(TrainError, match=r"diverged: the gradient of step \d+ is .*learning_rate, which is 1e\+30"):
        run_train(make_recipe(tiny_model, args), examples, tmp_path)


def test_a_base_without_chat_template_trains_on_plain_text(tmp_path) -> None:
    from tests.support.tiny import make_tiny_model

    model = make_tiny_model(tmp_path / "plain", chat_template=None)
    examples = write_examples(tmp_path / "examples.jsonl", 4)
    summary, _ = run_train(
        make_recipe(model, {"num_train_epochs": 4, "learning_rate": 1e-2}), examples, tmp_path / "run"
    )
    assert summary["last_loss"] < summary["first_loss"]


def test_a_recipes_own_template_travels_with_the_adapter(tiny_model, tmp_path) -> None:
    from transformers import AutoTokenizer

    examples = write_examples(tmp_path / "examples.jsonl", 2)
    run_train(make_recipe(tiny_model, chat_template="plain"), examples, tmp_path / "run")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "run" / "adapter")
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hm?"}], tokenize=False, add_generation_prompt=True
    )
    assert text == "Question: Hm?\nAnswer:"


@pytest.mark.parametrize("block", [{"dtype": "float32"}, {"dtype": "float16"}])
def test_other_types_of_weights(tiny_model, tmp_path, block) -> None:
    import torch

    examples = write_examples(tmp_path / "examples.jsonl", 2)
    run_train(make_recipe(tiny_model, **block), examples, tmp_path / "run")
    assert {tensor.dtype for tensor in weights(tmp_path / "run" / "adapter").values()} == {torch.float32}


@pytest.mark.parametrize(
    ("args", "lora", "fault"),
    [
        ({"output_dir": "x"}, {}, "train.args.output_dir=x"),
        ({"learning_rat": 1}, {}, "(?s)train.args.learning_rat=1.*TRL 1.16"),
        ({"lr_scheduler_type": "sinus"}, {}, "sinus"),
        ({"max_length": 10}, {}, "train.args.max_length="),
        ({}, {"rank": 3}, "(?s)train.lora.rank=3.*PEFT"),
        ({}, {"target_modules": ["no_proj"]}, r"(?s)no_proj.*try again\.\n.* TRL 1\.16"),
        ({"logging_steps": 0}, {}, r"(?s)train\.args\.logging_steps=0.*non-zero --logging_steps\.\n.*TRL 1\.16"),
        ({}, {"target_modules": ["lm_head"]}, "lm_head"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_are_refused(tiny_model, tmp_path, args, lora, fault) -> None:
    examples = write_examples(tmp_path / "examples.jsonl", 2)
    with pytest.raises(TrainError, match=fault):
        run_train(make_recipe(tiny_model, args, lora), examples, tmp_path / "run")
    assert not (tmp_path / "run" / "adapter").exists()
