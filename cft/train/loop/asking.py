"""The model in training as the evaluation will have it, to be asked in between."""

import random
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

import numpy as np
import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer

from cft.devices import free_cache, random_numbers_forked
from cft.train.loop.speed import uncompiled
from cft.weights.adapter import changes_base

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@contextmanager
def random_numbers_kept() -> Iterator[None]:
    """Whatever happens inside, the global random numbers go on as if it had not."""
    python, numpy_state = random.getstate(), np.random.get_state()
    try:
        with random_numbers_forked():
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy_state)


@contextmanager
def casting_inputs(model: torch.nn.Module, enabled: bool) -> Iterator[None]:
    """Within this PEFT casts the inputs of its layers to the adapter's type, or does not.

    `peft.helpers.disable_input_dtype_casting` fails on layers without that switch, such as trained tokens.
    """
    layers = [module for module in model.modules() if isinstance(module, BaseTunerLayer)]
    layers = [layer for layer in layers if hasattr(layer, "cast_input_dtype_enabled")]
    before = [layer.cast_input_dtype_enabled for layer in layers]
    for layer in layers:
        layer.cast_input_dtype_enabled = enabled
    try:
        yield
    finally:
        for layer, cast in zip(layers, before, strict=True):
            layer.cast_input_dtype_enabled = cast


@contextmanager
def answering(model: "PreTrainedModel | PeftModel", *, as_base: bool) -> Iterator["PreTrainedModel"]:
    """The model in training, as the evaluation will have it: no dropout, no autocast, and with `as_base` no adapter."""
    adapted = isinstance(model, PeftModel)
    configs = [config.to_dict() for config in model.peft_config.values()] if adapted else []
    off = adapted and as_base and not any("init_lora_weights" in changes_base(config) for config in configs)
    training = model.training
    model.eval()
    try:
        # Training switches the casts off, which autocast makes needless; without autocast they are needed
        with (
            random_numbers_kept(),
            uncompiled(model),
            casting_inputs(model, True),
            model.disable_adapter() if off else nullcontext(),
        ):
            yield model.get_base_model() if adapted else model  # below accelerate's autocast
    finally:
        model.train(training)
        free_cache()  # the KV cache's room goes back to training
