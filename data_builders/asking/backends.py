"""Asks the students and teachers of a recipe, each at its backend, with a progress bar."""

from collections.abc import Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from cft.models.source import resolve
from cft.terminal import Terminal, text_column
from data_builders.asking.batch_files import BatchFiles
from data_builders.asking.calls import Backend, Call, Ledger, ledger_path, read_ledger
from data_builders.asking.endpoint import Endpoint
from data_builders.asking.engine import Budget
from data_builders.asking.in_process import InProcess, ledger_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cft.recipe.blocks import CritiquesData, ModelBlock, ModelTeacher, Recipe, StudentBlock


class Asking:
    """Asks models, draws one progress bar a model, and remembers the rows of all their answers."""

    def __init__(self, model: "ModelBlock", ledgers: "Path", console: Terminal, max_cost: float | None = None) -> None:
        """
        Args:
            model: that of students which name none.
            ledgers: folder of the answers that models gave, shared by all runs.
            max_cost: USD that all answers together may cost, kept ones included.
        """
        self.model, self.ledgers, self.budget = model, ledgers, Budget(max_cost)
        self.rows: list[dict] = []
        self.ignore_temperature: set[str] = set()  # models that gave the same text for all samples of a prompt
        columns = text_column("{task.description}"), BarColumn(20), MofNCompleteColumn(), TimeRemainingColumn()
        self.progress = Progress(*columns, text_column("{task.fields[note]}"), console=console, transient=True)
        self.task = None

    @contextmanager
    def shown(self) -> "Iterator[None]":
        with self.progress:
            yield

    def __call__(
        self, calls: Sequence[Call], block: "StudentBlock | ModelTeacher", backend: Backend | None = None
    ) -> list[dict]:
        """The ledger's rows of the calls, all of one model, in their order, after asking for those that are owed.

        Args:
            backend: that of `block`, where it is used again: it may have the model loaded.

        Raises:
            CFTError: as `calls.Backend.answer` does.
        """
        if not calls:
            return []
        name, backend = calls[0].model, backend or self.backend(block)
        with Ledger(ledger_path(self.ledgers, getattr(backend, "ledger", name)), self._on_answer) as ledger:
            kept = len(calls) - len(ledger.owed(calls))
            self.task = self.progress.add_task(f"asking {name}", total=len(calls), completed=kept, note="")
            backend.answer(calls, ledger)
            rows = [ledger.rows[call.key] for call in calls]
        self.rows += rows
        if _all_alike(calls, rows):
            self.ignore_temperature.add(name)
        return rows

    def backend(self, block: "StudentBlock | ModelTeacher") -> Backend:
        """The backend of a student or a teacher."""
        if block.endpoint is None:
            return InProcess(local_model(self.model, block), block.batch_size, self.note)
        if block.endpoint.batch:
            return BatchFiles(block.endpoint, block.model, self.ledgers, self.budget)
        return Endpoint(block.endpoint, block.model, self.budget, self._waits)

    def check(self, data: "CritiquesData") -> None:
        """Check the servers that have not answered anything yet, before the students' samples take their time.

        Raises:
            DataError: as `Endpoint.check` does.
        """
        for block in [*getattr(data, "students", []), *getattr(data, "teachers", [])]:
            if getattr(block, "endpoint", None) and not ledger_path(self.ledgers, block.model).exists():
                backend = self.backend(block)
                if isinstance(backend, Endpoint):
                    backend.check()

    def _on_answer(self, row: dict) -> None:
        self.progress.advance(self.task)
        self.note(f"${self.budget.spent:.2f}" if self.budget.spent else "")

    def note(self, text: str) -> None:
        if self.task is not None:
            self.progress.update(self.task, note=text)

    def _waits(self, fault: str, seconds: float) -> None:
        if seconds:
            self.note(f"{fault[:80]}; again in {seconds:.0f} s")
        else:
            self.progress.console.print(fault)


def _all_alike(calls: Sequence[Call], rows: Sequence[dict]) -> bool:
    """Whether no prompt that was sampled four times or more above temperature 0 ever got two different texts."""
    texts: dict[str, list[str]] = {}
    for call, row in zip(calls, rows, strict=True):
        if call.sampling["temperature"] > 0:
            texts.setdefault(row["prompt_sha256"], []).append(row["text"])
    often = [group for group in texts.values() if len(group) >= 4]
    return bool(often) and all(len(set(group)) == 1 for group in often)


def local_model(model: "ModelBlock", block: "StudentBlock | ModelTeacher") -> "ModelBlock":
    """The model block of a student or teacher that runs in this process."""
    if block.model in (None, model.id):
        return model
    return model.model_copy(update={"id": block.model, "revision": None})


def kept_answers(ledgers: "Path", model: "ModelBlock", block: "StudentBlock | ModelTeacher") -> dict[str, dict]:
    """The answers that a student or a teacher gave before, by call; `model` is the recipe's."""
    name = block.model if block.endpoint else ledger_name(local_model(model, block), fetch=False)
    return read_ledger(ledger_path(ledgers, name))


def local_identities(recipe: "Recipe") -> dict[str, dict]:
    """`{model: what identifies its weights}` of all students and teachers that run in this process."""
    blocks = [*getattr(recipe.data, "students", []), *getattr(recipe.data, "teachers", [])]
    local = [b for b in blocks if getattr(b, "endpoint", 0) is None]
    models = {block.id: block for block in (local_model(recipe.model, b) for b in local)}
    return {name: resolve(block).identity for name, block in models.items()}
