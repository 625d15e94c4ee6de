"""Decoding a step at a time, each kernel launched from Python: best where a step takes longer than its launches."""

from typing import TYPE_CHECKING

from cft.models.decoding import Answers, Read, plan_batches, read_prompts, step
from cft.models.packed import packed_linears

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def steps(model: "PreTrainedModel", answers: Answers, slots: int) -> None:
    """Write all answers: one batch as it is given, or, of more prompts than slots, batches of alike length."""
    import torch

    count = len(answers.prompts)
    batches = [list(range(count))] if slots >= count else plan_batches([len(ids) for ids in answers.prompts], slots)
    with torch.inference_mode(), packed_linears(model, rows=slots):
        for batch in batches:
            write_batch(model, answers, batch)


def write_batch(model: "PreTrainedModel", answers: Answers, alive: list[int]) -> None:
    """Write the answers of these numbers together; one that has ended leaves the batch."""
    import torch

    read = read_prompts(model, [answers.prompts[number] for number in alive], answers.max_new_tokens)
    logits, cache, mask, positions = read.logits, read.cache, read.mask, read.positions
    spelled_out = needs_whole_mask(model, read)
    while True:
        chosen = answers.choose(logits)
        ended = answers.add(alive, chosen[:, None].tolist())
        if all(ended):
            return
        if any(ended):
            kept = [row for row, end in enumerate(ended) if not end]
            alive = [alive[row] for row in kept]
            keep = torch.tensor(kept, device=model.device)
            mask, chosen, positions = mask[keep], chosen[keep], positions[keep]
            cache.batch_select_indices(keep)
        mask = torch.nn.functional.pad(mask, (0, 1), value=1)
        positions = positions + 1
        seen = mask[:, None, None].bool() if spelled_out else mask  # (B, 1, 1, T) or (B, T)
        logits, cache = step(model, chosen[:, None], seen, positions, cache)


def needs_whole_mask(model: "PreTrainedModel", read: Read) -> bool:
    """Whether a step is faster with its mask spelled out, though no row is padded.

    Transformers' sdpa then leaves the mask out, and PyTorch's kernel for CPUs attends for each head apart: ten times
    the time that it takes with the heads of a group as queries of their one key, as they are where there is a mask.
    """
    from transformers.cache_utils import DynamicLayer

    plain = all(isinstance(layer, DynamicLayer) and not layer.is_sliding for layer in read.cache.layers)
    on_cpu = model.device.type == "cpu" and model.config._attn_implementation == "sdpa"
    return on_cpu and plain and bool(read.mask.all())
