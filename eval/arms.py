"""The arms: what is scored. One loaded base serves them all, and adapters are switched on and off.

An arm is written MODEL or MODEL@PROMPT. MODEL is `base`, `adapter`, `merged` (the weights that `cft export` writes, on
a base loaded for it alone) or `step-N` (after N training steps).
PROMPT is a variant of `eval/tasks/prompts`: `base@fewshot` is the base model with four worked examples, a control that
needs no training.
"""

import contextlib
import gc
import json
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from cft.errors import EvalError
from cft.export_round import merge_into_base
from cft.files import sha256_file
from cft.models import load_model, load_tokenizer, without_clock
from cft.recipe import ModelBlock
from cft.recipe_blocks import ARM

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
        return adapter.parent / "steps" / self.model if self.model.startswith("step-") else adapter


def is_whole(folder: Path) -> bool:
    """Whether a trained folder is a model by itself (`train.full`) and no adapter."""
    return (folder / "config.json").is_file() and not (folder / "adapter_config.json").is_file()


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


def adapter_identity(adapter: Path) -> dict[str, str]:
    """sha256 of the files of an adapter that decide what it answers.

    Raises:
        EvalError: the folder is no PEFT adapter.
    """
    if is_whole(adapter):
        return {
            file.name: sha256_file(file) for file in sorted([adapter / "config.json", *adapter.glob("*.safetensors")])
        }
    files = [adapter / name for name in ("adapter_config.json", "adapter_model.safetensors")]
    if not all(file.is_file() for file in files):
        raise EvalError(f"{adapter}: is no adapter; {' and '.join(file.name for file in files)} must be in it.")
    return {file.name: sha256_file(file) for file in files}


def check_tokenizer(adapter: Path, tokenizer: "PreTrainedTokenizerBase") -> None:
    """Compare the tokenizer that an adapter brings, if it brings one, with that of the evaluation.

    Raises:
        EvalError: they have other tokens, or another chat template: the adapter would read what it never saw.
    """
    from transformers import AutoTokenizer

    if not (adapter / "tokenizer_config.json").is_file():
        return
    own = AutoTokenizer.from_pretrained(adapter)
    if own.get_vocab() != tokenizer.get_vocab():
        raise EvalError(
            f"{adapter}: was trained with another tokenizer ({len(own)} tokens, the base has {len(tokenizer)}). "
            "Set model.id to the base that the adapter belongs to."
        )
    template = own.chat_template
    if (without_clock(template) if isinstance(template, str) else template) != tokenizer.chat_template:
        raise EvalError(
            f"{adapter}: was trained with another chat template. Set model.chat_template as it was in training."
        )


def attach(model: "PreTrainedModel", adapter: Path, model_id: str, name: str) -> "PreTrainedModel":
    """The model with one more adapter on it, in eval mode.

    Args:
        model: the base, or what this returned for it before.

    Raises:
        EvalError: the adapter was trained on another base, or its weights do not fit this one.
    """
    from peft import PeftModel

    base = model.get_base_model() if isinstance(model, PeftModel) else model
    config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    trained_on = config.get("base_model_name_or_path")
    if trained_on not in (None, base.name_or_path, model_id):
        raise EvalError(
            f"{adapter}: was trained on {trained_on!r}, but the recipe's model is {model_id!r} "
            f"({base.name_or_path!r}). Set model.id to the adapter's base, or train an adapter for this model."
        )
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=FutureWarning)  # peft asks transformers by a deprecated name
            warnings.filterwarnings("error", message="Found missing adapter keys")
            if model is base:
                return PeftModel.from_pretrained(base, str(adapter), adapter_name=name).eval()
            model.load_adapter(str(adapter), adapter_name=name)
            return model.eval()
    except (RuntimeError, ValueError, KeyError, UserWarning) as error:
        first = " ".join(str(error).split())[:300]
        raise EvalError(
            f"{adapter}: does not fit the model {model_id!r}. Set model.id to the adapter's base. {first}"
        ) from error
