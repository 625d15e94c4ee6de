"""A backend whose answers are a function, and who asks it, for tests of what is made of answers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from cft.recipe.blocks import ModelBlock
from data_builders.asking.backends import Asking
from data_builders.asking.calls import Answer, Call, Ledger, Price


@dataclass
class Scripted:
    """Answers each owed call with `write(call)`: a text, or an Answer."""

    write: Callable[[Call], str | Answer]
    host: str = "script"
    price: Price | None = Price(0, 0)  # noqa: RUF009 (frozen)

    def answer(self, calls: Sequence[Call], ledger: Ledger) -> None:
        for call in ledger.owed(calls):
            given = self.write(call)
            if isinstance(given, str):
                given = Answer(given, "ok", "stop", call.model, call.characters // 4, len(given) // 4)
            ledger.add(call, given, self)


class ScriptedAsking(Asking):
    """Has every model of a recipe answer with `write(call)`."""

    def __init__(self, write: Callable[[Call], str | Answer], ledgers: Path, student: str = "tiny") -> None:
        super().__init__(ModelBlock(id=student), ledgers, Console(quiet=True))
        self.write = write

    def backend(self, block: object) -> Scripted:
        return Scripted(self.write)
