"""Answers of a loaded model to the prompts of an arm, batch by batch.

Each finished batch is one line of a log, with token counts and finish reasons, so that a killed evaluation goes on from
the batches it still owes and ends with the same answers, sampled ones too: batches and their seeds depend on prompts
and settings alone, and a batch is in the log whole or not at all. `eval.answering.answerers.Served` is the same for an
endpoint.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cft.devices import GROUP, out_of_memory_as
from cft.errors import EvalError
from cft.files import append_jsonl, content_id, read_own_jsonl
from cft.memory import peak_memory_mb
from cft.models.decoding import plan_batches
from cft.models.generate import Completion, generate

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

OnProgress = Callable[[int, int], None]  # (answers done, new tokens since the last call)


@dataclass(frozen=True)
class Decoding:
    """How answers are decoded; all that decides them beside model and prompts."""

    max_new_tokens: int
    batch_size: int  # answers that are written at a time
    decoder: str = "steps"
    samples: int = 1
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0
    stop_strings: tuple[str, ...] = ()
    special_tokens: bool = False  # the tokenizer adds its own to each prompt: where no chat template wrote them


class BatchedDecoding:
    """Answers prompts batch by batch, with a log; batches are larger for a decoder that refills rows."""

    block_name = "eval"  # the recipe's block whose keys the messages name
    done = 0  # answers so far
    ended = 0  # of the batch that is being written
    workers = 1  # processes that share the batches

    def __init__(
        self,
        model: "PreTrainedModel",
        tokenizer: "PreTrainedTokenizerBase",
        decoding: Decoding,
        *,
        log: Path,
        on_progress: OnProgress = lambda done, tokens: None,
        elicit: Callable[..., list[Completion]] | None = None,
    ) -> None:
        """
        Args:
            log: JSON Lines file, one finished batch a line; it must belong to this model and these settings.
            elicit: decodes a batch in place of `cft.models.generate.generate`, with the same arguments.
        """
        self.model, self.tokenizer, self.decoding, self.log = model, tokenizer, decoding, log
        self.on_progress, self.elicit = on_progress, elicit
        self.context = model.config.get_text_config().max_position_embeddings  # tokens read and written at most
        self.seconds = 0.0  # of generation, over all parts of an interrupted evaluation
        self.peak_memory_mb = 0.0  # the highest of those parts

    def answer(self, prompts: list[str]) -> list[Completion]:
        """The samples of the first prompt, of the second ...; batches that the log holds are not generated again.

        Raises:
            EvalError: a prompt does not fit the model's context together with `max_new_tokens`, or memory runs out.
        """
        kept = {tuple(line["batch"]): line for line in read_own_jsonl(self.log)}
        answers: dict[int, Completion] = {}
        self.seconds = self.peak_memory_mb = 0.0
        for batch in self.plan(self.prompt_lengths(prompts)):
            line = kept.get(tuple(batch))
            if line is None:
                line = {"batch": batch} | self._timed([prompts[i // self.decoding.samples] for i in batch], batch)
                append_jsonl(self.log, [line])
            answers |= {i: Completion(**row) for i, row in zip(batch, line["answers"], strict=True)}
            self.seconds += line["seconds"]
            self.peak_memory_mb = max(self.peak_memory_mb, line["peak_memory_mb"])
            self.done = len(answers)
            self.on_progress(self.done, 0)
        return [answers[i] for i in range(len(answers))]

    def plan(self, lengths: list[int]) -> list[list[int]]:
        """Answers, numbered as `answer` returns them, in batches of alike prompt length."""
        how = self.decoding
        repeated = [length for length in lengths for _ in range(how.samples)]
        group = 1 if self.elicit else GROUP.get(how.decoder, 1)
        size = max(how.batch_size, min(group * how.batch_size, math.ceil(len(repeated) / self.workers)))
        return plan_batches(repeated, size, alike=group == 1)

    def _timed(self, prompts: list[str], batch: list[int]) -> dict[str, Any]:
        """Generate one batch; its answers, seconds and the process's peak memory so far."""
        start, how, block = time.perf_counter(), self.decoding, self.block_name
        fault = EvalError(
            f"Out of memory while {min(len(prompts), how.batch_size)} answers were written at once. "
            f"Lower {block}.batch_size "
            f"(now {how.batch_size}) or {block}.max_new_tokens (now {how.max_new_tokens}) and start again."
        )
        with out_of_memory_as(fault):
            completions = self.answer_batch(prompts, batch, seed=int(content_id(how.seed, batch)[:7], 16))
        return {
            "answers": [vars(completion) for completion in completions],
            "seconds": round(time.perf_counter() - start, 3),
            "peak_memory_mb": peak_memory_mb(),
        }

    def answer_batch(self, prompts: list[str], batch: list[int], seed: int) -> list[Completion]:
        """One completion a prompt; `seed` is the batch's own, `batch` the answers' numbers."""
        self.ended = 0
        return self.decode(prompts, seed)

    def count(self) -> None:
        """Called for each answer that has ended."""
        self.ended += 1

    def decode(self, prompts: list[str], seed: int) -> list[Completion]:
        """One completion a prompt, by `generate` or the elicitor."""
        how = {key: value for key, value in vars(self.decoding).items() if key not in ("batch_size", "samples", "seed")}
        how |= {"seed": seed, "on_step": lambda rows: self.on_progress(self.done + self.ended, rows)}
        if self.elicit:
            return self.elicit(self.model, self.tokenizer, prompts, **how)
        how |= {"slots": self.decoding.batch_size, "on_answer": self.count}
        return generate(self.model, self.tokenizer, prompts, **how)

    def prompt_lengths(self, prompts: list[str]) -> list[int]:
        """Tokens of each prompt.

        Raises:
            EvalError: the longest one leaves too little of the model's context for the answer.
        """
        encoded = self.tokenizer(prompts, add_special_tokens=self.decoding.special_tokens)
        lengths = [len(ids) for ids in encoded["input_ids"]]
        limit, longest = self.decoding.max_new_tokens, max(lengths)
        if longest + limit > self.context:
            room, key = self.context - longest, f"{self.block_name}.max_new_tokens"
            fix = f"Set {key} to at most {room}." if room > 0 else "Take a model with a longer context."
            raise EvalError(
                f"The longest prompt has {longest} tokens and {key} is {limit}: "
                f"{longest + limit} together, but the model reads {self.context}. {fix}"
            )
        return lengths
