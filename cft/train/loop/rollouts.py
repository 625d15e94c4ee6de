"""Rollouts: completions that the model in training writes, by the decoders of the evaluation; their log-probabilities.

TRL's plain path pads a group to its longest completion, keeps ended rows in the batch, and reads the one prompt for
each of them, in sampling and in the loss alike. Here ended rows leave, and a prompt that all rows share is read once.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

from cft.models.generate import sampled
from cft.train.loop import ranks
from cft.train.loop.asking import answering
from cft.train.loop.head import FrozenHeadLogProbs
from cft.train.loop.trainer import plain

if TYPE_CHECKING:
    from transformers import PreTrainedModel, Trainer

SEEDS_A_TRAINING = 2**32  # seeds of sampling between those of two trainings
# Arguments of TRL's own sampling that ours has not
NOT_OURS = {"min_p": None, "repetition_penalty": 1.0, "generation_kwargs": None, "use_vllm": False}
NOT_OURS |= {"use_transformers_continuous_batching": False, "cache_implementation": None}


def sample(trainer: "Trainer", prompts: list[list[int]], *, draw: int, decoder: str = "auto") -> list[list[int]]:
    """One completion for each prompt, of token ids, the end-of-sequence token included where it stands.

    Args:
        draw: number of the draw in this training, such as its optimizer steps: the same draw gives the same tokens.
    """
    args = trainer.args
    with answering(trainer.model, as_base=False) as model:
        answers = sampled(
            model,
            trainer.processing_class,
            prompts,
            max_new_tokens=args.max_completion_length,
            temperature=args.temperature,
            top_k=args.top_k,
            top_p=args.top_p,
            seed=args.seed * SEEDS_A_TRAINING + draw * args.world_size + args.process_index,
            decoder=decoder,
        )
    return answers.tokens


def is_ours(args) -> bool:
    """Whether TRL's sampling arguments ask for nothing but what `sample` does."""
    return all(getattr(args, key, default) == default for key, default in NOT_OURS.items())


def reads_prompt_once(model: "PreTrainedModel", args) -> bool:
    """Whether `completion_log_probs` can be had: the cache only grows, and no activations are computed again."""
    plain_cache = all(type(layer) is DynamicLayer for layer in DynamicCache(config=model.config).layers)
    return plain_cache and not args.gradient_checkpointing and not ranks.sharded()


def shared_prompt(prompt_ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor | None:
    """The one prompt (1, P) of all rows of (B, P), which then has no padding; None where they differ."""
    return prompt_ids[:1] if bool(mask.all()) and bool((prompt_ids == prompt_ids[:1]).all()) else None


def completion_log_probs(
    trainer: "Trainer",
    prompt: torch.Tensor,
    completion_ids: torch.Tensor,
    mask: torch.Tensor,
    *,
    entropy_trains: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities and entropies (B, T) of B completions of one prompt, which is read once, with its gradient.

    Args:
        prompt: (1, P).
        completion_ids: (B, T), padded behind.
        mask: (B, T), 0 where padded; there both results are 0.
    """
    base, rows = plain(trainer.model), len(completion_ids)
    with trainer.accelerator.autocast():
        read = base.base_model(input_ids=prompt, use_cache=True)
        hidden = read.last_hidden_state[:, -1:].expand(rows, -1, -1)  # that predicts the first token
        if completion_ids.shape[1] > 1:
            cache = read.past_key_values
            cache.batch_repeat_interleave(rows)
            # Padding stands behind, where no token sees it; the last token predicts nothing
            written = base.base_model(input_ids=completion_ids[:, :-1], past_key_values=cache, use_cache=True)
            hidden = torch.cat([hidden, written.last_hidden_state], 1)  # (B, T, D)
    head, kept = base.get_output_embeddings(), mask.bool()
    log_probs, entropies = FrozenHeadLogProbs.apply(
        hidden[kept].to(head.weight.dtype),
        head.weight,
        head.bias,
        completion_ids[kept],
        trainer.temperature,
        entropy_trains,
    )
    blank = torch.zeros_like(completion_ids, dtype=torch.float32)
    return blank.masked_scatter(kept, log_probs), blank.masked_scatter(kept, entropies)


def texts(completions: Sequence) -> list[str]:
    """The text of each completion, be it text or messages."""
    return [
        one if isinstance(one, str) else "".join(message["content"] or "" for message in one) for one in completions
    ]
