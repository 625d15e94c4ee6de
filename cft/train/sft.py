"""Critique fine-tuning from top to bottom: examples in, a LoRA adapter out, with TRL's SFTTrainer and PEFT.

A killed training goes on from its last complete checkpoint and ends with the same weights, bit for bit.
"""

import shutil
from pathlib import Path

import datasets
from peft import LoraConfig
from peft.helpers import disable_input_dtype_casting
from rich.console import Console
from safetensors import SafetensorError
from transformers import PrinterCallback

from cft.errors import TrainError
from cft.files import read_json, sha256_file, write_json
from cft.memory import peak_memory_mb
from cft.models import load_model, load_tokenizer, pick_device, resolve
from cft.recipe import Recipe, validate_recipe
from cft.runs import versions
from cft.train.checkpoints import KeepAdapters, MarkComplete, claim, discard_unfinished, newest, step_of
from cft.train.faults import explain, training_arguments
from cft.train.model_card import write_card
from cft.train.preflight import DEFAULT_MAX_LENGTH, load_rows, preflight
from cft.train.progress import TrainProgress, only_our_progress
from cft.train.trainer import CompletionTrainer, LongestBatchFirst, StopIfDiverged

ROWS_A_STEP = 8  # below 32: large batches hurt LoRA more than full fine-tuning

# Thinking Machines, "LoRA without regret": adapt all linear layers, alpha 32; a small data set fits in any rank.
LORA = {"r": 16, "lora_alpha": 32, "lora_dropout": 0.0, "target_modules": "all-linear"}


def our_defaults(device: str, dtype: str, rows_a_batch: int | None) -> dict:
    """Our SFTConfig where it differs from TRL's, or must not change when TRL's does. `train.args` goes over it."""
    rows_a_batch = rows_a_batch or (1 if device == "cpu" else 4)  # one row fills the cores of a CPU, and never pads
    return {
        "learning_rate": 2e-4,  # LoRA wants about ten times the rate of full fine-tuning
        "lr_scheduler_type": "cosine",
        "warmup_steps": 0.1,  # a share of all steps
        "num_train_epochs": 1,
        "per_device_train_batch_size": rows_a_batch,
        "gradient_accumulation_steps": max(1, ROWS_A_STEP // rows_a_batch),
        "max_length": DEFAULT_MAX_LENGTH,  # TRL's 1024 cuts rows; here a longer row is an error
        "completion_only_loss": True,
        "packing": False,  # without flash-attention, packed rows attend through a dense mask
        "bf16": dtype == "bfloat16",  # autocast: the base is bfloat16 anyway, LoRA's matmuls become it
        "fp16": dtype == "float16" and device == "cuda",
        "use_cpu": device == "cpu",
        "gradient_checkpointing": device != "cpu",  # TRL's default; it buys memory for a third more time
        "save_strategy": "steps",
        "save_steps": 0.05,  # a share of all steps: what a kill can cost
        "save_total_limit": 2,  # one complete, one being written
        "logging_steps": 1,
        "include_num_input_tokens_seen": "non_padding",
        "dataloader_num_workers": 0,  # the rows are tokenised already
        "dataloader_pin_memory": device == "cuda",
        "report_to": "none",
        "disable_tqdm": True,  # cft.train.progress instead
    }


@only_our_progress()
def train(recipe: Recipe, examples: Path, folder: Path, *, console: Console) -> dict:
    """Train `folder`/adapter on the examples, or go on where a killed training stopped.

    Writes folder/adapter (a PEFT folder with a model card) and folder/metrics.json; folder/steps/step-N the adapters of
    train.keep_steps; folder/checkpoints stands only
    while training is unfinished.

    Returns:
        the `summary` of metrics.json: rows, tokens, steps, first and last loss, seconds, tokens a second, memory.

    Raises:
        RecipeError, DataError, ModelError: the settings, the examples or the model cannot be used.
        TrainError: a row fails the preflight, a setting is refused, or memory or disk is too small.
        KeyboardInterrupt: after saying where the same command will go on.
    """
    validate_recipe(recipe)
    adapter, beside, checkpoints = folder / "adapter", folder / ".adapter.tmp", folder / "checkpoints"
    asked = recipe.train.args
    defaults = our_defaults(pick_device(), recipe.model.dtype, asked.get("per_device_train_batch_size"))
    args = training_arguments(asked, defaults, recipe.seed, checkpoints)

    # The rows, as the model will see them
    source = resolve(recipe.model)
    tokenizer = load_tokenizer(recipe.model)
    rows = preflight(load_rows(examples), tokenizer, args.max_length)
    counts = rows.summary()
    console.print(
        "{rows} rows, {prompt_tokens} prompt + {completion_tokens} trained tokens, longest row {longest_tokens} of at "
        "most {max_length}".format(**counts),
        highlight=False,
    )

    # What decides the weights: a checkpoint or adapter of anything else is not ours
    settings = {
        "examples_sha256": sha256_file(examples),
        "model": source.identity,
        "dtype": recipe.model.dtype,
        "quantization": recipe.model.quantization,
        "attn_implementation": recipe.model.attn_implementation,
        "chat_template": tokenizer.chat_template,
        "lora": LORA | recipe.train.lora,
        "args": defaults | asked,
        "seed": recipe.seed,
        "keep_steps": recipe.train.keep_steps,
    }
    done = read_json(folder / "metrics.json")
    if adapter.is_dir() and done and done["settings"] == settings:  # killed after its last step
        shutil.rmtree(checkpoints, ignore_errors=True)
        return done["summary"]
    shutil.rmtree(adapter, ignore_errors=True)
    checkpoint = claim(checkpoints, settings, console)
    if checkpoint is None:
        shutil.rmtree(folder / "steps", ignore_errors=True)

    # The trainer: base weights in recipe.model.dtype, LoRA weights in float32
    token_rows = [{"input_ids": row.input_ids, "labels": row.labels} for row in rows.rows]
    model = load_model(recipe.model)
    try:
        trainer = CompletionTrainer(
            model=model,
            args=args,
            processing_class=tokenizer,
            peft_config=LoraConfig(**{"task_type": "CAUSAL_LM", "revision": source.hub_revision} | settings["lora"]),
            train_dataset=datasets.Dataset.from_list(token_rows),
        )
    except (TypeError, ValueError) as error:
        raise TrainError(f"train.lora or train.args: {error}. See peft.LoraConfig and trl.SFTConfig.") from error
    progress = TrainProgress(console)
    trainer.remove_callback(PrinterCallback)
    keep = KeepAdapters(trainer, recipe.train.keep_steps, folder / "steps")
    for callback in (LongestBatchFirst(trainer), StopIfDiverged(), progress, keep, MarkComplete()):
        trainer.add_callback(callback)

    # Train
    if checkpoint:
        console.print(f"going on from step {step_of(checkpoint)}", highlight=False)
    try:
        # Under autocast PEFT's own cast of every LoRA input, to float32 and straight back, is a third of the time
        with disable_input_dtype_casting(trainer.model, active=args.bf16 or args.fp16):
            trainer.train(resume_from_checkpoint=checkpoint and str(checkpoint))

        log = [row for row in trainer.state.log_history if "loss" in row]
        seconds = sum(row["seconds"] for row in log)
        summary = counts | {
            "examples_sha256": settings["examples_sha256"],
            "steps": trainer.state.global_step,
            "epochs": trainer.state.epoch,
            "first_loss": log[0]["loss"],
            "last_loss": log[-1]["loss"],
            "trained_parameters": sum(p.numel() for p in trainer.model.parameters() if p.requires_grad),
            "seconds": round(seconds, 1),  # of all steps, whatever start they belong to
            "tokens_per_second": round(log[-1]["tokens"] / seconds, 1),
            "peak_memory_mb": peak_memory_mb(),
        }
        write_json(folder / "metrics.json", {"settings": settings, "summary": summary, "log": log})

        # The adapter: written beside, renamed when whole
        shutil.rmtree(beside, ignore_errors=True)
        trainer.save_model(str(beside))
        if recipe.model.chat_template is not None:  # else the base's own tokenizer is the right one
            tokenizer.save_pretrained(beside)
        write_card(beside, recipe=recipe, source=source, summary=summary, log=log, versions=versions())
        beside.rename(adapter)
    except KeyboardInterrupt:
        progress.close()
        last = newest(checkpoints)
        where = f"from step {step_of(last)}" if last else "from the start"
        console.print(f"stopped; the same command goes on {where}", highlight=False)
        raise
    except (OSError, RuntimeError, MemoryError, SafetensorError) as error:
        discard_unfinished(checkpoints)
        shutil.rmtree(beside, ignore_errors=True)
        longest = counts["longest_tokens"]
        explained = explain(error, args, longest, recipe.model.quantization, folder)
        if explained is None:
            raise
        raise explained from error
    finally:
        progress.close()
    shutil.rmtree(checkpoints)
    return summary
