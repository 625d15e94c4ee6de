"""What makes a training faster where it can: flash attention if it is there, compiled layers if the run is long enough.

Neither is needed, and neither changes what is computed beyond rounding. Both are tried out before they are chosen, so
that a damaged installation is passed over. On GPUs neither was measured.
"""

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from cft.devices import CARDS, MFU, known_card
from cft.errors import TrainError
from cft.models.source import architecture_of
from cft.train.loop import ranks
from cft.train.loop.defaults import recomputes, training_epochs

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from cft.models.source import ModelSource
    from cft.recipe.blocks import ModelBlock, Recipe
    from cft.rows import TokenRow

# Seconds of training from which on compiling pays. On two CPU cores it took 23 s and made steps 8 % faster
# (benchmarks/README.md), so that it has paid after five minutes. GPUs: not measured. An Apple GPU is not among them:
# torch's code for it is a prototype.
LONG_ENOUGH = {"cpu": 600, "cuda": 1200}
CORE_FLOPS = 0.17e12  # that training reaches on a core with bfloat16 units (measured); others are slower
UNKNOWN_CARD = 100e12  # peak of a GPU that is not in `CARDS`


def training_attention(block: "ModelBlock", device: str, *, sharded: bool = False) -> str:
    """The attention that training uses: what the recipe names, or for "auto" flash attention where it works, else sdpa.

    It comes from the package flash-attn, or through the package `kernels` from the hub (kernels-community/flash-attn2).
    Its gain is that rows of a micro-batch need no padding (`padding_free`).
    """
    if block.attn_implementation != "auto":
        return block.attn_implementation
    usable = device == "cuda" and not sharded and block.dtype != "float32"
    return "flash_attention_2" if usable and flash_attention_works(block.dtype) else "sdpa"


def flash_attention_works(dtype: str) -> bool:
    """Whether transformers finds a FlashAttention 2 whose result on this GPU is that of PyTorch's own attention."""
    import torch
    from transformers.utils import is_flash_attn_2_available, is_kernels_available

    if torch.cuda.get_device_capability() < (8, 0) or not (is_flash_attn_2_available() or is_kernels_available()):
        return False
    try:
        from transformers.modeling_flash_attention_utils import lazy_import_flash_attention

        (flash, *_), _ = lazy_import_flash_attention("flash_attention_2")
        query, key, value = torch.randn(3, 1, 64, 2, 64, device="cuda", dtype=getattr(torch, dtype))  # (B, T, heads, D)
        output = flash(query, key, value, causal=True)
        output = output[0] if isinstance(output, tuple) else output
        heads_first = [tensor.transpose(1, 2) for tensor in (query, key, value)]
        expected = torch.nn.functional.scaled_dot_product_attention(*heads_first, is_causal=True).transpose(1, 2)
        return torch.allclose(output.float(), expected.float(), atol=0.05)
    except Exception:  # no build for this GPU or this torch, no way to the hub: as if it were not there
        return False


def worth_compiling(
    recipe: "Recipe", source: "ModelSource", rows: Sequence["TokenRow"], args: dict, device: str
) -> bool:
    """Whether a training is so long that compiling its layers saves more time than it takes.

    Its length is taken from its operations and from a speed that depends on the device's name only, so that the same
    training on the same machine is always compiled or never.

    Args:
        args: keys of SFTConfig with our defaults.
    """
    model = architecture_of(source)
    if model is None or device not in LONG_ENOUGH or recipe.model.quantization != "none" or ranks.count() > 1:
        return False
    work = {"full": recipe.train.full, "recomputes": bool(recomputes(args))}
    epoch = sum(model.flops(*row.counts, **work) for row in rows)
    seconds = training_epochs(args, len(rows)) * epoch / nominal_flops(device)
    return seconds >= LONG_ENOUGH[device] and compiler_works(device)


def nominal_flops(device: str) -> float:
    """Floating-point operations a second that training may reach here; high for slow CPUs."""
    if device == "cpu":
        return CORE_FLOPS * (os.cpu_count() or 1)
    import torch

    card = known_card(torch.cuda.get_device_name())
    return MFU * (CARDS[card][1] * 1e12 if card else UNKNOWN_CARD)


def compiler_works(device: str) -> bool:
    """Whether torch.compile can build anything here: it wants a C++ compiler on a CPU, Triton on a GPU."""
    import torch

    try:
        torch.compile(lambda numbers: numbers * 2 + 1)(torch.ones(8, device=device))
    except Exception:  # whatever is missing; training goes on without
        return False
    return True


def compile_layers(model: "PreTrainedModel", backend: str | None = None, mode: str | None = None) -> None:
    """Compile each decoder layer in place, for rows of any length.

    All layers share one compilation, a fraction of the whole model's; names and checkpoints stay as they are.

    Args:
        backend, mode: of torch.compile.

    Raises:
        TrainError: the model has no list of layers.
    """
    layers = getattr(model.base_model, "layers", None)
    if layers is None:
        raise TrainError(f"train.args.torch_compile: {type(model).__name__} has no `layers` to compile. Leave it out.")
    for layer in layers:
        layer.compile(dynamic=True, backend=backend or "inductor", mode=mode)


def uncompiled(model: "torch.nn.Module") -> AbstractContextManager:
    """Within this, compiled layers run as they were written: decoding with a cache would compile them again."""
    import torch

    if any(module._compiled_call_impl for module in model.modules()):
        return torch.compiler.set_stance("force_eager")
    return nullcontext()
