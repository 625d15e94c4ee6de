"""Checks `train.lora` against peft.LoraConfig and `train.args` against the method's class before anything is loaded.

The libraries' own constructors accept nearly all (`r: many`, a batch of 0) and fail after the model is loaded. So each
value is checked against the type that the library declares, then against the ranges below, and then both
configurations are really made, for what only the library knows.
"""

import contextlib
import json
import logging
import os
import re
import tempfile
import typing
import warnings
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from importlib import import_module
from typing import Any

from pydantic import TypeAdapter, ValidationError

from cft.cache import remembered
from cft.recipe.blocks.train import METHODS
from cft.recipe.faults import MISSING, Fault, cut
from cft.suggest import did_you_mean, nearest

_HUB = "nothing is uploaded by training; upload the adapter folder yourself, with `hf upload`"
_LAUNCH = "several processes are a matter of the command: --launch ddp, fsdp2 or zero3, with --processes"
_NO_EVALUATION = "training has no evaluation set; the eval block scores the adapter"
_MODEL = "is a matter of the model block, for training and scoring alike"

# Keys that this project sets itself -> what to know or to set instead.
OWNED_ARGS = {
    "output_dir": "the run folder holds it; choose its parent with --runs",
    "seed": "set the recipe's own seed",
    "data_seed": "set the recipe's own seed",
    "resume_from_checkpoint": "give the same command again: it goes on from the last checkpoint",
    "save_only_model": "a checkpoint without optimizer state could not go on",
    "use_cpu": "a GPU is used where there is one; hide it with CUDA_VISIBLE_DEVICES=",
    "model_init_kwargs": f"{_MODEL}; set model.dtype, model.quantization or model.attn_implementation",
    "trust_remote_code": f"{_MODEL}; set model.trust_remote_code",
    "chat_template_path": f"{_MODEL}; set model.chat_template",
    "eos_token": "the tokenizer's own ends every row, in training and scoring alike",
    "pad_token": "a token other than eos is chosen with the tokenizer",
    "dataset_text_field": "examples have the columns prompt and completion",
    "dataset_kwargs": "examples are prepared by the data stage",
    "assistant_only_loss": "the loss is on the completion of each example",
    "truncation_mode": "no row is ever cut",
    "report_to": "a tracker changes no weights: give it to the command, --tracker tensorboard",
    "enable_jit_checkpoint": "SIGTERM saves a checkpoint as it is",
    "auto_find_batch_size": "the micro-batch is halved when memory is too small, and the effective batch kept",
    "include_num_input_tokens_seen": "tokens are counted for metrics.json",
    **dict.fromkeys(["logging_strategy", "logging_steps"], "every step is logged in metrics.json"),
    **dict.fromkeys(["do_train", "do_eval", "do_predict"], "it has no effect outside of transformers' own scripts"),
    **dict.fromkeys(["push_to_hub", "hub_model_id", "hub_strategy", "hub_token", "hub_private_repo"], _HUB),
    **dict.fromkeys(["hub_always_push", "hub_revision"], _HUB),
    **dict.fromkeys(["deepspeed", "fsdp", "fsdp_config", "parallelism_config", "local_rank"], _LAUNCH),
    **dict.fromkeys(["ddp_find_unused_parameters", "ddp_bucket_cap_mb", "ddp_broadcast_buffers"], _LAUNCH),
    **dict.fromkeys(["ddp_static_graph", "ddp_backend", "ddp_timeout"], _LAUNCH),
    **dict.fromkeys(["load_best_model_at_end", "metric_for_best_model", "greater_is_better"], _NO_EVALUATION),
    **dict.fromkeys(["eval_strategy", "eval_steps", "eval_delay", "eval_on_start", "eval_packing"], _NO_EVALUATION),
    **dict.fromkeys(["per_device_eval_batch_size", "eval_accumulation_steps", "batch_eval_metrics"], _NO_EVALUATION),
    **dict.fromkeys(["eval_do_concat_batches", "eval_use_gather_object"], _NO_EVALUATION),
}
OWNED_LORA = {
    "peft_type": "this is LoRA",
    "base_model_name_or_path": "the model block names the base",
    "revision": "set model.revision",
    **dict.fromkeys(["inference_mode", "auto_mapping", "peft_version"], "PEFT writes it itself"),
}

MOST = 10**7  # of any number of theirs: rows of a batch, steps, tokens, a rank
_SYNONYMS = {"lr": "learning_rate", "rank": "r", "alpha": "lora_alpha", "warmup_ratio": "warmup_steps below 1"}

# What the libraries check only after the model is loaded, or never: what the value must be, and whether it is.
_POSITIVE = "must be greater than 0", lambda n: n > 0
_NOT_NEGATIVE = "must be 0 or more", lambda n: n >= 0
_SHARE = "must be 0 or more and less than 1", lambda n: 0 <= n < 1
_RANGES: dict[str, tuple[str, Callable[[float], bool]]] = {
    **dict.fromkeys(["r", "lora_alpha", "learning_rate", "num_train_epochs", "max_length"], _POSITIVE),
    **dict.fromkeys(["per_device_train_batch_size", "gradient_accumulation_steps", "save_steps"], _POSITIVE),
    **dict.fromkeys(["weight_decay", "warmup_steps", "max_grad_norm", "dataloader_num_workers"], _NOT_NEGATIVE),
    **dict.fromkeys(["lora_dropout", "label_smoothing_factor", "adam_beta1", "adam_beta2"], _SHARE),
    "completion_only_loss": ("must be true, the loss is on the completion of each example", bool),
    "save_total_limit": ("must be 2 or more, or a kill could leave no whole checkpoint", lambda n: n >= 2),
}


def library_faults(train: dict[str, Any], dtype: str) -> list[Fault]:
    """The faults of a train block's `lora` and `args`, where they are mappings; their places are not filled in.

    Imports PEFT and TRL, which takes seconds, unless the same block was checked here before. `dtype` is model.dtype.
    """
    config = METHODS.get(str(train.get("method")), METHODS["cft"]).config
    if config is None:
        return []
    import torch

    from cft.devices import pick_device

    device = pick_device()
    gpu = torch.cuda.get_device_name() if device == "cuda" else ""
    checked = {key: train.get(key) for key in ("lora", "args")}

    def check() -> list[list[Any]]:
        faults = _check(checked, config, dtype, device)
        return [[f.path, f.fault, f.fix] + [f.value] * (f.value is not MISSING) for f in faults]

    rows = remembered("library_faults", [checked, config, dtype, device, gpu], check)
    return [Fault(tuple(path), *rest) for path, *rest in rows]


def _check(train: dict[str, Any], config: str, dtype: str, device: str) -> list[Fault]:
    from peft import LoraConfig
    from transformers.utils import is_torch_bf16_gpu_available

    package, name = config.rsplit(".", 1)
    libraries = {"lora": Library("peft", LoraConfig), "args": Library(package, getattr(import_module(package), name))}
    values = {block: train[block] if isinstance(train[block], dict) else {} for block in libraries}
    with _undisturbed(), tempfile.TemporaryDirectory() as folder:
        libraries["args"].fixed.update(output_dir=folder, use_cpu=device == "cpu", bf16=False)
        faults = device_faults(values["args"], dtype, device, device == "cpu" or is_torch_bf16_gpu_available())
        for block in libraries:
            faults += filter(None, [_key_fault(block, key, value, libraries) for key, value in values[block].items()])
        for block, library in libraries.items():
            faulty = {fault.path for fault in faults}
            sound = {key: value for key, value in values[block].items() if ("train", block, key) not in faulty}
            faults += library.make_faults(block, sound)
    return faults


def device_faults(args: dict[str, Any], dtype: str, device: str, has_bf16: bool) -> list[Fault]:
    """The precisions that are asked for and that the device does not have."""
    faults, lacks = [], "this GPU has no bfloat16"
    if args.get("fp16") is True and device == "cpu":
        fix = "Leave it out, or take bf16"
        faults.append(Fault(("train", "args", "fp16"), "needs a GPU, and there is none here", fix, True))
    if not has_bf16 and args.get("bf16") is True:
        faults.append(Fault(("train", "args", "bf16"), lacks, "Take fp16 here, and set model.dtype to float16", True))
    if not has_bf16 and args.get("bf16") is None and dtype == "bfloat16":
        faults.append(Fault(("model", "dtype"), lacks, "Set it to float16", dtype))
    return faults


class Library:
    """A configuration class of a library: the types of its keys, and what it says when it is made."""

    def __init__(self, package: str, config: type) -> None:
        hints = typing.get_type_hints(config)
        self.config, self.name = config, f"{package}.{config.__name__}"
        self.fixed: dict[str, Any] = {}  # the values that are always given to it; a recipe's own come after them
        self.types = {field.name: hints[field.name] for field in fields(config) if field.init}
        self.choices = {field.name: list(field.metadata.get("choices") or ()) for field in fields(config)}

    def make_faults(self, block: str, values: dict[str, Any]) -> list[Fault]:
        """What the library says when it is made of these values, each fault at the key that brings it about."""
        faults, values = [], dict(values)
        while said := self._make(values):
            alone = [key for key in values if self._make({key: values[key]}) == said]
            without = [key for key in values if self._make({k: v for k, v in values.items() if k != key}) != said]
            if not alone and not without:
                return [*faults, Fault(("train", block), f"{self.name} refuses it: {said}", "Correct its keys")]
            key = (alone or without)[0]
            value = values.pop(key)
            near = nearest(value, re.findall(r"'([^']+)'", said)) if isinstance(value, str) else None
            fix = f"Did you mean {near}?" if near and near != value else "Correct it, or leave it out"
            faults.append(Fault(("train", block, key), f"{self.name} says: {cut(said, 160)}", fix, value))
        return faults

    def _make(self, values: dict[str, Any]) -> str | None:
        """The error of making the configuration, on one line, or None."""
        try:
            self.config(**self.fixed | values)
        except Exception as error:  # the library's own, of whatever class
            return " ".join(f"{error}".split()).rstrip(".") or type(error).__name__
        return None


def _key_fault(block: str, key: str, value: Any, libraries: dict[str, Library]) -> Fault | None:
    """What can be told of one key without making the configuration."""
    path, library, owned = ("train", block, key), libraries[block], OWNED_LORA if block == "lora" else OWNED_ARGS
    if key not in library.types:
        for other, its in libraries.items():
            if key in its.types:
                return Fault(path, f"is a key of {its.name}", f"Move it to train.{other}", value)
        near = _SYNONYMS.get(key) or nearest(key, [known for known in library.types if known not in owned])
        fix = f"Did you mean {near}?" if near else f"The documentation of {library.name} lists its keys"
        return Fault(path, f"unknown key of {library.name}", fix, value)
    if reason := owned.get(key):
        return Fault(path, "is not set here", reason[0].upper() + reason[1:], value)
    if key == "task_type" and value != "CAUSAL_LM":
        return Fault(path, "the base is a causal language model", "Leave the key out", value)
    words, holds = _RANGES.get(key, ("", None))
    fault = _type_fault(path, value, library)
    number = isinstance(value, int | float)
    if not fault and holds and number and not holds(value):
        return Fault(path, words, "Choose another number", value)
    if not fault and number and value > MOST:
        return Fault(path, f"must be at most {MOST:,}", "Choose another number", value)
    return fault


def _type_fault(path: tuple[str, str, str], value: Any, library: Library) -> Fault | None:
    hint, choices = library.types[path[-1]], library.choices[path[-1]]
    parts = _parts(hint)
    if isinstance(value, dict) and dict not in parts and any(is_dataclass(part) for part in parts):
        return Fault(path, "takes an object of the library, which YAML cannot hold", "Leave the key out", value)
    words = choices or [part for part in parts if isinstance(part, str)]
    if words and isinstance(value, str) and value not in words and (choices or str not in parts):
        if path[-1] == "init_lora_weights" and re.fullmatch(r"pissa_niter_\d+", value):
            return None  # the declared type has only a description of it
        return Fault(path, "is not known", did_you_mean(value, words), value)
    try:
        TypeAdapter(hint).validate_json(json.dumps(value), strict=True)
    except ValidationError:
        fix = "Write true or false" if bool in parts else "Correct it"
        if isinstance(value, str) and re.fullmatch(r"[-+]?[0-9.]+(e[-+]?[0-9]+)?|true|false", value, re.IGNORECASE):
            fix = "Write it without quotes"
        return Fault(path, f"must be {_type_name(hint)}", fix, value)
    return None


def _parts(hint: Any) -> list[Any]:
    """All that a type is made of: of `int | Literal["a"]`, int and "a"."""
    inner = [part for argument in typing.get_args(hint) for part in _parts(argument)]
    return [typing.get_origin(hint) or hint, *inner]


def _type_name(hint: Any) -> str:
    """A type as people write it."""
    name = hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint)
    return cut(re.sub(r"\b(?:typing|[a-z_]+(?:\.[a-z_]+)+)\.", "", name), 160)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """No warnings of the libraries are printed, and what they set in the environment does not stay."""
    before = dict(os.environ)
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(logging.NOTSET)
        os.environ.clear()
        os.environ.update(before)
