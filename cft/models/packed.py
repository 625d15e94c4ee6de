"""Linear layers whose weights lie in oneDNN's own layout: faster decoding in bfloat16 on a CPU.

PyTorch hands oneDNN the weight as it lies in memory, and oneDNN brings it into its own layout again at every call. With
the few rows of a decoding step that is a fifth to a half of the time. Packed once, the same products come out, bit for
bit (`tests/cft/models/test_packed.py`); `torch.compile` does the same to frozen weights.
"""

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from cft.devices import cpu_computes_in

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


def onednn_has_bfloat16() -> bool:
    """Whether oneDNN is here and multiplies in bfloat16. Only x86 was measured, so other processors say no."""
    return platform.machine() in ("x86_64", "AMD64") and cpu_computes_in("bfloat16")


def can_pack(layer: "torch.nn.Module") -> bool:
    """Whether this is a plain linear layer in bfloat16 on a CPU that oneDNN computes on."""
    import torch

    return (
        type(layer) is torch.nn.Linear  # not a subclass: those of bitsandbytes compute something else
        and layer.weight.device.type == "cpu"
        and layer.weight.dtype == torch.bfloat16
        and onednn_has_bfloat16()
    )


@contextmanager
def packed_linears(model: "PreTrainedModel", rows: int) -> Iterator[None]:
    """Let the model's linear layers use packed weights until the context ends; inference only.

    The layers' own weights stay as they are, so this takes their size in memory once more. Layers that cannot be packed
    are left alone, an adapter's among them. `rows` (B) of most calls decide which layout is taken.
    """
    import torch

    def linear(x, *, packed, bias):  # (..., in) -> (..., out)
        return torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")

    layers = [layer for layer in model.modules() if can_pack(layer)]
    try:
        with torch.inference_mode():
            for layer in layers:
                packed = torch.ops.mkldnn._reorder_linear_weight(layer.weight, rows)
                layer.forward = partial(linear, packed=packed, bias=layer.bias)
        yield
    finally:
        for layer in layers:
            vars(layer).pop("forward", None)
