"""Decoding for GPUs: a static KV cache whose rows are refilled, and steps that are replayed as CUDA graphs.

Launching the kernels of a step from Python takes longer than a GPU needs to run them. Here a step is captured once for
each size of the cache and replayed from then on, tokens stay on the GPU, and what was written is looked at every few
steps: an answer that has ended gives its row to the next prompt. On other devices the same step is called, so that
tests prove it without a GPU; on a GPU it is not measured.
"""

import functools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from typing import TYPE_CHECKING, Any

from cft.models.decoding import Answers, Read, plan_batches, read_prompts, step
from cft.models.packed import packed_linears

if TYPE_CHECKING:
    import torch
    from transformers import Cache, PreTrainedModel

LOOK = 8  # decoding steps between two looks at what was written; each look waits for the GPU
BUCKET = 256  # cache positions by which the part that a step reads grows
ALIGNED = 64  # positions that the room of a row is a multiple of: attention kernels want their masks aligned
PARTS = 4  # prompts are read by so many parts of the slots, ahead of their turn


def graphs(model: "PreTrainedModel", answers: Answers, slots: int) -> None:
    """Write all answers, `slots` of them at a time, the longest prompts first."""
    import torch

    lengths = [len(ids) for ids in answers.prompts]
    with torch.inference_mode(), masked_attention(model), packed_linears(model, rows=slots):
        ahead = read_ahead(model, answers, plan_batches(lengths, math.ceil(slots / PARTS)))
        work = Slots(model, answers, slots, max(lengths) + answers.max_new_tokens)
        while work.fill(ahead):
            work.shrink()
            work.write()


@contextmanager
def masked_attention(model: "PreTrainedModel") -> Iterator[None]:
    """Within this the model's attention is one that takes our mask: flash attention gives way to sdpa.

    With one query a row, transformers' sdpa hands the heads of a group over as queries of their one key, so that keys
    and values are not copied for each head.
    """
    before = model.config._attn_implementation
    if before in ("sdpa", "eager"):
        yield
        return
    model.set_attn_implementation("sdpa")
    try:
        yield
    finally:
        model.set_attn_implementation(before)


@functools.cache
def stream_beside(device: "torch.device") -> "torch.cuda.Stream":
    """The stream of all captures: cuBLAS keeps a workspace of 8 to 32 MB for each stream that it has computed on."""
    import torch

    return torch.cuda.Stream(device)


def read_ahead(model: "PreTrainedModel", answers: Answers, batches: list[list[int]]) -> Iterator[tuple[int, Read, int]]:
    """`(number, read, row)` of each answer that goes on after its first token; a batch is read when it is due."""
    for batch in batches:
        read = read_prompts(model, [answers.prompts[number] for number in batch])
        ended = answers.add(batch, answers.choose(read.logits)[:, None].tolist())
        yield from ((number, read, row) for row, number in enumerate(batch) if not ended[row])


class Slots:
    """B rows of a static KV cache, each with room for one answer in work, and the decoding step over them.

    A row's tokens stand in the cache from position 0 on. What stands behind them is masked, and finite.
    """

    def __init__(self, model: "PreTrainedModel", answers: Answers, slots: int, room: int) -> None:
        import torch

        self.model, self.answers, self.end = model, answers, room - 1  # the last position; no token there is read
        self.room = room = math.ceil(room / ALIGNED) * ALIGNED  # cache positions of a row
        self.numbers: list[int | None] = [None] * slots  # of the answer in each row; None: the row is free
        # What steps read and write stays at the same addresses of the device. Of each row here: the token to be read,
        # its position, and 1 if the row is in work
        self.state = torch.zeros(3, slots, dtype=torch.long, device=model.device)
        self.tokens, self.positions, self.busy = self.state
        self.rows = torch.arange(slots, device=model.device)
        self.places = torch.arange(room, device=model.device)
        self.last = torch.zeros(1, dtype=torch.long, device=model.device)
        self.part = [slots, room]  # rows and positions that a step looks at
        self.cache: Cache | None = None  # made when the first prompts have shown its shapes
        self.graphs: dict[tuple[int, int], Any] = {}
        self.pool = torch.cuda.graph_pool_handle() if model.device.type == "cuda" else None

    @property
    def work(self) -> dict[int, int]:
        """Row -> number of its answer."""
        return {row: number for row, number in enumerate(self.numbers) if number is not None}

    def make(self, read: Read) -> None:
        """The cache, for states like those of a first read."""
        from transformers.cache_utils import Cache, DynamicLayer

        slots, room = self.part
        part, rows, positions = self.part, self.rows, self.positions  # not `self`: a circle would keep the cache alive

        class SlotLayer(DynamicLayer):
            """One layer: (B, heads, room, D) each of keys and values; a step sees a part of both."""

            def __init__(self, like: DynamicLayer) -> None:
                super().__init__()
                # Zeros: a masked value counts 0 times itself, which is no number where it is none
                states = (like.keys, like.values)
                self.keys, self.values = (s.new_zeros(slots, s.shape[1], room, s.shape[3]) for s in states)
                self.is_initialized = True

            def update(self, key_states, value_states, *args, **kwargs):
                used, length = part
                at = rows[:used], slice(None), positions[:used]
                self.keys[at], self.values[at] = key_states[:, :, 0], value_states[:, :, 0]
                return self.keys[:used, :, :length], self.values[:used, :, :length]

        self.cache = Cache(layers=[SlotLayer(layer) for layer in read.cache.layers])
        self.logits = read.logits.new_empty(len(self.numbers), read.logits.shape[1])

    def fill(self, ahead: Iterator[tuple[int, Read, int]]) -> bool:
        """Put prompts that were read into free rows; whether any row is in work."""
        import torch

        free = [row for row, number in enumerate(self.numbers) if number is None]
        for read, same in groupby(zip(free, ahead, strict=False), key=lambda pair: pair[1][1]):
            if self.cache is None:
                self.make(read)
            taken = [(row, number, source) for row, (number, _, source) in same]
            for row, number, _ in taken:
                self.numbers[row] = number
            rows, _, sources = torch.tensor(taken, device=self.model.device).unbind(1)
            order = (1 - read.mask[sources]).argsort(stable=True)[:, None, :, None]  # padding goes behind the tokens
            for layer, source in zip(self.cache.layers, read.cache.layers, strict=True):
                for room, states in ((layer.keys, source.keys), (layer.values, source.values)):
                    index = order.expand(-1, states.shape[1], -1, states.shape[3])
                    room[rows, :, : states.shape[2]] = states[sources].gather(2, index)
        return bool(self.work)

    def shrink(self) -> None:
        """Halve the rows as often as the answers in work allow: where rows are free after `fill`, no prompt waits."""
        import torch

        work, rows = self.work, len(self.numbers)
        while len(work) <= rows // 2:
            rows //= 2
        if rows < len(self.numbers):
            kept = torch.tensor(list(work), device=self.model.device)
            for layer in self.cache.layers:
                layer.keys[: len(work)], layer.values[: len(work)] = layer.keys[kept], layer.values[kept]
            self.numbers = [*work.values()] + [None] * (rows - len(work))

    def write(self) -> None:
        """A few steps for all rows, then one look: answers get their tokens, those that have ended leave."""
        import torch

        work, rows = self.work, len(self.numbers)
        state, count = [[0] * 3] * rows, 1  # a free row reads the same place again and again
        for row, number in work.items():
            tokens = self.answers.tokens[number]
            state[row] = [tokens[-1], len(self.answers.prompts[number]) + len(tokens) - 1, 1]
            count = max(count, min(LOOK, self.answers.max_new_tokens - len(tokens)))
        self.state[:, :rows] = torch.tensor(state).T
        longest = max(place for _, place, _ in state) + count
        self.part[:] = rows, min(math.ceil(longest / BUCKET) * BUCKET, self.room)
        chosen = []
        for _ in range(count):
            self.run()
            chosen.append(self.answers.choose(self.logits[:rows]))
            self.tokens[:rows] = chosen[-1]
            self.positions[:rows].add_(self.busy[:rows]).clamp_(max=self.end)
        new = torch.stack(chosen, 1).tolist()
        for row, ended in zip(work, self.answers.add(work.values(), [new[row] for row in work]), strict=True):
            if ended:
                self.numbers[row] = None

    def forward(self) -> None:
        """One step of the model, from and to tensors at fixed addresses: tokens and positions to logits."""
        rows, length = self.part
        hidden = self.places[:length] > self.positions[:rows, None]
        mask = self.cache.layers[0].keys.new_zeros(rows, length).masked_fill(hidden, -math.inf)[:, None, None]
        tokens, positions = self.tokens[:rows, None], self.positions[:rows, None]
        self.logits[:rows] = step(self.model, tokens, mask, positions, self.cache, self.last)[0]

    def run(self) -> None:
        """`forward`; on a GPU as the replay of a graph, captured when its part of the cache is first met."""
        import torch

        if self.pool is None:
            return self.forward()
        if (part := tuple(self.part)) not in self.graphs:
            beside, here = stream_beside(self.model.device), torch.cuda.current_stream()
            beside.wait_stream(here)
            with torch.cuda.stream(beside):  # a capture wants kernels that have run before, and cuBLAS its workspace
                self.forward()
            here.wait_stream(beside)
            graph = torch.cuda.CUDAGraph()
            stay = torch.cuda.stream(here)  # a capture that fails does not leave its stream
            # thread_local: a thread that pins memory for training's next batch does not spoil it
            with stay, torch.cuda.graph(graph, self.pool, beside, capture_error_mode="thread_local"):
                self.forward()
            self.graphs[part] = graph
        self.graphs[part].replay()
