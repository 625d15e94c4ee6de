"""What all decoders share: how prompts are read, how a token is chosen, and where an answer ends."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from transformers import Cache, PreTrainedModel, PreTrainedTokenizerBase

SHORT = 100  # tokens of a prompt that may share a batch with any up to twice as long
SHARED = 128  # tokens that all prompts of a batch begin with and that are worth reading apart
# Temperature, below which float32 has no numbers for the logits; all but the largest are far behind there
COLDEST = 1e-6
LEAST = 1e-30  # of top_p, above what float32 rounds to 0
STOP_TAIL = 2  # tokens looked at for each character of a stop string: a character may take more than one


@dataclass
class Answers:
    """The answers of one call of `cft.models.generate.generate` as they grow; whichever decoder writes them."""

    prompts: list[list[int]]  # the tokens of each
    max_new_tokens: int
    choose: Callable[["torch.Tensor"], "torch.Tensor"]  # logits (B, V) -> next tokens (B,)
    stop_ids: set[int] = field(default_factory=set)
    stop_strings: Sequence[str] = ()
    decode: Callable[[list[int]], str] = str  # tokens to text, special ones too; for stop strings
    on_step: Callable[[int], None] | None = None  # of `generate`, as the next
    on_answer: Callable[[], None] | None = None

    def __post_init__(self) -> None:
        self.tokens: list[list[int]] = [[] for _ in self.prompts]
        self.reasons = ["length"] * len(self.prompts)

    def add(self, numbers: Collection[int], new: Sequence[Sequence[int]]) -> list[bool]:
        """Lengthen some answers by new tokens, up to where each ends; whether it has ended. The rest is left out."""
        ended, grown = [], []
        for number, tokens in zip(numbers, new, strict=True):
            before = len(self.tokens[number])
            self.tokens[number] += tokens
            ended.append(self._cut(number, before))
            grown.append(len(self.tokens[number]) - before)
            if ended[-1] and self.on_answer is not None:
                self.on_answer()
        if self.on_step is not None:
            for step in range(max(grown)):
                self.on_step(sum(count > step for count in grown))
        return ended

    def _cut(self, number: int, before: int) -> bool:
        """End an answer where it stops, of which `before` tokens were looked at already; whether it has ended."""
        written = self.tokens[number]
        del written[self.max_new_tokens :]
        fresh = range(before + 1, len(written) + 1)  # lengths at which it may stop
        stops = [next((n for n in fresh if written[n - 1] in self.stop_ids), None), self._stop_string(written, fresh)]
        if any(stops):
            self.reasons[number] = "stop"
            del written[min(filter(None, stops)) :]
        return any(stops) or len(written) == self.max_new_tokens

    def _stop_string(self, written: list[int], fresh: range) -> int | None:
        """The tokens with which the first stop string is complete; None if there is none."""
        if not self.stop_strings or not fresh:
            return None
        tail = STOP_TAIL * max(map(len, self.stop_strings))

        def stopped(first: int, last: int) -> bool:
            return until(self.decode(written[max(0, first) : last]), self.stop_strings)[1]

        if not stopped(fresh[0] - tail, fresh[-1]):  # of all new tokens at once, as decoding costs time
            return None
        return next((n for n in fresh if stopped(n - tail, n)), None)


@dataclass(eq=False)
class Read:
    """Prompts that the model has read: B rows of T cache positions, padded behind the tokens that all share."""

    logits: "torch.Tensor"  # (B, V) of the first new token
    cache: "Cache"
    mask: "torch.Tensor"  # (B, T), 0 where padded
    positions: "torch.Tensor"  # (B, 1) of the last token


def read_prompts(model: "PreTrainedModel", prompts: Sequence[Sequence[int]], room: int = 0) -> Read:
    """Read B prompts, with room in the cache for `room` tokens more; a beginning that all share is read once."""
    import torch

    shared, longest = shared_prefix(prompts), max(map(len, prompts))
    padding = [longest - len(ids) for ids in prompts]
    rows = [[0] * pad + list(ids[shared:]) for pad, ids in zip(padding, prompts, strict=True)]
    inputs = torch.tensor(rows, device=model.device)
    columns = torch.arange(inputs.shape[1], device=model.device)
    mask = (columns >= torch.tensor(padding, device=model.device)[:, None]).long()
    positions = (mask.cumsum(-1) - 1).clamp(min=0) + shared
    cache = make_cache(model, longest + room)
    if shared:
        begin = torch.tensor([list(prompts[0][:shared])], device=model.device)
        model(input_ids=begin, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache.batch_repeat_interleave(len(prompts))
        mask = torch.nn.functional.pad(mask, (shared, 0), value=1)
    logits, cache = step(model, inputs, mask, positions, cache)
    return Read(logits, cache, mask, positions[:, -1:])


def step(
    model: "PreTrainedModel",
    inputs: "torch.Tensor",
    mask: "torch.Tensor",
    positions: "torch.Tensor",
    cache: "Cache",
    last: "torch.Tensor | None" = None,
) -> tuple["torch.Tensor", "Cache"]:
    """Logits (B, V) after the last of T input tokens (B, T), and the cache with them.

    Args:
        mask: (B, S) or (B, 1, T, S), over the cache and the input.
        last: T - 1 in a tensor (1,), where one is at hand.
    """
    import torch

    # An index, not `logits_to_keep=1`: that leaves a view of the hidden states, and with frozen weights (any
    # adapter's base) PyTorch then copies the head once a row: 12 GB for 48 rows and a vocabulary of 150k.
    out = model(
        input_ids=inputs,
        attention_mask=mask,
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=torch.tensor([inputs.shape[1] - 1], device=inputs.device) if last is None else last,
    )
    return out.logits[:, -1], out.past_key_values


def plan_batches(lengths: Sequence[int], batch_size: int, *, alike: bool = True) -> list[list[int]]:
    """Indices in batches, longest first: the batch most likely to run out of memory comes at once.

    With `alike`, no row is padded to more than twice its length (rows below SHORT tokens are alike enough): padding
    costs as much as tokens, in each decoding step too. A pure function of its arguments: an interrupted run plans the
    same batches again, and so decodes the same text (in bfloat16 the batch a row stands in can change its rounding).
    """
    batches: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        fits = batches and (not alike or 2 * max(lengths[i], SHORT) >= lengths[batches[-1][0]])
        if fits and len(batches[-1]) < batch_size:
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

    Each prompt keeps at least one token of its own. Equal prompts, the rollouts of one problem, are never too short.
    """
    most = min(map(len, ids)) - 1
    same = next((n for n in range(most) if len({row[n] for row in ids}) > 1), most)
    equal = len(set(map(tuple, ids))) == 1
    return same if len(ids) > 1 and (same >= SHARED or equal) else 0


def stop_token_ids(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> set[int]:
    """Every end-of-sequence id that the tokenizer or the model's generation config names."""
    named = model.generation_config.eos_token_id
    ids = named if isinstance(named, list) else [named]
    return {i for i in [*ids, tokenizer.eos_token_id] if i is not None}


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
    if not top_k and top_p == 1 and logits.device.type == "cpu":
        # One random number a row: one for each of 150,000 tokens takes a quarter of a small model's step. Sums in
        # float64 keep the rarest tokens
        sums = logits.double().softmax(-1).cumsum(-1)
        drawn = torch.rand(len(sums), 1, dtype=sums.dtype, generator=generator) * sums[:, -1:]
        return torch.searchsorted(sums, drawn, right=True).clamp(max=sums.shape[-1] - 1).squeeze(1)
    ids = None  # all tokens, in their own order: sorting 150,000 takes longer than a small model's step
    if top_k or top_p < 1:
        logits, ids = logits.topk(min(top_k, logits.shape[-1])) if top_k else logits.sort(descending=True)
    probabilities = logits.softmax(-1)
    if top_p < 1:
        before = probabilities.cumsum(-1) - probabilities
        probabilities = probabilities.masked_fill(before >= max(top_p, LEAST), 0)  # the first token always stays
    # The draw of torch.multinomial, without its look at all probabilities, for which the CPU would wait on the GPU
    waits = torch.empty_like(probabilities).exponential_(generator=generator)
    drawn = (probabilities / waits).argmax(-1, keepdim=True)
    return (drawn if ids is None else ids.gather(1, drawn)).squeeze(1)
