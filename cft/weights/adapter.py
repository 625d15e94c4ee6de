"""Trained folders: an adapter on its base, or a whole model; their identity, and whether they fit the base."""

import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from cft.errors import EvalError
from cft.files import sha256_file
from cft.models.load import without_clock

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def is_whole(folder: Path) -> bool:
    """Whether a trained folder is a model by itself (`train.full`) and no adapter."""
    return (folder / "config.json").is_file() and not (folder / "adapter_config.json").is_file()


def adapter_identity(adapter: Path) -> dict[str, str]:
    """sha256 of the files of an adapter that decide what it answers. Raises EvalError if the folder is none."""
    files = [adapter / name for name in ("adapter_config.json", "adapter_model.safetensors")]
    if is_whole(adapter):
        files = sorted([adapter / "config.json", *adapter.glob("*.safetensors")])
    if not all(file.is_file() for file in files):
        raise EvalError(f"{adapter}: is no adapter; {' and '.join(file.name for file in files)} must be in it.")
    return {file.name: sha256_file(file) for file in files}


def check_tokenizer(adapter: Path, tokenizer: "PreTrainedTokenizerBase") -> None:
    """Raise EvalError if an adapter brings a tokenizer of other tokens or another chat template: it never saw these."""
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
    """The model, the base or what this returned before, with one more adapter on it, in eval mode.

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
