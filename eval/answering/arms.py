"""The arms: what is scored. One loaded base serves them all, and adapters are switched on and off.

An arm (`cft.recipe.blocks.Arm`) is a model, a prompt and an elicitor. The model is `base`, `adapter`, `merged` (the
weights that `cft export` writes, on a base loaded for it alone) or `step-N` (after N training steps); the prompt is one
of `eval.prompts`; the elicitor, a way of decoding that needs no training, is one of `eval.elicitors.table`.
"""

import contextlib
import gc
import importlib
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from cft.errors import EvalError
from cft.models.generate import Completion, generate
from cft.models.load import load_model, load_tokenizer
from cft.recipe.blocks import ElicitorBlock, ModelBlock
from cft.runs import STEPS
from cft.suggest import did_you_mean
from cft.weights.adapter import attach, check_tokenizer, is_whole
from cft.weights.merge import merge_into_base
from eval.elicitors.table import ELICITORS

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Elicit = Callable[..., list[Completion]]  # with the arguments of `cft.models.generate.generate`


def adapter_of(model: str, adapter: Path) -> Path:
    """The folder of the adapter that an arm's model has, beside the one that training ended with."""
    return adapter.parent / STEPS / model if model.startswith("step-") else adapter


def load_elicitor(block: ElicitorBlock) -> Elicit:
    """The function of an elicitor, with its options.

    Raises:
        EvalError: it has no such options.
    """
    module, _, function = ELICITORS[block.name].partition(":")
    elicit = getattr(importlib.import_module(module), function)
    taken = {name for name, p in inspect.signature(generate).parameters.items() if p.kind is p.KEYWORD_ONLY}
    own = [name for name, p in inspect.signature(elicit).parameters.items() if p.kind is p.KEYWORD_ONLY]
    own = [name for name in own if name not in taken]
    if unknown := [name for name in block.options if name not in own]:
        raise EvalError(
            f"eval.arms: the elicitor {block.name} has no option {unknown[0]!r}. {did_you_mean(unknown[0], own)}."
        )
    return partial(elicit, **block.options)


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
