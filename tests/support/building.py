"""The data stage with a student and teachers that are functions."""

import json

from cft.recipe.blocks import CritiquesData
from data_builders.asking.calls import Answer
from data_builders.build import build
from tests.support.scripted import ScriptedAsking

RIGHT = "4 × 17 = 68 and 68 + 25 = 93. \\boxed{93}"


WRONG = "4 × 17 = 58 and 58 + 25 = 83. \\boxed{83}"


def data(**changes):
    settings = {
        "builder": "critiques",
        "problems": ["tulips"],
        "students": [{"samples": 10}],
        "teachers": [{"kind": "exact"}],
    }
    return CritiquesData.model_validate(settings | changes)


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
