"""Answers to tasks with tools: the model writes, its calls are run, it reads the results, until it calls no more.

The dialogues of a batch go on together; those that have ended leave it. Each turn reads its whole conversation again.
The template gets the model's own messages as it wrote them; what it does to them, the model reads: Llama's trims them,
Qwen3's drops thoughts. A batch is one line of the log, as for other tasks: what a kill costs is one batch, and with the
same settings the same dialogues come again.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cft.models.generate import Completion, render
from eval.answering.batched import BatchedDecoding
from eval.statistics.samples import shown
from eval.tasks.tools.environment import Environment, read_calls, result

if TYPE_CHECKING:
    from eval.tasks.lm_tasks import Items

TURNS = 8  # messages of the model
MOST_CALLS = 8  # of a message
MOST_TOKENS = 8192  # of a conversation, in front of a message that is not the first
LIMITS = {"turns": TURNS, "calls": MOST_CALLS, "context": MOST_TOKENS}  # which decide answers, beside eval's own


@dataclass
class Dialogue:
    """One task on its way: the conversation so far, and the environment in its state."""

    environment: Environment
    row: dict[str, Any]
    asked: list[dict[str, Any]]  # the messages that the task begins with
    read: list[dict[str, Any]] = field(default_factory=list)  # what followed, as the template reads it
    kept: list[dict[str, Any]] = field(default_factory=list)  # the same with the calls taken out of the texts
    forms: Counter[str] = field(default_factory=Counter)  # calls by their form
    tokens: int = 0
    ended: str | None = None  # answer | tokens | context | turns: it answered, or which limit ended it

    def __post_init__(self) -> None:
        self.state = self.environment.factory()
        self.state.reset(**self.row)

    def take(self, said: Completion) -> None:
        """Go on with a message of the model: run its calls, or end."""
        self.tokens += said.tokens
        self.read.append({"role": "assistant", "content": said.text})
        calls, text = read_calls(said.text)
        if said.finish_reason == "length" or not calls:
            self.kept.append(self.read[-1])
            self.ended = "answer" if said.finish_reason == "stop" else "tokens"
            return
        self.forms.update(call.form for call in calls)
        run = calls[:MOST_CALLS]
        results = [result(self.state, call) for call in run]
        if len(calls) > len(run):
            more = len(calls) - len(run)
            results[-1] += f"\nerror: {more} more calls were not run. Write at most {MOST_CALLS} at once."
        ids = [f"call_{len(self.kept)}_{i}" for i in range(len(run))]
        functions = [{"name": call.name, "arguments": call.arguments} for call in run]
        made = [{"type": "function", "id": id, "function": f} for id, f in zip(ids, functions, strict=True)]
        self.kept.append({"role": "assistant", "content": text, "tool_calls": made})
        for call, id, told in zip(run, ids, results, strict=True):
            answer = {"role": "tool", "name": call.name, "content": told}
            self.read.append(answer)
            self.kept.append(answer | {"tool_call_id": id})

    @property
    def completion(self) -> Completion:
        """The text of all turns with the results between them, and the trajectory."""
        form = "none" if not self.forms else "mixed" if len(self.forms) > 1 else next(iter(self.forms))
        trajectory = {
            "id": self.row["id"],
            "messages": self.asked + self.kept,
            "tools": self.environment.schemas,
            "files": dict(self.state.files),
            "format": form,
            "calls": sum(self.forms.values()),
            "ended": self.ended,
        }
        texts = [m["content"] if m["role"] == "assistant" else shown(m) for m in self.read]
        # Of other limits, more tokens a message would change nothing
        return Completion("\n".join(texts), self.tokens, "length" if self.ended == "tokens" else "stop", trajectory)


class DialogueDecoding(BatchedDecoding):
    """Answers the items of a task with tools; `eval.max_new_tokens` is the limit of each message."""

    def __init__(self, items: "Items", *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.items = items

    def answer_batch(self, prompts: list[str], batch: list[int], seed: int) -> list[Completion]:
        """One dialogue a prompt."""
        self.ended = 0
        talks = [self._begun(i // self.decoding.samples) for i in batch]
        for turn in range(TURNS):
            texts = {i: render(self.tokenizer, t.asked + t.read, t.environment.schemas) for i, t in self._open(talks)}
            for i, length in zip(texts, self._lengths(list(texts.values())), strict=True):
                if turn and length > min(MOST_TOKENS, self.context - self.decoding.max_new_tokens):
                    talks[i].ended = "context"
            going = [i for i, _ in self._open(talks)]
            if not going:
                break
            for i, said in zip(going, self.decode([texts[i] for i in going], seed + turn), strict=True):
                talks[i].take(said)
            self.ended = len(talks) - len(self._open(talks))
        for _, talk in self._open(talks):
            talk.ended = "turns"
        return [talk.completion for talk in talks]

    def count(self) -> None:
        """A message that ends is no answer yet."""

    def _begun(self, item: int) -> Dialogue:
        return Dialogue(self.items.environment, self.items.row(item), self.items.messages[item])

    def _lengths(self, texts: list[str]) -> list[int]:
        return [len(ids) for ids in self.tokenizer(texts, add_special_tokens=False)["input_ids"]] if texts else []

    @staticmethod
    def _open(talks: list[Dialogue]) -> list[tuple[int, Dialogue]]:
        return [(i, talk) for i, talk in enumerate(talks) if not talk.ended]
