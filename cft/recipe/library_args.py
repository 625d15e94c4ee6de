"""Checks `train.lora` against PEFT's class and `train.args` against the method's class before anything is loaded.

The libraries' own constructors accept nearly all (`r: many`, a batch of 0) and fail after the model is loaded. So each
value is checked against the type that the library declares, then against the ranges of `library_keys`, and then both
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
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from importlib import import_module
from typing import Any

from pydantic import TypeAdapter, ValidationError

from cft.cache import remembered
from cft.recipe.blocks.train import ADAPTERS, METHODS, ROLLOUT_ARGS, Method, RolloutTrain
from cft.recipe.faults import MISSING, Fault, cut
from cft.recipe.library_keys import (
    CHOICES,
    MOST,
    NUMBERS,
    OWNED_ARGS,
    OWNED_LORA,
    OWNED_ROLLOUT_ARGS,
    RANGES,
    SYNONYMS,
)
from cft.recipe.rl_checks import BATCHES
from cft.suggest import did_you_mean, nearest


def library_faults(train: dict[str, Any], dtype: str) -> list[Fault]:
    """The faults of a train block's `lora` and `args`, where they are mappings; their places are not filled in.

    Imports PEFT and TRL, which takes seconds, unless the same block was checked here before. `dtype` is model.dtype.
    """
    method = METHODS.get(str(train.get("method")), METHODS["cft"])
    if method.config is None:
        return []
    import torch

    from cft.devices import pick_device

    device = pick_device()
    gpu = torch.cuda.get_device_name() if device == "cuda" else ""
    checked = {key: train.get(key) for key in ("lora", "args")}

    def check() -> list[list[Any]]:
        faults = _check(checked, method, dtype, device)
        return [[f.path, f.fault, f.fix] + [f.value] * (f.value is not MISSING) for f in faults]

    rows = remembered("library_faults", [checked, method.config, dtype, device, gpu], check)
    return [Fault(tuple(path), *rest) for path, *rest in rows]


def _check(train: dict[str, Any], method: Method, dtype: str, device: str) -> list[Fault]:
    from transformers.utils import is_torch_bf16_gpu_available

    values = {block: train[block] if isinstance(train[block], dict) else {} for block in ("lora", "args")}
    samples = issubclass(method.block, RolloutTrain)
    kind = values["lora"].get("peft_type", "LORA")
    known = isinstance(kind, str) and kind in ADAPTERS
    with _undisturbed(), tempfile.TemporaryDirectory() as folder:
        libraries = {
            "lora": Library(ADAPTERS[kind if known else "LORA"], OWNED_LORA),
            "args": Library(method.config, OWNED_ROLLOUT_ARGS if samples else OWNED_ARGS),
        }
        libraries["args"].fixed.update(output_dir=folder, use_cpu=device == "cpu", bf16=False)
        libraries["args"].fixed.update(ROLLOUT_ARGS if samples else {})
        faults = device_faults(values["args"], dtype, device, device == "cpu" or is_torch_bf16_gpu_available())
        if not known:
            fix = did_you_mean(str(kind), ADAPTERS)
            faults.append(Fault(("train", "lora", "peft_type"), "is no adapter that is trained here", fix, kind))
        for block in libraries:
            faults += filter(None, [_key_fault(block, key, value, libraries) for key, value in values[block].items()])
        for block, library in libraries.items():
            faulty = {fault.path for fault in faults}
            sound = {key: value for key, value in values[block].items() if ("train", block, key) not in faulty}
            if samples and block == "args":  # whether batches go together is told once, by `rollout_faults`
                sound = {k: v for k, v in sound.items() if k not in BATCHES or type(v) is not int or v < 1}
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

    def __init__(self, name: str, owned: dict[str, str]) -> None:
        """
        Args:
            name: the class with its module.
            owned: the keys that this project sets, and what to know of each.
        """
        package, _, short = name.rpartition(".")
        config = getattr(import_module(package), short)
        hints = typing.get_type_hints(config)
        self.config, self.name, self.owned = config, name, owned
        self.fixed: dict[str, Any] = {}  # the values that are always given to it; a recipe's own come after them
        self.types = {field.name: hints[field.name] for field in fields(config) if field.init}
        self.choices = {field.name: list(field.metadata.get("choices") or ()) for field in fields(config)}
        self.choices |= {key: list(words) for key, words in CHOICES.get(short, {}).items()}

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
    path, library = ("train", block, key), libraries[block]
    if (block, key) == ("lora", "peft_type"):
        return None  # it has chosen the class
    if reason := library.owned.get(key):
        return Fault(path, "is not set here", reason[0].upper() + reason[1:], value)
    if key not in library.types:
        for other, its in libraries.items():
            if key in its.types:
                return Fault(path, f"is a key of {its.name}", f"Move it to train.{other}", value)
        known = [name for name in library.types if name not in library.owned]
        near = SYNONYMS.get(key) if SYNONYMS.get(key, "").split(" ")[0] in known else nearest(key, known)
        fix = f"Did you mean {near}?" if near else f"The documentation of {library.name} lists its keys"
        return Fault(path, f"unknown key of {library.name}", fix, value)
    if key == "task_type" and value != "CAUSAL_LM":
        return Fault(path, "the base is a causal language model", "Leave the key out", value)
    words, holds = RANGES.get(key, ("", None))
    fault = _type_fault(path, value, library)
    if value is None and key in NUMBERS:
        fault = Fault(path, "must be a number", "Leave the key out for our default", value)
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
