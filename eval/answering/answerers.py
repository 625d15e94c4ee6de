"""Where answers come from: models of this process (`Local`), or a server (`Served`)."""

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cft.devices import decoder_for, pick_device
from cft.models.decoding import until
from cft.models.generate import Completion, render
from cft.models.graphs_fault import graphs_fault
from cft.models.source import resolve
from cft.recipe.blocks import Arm, EvalBlock
from data_builders.asking.calls import Call, Ledger
from data_builders.asking.endpoint import STREAM, Endpoint
from data_builders.asking.engine import Budget
from eval.answering.arms import Models, load_elicitor
from eval.answering.batched import BatchedDecoding, Decoding
from eval.answering.dialogue import DialogueDecoding

if TYPE_CHECKING:
    from eval.tasks.lm_tasks import Items

OnProgress = Callable[[int, int], None]  # (answers done, new tokens since the last call)
SAMPLING = ("max_new_tokens", "samples", "temperature", "top_k", "top_p")  # keys of EvalBlock and of Decoding
Say = Callable[[str], None]


@dataclass(frozen=True)
class Answered:
    """The answers of an arm: every sample of the first item, of the second ..."""

    completions: list[Completion]
    seconds: float
    peak_memory_mb: float
    where: dict[str, str]  # device and dtype, or host


class Answerer(ABC):
    """Answers the items of a task as any arm."""

    template: str | None = None  # the chat template, where it is known

    def __init__(self, block: EvalBlock, seed: int) -> None:
        self.block, self.seed = block, seed

    def sampling(self) -> dict[str, Any]:
        """What decides the answers beside model and prompt; the seed of greedy answers does not."""
        return {key: getattr(self.block, key) for key in SAMPLING} | (
            {"seed": self.seed} if self.block.temperature else {}
        )

    def generation_kwargs(self, items: "Items") -> dict[str, Any]:
        """How the answers were decoded, in lm-eval's terms."""
        block = self.block
        found: dict[str, Any] = {"until": list(items.stop_strings), "max_gen_toks": block.max_new_tokens}
        if block.temperature:
            return found | {"do_sample": True, "temperature": block.temperature, "top_p": block.top_p}
        return found | {"do_sample": False}

    @abstractmethod
    def check(self) -> None:
        """Raise a CFTError at once where nothing can be answered."""

    @abstractmethod
    def settings(self, arm: Arm) -> dict[str, Any]:
        """What the answers of this arm depend on; `model` names the model."""

    @abstractmethod
    def render(self, messages: list[dict[str, str]], tools: list[dict] | None = None) -> str:
        """The prompt that messages become, and the tools with them."""

    @abstractmethod
    def answer(self, arm: Arm, items: "Items", log: Path, on_progress: OnProgress) -> Answered:
        """Answer all items; what the `log` of an interrupted evaluation holds is not asked again."""


class Local(Answerer):
    """Models of this process: one loaded base for all arms."""

    def __init__(self, block: EvalBlock, seed: int, models: Models, say: Say = lambda line: None) -> None:
        """
        Args:
            say: called with a line that the user should see.
        """
        super().__init__(block, seed)
        self.models, self.say = models, say
        self.decoder = decoder_for(block.decoder, pick_device())

    def check(self) -> None:
        for arm in self.block.arms:
            if arm.elicitor:
                load_elicitor(arm.elicitor)

    @property
    def template(self) -> str | None:
        return self.models.tokenizer.chat_template

    def render(self, messages: list[dict[str, str]], tools: list[dict] | None = None) -> str:
        return render(self.models.tokenizer, messages, tools)

    def settings(self, arm: Arm) -> dict[str, Any]:
        block = self.models.block
        return {
            "model": block.id,
            "identity": resolve(block).identity,
            "block": block.model_dump(mode="json"),
            "arm": arm.model,
            "batch_size": self.block.batch_size,
            **({"decoder": self.decoder} if self.decoder != "steps" else {}),  # answers of steps stay what they were
            **({"elicitor": arm.elicitor.model_dump()} if arm.elicitor else {}),
            # Answers that were given below a switched-off adapter which had changed the base are not of this base
            **({"base": "to the bit"} if arm.model in {"base", *self.models.apart} else {}),
            **({"merge": f"as cft export, seed {self.models.seed}"} if arm.model == "merged" else {}),
            **self.sampling(),
        }

    def answer(self, arm: Arm, items: "Items", log: Path, on_progress: OnProgress) -> Answered:
        block = self.block
        decoding = Decoding(
            **{key: getattr(block, key) for key in ("batch_size", *SAMPLING)},
            decoder=self.decoder,
            seed=self.seed,
            stop_strings=items.stop_strings,
            special_tokens=not (items.chat and self.template),
        )
        elicit = arm.elicitor and load_elicitor(arm.elicitor)
        kind = partial(DialogueDecoding, items) if items.environment else BatchedDecoding
        with self.models.answering_as(arm.model) as model:
            answering = kind(model, self.models.tokenizer, decoding, log=log, on_progress=on_progress, elicit=elicit)
            where = {"device": str(model.device), "dtype": str(model.dtype)}
            if self.decoder == "graphs" and (fault := graphs_fault(model)):
                self.say(f"eval: {arm.name} is decoded a step at a time instead of with graphs: {fault}")
                where["decoder"] = "steps"  # that the settings ask for graphs stays in the fingerprint
            completions = answering.answer(items.prompts)
        return Answered(completions, answering.seconds, answering.peak_memory_mb, where)


class Served(Answerer):
    """A server of the OpenAI API. Chat prompts go to them as messages, plain ones as text to complete."""

    def __init__(
        self, block: EvalBlock, seed: int, max_cost: float | None = None, say: Say = lambda line: None
    ) -> None:
        """
        Args:
            max_cost: USD that all answers together may cost, kept ones included.
            say: called with a line that the user should see.
        """
        super().__init__(block, seed)
        self.budget = Budget(max_cost)
        # Each sample asks with a seed of its own: with one seed for all, a server that honours it repeats itself.
        self.endpoint = block.endpoint.model_copy(update={"send_seed": block.temperature > 0})
        self.say = say

    def check(self) -> None:
        for model in self.block.served.values():
            self._ask_at(Endpoint, model).check()

    def _ask_at(self, kind: type[Endpoint], model: str) -> Endpoint:
        def on_wait(fault: str, seconds: float) -> None:
            if not seconds:
                self.say(fault)

        return kind(self.endpoint, model, self.budget, on_wait)

    def render(self, messages: list[dict[str, str]], tools: list[dict] | None = None) -> str:
        return json.dumps(messages, ensure_ascii=False)

    def settings(self, arm: Arm) -> dict[str, Any]:
        host = {"base_url": self.endpoint.base_url, "extra_body": self.endpoint.extra_body}
        return {"model": self.block.served[arm.model], "arm": arm.model, "endpoint": host, **self.sampling()}

    def answer(self, arm: Arm, items: "Items", log: Path, on_progress: OnProgress) -> Answered:
        name, block = self.block.served[arm.model], self.block
        backend = self._ask_at(Endpoint if items.chat else CompletionsEndpoint, name)
        sampling = {"temperature": block.temperature, "max_tokens": block.max_new_tokens}
        sampling |= {"top_p": block.top_p} if block.temperature else {}
        sampling |= {"stop": list(items.stop_strings)} if items.stop_strings else {}
        if items.task.config.gen_prefix:  # vLLM's keys: the last message is the beginning of the answer
            sampling |= {"add_generation_prompt": False, "continue_final_message": True}
        about = f"eval_{arm.prompt}" if arm.prompt else "eval"
        calls = [
            Call(name, messages, sampling, about, sample, self.seed)
            for prompt in items.prompts
            for messages in [json.loads(prompt) if items.chat else [{"role": "user", "content": prompt}]]
            for sample in range(block.samples)
        ]
        begun, done = time.perf_counter(), 0

        def on_answer(row: dict) -> None:
            nonlocal done
            done += 1
            on_progress(done, row["output_tokens"] or 0)

        with Ledger(log, on_answer) as ledger:
            done = len(calls) - len(ledger.owed(calls))
            backend.answer(calls, ledger)
            rows = [ledger.rows[call.key] for call in calls]
        seconds = time.perf_counter() - begun
        completions = [
            Completion(
                until(row["text"], items.stop_strings)[0],
                row["output_tokens"] or 0,
                "length" if row["status"] == "truncated" else "stop",
            )
            for row in rows
        ]
        return Answered(completions, seconds, 0.0, {"device": backend.host})


class CompletionsEndpoint(Endpoint):
    """The same server, asked to go on with a text (`/v1/completions`) instead of answering messages."""

    def send(self, body: dict, headers: dict[str, str]) -> AbstractAsyncContextManager[Any]:
        (message,) = body.pop("messages")
        known = {key: body.pop(key) for key in ("model", *STREAM) if key in body}
        create = self.client.completions.with_streaming_response.create
        return create(prompt=message["content"], **known, extra_body=body, extra_headers=headers)
