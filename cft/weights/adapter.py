"""Trained folders: an adapter on its base, or a whole model; their identity, and whether they fit the base."""

import contextlib
import math
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NotRequired

from cft.devices import is_out_of_memory
from cft.errors import LIBRARY_ERRORS, EvalError, RunError
from cft.files import read_json, sha256_file
from cft.models.fetch import one_line
from cft.models.load import without_clock
from cft.runs import ADAPTER, STEPS, step_name

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
KEEPS_BASE = (True, False, "gaussian", "orthogonal", "eva")  # ways of LoRA to begin that leave the base as it is


def is_whole(folder: Path) -> bool:
    """Whether a trained folder is a model by itself (`train.full`) and no adapter."""
    return (folder / "config.json").is_file() and not (folder / CONFIG).is_file()


def adapter_identity(adapter: Path) -> dict[str, str]:
    """sha256 of the files of an adapter that decide what it answers.

    Raises EvalError if the folder is none, EvalError or RunError if a file of it is damaged.
    """
    from safetensors import SafetensorError, safe_open

    files = files_of(adapter)
    if not all(file.is_file() for file in files):
        raise EvalError(f"{adapter}: is no adapter; {' and '.join(file.name for file in files)} must be in it.")
    for file in files:
        if file.suffix == ".json":
            read_config(file)
            continue
        try:
            with safe_open(str(file), "pt"):
                pass
        except (SafetensorError, OSError) as error:
            raise EvalError(f"{file}: is damaged ({one_line(error)}). {again(adapter)}") from None
    return {file.name: sha256_file(file) for file in files}


def files_of(adapter: Path) -> list[Path]:
    """The files that make a trained folder, whether they are there or not."""
    if is_whole(adapter):
        weights = list(adapter.glob("*.safetensors")) or [adapter / "model.safetensors"]
        return sorted([adapter / "config.json", *weights])
    return [adapter / CONFIG, adapter / WEIGHTS]


def files_left(train: Path, keep_steps: list[int], steps: int) -> list[Path]:
    """The files of all adapters that a training of so many steps leaves in its folder, there or not."""
    kept = [train / STEPS / step_name(step) for step in keep_steps if step <= steps]
    return [file for folder in (train / ADAPTER, *kept) for file in files_of(folder)]


def again(adapter: Path) -> str:
    """What to do about a folder that is damaged."""
    return f"Delete {adapter} and give the command again, or get the folder again."


def read_config(file: Path) -> dict[str, Any]:
    """What stands in adapter_config.json, or config.json, of a trained folder. RunError if it is damaged or missing."""
    config = read_json(file, {"r": NotRequired[int]})
    if config is None:
        raise RunError(f"{file}: is missing. {again(file.parent)}")
    return config


def changes_base(config: Mapping[str, Any]) -> list[str]:
    """The settings of an adapter that change weights of the base itself, by their names in `train.lora`.

    Without any, a base with the adapter switched off is the base to the bit, and adapters may share it. With one the
    base needs to be loaded for itself, and so does the adapter. Ways to begin that are not known here count as such.

    Args:
        config: what stands in adapter_config.json.
    """
    found = {
        "init_lora_weights": config.get("init_lora_weights", True) not in KEEPS_BASE,
        "bias": config.get("bias", "none") != "none",
        "layer_replication": bool(config.get("layer_replication")),
    }
    return [key for key, changes in found.items() if changes]


def check_tokenizer(adapter: Path, tokenizer: "PreTrainedTokenizerBase") -> None:
    """Raise EvalError if an adapter brings a tokenizer of other tokens or another chat template: it never saw these."""
    from transformers import AutoTokenizer

    if not (adapter / "tokenizer_config.json").is_file():
        return
    try:
        own = AutoTokenizer.from_pretrained(adapter, trust_remote_code=False)
    except (OSError, *LIBRARY_ERRORS) as error:
        raise EvalError(
            f"{adapter}: its tokenizer cannot be loaded; code that it brings is never run. {one_line(error)}\n"
            "Delete the folder's tokenizer files to use the base's own tokenizer."
        ) from error
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


@contextlib.contextmanager
def _read_and_not_computed() -> Iterator[None]:
    """Within this the frozen matrices of TinyLoRA come from the adapter's file only.

    PEFT computes them first from the singular values of the base's weights, which takes two minutes of a CPU for 0.5B
    parameters, and then reads the same matrices from the file over them.
    """
    from peft.tuners.tinylora.layer import TinyLoraLayer

    computed = TinyLoraLayer._init_svd

    def room(layer: TinyLoraLayer, name: str, r: int, fan_in_fan_out: bool) -> None:
        weight = layer.get_base_layer().weight
        outputs, inputs = weight.shape[::-1] if fan_in_fan_out else weight.shape
        layer.r[name] = min(r, outputs, inputs)
        layer.tinylora_A[name] = weight.new_full((layer.r[name], inputs), math.nan)
        layer.tinylora_B[name] = weight.new_full((outputs, layer.r[name]), math.nan)

    TinyLoraLayer._init_svd = room
    try:
        yield
    finally:
        TinyLoraLayer._init_svd = computed


def attach(model: "PreTrainedModel", adapter: Path, model_id: str, name: str) -> "PreTrainedModel":
    """The model, the base or what this returned before, with one more adapter on it, in eval mode.

    Raises:
        EvalError: the adapter was trained on another base, or its weights do not fit this one.
    """
    from peft import PeftModel
    from safetensors import SafetensorError

    base = model.get_base_model() if isinstance(model, PeftModel) else model
    config = read_config(adapter / CONFIG)
    trained_on = config.get("base_model_name_or_path")
    if trained_on not in (None, base.name_or_path, model_id):
        raise EvalError(
            f"{adapter}: was trained on {trained_on!r}, but the recipe's model is {model_id!r} "
            f"({base.name_or_path!r}). Set model.id to the adapter's base, or train an adapter for this model."
        )
    try:
        with warnings.catch_warnings(), _read_and_not_computed():
            warnings.filterwarnings("ignore", category=FutureWarning)  # peft asks transformers by a deprecated name
            warnings.filterwarnings("error", message="Found missing adapter keys")
            if model is base:
                return PeftModel.from_pretrained(base, str(adapter), adapter_name=name).eval()
            model.load_adapter(str(adapter), adapter_name=name)
            return model.eval()
    except (SafetensorError, UserWarning, *LIBRARY_ERRORS) as error:
        if is_out_of_memory(error):
            raise
        first = " ".join(str(error).split())[:300]
        raise EvalError(
            f"{adapter}: does not fit the model {model_id!r}. Set model.id to the adapter's base. {first}"
        ) from error
