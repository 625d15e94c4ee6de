"""Critique fine-tuning and SFT: rows -> arguments -> trainer -> train, with TRL's SFTTrainer and an adapter of PEFT.

What is not about this method (resume, less memory, the card) is in `cft.train.job`.
"""

from pathlib import Path

import datasets
from peft import PeftConfig, get_peft_config
from transformers import Trainer

from cft.devices import pick_device
from cft.models.load import load_tokenizer
from cft.models.source import resolve
from cft.recipe.blocks import Recipe
from cft.rows import load_rows
from cft.terminal import Terminal
from cft.train.job import Job, run, train_to_end
from cft.train.loop import ranks
from cft.train.loop.defaults import our_defaults
from cft.train.loop.fallback import Setting
from cft.train.loop.faults import judged, training_arguments
from cft.train.loop.progress import only_our_progress
from cft.train.loop.speed import compile_layers, training_attention, worth_compiling
from cft.train.loop.trackers import reporting
from cft.train.loop.trainer import CompletionTrainer, LongestBatchFirst, check_rows_stay_apart, plain
from cft.train.loop.vocabulary import warn_of_alike
from cft.train.preflight import preflight


@only_our_progress()
def train(recipe: Recipe, examples: Path, folder: Path, *, console: Terminal, tracker: str = "none") -> dict:
    """Train `folder`/adapter on the examples, or go on where a killed training stopped.

    Writes folder/adapter (a PEFT folder with a model card; with train.full a whole model in its place) and
    folder/metrics.json; folder/steps/step-N what stood after the steps of train.keep_steps; folder/checkpoints stands
    only while training is unfinished.

    Args:
        recipe: checked, as `cft.recipe.load.load_recipe(..., libraries=True)` does; what it would have said of
            train.lora and train.args comes else in the libraries' own words.
        tracker: "none", or what else each step is reported to: tensorboard, trackio, wandb.

    Returns:
        the `summary` of metrics.json: rows, tokens, steps, first and last loss, seconds, tokens a second, memory.

    Raises:
        DataError, ModelError: the examples or the model cannot be used.
        TrainError: a row fails the preflight, a setting is refused, or memory or disk is too small.
        KeyboardInterrupt: after saying where the same command will go on; Terminated after SIGTERM.
    """
    asked, device = recipe.train.args, pick_device()
    attention = training_attention(recipe.model, device, sharded=ranks.sharded())
    args = our_defaults(device, recipe.model.dtype, asked, attention, full=recipe.train.full) | asked

    # The rows, as the model will see them
    source = resolve(recipe.model)
    tokenizer = load_tokenizer(recipe.model)
    rows = preflight(load_rows(examples), tokenizer, args["max_length"])
    console.print(
        "{rows} rows, {prompt_tokens} prompt + {completion_tokens} trained tokens, longest row {longest_tokens} of at "
        "most {max_length}".format(**rows.summary()),
    )
    if rows.thoughts_left_out:
        console.print(f"the chat template has no place for {rows.thoughts_left_out} thoughts (reasoning_content)")
    if args.setdefault("torch_compile") is None:
        args["torch_compile"] = worth_compiling(recipe, source, rows.rows, args, device)
    compiled = "; compiling the decoder layers first" if args["torch_compile"] else ""
    console.print(f"attention {attention}{compiled}")
    return run(Job(recipe, examples, folder, console, tracker, source, tokenizer, rows, args, attention), fit)


def fit(job: Job, setting: Setting) -> Trainer:
    """Train from the newest checkpoint, or from the start, to the last step."""
    recipe = job.recipe
    keys = job.args | (setting.args if setting != job.setting else {}) | reporting(job.tracker, job.folder)
    compiling = {key: keys.pop(key, None) for key in ("torch_compile", "torch_compile_backend", "torch_compile_mode")}
    keys["gradient_accumulation_steps"] = ranks.share_of(setting.accumulation, setting.rows)
    if keys["padding_free"]:
        keys |= {"max_length": None, "padding_free": setting.rows > 1}  # the preflight has seen to the length
    args = training_arguments(keys, recipe.seed, job.checkpoints)

    # The model: base weights in recipe.model.dtype, LoRA weights in float32 (bfloat16 on a 4-bit base). All weights
    # are trained in float32, which autocast computes with in bfloat16: their steps are smaller than bfloat16's rounding
    model = job.load_base(setting)

    # The trainer
    rows = [{"input_ids": row.input_ids, "labels": row.labels} for row in job.rows.rows]
    with judged({"lora": recipe.train.lora, "args": recipe.train.args}):
        trainer = CompletionTrainer(
            model=model,
            args=args,
            processing_class=job.tokenizer,
            peft_config=lora_config(job),
            train_dataset=datasets.Dataset.from_list(rows),
        )
        trainer.product_dtype = recipe.model.dtype
        check_rows_stay_apart(trainer)
        if not ranks.sharded():
            trained = (token for row in job.rows.rows for token in row.trained)
            warn_of_alike(plain(trainer.model), job.tokenizer, trained, job.console)
        if any(compiling.values()):
            compile_layers(plain(trainer.model), compiling["torch_compile_backend"], compiling["torch_compile_mode"])
    trainer.add_callback(LongestBatchFirst(trainer))
    return train_to_end(job, setting, trainer)


def lora_config(job: Job) -> PeftConfig | None:
    """The adapter to train; None where all weights are trained."""
    if job.recipe.train.full:
        return None
    ours = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "revision": job.source.hub_revision}
    return get_peft_config(ours | job.settings["lora"])
