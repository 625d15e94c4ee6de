"""What is being scored: the base model, and the base model with an adapter on it."""

import contextlib
import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from cft.errors import EvalError
from cft.files import sha256_file
from cft.models import load_model, load_tokenizer
from cft.recipe import ModelBlock

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass
class Models:
    """The base model with the adapter attached, loaded when the first answer is owed; and its tokenizer."""

    block: ModelBlock
    adapter: Path | None

    @cached_property
    def tokenizer(self) -> "PreTrainedTokenizerBase":
        return load_tokenizer(self.block)

    @cached_property
    def loaded(self) -> "PreTrainedModel":
        base = load_model(self.block)
        return base if self.adapter is None else attach(base, self.adapter, self.block.id)

    @contextlib.contextmanager
    def arm(self, name: str) -> Iterator["PreTrainedModel"]:
        """The model as this arm answers: the base is the adapted model with its adapter switched off."""
        with self.loaded.disable_adapter() if name == "base" and self.adapter else contextlib.nullcontext():
            yield self.loaded


def adapter_identity(adapter: Path) -> dict[str, str]:
    """sha256 of the files of an adapter that decide what it answers.

    Raises:
        EvalError: the folder is no PEFT adapter.
    """
    files = [adapter / name for name in ("adapter_config.json", "adapter_model.safetensors")]
    if not all(file.is_file() for file in files):
        raise EvalError(f"{adapter}: is no adapter; {' and '.join(file.name for file in files)} must be in it.")
    return {file.name: sha256_file(file) for file in files}


def attach(base: "PreTrainedModel", adapter: Path, model_id: str) -> "PreTrainedModel":
    """The base model with the adapter on it, in eval mode.

    Raises:
        EvalError: the adapter was trained on another base, or its weights do not fit this one.
    """
    from peft import PeftModel

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
            return PeftModel.from_pretrained(base, str(adapter)).eval()
    except (RuntimeError, ValueError, KeyError, UserWarning) as error:
        first = " ".join(str(error).split())[:300]
        raise EvalError(
            f"{adapter}: does not fit the model {model_id!r}. Set model.id to the adapter's base. {first}"
        ) from error
