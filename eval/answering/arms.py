"""The arms: what is scored. One loaded base serves them all, and adapters are switched on and off.

An arm is written MODEL or MODEL@PROMPT. MODEL is `base`, `adapter`, `merged` (the weights that `cft export` writes, on
a base loaded for it alone) or `step-N` (after N training steps).
PROMPT is a variant of `eval/tasks/prompts`: `base@fewshot` is the base model with four worked examples, a control that
needs no training.
"""

import contextlib
import gc
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from cft.models.load import load_model, load_tokenizer
from cft.recipe.blocks import ARM, ModelBlock
from cft.runs import STEPS
from cft.weights.adapter import attach, check_tokenizer, is_whole
from cft.weights.merge import merge_into_base

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

PLAIN_TEXT = ("plain", "fewshot")  # prompts that are no chat: the model's template is not applied


@dataclass(frozen=True)
class Arm:
    """One arm of a recipe."""

    name: str
    model: str  # base | adapter | merged | step-N
    prompt: str | None  # None: the task's own prompt

    @classmethod
    def named(cls, name: str) -> "Arm":
        model, prompt = re.fullmatch(ARM, name).groups()
        return cls(name, model, prompt)

    @property
    def is_chat(self) -> bool:
        """Whether the model's chat template is applied to the prompt."""
        return self.prompt not in PLAIN_TEXT

    def task(self, task: str) -> str:
        """The lm-eval task with this arm's prompt."""
        return f"{task}_{self.prompt}" if self.prompt else task

    def folder(self, adapter: Path) -> Path:
        """The folder of this arm's adapter, beside the one that training ended with."""
        return adapter.parent / STEPS / self.model if self.model.startswith("step-") else adapter


@dataclass
class Models:
    """The base model with all adapters attached, loaded when the first answer is owed; and its tokenizer.

    What full fine-tuning left, and a base with an adapter merged in, is loaded in its place when it is its turn, so
    that one model is held at a time and merging leaves the base alone.
    """

    block: ModelBlock
    adapters: dict[str, Path]  # of every arm's model that has one: adapter, merged, step-N
    seed: int = 0  # of the rounding of merged weights: the recipe's, as in cft export
    together: bool = False  # hold whole models side by side, to ask them in turn
    held: dict[str, "PreTrainedModel"] = field(default_factory=dict)

    @cached_property
    def tokenizer(self) -> "PreTrainedTokenizerBase":
        return load_tokenizer(self.block)

    @cached_property
    def loaded(self) -> "PreTrainedModel":
        for folder in self.adapters.values():
            check_tokenizer(folder, self.tokenizer)
        if not self.together:
            self.held.clear()
        model = load_model(self.block)
        for name, folder in self.adapters.items():
            if name != "merged" and not is_whole(folder):
                model = attach(model, folder, self.block.id, name)
        return model

    def is_alone(self, name: str) -> bool:
        """Whether this one has weights of its own instead of an adapter that is switched on."""
        return name in self.adapters and (name == "merged" or is_whole(self.adapters[name]))

    def alone(self, name: str) -> "PreTrainedModel":
        """A model with weights of its own: all of them trained, or an adapter merged into the 16-bit base."""
        if name not in self.held:
            folder = self.adapters[name]
            check_tokenizer(folder, self.tokenizer)
            if not self.together:
                self.held.clear()
                vars(self).pop("loaded", None)
                gc.collect()
            if is_whole(folder):
                block = self.block.model_copy(update={"id": str(folder.absolute()), "revision": None})
                self.held[name] = load_model(block)
            else:
                base = load_model(self.block.model_copy(update={"quantization": "none"}))
                self.held[name] = merge_into_base(attach(base, folder, self.block.id, name), self.seed)[0].eval()
        return self.held[name]

    @contextlib.contextmanager
    def answering_as(self, name: str) -> Iterator["PreTrainedModel"]:
        """The model as this one of `adapters`, or as "base", answers."""
        if self.is_alone(name):
            yield self.alone(name)
            return
        model = self.loaded
        if all(map(self.is_alone, self.adapters)):
            yield model
        elif name == "base":
            with model.disable_adapter():
                yield model
        else:
            model.set_adapter(name)
            yield model
