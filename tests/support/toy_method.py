"""A method of training that only tests know: TRL's own SFTTrainer, on the first rows only."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import datasets
from peft import LoraConfig
from pydantic import Field
from rich.console import Console
from transformers import Trainer
from trl import SFTTrainer

from cft.models.load import load_model, load_tokenizer
from cft.models.source import resolve
from cft.recipe.blocks import Block, Method, NoTrain, Recipe, SftTrain
from cft.rows import load_rows
from cft.train.job import Job, run, train_to_end
from cft.train.loop.defaults import our_defaults
from cft.train.loop.fallback import Setting
from cft.train.loop.faults import training_arguments
from cft.train.preflight import preflight


class ToyTrain(Block):
    """Its one key of its own is `first_rows`; it has no `full`."""

    method: Literal["toy"]
    first_rows: int = Field(description="Rows to train on.")
    lora: dict[str, Any] = Field(default_factory=dict)
    args: dict[str, Any] = Field(default_factory=dict)
    full: ClassVar[bool] = False
    keep_steps: ClassVar[list[int]] = []
    select: ClassVar[None] = None


TOY = Method(ToyTrain, ("critiques",), "trl.SFTConfig", "tests.support.toy_method")


class ToyRecipe(Recipe):
    """A recipe that knows the method."""

    train: Annotated[SftTrain | NoTrain | ToyTrain, Field(discriminator="method")]


def train(recipe: Recipe, examples: Path, folder: Path, *, console: Console, tracker: str = "none") -> dict:
    """The method: rows and arguments."""
    tokenizer = load_tokenizer(recipe.model)
    rows = preflight(load_rows(examples)[: recipe.train.first_rows], tokenizer, None)
    args = our_defaults("cpu", recipe.model.dtype, recipe.train.args) | {"use_cpu": True} | recipe.train.args
    return run(
        Job(recipe, examples, folder, console, tracker, resolve(recipe.model), tokenizer, rows, args, "sdpa"), fit
    )


def fit(job: Job, setting: Setting) -> Trainer:
    """The method: a trainer."""
    trainer = SFTTrainer(
        model=load_model(job.recipe.model),
        args=training_arguments(job.args | setting.args, job.recipe.seed, job.checkpoints),
        processing_class=job.tokenizer,
        peft_config=LoraConfig(task_type="CAUSAL_LM", **job.settings["lora"]),
        train_dataset=datasets.Dataset.from_list(
            [{"input_ids": row.input_ids, "labels": row.labels} for row in job.rows.rows]
        ),
    )
    return train_to_end(job, setting, trainer)
