"""The lm-eval model of this project: answers all prompts of a task in large batches of alike length, and keeps them.

`HFLM.generate_until` returns texts only, after the last batch. Here each finished batch is one line of a log, with
token counts and finish reasons, so that a killed evaluation goes on from the batches it still owes and ends with the
same answers: the batch plan depends on the prompts alone, and a batch is in the log whole or not at all.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM

from cft.errors import EvalError
from cft.files import append_jsonl, read_own_jsonl
from cft.generation import Completion, generate, plan_batches, render
from cft.memory import peak_memory_mb

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

OnProgress = Callable[[int, int], None]  # (answers done, new tokens since the last call)


class LoggedLM(LM):
    """A loaded model behind lm-eval's interface; greedy, without stop strings, which is all that our tasks ask for."""

    def __init__(
        self,
        model: "PreTrainedModel",
        tokenizer: "PreTrainedTokenizerBase",
        *,
        log: Path,
        batch_size: int,
        max_new_tokens: int,
        on_progress: OnProgress = lambda done, tokens: None,
    ) -> None:
        """
        Args:
            model: in eval mode, with or without an adapter.
            log: JSON Lines file, one finished batch a line; it must belong to this model and these settings.
            max_new_tokens: used in place of the task's own `max_gen_toks`.
        """
        super().__init__()
        self.model, self.tokenizer, self.log = model, tokenizer, log
        self.batch_size, self.max_new_tokens, self.on_progress = batch_size, max_new_tokens, on_progress
        self.seconds = 0.0  # of generation, over all parts of an interrupted evaluation
        self.peak_memory_mb = 0.0  # the highest of those parts

    def answer(self, prompts: list[str]) -> list[Completion]:
        """One completion a prompt, in order; batches that the log holds are not generated again.

        Raises:
            EvalError: a prompt does not fit the model's context together with `max_new_tokens`, or memory runs out.
        """
        lengths = self.prompt_lengths(prompts)
        kept = {tuple(line["batch"]): line for line in read_own_jsonl(self.log)}
        answers: dict[int, Completion] = {}
        self.seconds = self.peak_memory_mb = 0.0
        for batch in plan_batches(lengths, self.batch_size):
            line = kept.get(tuple(batch))
            if line is None:
                line = {"batch": batch} | self.answer_batch([prompts[i] for i in batch], len(answers))
                append_jsonl(self.log, [line])
            answers |= {i: Completion(**row) for i, row in zip(batch, line["answers"], strict=True)}
            self.seconds += line["seconds"]
            self.peak_memory_mb = max(self.peak_memory_mb, line["peak_memory_mb"])
            self.on_progress(len(answers), 0)
        return [answers[i] for i in range(len(prompts))]

    def answer_batch(self, prompts: list[str], done: int) -> dict[str, Any]:
        """Generate one batch; its answers, seconds and the process's peak memory so far."""
        import torch

        start = time.perf_counter()
        try:
            completions = generate(
                self.model, self.tokenizer, prompts, max_new_tokens=self.max_new_tokens,
                on_step=lambda rows: self.on_progress(done, rows),
            )  # fmt: skip
        except torch.OutOfMemoryError as error:
            raise EvalError(
                f"Out of memory while {len(prompts)} answers were written at once. Lower eval.batch_size "
                f"(now {self.batch_size}) or eval.max_new_tokens (now {self.max_new_tokens}) and start again."
            ) from error
        return {
            "answers": [vars(completion) for completion in completions],
            "seconds": round(time.perf_counter() - start, 3),
            "peak_memory_mb": peak_memory_mb(),
        }

    def prompt_lengths(self, prompts: list[str]) -> list[int]:
        """Tokens of each prompt.

        Raises:
            EvalError: the longest one leaves too little of the model's context for the answer.
        """
        encoded = self.tokenizer(prompts, add_special_tokens=self.tokenizer.chat_template is None)
        lengths = [len(ids) for ids in encoded["input_ids"]]
        context = self.model.config.get_text_config().max_position_embeddings
        if max(lengths) + self.max_new_tokens > context:
            room = context - max(lengths)
            mend = f"Set eval.max_new_tokens to at most {room}." if room > 0 else "Take a model with a longer context."
            raise EvalError(
                f"The longest prompt has {max(lengths)} tokens and eval.max_new_tokens is {self.max_new_tokens}: "
                f"{max(lengths) + self.max_new_tokens} together, but the model reads {context}. {mend}"
            )
        return lengths

    # lm-eval's interface

    def generate_until(self, requests: list[Instance]) -> list[str]:
        for request in requests:
            settings = request.args[1]
            if settings.get("until") or settings.get("do_sample"):
                raise EvalError(f"The task asks for {settings}; only greedy decoding without stop strings is offered.")
        return [completion.text for completion in self.answer([request.args[0] for request in requests])]

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        return render(self.tokenizer, chat_history)

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        return self.tokenizer.chat_template

    @property
    def tokenizer_name(self) -> str:
        return self.tokenizer.name_or_path.replace("/", "__")

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        raise EvalError("Tasks that need log-likelihoods are not offered; run them with lm_eval itself.")

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        raise EvalError("Tasks that need log-likelihoods are not offered; run them with lm_eval itself.")
