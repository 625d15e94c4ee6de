"""The data stage with a student and teachers that are functions."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from cft.recipe.blocks import CritiquesData, ModelBlock
from data_builders.asking.backends import Asking
from data_builders.asking.calls import Answer, Call, Ledger, Price
from data_builders.build import build

RIGHT = "4 × 17 = 68 and 68 + 25 = 93. \\boxed{93}"
WRONG = "4 × 17 = 58 and 58 + 25 = 83. \\boxed{83}"


def data(**changes):
    settings = {"problems": ["tulips"], "students": [{"samples": 10}], "teachers": [{"kind": "exact"}]}
    return CritiquesData.model_validate({"builder": "critiques"} | settings | changes)


def student(call):
    """A student whose answers hang on the call's key, as a real one's do."""
    assert "reason step by step" in call.messages[0]["content"]
    draw = int(call.key, 16)
    if draw % 3 == 0:
        return RIGHT
    if draw % 7 == 1:
        return Answer("4 × 17 =", "truncated", "length", output_tokens=320)
    return WRONG.replace("83", str(84 + draw % 50))


def run(folder, settings=None, write=student, ledgers=None, seed=3):
    asking = ScriptedAsking(write, ledgers or folder.parent / f"{folder.name}-calls")
    return build(settings or data(), folder=folder, seed=seed, asking=asking)


def rows(folder, name):
    return [json.loads(line) for line in (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


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
