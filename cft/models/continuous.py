"""Decoding with transformers' continuous batching (paged attention, CUDA graphs): a side of the benchmark.

It is not offered to recipes, for what was found in transformers 5.23 (`generation/continuous_batching`). Requests are
queued while a thread decodes already, so that which rows share a step, and with them bfloat16's rounding, is not a
function of prompts and settings alone. It samples from the process's own random numbers, which it seeds anew. Running
out of memory is no exception: all answers come back with a text as their error. And without flash attention all rows
are one sequence to sdpa: each of n rows is computed against the caches of all n. Greedy answers are ours.
"""

from typing import TYPE_CHECKING

from cft.errors import ModelError
from cft.models.decoding import Answers

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def continuous(model: "PreTrainedModel", answers: Answers, slots: int) -> None:
    """Write all answers greedily, at most `slots` at a time. Surplus tokens behind a stop string are cut.

    Raises:
        ModelError: the library gave an answer up, or changed the model's attention or type.
    """
    import torch
    from transformers import ContinuousBatchingConfig, GenerationConfig

    before = model.config._attn_implementation, model.dtype
    settings = GenerationConfig(
        do_sample=False,
        max_new_tokens=answers.max_new_tokens,
        eos_token_id=sorted(answers.stop_ids),
        pad_token_id=model.config.pad_token_id or 0,
    )
    # Of its own accord it takes most of the free memory for the cache
    row = max(map(len, answers.prompts)) + answers.max_new_tokens
    pages = slots * (row // ContinuousBatchingConfig.page_size + 2)
    graphed = model.device.type == "cuda"
    how = ContinuousBatchingConfig(max_requests_per_batch=slots, num_blocks=pages, use_cuda_graph=graphed)
    random = torch.random.get_rng_state()
    try:
        found = model.generate_batch(
            inputs=[list(ids) for ids in answers.prompts],
            generation_config=settings,
            continuous_batching_config=how,
        )
    finally:
        torch.random.set_rng_state(random)
        if model.config._attn_implementation != before[0]:
            model.set_attn_implementation(before[0])
    given = list(found.values())
    faults = [one.error for one in given if one.error]
    if faults or len(given) != len(answers.prompts) or model.dtype != before[1]:
        fault = faults[0] if faults else f"{len(given)} of {len(answers.prompts)} answers, weights in {model.dtype}"
        raise ModelError(f"transformers' continuous batching failed: {fault}. Use the decoder steps or graphs.")
    for number, one in enumerate(given):  # in the order of the prompts
        answers.add([number], [one.generated_tokens])
