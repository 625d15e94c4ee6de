"""How validation items are answered in the middle of a training: as the evaluation would, by one process or by several.

Of several processes each has the whole model and answers a part of the batches. A batch's answers depend on its prompts
and the weights only, so they are the same whoever writes them, and the log is that of one process.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer

from cft.files import append_jsonl, read_own_jsonl
from cft.models.generate import Completion
from cft.train.loop import ranks
from cft.train.loop.speed import uncompiled
from eval.answering.batched import BatchedDecoding

if TYPE_CHECKING:
    from transformers import PreTrainedModel

KEEP_BASE_WEIGHTS = (True, False, "gaussian", "orthogonal", "eva")  # ways of LoRA to begin that leave the base as it is


class LeftError(Exception):
    """SIGTERM came while the items were asked."""


@contextmanager
def random_numbers_kept() -> Iterator[None]:
    """Whatever happens inside, the global random numbers go on as if it had not."""
    python, numpy_state = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(list(range(torch.cuda.device_count()))):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy_state)


@contextmanager
def answering(model: "PreTrainedModel | PeftModel", *, as_base: bool) -> Iterator["PreTrainedModel"]:
    """The model in training, as the evaluation will have it: no dropout, no autocast, and with `as_base` no adapter."""
    adapted = isinstance(model, PeftModel)
    off = adapted and as_base and all(c.init_lora_weights in KEEP_BASE_WEIGHTS for c in model.peft_config.values())
    # Training switches off PEFT's cast of LoRA inputs, which autocast makes needless; without autocast it is needed.
    layers = [module for module in model.modules() if isinstance(module, BaseTunerLayer)]
    casts, training = [layer.cast_input_dtype_enabled for layer in layers], model.training
    model.eval()
    for layer in layers:
        layer.cast_input_dtype_enabled = True
    try:
        with random_numbers_kept(), uncompiled(model), model.disable_adapter() if off else nullcontext():
            yield model.get_base_model() if adapted else model  # below accelerate's autocast
    finally:
        for layer, cast in zip(layers, casts, strict=True):
            layer.cast_input_dtype_enabled = cast
        model.train(training)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()  # the KV cache's room goes back to training


class ValidationDecoding(BatchedDecoding):
    """Names our own keys in its messages, and shares the batches among the processes."""

    block_name = "train.select"

    def answer(self, prompts: list[str]) -> list[Completion]:
        """As `Batched.answer`, in every process. The log is read and written by the main one, after each round.

        Raises:
            EvalError: as there.
            LeftError: in every process, if `on_progress` raised it in one; the batches that were finished are kept.
        """
        if ranks.count() == 1:
            return super().answer(prompts)
        batches = self.plan(self.prompt_lengths(prompts))
        kept = ranks.on_main(lambda: read_own_jsonl(self.log))
        lines = {tuple(line["batch"]): line for line in kept}
        owed = [batch for batch in batches if tuple(batch) not in lines]
        self.done = sum(map(len, lines))
        for start in range(0, len(owed), ranks.count()):
            parts = ranks.gathered(self._one_batch(prompts, owed[start : start + ranks.count()][ranks.rank() :][:1]))
            new = [line for line, _ in parts if line]
            lines |= {tuple(line["batch"]): line for line in new}
            if ranks.is_main():
                append_jsonl(self.log, new)
            if any(left for _, left in parts):
                raise LeftError
            self.done = sum(map(len, lines))
            others = [line for number, (line, _) in enumerate(parts) if line and number != ranks.rank()]
            with suppress(LeftError):  # it leaves in the next batch; after the last one nothing is owed
                self.on_progress(self.done, sum(row["tokens"] for line in others for row in line["answers"]))
        answers = {i: row for batch in batches for i, row in zip(batch, lines[tuple(batch)]["answers"], strict=True)}
        return [Completion(**answers[i]) for i in range(len(answers))]

    def _one_batch(self, prompts: list[str], mine: list[list[int]]) -> tuple[dict[str, Any] | None, bool]:
        """The log's line for this process's batch, if there is one for it, and whether it left before the end."""
        try:
            return next(({"batch": b} | self._timed([prompts[i] for i in b], b) for b in mine), None), False
        except LeftError:
            return None, True
