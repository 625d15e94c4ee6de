"""Adds an adapter into the base's weights so that it survives 16 bits.

A base in bfloat16 stands on bfloat16's grid. A LoRA update is mostly smaller than half the distance of two neighbours
there, and rounding the sum to the nearest puts the weight back where it was: the update is lost, not blurred. So the
sum is made in float32 and rounded up or down at random, with the chance that keeps it right on average (stochastic
rounding). What arrives of the update is measured and printed.

SmolLM2-135M after 4 training steps, all computed in float32, mean KL to the unmerged adapter: 0.00028 nats rounded to
the nearest, which left 13 % of the update, 0.000014 at random; with an update eight times as large 0.00066 (73 %) and
0.00007.
"""

import warnings
from typing import TYPE_CHECKING

from cft.errors import RunError

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PreTrainedModel

EXPORT_ADAPTER = "Export the adapter: --to adapter."


def merge_into_base(model: "PeftModel", seed: int) -> tuple["PreTrainedModel", dict]:
    """`merge_layers`, first parting head and embeddings that share weights if only one changes; the config says so."""
    untie(model)
    base, shares = merge_layers(model, seed)
    head, embeddings = base.get_output_embeddings(), base.get_input_embeddings()
    if head is not None and head.weight.data_ptr() != embeddings.weight.data_ptr():
        for config in (base.config, base.config.get_text_config()):
            config.tie_word_embeddings = False
        base.all_tied_weights_keys = {}
    return base, shares


def merge_layers(model: "PeftModel", seed: int) -> tuple["PreTrainedModel", dict]:
    """The base with the adapter in its weights, each layer merged by PEFT in float32 and rounded to its own type.

    Returns:
        the model, and {"share": of the update that arrived, 1 is all and 0 none, "share_rounded_to_nearest": what plain
        rounding would have left of it}. Raises RunError if PEFT cannot merge a layer, or the adapter holds NaN.
    """
    import torch
    from peft.tuners.beft.layer import BeftLayer
    from peft.tuners.lora import LoraLayer
    from peft.tuners.tinylora.layer import TinyLoraLayer

    generator = torch.Generator().manual_seed(seed)
    arrived = nearest = whole = 0.0
    for name, layer in model.named_modules():
        if not isinstance(layer, LoraLayer | TinyLoraLayer | BeftLayer):
            continue
        changed = "bias" if isinstance(layer, BeftLayer) else "weight"
        weight = getattr(layer.get_base_layer(), changed)
        if weight is None:
            raise RunError(f"{name}: has no bias, so what was added to it cannot be merged. {EXPORT_ADAPTER}")
        dtype, before = weight.dtype, weight.detach().float()
        weight.data = before.clone()
        try:
            layer.merge(safe_merge=True)
        except (NotImplementedError, RuntimeError, ValueError) as error:
            raise RunError(f"{name}: PEFT cannot merge this adapter into its base. {error} {EXPORT_ADAPTER}") from error
        weight = getattr(layer.get_base_layer(), changed)
        merged = weight.detach()
        update = merged - before
        weight.data = rounded(merged, dtype, generator)
        arrived += ((weight.float() - before) * update).sum().item()
        nearest += ((merged.to(dtype).float() - before) * update).sum().item()
        whole += (update * update).sum().item()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="All adapters are already merged")
        base = model.merge_and_unload()  # puts modules_to_save and trained tokens in place
    shares = {"share": arrived / whole, "share_rounded_to_nearest": nearest / whole} if whole else {}
    return base, {key: round(value, 4) for key, value in shares.items()}


def rounded(value: "torch.Tensor", dtype: "torch.dtype", generator: "torch.Generator") -> "torch.Tensor":
    """`value`, float32, in `dtype`; to bfloat16 by chance, so that the expected value is `value` itself.

    A bfloat16 is the upper half of a float32: a random number added to the lower half carries into the upper one as
    often as the lower half is large.
    """
    import torch

    if dtype != torch.bfloat16:
        return value.to(dtype)
    bits = value.contiguous().view(torch.int32)
    noise = torch.randint(0, 1 << 16, bits.shape, generator=generator, dtype=torch.int32).to(bits.device)
    whole = ((bits + noise) & -(1 << 16)).view(torch.float32)
    return torch.where(torch.isfinite(whole), whole, value).to(dtype)


def untie(model: "PreTrainedModel") -> None:
    """Give head and embeddings weights of their own where they share them and the adapter changes only one of them."""
    import torch

    base = model.get_base_model()
    head, embeddings = base.get_output_embeddings(), base.get_input_embeddings()
    changed = [hasattr(layer, "base_layer") for layer in (head, embeddings)]
    inner = [getattr(layer, "base_layer", layer) for layer in (head, embeddings)]
    if head is not None and any(changed) and inner[0].weight is inner[1].weight:
        inner[0].weight = torch.nn.Parameter(inner[0].weight.detach().clone(), requires_grad=False)
