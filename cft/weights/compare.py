"""Compares two models token by token on texts of a run: what an export must give back, and how far it is off.

Positions are those of the completions, where the adapter was trained and where it answers.
"""

from dataclasses import dataclass
from itertools import cycle, islice
from typing import TYPE_CHECKING

from cft.files import read_own_jsonl
from cft.runs import ANSWERS, PROBLEMS, Run
from cft.words import spread

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

TEXTS = 3  # of each kind: training rows, and answered questions
POSITIONS = 128  # of a text, from the completion's start: 768 distributions, 0.3 GB for a vocabulary of 150,000
LONGEST = 1024  # tokens of a text
PROBED = 64  # tokens of a row that shows whether two models in memory are the same: 20 MB of logits for 150,000 words

# Nats, mean over positions. The same weights computed in bfloat16 and in float32 differ by 0.0005 (Qwen2.5-Coder-0.5B),
# 0.0007 (Gemma 3 270M) and 0.001 to 0.002 (SmolLM2-135M with and without an adapter): rounding alone. Five times that
# is a fault, whatever its cause. A weak adapter that is lost in merging changes less, so the share of it that arrived
# is looked at too.
ROUNDING_KL = 0.01
SHARES = (0.9, 1.1)


@dataclass(frozen=True)
class Text:
    """One tokenised text and the first position that is compared; each predicts the token after it."""

    ids: list[int]
    start: int


def check_texts(run: Run, tokenizer: "PreTrainedTokenizerBase", *, completions: bool = True) -> list[Text]:
    """Training rows of the run and, where it was scored, questions with the adapter's answers; else its problems.

    Args:
        completions: whether the rows have some; else they are prompts, for reinforcement learning.
    """
    from cft.models.generate import prompt_ids
    from cft.rows import load_rows, tokenize_row
    from data_builders.prompts import messages, solve_prompt

    texts, asked = [], []
    for row in spread(load_rows(run.examples, completions=completions), TEXTS):
        if not completions:
            asked.append((row["prompt"], ""))
            continue
        tokens = tokenize_row(row, tokenizer)
        texts.append(cut(tokens.input_ids, tokens.start))
    for row in spread(answered(run) or read_own_jsonl(run.data / PROBLEMS), TEXTS):
        asked.append((messages(solve_prompt(row["question"])), row.get("response", "")))
    for prompt, answer in asked:
        (ids,) = prompt_ids(tokenizer, [prompt])
        texts.append(cut(ids + tokenizer(answer, add_special_tokens=False)["input_ids"], len(ids)))
    return texts


def cut(ids: list[int], start: int) -> Text:
    """At most POSITIONS of a text from where its completion starts, or its last ones."""
    ids = ids[: min(start - 1 + POSITIONS, LONGEST)]
    return Text(ids, max(min(start - 1, len(ids) - POSITIONS), 0))


def answered(run: Run) -> list[dict]:
    """Rows of answers.jsonl of an arm with the run's own prompt; the adapter's if it was scored."""
    files = sorted(run.eval.glob(f"*/*/{ANSWERS}"), key=lambda f: (f.parent.name != "adapter", str(f)))
    return next((read_own_jsonl(f) for f in files if "@" not in f.parent.name), [])


def logits_of(model: "PreTrainedModel", texts: list[Text]) -> list["torch.Tensor"]:
    """Logits (P, V) of every text at its positions, on the CPU in the model's own type."""
    import torch

    logits = []
    with torch.inference_mode():
        for text in texts:
            ids = torch.tensor([text.ids], device=model.device)
            keep = torch.arange(text.start, len(text.ids), device=model.device)
            logits.append(model(input_ids=ids, use_cache=False, logits_to_keep=keep).logits[0].cpu())
    return logits


def probe(model: "PreTrainedModel", *rows: list[int]) -> list["torch.Tensor"]:
    """Logits (PROBED, V) of rows of token ids, on the CPU; of one across the vocabulary where none are given.

    Rows are cut to PROBED tokens or repeated up to them: a length that nothing else has costs memory on a CPU.
    """
    vocabulary = model.config.get_text_config().vocab_size
    rows = rows or ([(37 * i + 11) % vocabulary for i in range(PROBED)],)
    return logits_of(model, [Text(list(islice(cycle(row), PROBED)), 0) for row in rows])


def same_bits(one: list["torch.Tensor"], other: list["torch.Tensor"]) -> bool:
    """Whether two lists of tensors are equal bit for bit; NaN equals itself."""
    import torch

    return len(one) == len(other) and all(
        a.dtype == b.dtype and torch.equal(a.contiguous().view(torch.uint8), b.contiguous().view(torch.uint8))
        for a, b in zip(one, other, strict=True)
    )


def difference(reference: list["torch.Tensor"], other: list["torch.Tensor"]) -> dict:
    """How far the distributions of `other` are from those of `reference`, both as `logits_of` gives them.

    Returns:
        {"positions", "max_abs_diff" of a logit, "mean_kl" and "max_kl" in nats, "top1_agreement" from 0 to 1}
    """
    import torch

    largest, same, divergences = 0.0, 0, []
    for ours, theirs in zip(reference, other, strict=True):
        if ours.shape != theirs.shape:
            return {"positions": 0, "max_abs_diff": None, "mean_kl": None, "max_kl": None, "top1_agreement": 0.0}
        ours, theirs = ours.float(), theirs.float()
        largest = max(largest, (ours - theirs).abs().max().item())
        same += (ours.argmax(-1) == theirs.argmax(-1)).sum().item()
        p, q = ours.log_softmax(-1), theirs.log_softmax(-1)
        divergences.append((p.exp() * (p - q)).sum(-1))
    kl = torch.cat(divergences)
    return {
        "positions": len(kl),
        "max_abs_diff": round(largest, 5),
        "mean_kl": float(f"{kl.mean().clamp(min=0).item():.3g}"),
        "max_kl": float(f"{kl.max().clamp(min=0).item():.3g}"),
        "top1_agreement": round(same / len(kl), 5),
    }


def is_same_model(gap: dict, share: float | None = None) -> bool:
    """Whether a difference is within rounding, and so is the share of an adapter's update that arrived, if measured."""
    kl = gap["mean_kl"]
    arrived = share is None or SHARES[0] <= share <= SHARES[1]
    return kl is not None and kl <= ROUNDING_KL and arrived


def in_words(gap: dict) -> str:
    """The numbers of a difference, for people."""
    return (
        f"{gap['top1_agreement']:.2%} same next token, mean KL {gap['mean_kl']:.2g} nats (largest "
        f"{gap['max_kl']:.2g}), logits off by at most {gap['max_abs_diff']:.3g}, {gap['positions']} positions"
    )
