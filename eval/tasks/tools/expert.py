r"""The expert: solves office tasks with the tools, reasons in writing, and ends with the answer in a box.

Each kind and level has three scripts in `scripts.json`, each with reasoning and order of work of its own: some look at
the tables first, some search, some take a wrong turn and correct it, some check what they wrote. A script's words are
filled with the task's, its calls are made on a real `Office`, and what comes back is what the demonstration has.

`python -m eval.tasks.tools.expert FILE` writes the 78 of `recipes/trajectories/office.jsonl`.
"""

import json
import sys
from pathlib import Path
from typing import Any

from cft.errors import DataError
from cft.files import write_jsonl
from eval.tasks.tools.environment import Environment
from eval.tasks.tools.office import Office
from eval.tasks.tools.score import outcome
from eval.tasks.tools.tasks import LEVELS, draw, messages

SCRIPTS: dict[str, list[list[Any]]] = json.loads(Path(__file__).with_name("scripts.json").read_text(encoding="utf-8"))
OFFICE = Environment(Office, outcome)


def demonstrations(rounds: int = 3) -> list[dict[str, Any]]:
    """One demonstration of every kind and level in each of `rounds`, of the split "train"; 78 of three.

    Raises:
        DataError: the end state or the answer of one is not right.
    """
    return [
        demonstrate(kind, level, number, script=number % len(SCRIPTS[f"{kind} {level}"]))
        for number in range(rounds)
        for kind, level in LEVELS
    ]


def demonstrate(kind: str, level: int, number: int, *, script: int) -> dict[str, Any]:
    """A trajectory row of one training task: `{"id", "kind", "level", "messages", "tools"}`.

    Args:
        kind, level, number: of the task, as in `eval.tasks.tools.tasks.draw`.
        script: which of the scripts of this kind and level.

    Raises:
        DataError: the end state or the answer is not right.
    """
    row, words = draw(kind, level, "train", number)
    office, turns = Office(), messages(row)
    office.reset(**row)
    *steps, final = SCRIPTS[f"{kind} {level}"][script]
    words |= {"box": rf"\boxed{{{row['expected']['answer']}}}"}
    for say, tool, templates in steps:
        arguments = {name: text.format_map(words) for name, text in templates.items()}
        result = {"role": "tool", "name": tool, "content": getattr(office, tool)(**arguments)}
        made = {"type": "function", "function": {"name": tool, "arguments": arguments}}
        if say is None:  # one more call of the same turn: it stands before the results
            turn = max(i for i, message in enumerate(turns) if message["role"] == "assistant")
            turns[turn]["tool_calls"].append(made)
            turns.append(result)
        else:
            turns += [{"role": "assistant", "content": say.format_map(words), "tool_calls": [made]}, result]
    turns.append({"role": "assistant", "content": final.format_map(words)})
    if (said := outcome(row, office.files, turns[-1]["content"])) != "correct":
        raise DataError(f"{row['id']}, script {script}: the demonstration is {said}. Correct scripts.json.")
    return {"id": row["id"], "kind": kind, "level": level, "messages": turns, "tools": OFFICE.schemas}


if __name__ == "__main__":
    write_jsonl(Path(sys.argv[1]), demonstrations())
