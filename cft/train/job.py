"""What every method of training needs around its own part: claim, resume, less memory, metrics, card, rename.

A method has a module with `train(recipe, examples, folder, *, console, tracker)`, named in `cft.recipe.blocks.METHODS`.
It makes a `Job` of its rows and arguments and hands it to `run`, with its own `fit`: build the trainer, then give it to
`train_to_end`.

A killed training goes on from its last complete checkpoint and ends with the same weights, bit for bit (on a GPU with
train.args.full_determinism, else to rounding). One that runs out of memory goes on with a safer setting and the same
rows a step. Several processes (`cft.train.launch`) train together on the rows of each step; only the main one changes
files.
"""

import shutil
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PrinterCallback, Trainer
from trl.models import enable_selective_activation_checkpointing

from cft.devices import is_out_of_memory
from cft.errors import Terminated
from cft.files import content_id, read_json, sha256_file, write_json
from cft.memory import clear_memory, freed_memory_given_back, peak_memory_mb
from cft.models.load import load_model
from cft.models.source import ModelSource
from cft.recipe.blocks import Recipe, SftTrain
from cft.runs import ADAPTER, CHECKPOINTS, METRICS, ROLLOUTS, SELECTION, STEPS, versions
from cft.terminal import Terminal, Text
from cft.train.card import write_card
from cft.train.loop import ranks
from cft.train.loop.asking import casting_inputs
from cft.train.loop.checkpoints import (
    KeepAdapters,
    MarkComplete,
    claim,
    discard_unfinished,
    newest,
    step_of,
    to_rounding,
)
from cft.train.loop.defaults import adapter_settings, may_quantize
from cft.train.loop.delivery import check_on_new_base, foresee, save
from cft.train.loop.fallback import Setting, safer_for
from cft.train.loop.faults import explain, is_ours, judged, out_of_memory, safer_setting
from cft.train.loop.progress import TrainProgress
from cft.train.loop.stopping import SaveOnTerm
from cft.train.loop.trainer import StopIfDiverged
from cft.train.preflight import Preflight
from cft.train.rollouts.batches import RolloutBatches
from cft.train.rollouts.prompts import PromptRows
from cft.train.select.choice import StoppedEarly, drop_adapters
from cft.weights.adapter import files_left

if TYPE_CHECKING:
    from eval.tasks.lm_tasks import Items

SETTING = "setting.json"  # in the checkpoints folder: the safer setting that training fell back to


@dataclass(frozen=True)
class Job:
    """A training whose rows and arguments are checked."""

    recipe: Recipe
    examples: Path
    folder: Path  # the train stage's
    console: Terminal
    tracker: str
    source: ModelSource
    tokenizer: PreTrainedTokenizerBase
    rows: Preflight | PromptRows
    args: dict[str, Any]  # of the method's configuration: train.args over our defaults
    attention: str  # that training uses

    @property
    def adapter(self) -> Path:
        return self.folder / ADAPTER

    @property
    def checkpoints(self) -> Path:
        return self.folder / CHECKPOINTS

    @cached_property
    def setting(self) -> Setting:
        """What decides the memory, as the recipe has it."""
        return Setting.of(self.args, self.recipe.model.quantization)

    def load_base(self, setting: Setting) -> PreTrainedModel:
        """The base of a training within a setting, which may have fallen back to 4-bit weights."""
        changed = {"quantization": setting.quantization, "attn_implementation": self.attention}
        changed |= {"dtype": "float32"} if self.recipe.train.full else {}
        block = self.recipe.model.model_copy(update=changed)
        model = load_model(block, device="cpu" if ranks.sharded() else None)
        if setting.checkpointing == "selective":
            # TRL's SFTTrainer alone does so, and to the PEFT model: transformers 5.23 calls the method of the base
            enable_selective_activation_checkpointing(model)
        return model

    @cached_property
    def items(self) -> "Items | None":
        """The items that choose the step, with train.select."""
        if not self.recipe.train.select:
            return None
        from cft.train.select.selection import validation_items  # lm-eval is slow to load

        return validation_items(self.recipe, self.tokenizer)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """What decides the weights, as JSON: a checkpoint or adapter of anything else is not this training's."""
        recipe = self.recipe
        settings = {
            "examples_sha256": sha256_file(self.examples),
            "model": self.source.identity,
            "dtype": recipe.model.dtype,
            "quantization": recipe.model.quantization,
            "attn_implementation": self.attention,
            "chat_template": self.tokenizer.chat_template,
            "lora": None if recipe.train.full else adapter_settings(recipe.train.lora),
            "args": self.args,
            "seed": recipe.seed,
            "keep_steps": recipe.train.keep_steps,
        }
        settings |= recipe.train.model_dump(mode="json", exclude=set(SftTrain.model_fields))  # keys of another method
        if self.items:
            from cft.train.select.selection import decoding_of

            decoding = decoding_of(recipe, self.items, self.tokenizer)
            settings["select"] = recipe.train.select.model_dump(mode="json") | {
                "items": content_id(self.items.prompts, self.items.golds, vars(decoding))
            }
        return settings


Fit = Callable[[Job, Setting], Trainer]


def run(job: Job, fit: Fit) -> dict[str, Any]:
    """Train, or go on where a killed training stopped, and write what `cft.train.sft.train` says.

    Args:
        fit: trains from the newest checkpoint to the last step within a setting, and returns the trainer.

    Returns:
        the `summary` of metrics.json: rows, tokens, steps, first and last loss, seconds, tokens a second, memory.

    Raises:
        TrainError: memory or disk is too small, or what `fit` raises.
        KeyboardInterrupt: after saying where the same command will go on; Terminated after SIGTERM.
    """
    done, settings = read_json(job.folder / METRICS), job.settings
    finished = done and done["settings"] == settings  # killed after its last step
    if finished:
        left = files_left(job.folder, job.recipe.train.keep_steps, done["summary"]["steps"])
        finished = all(file.is_file() for file in left)
    ranks.wait()  # each process has looked before one changes what it looked at
    if not finished:
        ranks.on_main(lambda: make_room(job))
        done = attempt(job, fit)
    if ranks.is_main():
        shutil.rmtree(job.checkpoints, ignore_errors=True)
        drop_adapters(job.folder / SELECTION)
    return done["summary"]


def make_room(job: Job) -> None:
    """Delete what another training left in the folder; this one's newest checkpoint stays."""
    shutil.rmtree(job.adapter, ignore_errors=True)
    if claim(job.checkpoints, job.settings, job.console) is None:
        for name in (STEPS, ROLLOUTS):
            shutil.rmtree(job.folder / name, ignore_errors=True)


def attempt(job: Job, fit: Fit) -> dict[str, Any]:
    """Train to the end and write the result; what metrics.json holds."""
    deterministic = torch.are_deterministic_algorithms_enabled()
    try:
        return finish(job, *fit_into_memory(job, fit))
    except KeyboardInterrupt:
        last = newest(job.checkpoints)
        where = f"from step {step_of(last)}" if last else "from the start"
        job.console.print(f"stopped; the same command goes on {where}")
        raise
    except (OSError, RuntimeError, MemoryError, SafetensorError) as error:
        if ranks.is_main():
            discard_unfinished(job.checkpoints)
            shutil.rmtree(beside(job), ignore_errors=True)
        explained = explain(error, job.folder)
        if explained is None:
            raise
        raise explained from error
    finally:
        torch.use_deterministic_algorithms(deterministic)  # train.args.full_determinism is about training alone


def fit_into_memory(job: Job, fit: Fit) -> tuple[Trainer, Setting]:
    """Train, with the next safer setting whenever memory is too small; the trainer at its last step, and the setting.

    Raises:
        TrainError: there is no safer setting left; it lists those that were tried.
    """
    remembered = read_json(job.checkpoints / SETTING)
    setting, tried = Setting(**remembered) if remembered else job.setting, []
    while True:
        clear_memory()  # of students, of other trainings, of the setting that did not fit
        try:
            return fit(job, setting), setting
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            tried.append(setting)
            longest, fixed = job.rows.summary()["longest_tokens"], not may_quantize(job.recipe.train)
            if ranks.count() > 1:  # one cannot go back alone
                by_hand = safer_for(ranks.count(), setting, may_quantize=False)
                raise out_of_memory(tried, longest, by_hand) from None
            safer = safer_setting(error, setting, fixed)  # it lets go of what the failed attempt holds
            if safer is None:
                raise out_of_memory(tried, longest) from None
        discard_unfinished(job.checkpoints)
        if safer.quantization != setting.quantization:  # other weights: earlier steps were trained on them
            for path in job.checkpoints.glob("checkpoint-*"):
                shutil.rmtree(path)
        goes_on = f": going on with {safer}, the same {safer.rows_a_step} rows a step"
        job.console.print(Text.assemble((f"out of memory with {setting}", "yellow"), goes_on))
        write_json(job.checkpoints / SETTING, asdict(safer))
        setting = safer


def train_to_end(job: Job, setting: Setting, trainer: Trainer) -> Trainer:
    """Train from the newest checkpoint, or from the start, to the last step; its `select` says what chose the step."""
    foresee(trainer.model, job.console, merged="merged" in job.recipe.eval.models)
    every = RolloutBatches.of(job.args).every if isinstance(job.rows, PromptRows) else 1
    progress, term = TrainProgress(job.console), SaveOnTerm(job.console, every)
    trainer.remove_callback(PrinterCallback)
    for adapter in getattr(trainer.model, "peft_config", {}).values():
        if isinstance(adapter.target_modules, set):  # else a pattern, or None; a set is saved in any order
            adapter.target_modules = sorted(adapter.target_modules)
    trainer.select = None
    if job.items:
        from cft.train.select.selection import SelectStep

        trainer.select = SelectStep(
            trainer,
            job.recipe,
            job.items,
            job.folder / SELECTION,
            console=job.console,
            progress=progress,
            identity=[to_rounding(job.settings), setting.quantization],
            leave=lambda: term.requested,
        )
    keep = KeepAdapters(trainer, job.recipe.train.keep_steps, job.folder / STEPS)
    for callback in filter(None, (StopIfDiverged(trainer), progress, keep, trainer.select, term, MarkComplete())):
        trainer.add_callback(callback)

    args, checkpoint = trainer.args, newest(job.checkpoints)
    if checkpoint:
        job.console.print(f"going on from step {step_of(checkpoint)}")
    try:
        # Under autocast PEFT's own cast of every LoRA input, to float32 and straight back, is a third of the time
        no_cast = casting_inputs(trainer.model, False) if args.bf16 or args.fp16 else nullcontext()
        given_back = freed_memory_given_back(args.use_cpu and setting.checkpointing != "none")
        # Settings that only the optimizer, the schedule or the first batch show to be wrong
        asked = {} if checkpoint else {"lora": job.recipe.train.lora, "args": job.recipe.train.args}
        judging = judged(asked, lambda error: trainer.state.global_step == 0 and not is_ours(error))
        with suppress(StoppedEarly), term.listening(), no_cast, given_back, judging if asked else nullcontext():
            trainer.train(resume_from_checkpoint=checkpoint and str(checkpoint))
    finally:
        progress.close()
    owes = trainer.select and trainer.select.owes
    if term.requested and (owes or trainer.state.global_step < trainer.state.max_steps):
        raise Terminated
    return trainer


def finish(job: Job, trainer: Trainer, used: Setting) -> dict[str, Any]:
    """Write metrics.json and the adapter, which is written beside and renamed when whole; what metrics.json holds."""
    log = [row for row in trainer.state.log_history if "loss" in row]
    summary, select, folder = summary_of(job, trainer, used, log), trainer.select, beside(job)
    metrics = {"settings": job.settings, "summary": summary, "log": log}
    if ranks.is_main():
        write_json(job.folder / METRICS, metrics)
        shutil.rmtree(folder, ignore_errors=True)  # left by a kill
    if not select:
        save(trainer, folder)  # all processes take part
    if ranks.is_main():
        if select:
            shutil.copytree(select.best, folder)
        base = partial(job.load_base, used)
        check_on_new_base(trainer, folder, base, job.recipe.model.id, earlier=bool(select))
        if job.recipe.model.chat_template is not None:  # else the base's own tokenizer is the right one
            job.tokenizer.save_pretrained(folder)
        write_card(folder, recipe=job.recipe, source=job.source, summary=summary, log=log, versions=versions())
        folder.rename(job.adapter)
    return metrics


def beside(job: Job) -> Path:
    """Where the adapter is written before it has its name."""
    return job.folder / f".{ADAPTER}.tmp"


def summary_of(job: Job, trainer: Trainer, used: Setting, log: list[dict[str, Any]]) -> dict[str, Any]:
    """What `run` returns; `log` has one {"loss", "tokens", "seconds", ...} a step."""
    seconds = sum(row["seconds"] for row in log)
    trained = (parameter for parameter in trainer.model.parameters() if parameter.requires_grad)
    summary = job.rows.summary() | {
        "examples_sha256": job.settings["examples_sha256"],
        "steps": trainer.state.global_step,
        "epochs": trainer.state.epoch,
        "rows_a_step": used.rows * used.accumulation,
        "micro_batch": used.rows,
        "first_loss": log[0]["loss"],
        "last_loss": log[-1]["loss"],
        "trained_parameters": sum(getattr(parameter, "ds_numel", parameter.numel()) for parameter in trained),
        "seconds": round(seconds, 1),  # of all steps, whatever start they belong to
        "tokens_per_second": round(log[-1]["tokens"] / seconds, 1),
        "peak_memory_mb": peak_memory_mb(),
    }
    lengths = [row["completions/mean_length"] for row in log if "completions/mean_length" in row]
    if lengths:  # of the completions that the model wrote itself
        batches = RolloutBatches.of(job.args)
        each = batches.completions * batches.generations(1)
        summary |= {"completions": each * len(lengths), "sampled_tokens": round(each * sum(lengths))}
        rewards = [row["reward"] for row in log if row.get("reward") is not None]
        summary |= {"first_reward": rewards[0], "last_reward": rewards[-1]} if rewards else {}
    if trainer.select:
        summary |= trainer.select.summary()
    if skipped := sum(row.get("skipped_steps", 0) for row in log):
        summary["skipped_steps"] = skipped  # without a change of the weights: their gradients overflowed float16
    if used != job.setting:
        summary["fell_back_to"] = " ".join(used.overrides(job.setting))
    if ranks.count() > 1:
        summary["processes"] = ranks.count()
    return summary
