"""Batched decoding with transformers, for students and for evaluation: one batch in, one batch out.

`GenerationMixin.generate` keeps computing rows that have already ended until the whole batch has. Here an
ended row leaves the batch, so the time goes with the tokens produced and not with the longest answer; greedy
tokens are those of `generate`. Measured in `benchmarks/`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from cft.models.packed import packed_linears
from cft.models.template import apply_template

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


SHORT = 100  # tokens of a prompt that may share a batch with any up to twice as long
SHARED = 128  # tokens that all prompts of a batch begin with and that are worth reading apart
COLDEST = (
    1e-6  # temperature, below which float32 has no numbers for the logits; all but the largest are far behind there
)
LEAST = 1e-30  # of top_p, above what float32 rounds to 0
STOP_TAIL = 2  # tokens looked at for each character of a stop string: a character may take more than one


@dataclass(frozen=True)
class Completion:
    """What the model wrote after one prompt."""

    text: str
    tokens: int  # new tokens, the end-of-sequence token included
    finish_reason: Literal["stop", "length"]  # ended by itself | hit max_new_tokens


def render(tokenizer: "PreTrainedTokenizerBase", messages: list[dict]) -> str:
    """The prompt text: the tokenizer's chat template with its generation prompt, or plain text where there is none.

    A last message of the assistant is the beginning of its answer, which the model goes on with.
    """
    begun = messages[-1]["role"] == "assistant"
    if tokenizer.chat_template is None:
        return "\n\n".join(message["content"] for message in messages) + ("" if begun else "\n")
    return apply_template(
        tokenizer, messages, tokenize=False, add_generation_prompt=not begun, continue_final_message=begun
    )


def plan_batches(lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """Indices in batches of alike length, longest first: the batch most likely to run out of memory comes at once.

    Padding costs as much as tokens, in each decoding step too, so no row is padded to more than twice its length (rows
    below SHORT tokens are alike enough). A pure function of its arguments: an interrupted run plans the same batches
    again, and so decodes the same text (in bfloat16 the batch a row stands in can change its rounding).
    """
    batches: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if batches and len(batches[-1]) < batch_size and 2 * max(lengths[i], SHORT) >= lengths[batches[-1][0]]:
            batches[-1].append(i)
        else:
            batches.append([i])
    return batches


def make_cache(model: "PreTrainedModel", room: int):
    """A KV cache with room for `room` positions, so that a step writes one position instead of copying all of them.

    Models with sliding windows or states of their own keep transformers' cache.
    """
    from transformers.cache_utils import DynamicCache, DynamicLayer

    class RoomyLayer(DynamicLayer):
        def update(self, key_states, value_states, *args, **kwargs):
            used, length = self.get_seq_length(), key_states.shape[-2]
            if not self.is_initialized:
                self.lazy_initialization(key_states, value_states)
                shape = (*key_states.shape[:-2], room, key_states.shape[-1])
                self.room = key_states.new_empty(shape), value_states.new_empty((*shape[:-1], value_states.shape[-1]))
            for room_BHSD, states_BHTD in zip(self.room, (key_states, value_states), strict=True):
                room_BHSD[:, :, used : used + length] = states_BHTD
            self.keys, self.values = (tensor[:, :, : used + length] for tensor in self.room)
            return self.keys, self.values

        def batch_repeat_interleave(self, repeats):
            self.room = tuple(tensor.repeat_interleave(repeats, 0) for tensor in self.room)
            self.keys, self.values = (tensor[:, :, : self.get_seq_length()] for tensor in self.room)

        def batch_select_indices(self, indices):
            self.room = tuple(tensor[indices] for tensor in self.room)
            self.keys, self.values = (tensor[:, :, : self.get_seq_length()] for tensor in self.room)

    cache = DynamicCache(config=model.config)
    if any(type(layer) is not DynamicLayer for layer in cache.layers):
        return cache
    cache.layers = [RoomyLayer() for _ in cache.layers]
    return cache


def shared_prefix(ids: Sequence[Sequence[int]]) -> int:
    """Tokens that all of several prompts begin with, such as few-shot examples; 0 where they are too few to matter.

    Each prompt keeps at least one token of its own.
    """
    most = min(map(len, ids)) - 1
    same = next((n for n in range(most) if len({row[n] for row in ids}) > 1), most)
    return same if len(ids) > 1 and same >= SHARED else 0


def stop_token_ids(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> set[int]:
    """Every end-of-sequence id that the tokenizer or the model's generation config names."""
    named = model.generation_config.eos_token_id
    ids = named if isinstance(named, list) else [named]
    return {i for i in [*ids, tokenizer.eos_token_id] if i is not None}


def generate(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    prompts: list[str],
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int = 0,
    stop_strings: Sequence[str] = (),
    special_tokens: bool | None = None,
    on_step: Callable[[int], None] | None = None,
) -> list[Completion]:
    """Decode one batch of B prompts. Only the sampling settings given here count, not the model's generation config.

    Args:
        prompts: rendered prompts.
        special_tokens: whether the tokenizer adds its own (a BOS, say) to each prompt; None: where it has no chat
            template, which would have written them.
        temperature: 0 is greedy; above 0 tokens are sampled, the same ones for the same seed and batch.
        top_k: 0 keeps all tokens.
        stop_strings: an answer ends before the first of them that it contains.
        on_step: called after each decoding step with the number of rows that got a token.
    """
    import torch

    device = model.device
    generator = torch.Generator(device).manual_seed(seed)
    stops = torch.tensor(sorted(stop_token_ids(model, tokenizer)), device=device)
    added = tokenizer.chat_template is None if special_tokens is None else special_tokens
    ids_B = tokenizer(prompts, add_special_tokens=added)["input_ids"]
    shared = shared_prefix(ids_B)
    rest = {"input_ids": [ids[shared:] for ids in ids_B]}
    encoded = tokenizer.pad(rest, return_tensors="pt", padding=True, padding_side="left").to(device)
    tokens_B: list[list[int]] = [[] for _ in prompts]
    reason_B = ["length"] * len(prompts)
    alive = torch.arange(len(prompts), device=device)  # batch row -> prompt index
    mask = encoded["attention_mask"]
    inputs = encoded["input_ids"]
    positions = (mask.cumsum(-1) - 1).clamp(min=0) + shared
    cache = make_cache(model, shared + inputs.shape[1] + max_new_tokens)

    with torch.inference_mode(), packed_linears(model, rows=len(prompts)):
        if shared:  # read once, not once a row
            begin = torch.tensor([ids_B[0][:shared]], device=device)
            model(input_ids=begin, past_key_values=cache, use_cache=True, logits_to_keep=1)
            cache.batch_repeat_interleave(len(prompts))
            mask = torch.nn.functional.pad(mask, (shared, 0), value=1)
        for _ in range(max_new_tokens):
            # An index, not `logits_to_keep=1`: that leaves a view of the hidden states, and with frozen weights (any
            # adapter's base) PyTorch then copies the head once a row: 12 GB for 48 rows and a vocabulary of 150k.
            last = torch.tensor([inputs.shape[1] - 1], device=device)
            out = model(
                input_ids=inputs,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=last,
            )
            cache = out.past_key_values
            chosen = choose(out.logits[:, -1], temperature, top_k, top_p, generator)
            for index, token in zip(alive.tolist(), chosen.tolist(), strict=True):
                tokens_B[index].append(token)
            if on_step is not None:
                on_step(len(chosen))
            ended = torch.isin(chosen, stops)
            if stop_strings:
                tails = [tokens_B[index][-STOP_TAIL * max(map(len, stop_strings)) :] for index in alive.tolist()]
                stopped = [until(tail, stop_strings)[1] for tail in tokenizer.batch_decode(tails)]
                ended |= torch.tensor(stopped, device=device)
            if ended.any():
                for index in alive[ended].tolist():
                    reason_B[index] = "stop"
                keep = (~ended).nonzero().squeeze(1)
                if len(keep) == 0:
                    break
                alive, mask, chosen, positions = alive[keep], mask[keep], chosen[keep], positions[keep]
                cache.batch_select_indices(keep)
            inputs = chosen[:, None]
            mask = torch.nn.functional.pad(mask, (0, 1), value=1)
            positions = positions[:, -1:] + 1

    texts = [until(text, stop_strings)[0] for text in tokenizer.batch_decode(tokens_B, skip_special_tokens=True)]
    return [Completion(text, len(t), r) for text, t, r in zip(texts, tokens_B, reason_B, strict=True)]


def until(text: str, stop_strings: Sequence[str]) -> tuple[str, bool]:
    """`text` up to the first stop string in it, and whether there is one."""
    ends = [place for stop in stop_strings if (place := text.find(stop)) >= 0]
    return (text[: min(ends)], True) if ends else (text, False)


def choose(
    logits: "torch.Tensor", temperature: float, top_k: int, top_p: float, generator: "torch.Generator"
) -> "torch.Tensor":
    """Next token ids (B,) from logits (B, V): argmax, or a draw after temperature, then top-k, then top-p."""
    import torch

    if temperature == 0:
        return logits.argmax(-1)
    logits = logits.float() / max(temperature, COLDEST)
    values, ids = logits.topk(min(top_k, logits.shape[-1])) if top_k else logits.sort(descending=True)
    probabilities = values.softmax(-1)
    if top_p < 1:
        before = probabilities.cumsum(-1) - probabilities
        probabilities = probabilities.masked_fill(before >= max(top_p, LEAST), 0)  # the first token always stays
    return ids.gather(1, torch.multinomial(probabilities, 1, generator=generator)).squeeze(1)
