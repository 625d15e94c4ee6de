"""Answers to the prompts of an arm, batch by batch: by our own decoding, or by lm-eval's `hf` and `vllm` models.

lm-eval returns texts only, after the last batch. Here each finished batch is one line of a log, with token counts and
finish reasons, so that a killed evaluation goes on from the batches it still owes and ends with the same answers,
sampled ones too: batches and their seeds depend on prompts and settings alone, and a batch is in the log whole or not
at all. `eval/served.py` is the same for an endpoint.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cft.errors import EvalError
from cft.files import append_jsonl, content_id, read_own_jsonl
from cft.memory import peak_memory_mb
from cft.models.generate import Completion, generate, plan_batches, until

if TYPE_CHECKING:
    from lm_eval.api.model import LM
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

OnProgress = Callable[[int, int], None]  # (answers done, new tokens since the last call)


@dataclass(frozen=True)
class Decoding:
    """How answers are decoded; all that decides them beside model and prompts."""

    max_new_tokens: int
    batch_size: int
    samples: int = 1
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0
    stop_strings: tuple[str, ...] = ()
    special_tokens: bool = False  # the tokenizer adds its own to each prompt: where no chat template wrote them


class Batched(ABC):
    """Answers prompts batch by batch, with a log."""

    block_name = "eval"  # the recipe's block whose keys the messages name

    def __init__(
        self,
        tokenizer: "PreTrainedTokenizerBase",
        context: int,
        decoding: Decoding,
        *,
        log: Path,
        on_progress: OnProgress = lambda done, tokens: None,
    ) -> None:
        """
        Args:
            context: tokens that the model reads and writes at most.
            log: JSON Lines file, one finished batch a line; it must belong to this model and these settings.
        """
        self.tokenizer, self.context, self.decoding, self.log = tokenizer, context, decoding, log
        self.on_progress = on_progress
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

    done = 0  # answers so far

    def plan(self, lengths: list[int]) -> list[list[int]]:
        """Answers, numbered as `answer` returns them, in batches of alike prompt length."""
        repeated = [length for length in lengths for _ in range(self.decoding.samples)]
        return plan_batches(repeated, self.decoding.batch_size)

    def _timed(self, prompts: list[str], batch: list[int]) -> dict[str, Any]:
        """Generate one batch; its answers, seconds and the process's peak memory so far."""
        import torch

        start = time.perf_counter()
        try:
            completions = self.answer_batch(prompts, seed=int(content_id(self.decoding.seed, batch)[:7], 16))
        except torch.OutOfMemoryError as error:
            how, block = self.decoding, self.block_name
            raise EvalError(
                f"Out of memory while {len(prompts)} answers were written at once. Lower {block}.batch_size "
                f"(now {how.batch_size}) or {block}.max_new_tokens (now {how.max_new_tokens}) and start again."
            ) from error
        return {
            "answers": [vars(completion) for completion in completions],
            "seconds": round(time.perf_counter() - start, 3),
            "peak_memory_mb": peak_memory_mb(),
        }

    @abstractmethod
    def answer_batch(self, prompts: list[str], seed: int) -> list[Completion]:
        """One completion a prompt; `seed` is the batch's own."""

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
            mend = f"Set {key} to at most {room}." if room > 0 else "Take a model with a longer context."
            raise EvalError(
                f"The longest prompt has {longest} tokens and {key} is {limit}: "
                f"{longest + limit} together, but the model reads {self.context}. {mend}"
            )
        return lengths


class BatchedDecoding(Batched):
    """A loaded model, decoded by `cft.models.generate`: ended rows leave the batch."""

    def __init__(
        self, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", *args: Any, **kwargs: Any
    ) -> None:
        super().__init__(tokenizer, context_of(model), *args, **kwargs)
        self.model = model

    def answer_batch(self, prompts: list[str], seed: int) -> list[Completion]:
        how = self.decoding
        return generate(
            self.model, self.tokenizer, prompts, max_new_tokens=how.max_new_tokens, temperature=how.temperature,
            top_k=how.top_k, top_p=how.top_p, seed=seed, stop_strings=how.stop_strings,
            special_tokens=how.special_tokens, on_step=lambda rows: self.on_progress(self.done, rows),
        )  # fmt: skip


class LmEvalModel(Batched):
    """One of lm-eval's own models. It gives no token counts, so they are counted from the texts."""

    def __init__(self, lm: "LM", tokenizer: "PreTrainedTokenizerBase", *args: Any, **kwargs: Any) -> None:
        super().__init__(tokenizer, lm.max_length, *args, **kwargs)
        self.lm = lm

    def plan(self, lengths: list[int]) -> list[list[int]]:
        """One sample of each prompt after the other: no two samples of a prompt may meet the same seed in vLLM."""
        k = self.decoding.samples
        return [
            [i * k + sample for i in batch]
            for sample in range(k)
            for batch in plan_batches(lengths, self.decoding.batch_size)
        ]

    def answer_batch(self, prompts: list[str], seed: int) -> list[Completion]:
        import torch
        from lm_eval.api.instance import Instance

        how = self.decoding
        settings: dict[str, Any] = {"until": list(how.stop_strings), "max_gen_toks": how.max_new_tokens}
        if how.temperature:
            settings |= {"do_sample": True, "temperature": how.temperature, "top_p": how.top_p}
            settings |= {"top_k": how.top_k} if how.top_k else {}
            settings |= {"seed": seed} if "vllm" in type(self.lm).__name__.lower() else {}
        else:
            settings |= {"do_sample": False, "temperature": 0.0}
        torch.manual_seed(seed)
        requests = [Instance("generate_until", {}, (prompt, settings), i) for i, prompt in enumerate(prompts)]
        return [self._completion(text) for text in self.lm.generate_until(requests, disable_tqdm=True)]

    def _completion(self, text: str) -> Completion:
        text = until(text, self.decoding.stop_strings)[0]
        tokens = len(self.tokenizer(text, add_special_tokens=False)["input_ids"]) + 1  # and the one that ended it
        limit = self.decoding.max_new_tokens
        return Completion(text, min(tokens, limit), "length" if tokens > limit else "stop")


def context_of(model: "PreTrainedModel") -> int:
    """Tokens that the model reads and writes at most."""
    return model.config.get_text_config().max_position_embeddings
