"""Rollouts: completions that the model in training writes, by the decoders of the evaluation; their log-probabilities.

TRL's plain path pads a group to its longest completion, keeps ended rows in the batch, and reads the one prompt for
each of them, in sampling and in the loss alike. Here ended rows leave, and a prompt that rows share is read once.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import gather_object
from torch.nn.functional import pad
from transformers.cache_utils import DynamicCache, DynamicLayer

from cft.files import write_jsonl
from cft.models.generate import sampled
from cft.runs import step_name
from cft.train.loop import ranks
from cft.train.loop.asking import answering
from cft.train.loop.defaults import LENGTHS_ON_CPU
from cft.train.loop.head import FrozenHeadLogProbs, is_plain_frozen_head
from cft.train.loop.trainer import plain
from eval.statistics.behaviour import loops

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
    with answering(trainer.model, as_base=False) as model, rounded_adapter(trainer):
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


@contextmanager
def rounded_adapter(trainer: "Trainer") -> Iterator[None]:
    """Within this the trained weights are in bfloat16 where the loss, under autocast, rounds them to it as well.

    So sampler and trainer are the same policy, and no layer casts its input to float32 and back: a quarter of the time
    of a small model's decoding step on a CPU. The weights themselves are put back as they were.
    """
    rounded = [weight for weight in trainer.model.parameters() if weight.requires_grad and trainer.args.bf16]
    kept = [weight.data for weight in rounded]
    try:
        for weight in rounded:
            weight.data = weight.data.to(torch.bfloat16)
        yield
    finally:
        for weight, data in zip(rounded, kept, strict=True):
            weight.data = data


def draw_of(trainer: "Trainer") -> int:
    """The number of the draw that comes next, the same after a resume: micro-batches trained on so far."""
    accumulation = trainer.args.gradient_accumulation_steps
    return trainer.state.global_step * accumulation + trainer._step % accumulation


def completion_row(trainer: "Trainer", row: dict[str, Any], text: str, ids: Sequence[int]) -> dict[str, Any]:
    """What is written of a completion of a row, beside its rewards."""
    return {
        "row": row["id"],
        "problem": row.get("problem"),
        "text": text,
        "tokens": len(ids),
        "finish_reason": "stop" if ids[-1] in trainer.eos_token_ids else "length",
    }


def different_prompts(trainer: "Trainer") -> list[Any]:
    """Each prompt of the data set once; it holds every one as often as it is drawn."""
    return list({str(prompt): prompt for prompt in trainer.train_dataset["prompt"]}.values())


def keep(
    trainer: "Trainer",
    rows: Sequence[dict[str, Any]],
    written: Sequence[str],
    completion_ids: Sequence[Sequence[int]],
    rewards: dict[str, Sequence[float]],
    sums: Sequence[float | None],
) -> None:
    """Write the completions of a generation to `trainer.rollouts`/step-N.jsonl; log the share that loops to its end.

    `trainer.sampled` has the rows of the newest file.

    Args:
        rows: of this process, one a completion; `written` and `completion_ids` are theirs.
        rewards: of all processes' completions, by name; `sums` are their weighted sums.
    """
    step = trainer.state.global_step
    described = zip(rows, written, completion_ids, strict=True)
    kept = gather_object([{"step": step} | completion_row(trainer, *one) for one in described])
    for place, (row, total) in enumerate(zip(kept, sums, strict=True)):
        row |= {"rewards": {name: values[place] for name, values in rewards.items()}, "reward": total}
    trainer.sampled = [row for row in trainer.sampled if row["step"] == step] + kept  # a step may take several
    if ranks.is_main():
        write_jsonl(trainer.rollouts / f"{step_name(step)}.jsonl", trainer.sampled)
    trainer._metrics["train"]["gibberish"].append(sum(loops(row["text"]) for row in kept) / len(kept))


def is_ours(args) -> bool:
    """Whether TRL's sampling arguments ask for nothing but what `sample` does."""
    return all(getattr(args, key, default) == default for key, default in NOT_OURS.items())


def multiple_of(args) -> int | None:
    """Of how many tokens the lengths of a batch are a multiple (`cft.train.loop.defaults.LENGTHS_ON_CPU`)."""
    return LENGTHS_ON_CPU if args.use_cpu else None


def reads_prompt_once(model: "PreTrainedModel", args) -> bool:
    """Whether `completion_log_probs` can be had: one process, whose cache only grows, no activations computed again."""
    plain_cache = all(type(layer) is DynamicLayer for layer in DynamicCache(config=model.config).layers)
    return plain_cache and not args.gradient_checkpointing and ranks.count() == 1 and is_plain_frozen_head(model)


def by_prompt(prompt_ids: torch.Tensor, mask: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The different prompts of (B, Q): each (1, P), without what it is padded with, and the rows (N,) that have it."""
    _, which = prompt_ids.where(mask.bool(), -1).unique(dim=0, return_inverse=True)
    groups = [(which == number).nonzero()[:, 0] for number in range(int(which.max()) + 1)]
    return [(prompt_ids[rows[:1], mask[rows[0]].bool()][None], rows) for rows in groups]


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
    base, rows, kept = plain(trainer.model), len(completion_ids), mask.bool()
    blank = torch.zeros_like(completion_ids, dtype=torch.float32)
    # TRL has padded them as the longest of the generation needs: these need less
    multiple, longest = multiple_of(trainer.args) or 1, max(1, int(mask.sum(1).max()))
    completion_ids, own = (tensor[:, : -(-longest // multiple) * multiple] for tensor in (completion_ids, kept))
    with trainer.accelerator.autocast():
        read = base.base_model(input_ids=prompt, use_cache=True)
        hidden = read.last_hidden_state[:, -1:].expand(rows, -1, -1)  # that predicts the first token
        if completion_ids.shape[1] > 1:
            cache = read.past_key_values
            cache.batch_repeat_interleave(rows)
            # Padding stands behind, where no token sees it; the last token predicts nothing
            written = base.base_model(input_ids=completion_ids[:, :-1], past_key_values=cache, use_cache=True)
            hidden = torch.cat([hidden, written.last_hidden_state], 1)  # (B, T, D)
    head = base.get_output_embeddings()
    log_probs, entropies = FrozenHeadLogProbs.apply(
        hidden[own].to(head.weight.dtype),
        head.weight,
        head.bias,
        completion_ids[own],
        trainer.temperature,
        entropy_trains,
    )
    return blank.masked_scatter(kept, log_probs), blank.masked_scatter(kept, entropies)


def in_few_lengths(batch: dict[str, torch.Tensor], multiple: int) -> dict[str, torch.Tensor]:
    """A micro-batch of SDFT or SDPO, padded no further than its own rows need, to a multiple of so many tokens.

    TRL pads it as the longest row of its generation needs.

    Args:
        batch: prompts (B, P) are padded in front, completions (B, T) behind; the teacher's (B, Q + T) hold both.
    """
    completion, student = batch["completion_mask"], batch["prompt_mask"]
    teacher = {key: batch[key][:, : -completion.shape[1]] for key in ("teacher_input_ids", "teacher_attention_mask")}
    width, prompt, taught = (
        -(-max(1, int(mask.sum(1).max())) // multiple) * multiple
        for mask in (completion, student, teacher["teacher_attention_mask"])
    )
    fitted = {key: pad(batch[key], (prompt - student.shape[1], 0)) for key in ("prompt_ids", "prompt_mask")}
    for key in {"completion_ids", "completion_mask", "old_per_token_logps"} & batch.keys():
        fitted[key] = pad(batch[key], (0, width - completion.shape[1]))
    for key, written in zip(teacher, ("completion_ids", "completion_mask"), strict=True):
        before = pad(teacher[key], (taught - teacher[key].shape[1], 0))
        fitted[key] = torch.cat([before, fitted[written]], 1)
    return batch | fitted
