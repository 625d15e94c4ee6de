"""The recipe: its four blocks, its name and its seed."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from cft.recipe.blocks.base import Block, File, Text
from cft.recipe.blocks.data import DataBlock
from cft.recipe.blocks.scoring import EvalBlock
from cft.recipe.blocks.train import TrainBlock
from cft.recipe.source import dump_yaml


def folder_name(name: str) -> str:
    """A validator: the name, if it can be a folder's."""
    if not name or not set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-"):
        raise ValueError("becomes a folder's name. Use only a-z, 0-9, _ and -")
    if len(name) > 100:
        raise ValueError(f"becomes a folder's name, and has {len(name)} characters. Use at most 100")
    return name


class ModelBlock(Block):
    """The base model."""

    id: Annotated[Text, File("model")] = Field(
        description="Name in `cft models`, hub id org/name, local folder (./NAME, or a path of its own), or GGUF file."
    )
    revision: Text | None = Field(None, description="Hub commit, tag or branch; null takes the pinned or newest one.")
    dtype: Literal["auto", "bfloat16", "float32", "float16"] = Field(
        "bfloat16",
        description="Type of the weights; auto: bfloat16, or what this machine computes in where it would emulate it.",
    )
    quantization: Literal["none", "nf4"] = Field("none", description="nf4: 4-bit weights (QLoRA), by bitsandbytes.")
    attn_implementation: Text = Field(
        "auto", description="transformers' attention: sdpa, eager, flash_attention_2; auto: flash if it is there."
    )
    chat_template: Annotated[Text | None, File("chat template")] = Field(
        None, description="null: the tokenizer's own; plain: the shipped plain one; or a path to a .jinja file."
    )
    trust_remote_code: bool = Field(False, description="Run Python code that the model's repository brings.")


class Recipe(Block):
    """One experiment."""

    name: Annotated[str, AfterValidator(folder_name)] = Field(description="Name of the run's folder: a-z, 0-9, _, -.")
    description: str = Field("", description="What the experiment is for; no part of the fingerprint.")
    seed: int = Field(0, ge=0, lt=2**32, description="Seed of sampling, data order and training.")
    model: ModelBlock = Field(description="The base model: {id: ...}.")
    data: DataBlock = Field(description="How examples are made: {builder: critiques, ...}.")
    train: TrainBlock = Field(description="How the adapter is trained: {method: cft, ...}.")
    eval: EvalBlock = Field(description="What is scored: {tasks: [...]}.")

    def dump(self) -> dict[str, Any]:
        """All that decides the result, as plain values, for fingerprints: everything but the description."""
        return self.model_dump(mode="json", exclude={"description"})

    def to_yaml(self) -> str:
        """The recipe with all defaults and overrides written out; reads back as an equal recipe."""
        return dump_yaml(self.model_dump(mode="json"))
