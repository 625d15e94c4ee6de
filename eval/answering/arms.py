"""The arms: what is scored. One loaded base serves all that leave it as it is: adapters are switched on and off.

An arm (`cft.recipe.blocks.Arm`) is a model, a prompt and an elicitor. The model is `base`, `adapter`, `merged` (the
weights that `cft export` writes, on a base loaded for it alone) or `step-N` (after N training steps); the prompt is one
of `eval.prompts`; the elicitor, a way of decoding that needs no training, is one of `eval.elicitors.table`.
"""

import contextlib
import importlib
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from cft.errors import EvalError
from cft.memory import clear_memory
from cft.models.generate import Completion, generate
from cft.models.load import load_model, load_tokenizer
from cft.recipe.blocks import ElicitorBlock, ModelBlock
from cft.runs import STEPS
from cft.suggest import did_you_mean
from cft.weights.adapter import CONFIG, attach, changes_base, check_tokenizer, is_whole, read_config
from cft.weights.compare import probe, same_bits
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
    """The base model with adapters attached, loaded when the first answer is owed; and its tokenizer.

    What full fine-tuning left, a base with an adapter merged in, and an adapter that changes the base's own weights is
    loaded in its place when it is its turn, so that one model is held at a time and the base stays the base.
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
            clear_memory()  # a training of the same process leaves its model
        model = load_model(self.block)
        raw = probe(model)
        for name, folder in self.adapters.items():
            if name not in self.apart:
                model = attach(model, folder, self.block.id, name)
        with self.switched_off(model):
            if not same_bits(raw, probe(model)):
                raise EvalError(
                    f"{', '.join(map(str, self.adapters.values()))}: with its adapters switched off {self.block.id} "
                    "does not answer as it does without them, so no base arm can be scored beside them. Score the base "
                    "with a recipe of its own (train.method=none)."
                )
        return model

    def switched_off(self, model: "PreTrainedModel") -> contextlib.AbstractContextManager:
        """Within this the loaded model is the base."""
        return contextlib.nullcontext() if self.apart == set(self.adapters) else model.disable_adapter()

    @cached_property
    def apart(self) -> set[str]:
        """Those that have weights of their own, instead of an adapter that is switched on."""
        return {
            name
            for name, folder in self.adapters.items()
            if name == "merged" or is_whole(folder) or changes_base(read_config(folder / CONFIG))
        }

    def alone(self, name: str) -> "PreTrainedModel":
        """A model with weights of its own: all of them trained, an adapter on its own base, or merged into it."""
        if name not in self.held:
            folder = self.adapters[name]
            check_tokenizer(folder, self.tokenizer)
            if not self.together:
                self.held.clear()
                vars(self).pop("loaded", None)
                clear_memory()
            if is_whole(folder):
                block = self.block.model_copy(update={"id": str(folder.absolute()), "revision": None})
                self.held[name] = load_model(block)
            elif name != "merged":
                self.held[name] = attach(load_model(self.block), folder, self.block.id, name)
            else:
                base = load_model(self.block.model_copy(update={"quantization": "none"}))
                self.held[name] = merge_into_base(attach(base, folder, self.block.id, name), self.seed)[0].eval()
        return self.held[name]

    @contextlib.contextmanager
    def answering_as(self, name: str) -> Iterator["PreTrainedModel"]:
        """The model as this one of `adapters`, or as "base", answers."""
        if name in self.apart:
            yield self.alone(name)
            return
        model = self.loaded
        if name == "base":
            with self.switched_off(model):
                yield model
        else:
            model.set_adapter(name)
            yield model
