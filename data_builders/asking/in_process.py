"""Students and teachers in this process: transformers on a GPU or a CPU, in batches of alike length."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from cft.devices import GROUP, decoder_for, out_of_memory_as, pick_device
from cft.errors import DataError
from cft.files import content_id
from cft.models.load import load_model, load_tokenizer
from cft.models.source import resolve, template_identity
from data_builders.asking.calls import Answer, Call, Price

if TYPE_CHECKING:
    from cft.recipe.blocks import ModelBlock
    from data_builders.asking.calls import Ledger


class InProcess:
    """A backend (`data_builders.asking.calls.Backend`) that loads the model when the first batch is owed."""

    host, price = "this process", Price(0, 0)

    def __init__(
        self, model: "ModelBlock", batch_size: int, on_step: Callable[[str], None] = lambda text: None
    ) -> None:
        self.model, self.batch_size, self.on_step = model, batch_size, on_step
        self.loaded: tuple[Any, Any] | None = None  # model and tokenizer

    @property
    def ledger(self) -> str:
        """The name of the ledger of its answers, which are those of these weights and this chat template."""
        return ledger_name(self.model)

    def answer(self, calls: Sequence[Call], ledger: "Ledger") -> None:
        """See `Backend`. Batches are cut from all planned calls, whatever is owed, so that a run which was stopped
        samples the same texts: a row's sample depends on its batch."""
        from cft.models.decoding import plan_batches
        from cft.models.generate import generate, render

        if not ledger.owed(calls):
            return
        decoder = decoder_for("auto", pick_device())
        group = GROUP.get(decoder, 1)
        for batch in _batches(calls, group * self.batch_size, partial(plan_batches, alike=group == 1)):
            if not ledger.owed(batch):
                continue
            self.loaded = self.loaded or (load_model(self.model), load_tokenizer(self.model))
            model, tokenizer = self.loaded
            sampling, tokens = batch[0].sampling, 0

            def on_step(rows: int, size: int = min(len(batch), self.batch_size)) -> None:
                nonlocal tokens
                tokens += rows
                self.on_step(f"{size} answers at a time, {tokens} tokens, {rows} still writing")

            fault = DataError(
                f"{self.model.id}: out of memory while {min(len(batch), self.batch_size)} answers of up to "
                f"{sampling['max_tokens']} tokens were written at once. Lower its batch_size or max_new_tokens in "
                "data.students or data.teachers, and start again: what was answered is kept."
            )
            with out_of_memory_as(fault):
                completions = generate(
                    model,
                    tokenizer,
                    [render(tokenizer, call.messages) for call in batch],
                    seed=int(content_id([call.key for call in batch], length=8), 16) % 2**31,
                    max_new_tokens=sampling["max_tokens"],
                    temperature=sampling["temperature"],
                    top_k=sampling["top_k"],
                    top_p=sampling["top_p"],
                    decoder=decoder,
                    slots=self.batch_size,
                    on_step=on_step,
                )
            for call, done in zip(batch, completions, strict=True):
                status = "truncated" if done.finish_reason == "length" else "ok" if done.text.strip() else "empty"
                ledger.add(call, Answer(done.text, status, done.finish_reason, call.model, None, done.tokens), self)


def ledger_name(model: "ModelBlock", *, fetch: bool = True) -> str:
    """The model's id, and what else decides its answers; of a model that is not here only the id."""
    source = resolve(model, fetch=fetch)
    if not source.cached:
        return model.id
    rest = (model.dtype, model.quantization, template_identity(model))
    return f"{model.id} {content_id(source.identity, *rest, length=8)}"


def _batches(calls: Sequence[Call], size: int, plan: Callable) -> list[list[Call]]:
    """Batches of calls with the same sampling settings and alike length."""
    groups: dict[str, list[Call]] = {}
    for call in {call.key: call for call in calls}.values():
        groups.setdefault(content_id(call.sampling), []).append(call)
    return [
        [group[i] for i in batch]
        for group in groups.values()
        for batch in plan([call.characters for call in group], size)
    ]
