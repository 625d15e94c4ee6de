"""Critique fine-tuning from top to bottom: examples in, a LoRA adapter (or a whole model) out, with TRL and PEFT.

A killed training goes on from its last complete checkpoint and ends with the same weights, bit for bit. One that runs
out of memory goes on with a safer setting and the same rows a step. Several processes (`cft.train.launch`) train
together on the rows of each step; only the main one changes files.
"""

import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import datasets
from peft import LoraConfig
from peft.helpers import disable_input_dtype_casting
from rich.console import Console
from safetensors import SafetensorError
from transformers import PreTrainedTokenizerBase, PrinterCallback

from cft.devices import pick_device
from cft.errors import Terminated, TrainError
from cft.files import content_id, read_json, sha256_file, write_json
from cft.memory import freed_memory_given_back, peak_memory_mb
from cft.models.load import load_model, load_tokenizer
from cft.models.source import ModelSource, resolve
from cft.recipe.blocks import Recipe
from cft.recipe.load import validate_recipe
from cft.rows import load_rows
from cft.runs import versions
from cft.train.card import write_card
from cft.train.loop import ranks
from cft.train.loop.checkpoints import (
    KeepAdapters,
    MarkComplete,
    claim,
    discard_unfinished,
    newest,
    step_of,
    to_rounding,
)
from cft.train.loop.defaults import LORA, our_defaults
from cft.train.loop.fallback import Setting, safer_for
from cft.train.loop.faults import explain, is_out_of_memory, out_of_memory, safer_setting, said, training_arguments
from cft.train.loop.progress import TrainProgress, only_our_progress
from cft.train.loop.speed import compile_layers, training_attention, worth_compiling
from cft.train.loop.stopping import SaveOnTerm
from cft.train.loop.trackers import reporting
from cft.train.loop.trainer import CompletionTrainer, LongestBatchFirst, StopIfDiverged, check_rows_stay_apart, plain
from cft.train.preflight import Preflight, preflight
from cft.train.select.choice import StoppedEarly, drop_adapters

if TYPE_CHECKING:
    from eval.tasks.lm_tasks import Items

SETTING = "setting.json"  # in the checkpoints folder: the safer setting that training fell back to


@dataclass(frozen=True)
class Job:
    """A training whose rows and settings are checked."""

    recipe: Recipe
    source: ModelSource
    tokenizer: PreTrainedTokenizerBase
    rows: Preflight
    settings: dict  # what decides the weights, as JSON: a checkpoint or adapter of anything else is not ours
    setting: Setting  # what decides the memory, as the recipe has it
    folder: Path
    console: Console
    tracker: str
    items: "Items | None" = None  # that choose the step, with train.select

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"


@only_our_progress()
def train(recipe: Recipe, examples: Path, folder: Path, *, console: Console, tracker: str = "none") -> dict:
    """Train `folder`/adapter on the examples, or go on where a killed training stopped.

    Writes folder/adapter (a PEFT folder with a model card; with train.full a whole model in its place) and
    folder/metrics.json; folder/steps/step-N what stood after the steps of train.keep_steps; folder/checkpoints stands
    only while training is unfinished.

    Args:
        tracker: "none", or what else each step is reported to: tensorboard, trackio, wandb.

    Returns:
        the `summary` of metrics.json: rows, tokens, steps, first and last loss, seconds, tokens a second, memory.

    Raises:
        RecipeError, DataError, ModelError: the settings, the examples or the model cannot be used.
        TrainError: a row fails the preflight, a setting is refused, or memory or disk is too small.
        KeyboardInterrupt: after saying where the same command will go on; Terminated after SIGTERM.
    """
    validate_recipe(recipe)
    adapter, beside = folder / "adapter", folder / ".adapter.tmp"
    asked, full, device = recipe.train.args, recipe.train.full, pick_device()
    attention = training_attention(recipe.model, device, sharded=ranks.sharded())
    planned = our_defaults(device, recipe.model.dtype, asked, attention, full=full) | asked

    # The rows, as the model will see them
    source = resolve(recipe.model)
    tokenizer = load_tokenizer(recipe.model)
    rows = preflight(load_rows(examples), tokenizer, planned["max_length"])
    console.print(
        "{rows} rows, {prompt_tokens} prompt + {completion_tokens} trained tokens, longest row {longest_tokens} of at "
        "most {max_length}".format(**rows.summary()),
        highlight=False,
    )
    if planned.setdefault("torch_compile") is None:
        planned["torch_compile"] = worth_compiling(recipe, source, rows.rows, planned, device)
    compiled = "; compiling the decoder layers first" if planned["torch_compile"] else ""
    console.print(f"attention {attention}{compiled}", highlight=False)
    settings = {
        "examples_sha256": sha256_file(examples),
        "model": source.identity,
        "dtype": recipe.model.dtype,
        "quantization": recipe.model.quantization,
        "attn_implementation": attention,
        "chat_template": tokenizer.chat_template,
        "lora": None if full else LORA | recipe.train.lora,
        "args": planned,
        "seed": recipe.seed,
        "keep_steps": recipe.train.keep_steps,
    }
    items = None
    if recipe.train.select:  # imported late: lm-eval is slow to load
        from cft.train.select.selection import decoding_of, validation_items

        items = validation_items(recipe, tokenizer)
        settings["select"] = recipe.train.select.model_dump(mode="json") | {
            "items": content_id(items.prompts, items.golds, vars(decoding_of(recipe, items, tokenizer)))
        }
    setting = Setting.of(planned, recipe.model.quantization)
    job = Job(recipe, source, tokenizer, rows, settings, setting, folder, console, tracker, items)
    done = read_json(folder / "metrics.json")
    finished = adapter.is_dir() and done and done["settings"] == settings  # killed after its last step
    ranks.wait()  # each process has looked before one changes what it looked at
    if finished:
        if ranks.is_main():
            shutil.rmtree(job.checkpoints, ignore_errors=True)
            drop_adapters(folder / "selection")
        return done["summary"]
    if ranks.is_main():
        shutil.rmtree(adapter, ignore_errors=True)
        if claim(job.checkpoints, settings, console) is None:
            shutil.rmtree(folder / "steps", ignore_errors=True)
        shutil.rmtree(beside, ignore_errors=True)
    ranks.wait()

    try:
        trainer, used = fit_into_memory(job)

        log = [row for row in trainer.state.log_history if "loss" in row]
        seconds = sum(row["seconds"] for row in log)
        summary = rows.summary() | {
            "examples_sha256": settings["examples_sha256"],
            "steps": trainer.state.global_step,
            "epochs": trainer.state.epoch,
            "rows_a_step": used.rows * used.accumulation,
            "micro_batch": used.rows,
            "first_loss": log[0]["loss"],
            "last_loss": log[-1]["loss"],
            "trained_parameters": sum(
                getattr(p, "ds_numel", p.numel()) for p in trainer.model.parameters() if p.requires_grad
            ),
            "seconds": round(seconds, 1),  # of all steps, whatever start they belong to
            "tokens_per_second": round(log[-1]["tokens"] / seconds, 1),
            "peak_memory_mb": peak_memory_mb(),
        }
        select = trainer.select
        if select:
            summary |= select.summary()
        if used != setting:
            summary["fell_back_to"] = " ".join(used.overrides(setting))
        if ranks.count() > 1:
            summary["processes"] = ranks.count()
        if ranks.is_main():
            write_json(folder / "metrics.json", {"settings": settings, "summary": summary, "log": log})

        # The adapter: written beside, renamed when whole
        if not select:
            trainer.save_model(str(beside))
        if not ranks.is_main():
            return summary
        if select:
            shutil.copytree(select.best, beside)
        if recipe.model.chat_template is not None:  # else the base's own tokenizer is the right one
            tokenizer.save_pretrained(beside)
        write_card(beside, recipe=recipe, source=source, summary=summary, log=log, versions=versions())
        beside.rename(adapter)
    except KeyboardInterrupt:
        last = newest(job.checkpoints)
        where = f"from step {step_of(last)}" if last else "from the start"
        console.print(f"stopped; the same command goes on {where}", highlight=False)
        raise
    except (OSError, RuntimeError, MemoryError, SafetensorError) as error:
        if ranks.is_main():
            discard_unfinished(job.checkpoints)
            shutil.rmtree(beside, ignore_errors=True)
        explained = explain(error, folder)
        if explained is None:
            raise
        raise explained from error
    shutil.rmtree(job.checkpoints)
    drop_adapters(folder / "selection")
    return summary


def fit_into_memory(job: Job) -> tuple[CompletionTrainer, Setting]:
    """Train, with the next safer setting whenever memory is too small; the trainer at its last step, and the setting.

    Raises:
        TrainError: there is no safer setting left; it lists those that were tried.
    """
    remembered = read_json(job.checkpoints / SETTING)
    setting, tried = Setting(**remembered) if remembered else job.setting, []
    while True:
        try:
            return fit(job, setting), setting
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            tried.append(setting)
            longest, full = job.rows.summary()["longest_tokens"], job.recipe.train.full
            if ranks.count() > 1:  # one cannot go back alone
                by_hand = safer_for(ranks.count(), setting, may_quantize=False)
                raise out_of_memory(tried, longest, by_hand) from None
            safer = safer_setting(error, setting, full)  # it lets go of what the failed attempt holds
            if safer is None:
                raise out_of_memory(tried, longest) from None
        discard_unfinished(job.checkpoints)
        if safer.quantization != setting.quantization:  # other weights: earlier steps were trained on them
            for path in job.checkpoints.glob("checkpoint-*"):
                shutil.rmtree(path)
        job.console.print(
            f"[yellow]out of memory with {setting}[/]: going on with {safer}, the same {safer.rows_a_step} rows a step",
            highlight=False,
        )
        write_json(job.checkpoints / SETTING, asdict(safer))
        setting = safer


def fit(job: Job, setting: Setting) -> CompletionTrainer:
    """Train from the newest checkpoint, or from the start, to the last step."""
    recipe, settings = job.recipe, job.settings
    asked = settings["args"] | (setting.args if setting != job.setting else {})
    asked |= reporting(job.tracker, job.folder)
    compiling = {key: asked.pop(key, None) for key in ("torch_compile", "torch_compile_backend", "torch_compile_mode")}
    asked["gradient_accumulation_steps"] = ranks.share_of(setting.accumulation, setting.rows)
    if asked["padding_free"]:
        asked |= {"max_length": None, "padding_free": setting.rows > 1}  # the preflight has seen to the length
    args = training_arguments(asked, recipe.seed, job.checkpoints)

    # The trainer: base weights in recipe.model.dtype, LoRA weights in float32 (bfloat16 on a 4-bit base). All weights
    # are trained in float32, which autocast computes with in bfloat16: their steps are smaller than bfloat16's rounding
    changed = {"quantization": setting.quantization, "attn_implementation": settings["attn_implementation"]}
    block = recipe.model.model_copy(update=changed)
    peft = None
    if recipe.train.full:
        block = block.model_copy(update={"dtype": "float32"})
    else:
        peft = LoraConfig(**{"task_type": "CAUSAL_LM", "revision": job.source.hub_revision} | settings["lora"])
    token_rows = [{"input_ids": row.input_ids, "labels": row.labels} for row in job.rows.rows]
    model = load_model(block, device="cpu" if ranks.sharded() else None)
    try:
        trainer = CompletionTrainer(
            model=model,
            args=args,
            processing_class=job.tokenizer,
            peft_config=peft,
            train_dataset=datasets.Dataset.from_list(token_rows),
        )
    except (TypeError, ValueError) as error:
        raise TrainError(f"train.lora or train.args: {said(error)}. See peft.LoraConfig and trl.SFTConfig.") from error
    trainer.product_dtype = recipe.model.dtype
    check_rows_stay_apart(trainer)
    if any(compiling.values()):
        compile_layers(plain(trainer.model), compiling["torch_compile_backend"], compiling["torch_compile_mode"])
    progress, term = TrainProgress(job.console), SaveOnTerm(job.console)
    trainer.remove_callback(PrinterCallback)
    keep = KeepAdapters(trainer, recipe.train.keep_steps, job.folder / "steps")
    trainer.select = None
    if job.items:
        from cft.train.select.selection import SelectStep

        trainer.select = SelectStep(
            trainer, recipe, job.items, job.folder / "selection", console=job.console, progress=progress,
            identity=[to_rounding(settings), setting.quantization], leave=lambda: term.asked,
        )  # fmt: skip
    callbacks = LongestBatchFirst(trainer), StopIfDiverged(), progress, keep, trainer.select, term, MarkComplete()
    for callback in filter(None, callbacks):
        trainer.add_callback(callback)

    # Train
    checkpoint = newest(job.checkpoints)
    if checkpoint:
        job.console.print(f"going on from step {step_of(checkpoint)}", highlight=False)
    try:
        # Under autocast PEFT's own cast of every LoRA input, to float32 and straight back, is a third of the time
        no_cast = disable_input_dtype_casting(trainer.model, active=bool(peft) and (args.bf16 or args.fp16))
        given_back = freed_memory_given_back(args.use_cpu and setting.checkpointing != "none")
        with suppress(StoppedEarly), term.listening(), no_cast, given_back:
            trainer.train(resume_from_checkpoint=checkpoint and str(checkpoint))
    finally:
        progress.close()
    owes = trainer.select and trainer.select.owes
    if term.asked and (owes or trainer.state.global_step < trainer.state.max_steps):
        raise Terminated
    return trainer
