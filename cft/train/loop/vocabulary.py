"""Tokens of the rows that an adapter cannot teach, since the output layer cannot tell them from others.

A vocabulary is padded, and has marks that a checkpoint never saw: their rows of the output layer stay where weight
decay left them, hundreds of them alike. LoRA does not train that layer, so such a token has the probability of each
that is like it, whatever is trained: at best 1 / their number. `<tool_call>` and `</tool_call>` of Qwen2.5-Coder-0.5B
are alike to 2,263 tokens, each other and the padding among them.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch

from cft.terminal import Terminal

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

ALIKE = 0.02  # distance of two rows over the length of one; nearest other row of trained tokens: 0.4 and more
CHUNK = 16_384  # rows of the layer in float32 at a time


def alike(weight: torch.Tensor, ids: list[int]) -> dict[int, int]:
    """How many other rows of `weight` (V, D) are within ALIKE of each of `ids`; only ids that have some."""
    mine = weight[ids].float()  # (N, D)
    length = mine.norm(dim=1)
    counts = torch.zeros(len(ids), dtype=torch.long, device=weight.device)
    for part in weight.split(CHUNK):
        counts += (torch.cdist(mine, part.float()) <= ALIKE * length[:, None]).sum(1)
    return {token: n - 1 for token, n in zip(ids, counts.tolist(), strict=True) if n > 1}


def warn_of_alike(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", trained: Iterable[int], console: Terminal
) -> None:
    """Say which marks among the trained tokens the frozen output layer of the model cannot tell from other tokens.

    Only added tokens are looked at: those of the text itself were trained with it.
    """
    head = model.get_output_embeddings()
    if type(head) is not torch.nn.Linear or head.weight.requires_grad:  # else it is trained, in whole or in part
        return
    marks = sorted(set(trained) & tokenizer.added_tokens_decoder.keys())
    if not (found := alike(head.weight.detach(), marks) if marks else {}):
        return
    names = {id(module): name.rpartition(".")[2] for name, module in model.named_modules()}
    layers = dict.fromkeys(names[id(one)] for one in (model.get_input_embeddings(), head))
    ids = ", ".join(map(str, found))
    fix = ", ".join(f"{name}: [{ids}]" for name in layers)
    tied = model.get_input_embeddings().weight is head.weight
    told = ", ".join(f"{tokenizer.convert_ids_to_tokens(token)} (alike to {n} others)" for token, n in found.items())
    console.out(
        f"warning: trained tokens that the output layer cannot tell from others: {told}. This model was never trained "
        "on them, and LoRA cannot teach it to write them. Train their rows too, with train.lora."
        f"trainable_token_indices={f'[{ids}]' if tied else f'{{{fix}}}'}, or leave them out of the examples.",
        style="yellow",
    )
