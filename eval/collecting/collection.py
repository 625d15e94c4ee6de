r"""What is collected of a task with tools: which rows are played, and the folder that keeps how each ended.

`trajectories.jsonl` has the correct ones, as `data.builder: trajectories` reads them; `failed.jsonl` the others, each
with what was wrong, and with `problem`, `answer` and `solution` as a critiques file has them. `settings.yaml` is no
JSON, so that the builder, given the folder, finds rows only.
"""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from cft.errors import EvalError
from cft.files import content_id, listed, read_own_jsonl, remove_leftovers, write_jsonl, write_text
from cft.foreign import user_path
from cft.suggest import did_you_mean
from cft.words import tidy
from data_builders.inspect.card import table
from data_builders.thoughts import final_text
from eval.answering.dialogue import Dialogue
from eval.tasks.lm_tasks import Task, known_tasks, read_settings
from eval.tasks.tools.environment import load, told
from eval.tasks.tools.score import normal

CORRECT, FAILED, SETTINGS, CARD = "trajectories.jsonl", "failed.jsonl", "settings.yaml", "README.md"
ROW = {"id": str, "kind": str, "level": int, "messages": list}
_HEAD = """\
---
configs: [{config_name: default, data_files: trajectories.jsonl}]
tags: [tool-use]
---
# Trajectories

`trajectories.jsonl`: tasks that were solved with the real tools, correct by their end state; `messages` and `tools` in
OpenAI's form. `failed.jsonl`: the others, not to be trained on.
"""


def find_tools(name: str, folder: str | None = None) -> Task:
    """The task with tools of this name, in eval/tasks or in a folder of the user's own.

    Raises:
        EvalError: there is none, or it has no tools; the message has the nearest one, or those that have.
    """
    known = known_tasks(folder)
    if name not in known:
        raise EvalError(f"unknown task {name!r}. {did_you_mean(name, known)} Known: {', '.join(known)}.")
    task = Task(name, *known[name], {})
    if task.environment is None:
        tooled = [one for one, (_, settings) in known.items() if (settings.get("dataset_kwargs") or {}).get("tools")]
        raise EvalError(f"{name}: has no tools to solve it with. Name one that has: {', '.join(tooled)}.")
    return task


def begun(
    task: Task, split: str, skip: int, tasks: int, samples: int = 1, folder: str | None = None
) -> dict[str, Dialogue]:
    """Id -> the dialogue that begins, `samples` of each of `tasks` rows behind the first `skip`, in their order.

    Args:
        folder: of the user's own tasks.

    Raises:
        EvalError: there is no such row, an id is there twice, or a task with the same function of rows scores one.
    """
    tools = task.settings["dataset_kwargs"]["tools"]
    docs = [*load(tools | {"split": split, "size": skip + tasks})["test"]][skip:]
    if not docs:
        raise EvalError(f"{task.name}: the split {split!r} has no row behind the first {skip}. Lower --skip.")
    scored = {}
    for name, (_, settings) in known_tasks(folder).items():
        other = (settings.get("dataset_kwargs") or {}).get("tools")
        if other and other["rows"] == tools["rows"]:
            scored |= {_asked(json.loads(doc["row"])): name for doc in load(other)["test"]}
    found: dict[str, Dialogue] = {}
    for doc in docs:
        row = json.loads(doc["row"])
        if by := scored.get(_asked(row)):
            fix = f"Name another with --split, or correct {tools['rows']}."
            raise EvalError(f"{task.name}: {row['id']} of the split {split!r} is scored, by {by}. {fix}")
        keys = [row["id"]] if samples == 1 else [f"{row['id']}-{k}" for k in range(samples)]
        if keys[0] in found:
            raise EvalError(f"{task.name}: two rows of the split {split!r} have the id {row['id']!r}. Correct one.")
        asked = [{"role": "system", "content": doc["system"]}, {"role": "user", "content": doc["prompt"]}]
        for key in keys:
            with told(f"{task.name}: {row['id']} cannot begin", "Correct the environment's reset."):
                talk = Dialogue(task.environment, row, asked if doc["system"] else asked[1:])
            found[key] = talk
    return found


def _asked(row: dict[str, Any]) -> str:
    return content_id(row["request"], row["files"])


def transcript(messages: Iterable[dict[str, Any]]) -> str:
    """What was said and done from the assistant's first message on, as plain text: thoughts and the task left out."""
    lines: list[str] = []
    for message in messages:
        if message["role"] == "assistant":
            text = final_text(message["content"]).strip()
            calls = [call["function"] for call in message.get("tool_calls", ())]
            lines += [f"assistant: {text}"] if text or not calls else []
            lines += [f"call {one['name']} {json.dumps(one['arguments'], ensure_ascii=False)}" for one in calls]
        elif message["role"] == "tool":
            lines.append(f"result: {message['content']}")
    return "\n".join(lines)


def finished(key: str, talk: Dialogue, by: str) -> dict[str, Any]:
    """The row of a dialogue that has ended; one that is not correct, or broke off behind its box, has an `outcome`.

    Raises:
        EvalError: the task's own function cannot score it.
    """
    task = talk.row
    with told(f"{task['id']} cannot be scored", "Correct the environment's files, or the task's outcome function."):
        played = talk.completion.trajectory
        graded = talk.environment.grade(task, played)
    row = {"id": key, "kind": task["kind"], "level": task["level"]}
    row |= {"messages": played["messages"], "tools": played["tools"]}
    outcome = "truncated" if graded.outcome == "correct" and talk.ended != "answer" else graded.outcome
    if outcome == "correct":
        return row
    right, left = normal(task["expected"]["files"]), normal(played["files"])
    differing = sorted(path for path in right.keys() | left.keys() if right.get(path) != left.get(path))
    row |= {"outcome": outcome, "ended": talk.ended, "boxed": graded.answer, "differing_files": differing}
    row |= {"problem": talk.asked[-1]["content"], "answer": task["expected"]["answer"], "student": by}
    return row | {"solution": tidy(transcript(played["messages"])), "truncated": outcome == "truncated"}


@dataclass
class Collection:
    """A folder of trajectories, all of one task by the same.

    Raises:
        EvalError: the folder holds something else, or was collected with other settings than now, fewer tasks aside.
    """

    folder: Path
    settings: dict[str, Any]  # "by" whom, and what else decides the trajectories
    talks: dict[str, Dialogue]  # all that are planned, by id
    rows: dict[str, dict[str, Any]] = field(default_factory=dict, init=False)  # of those that ended, by id
    used: dict[str, Any] = field(default_factory=dict, init=False)  # tokens and cost

    def __post_init__(self) -> None:
        self.folder, other = user_path(self.folder, EvalError), "Name another folder with --out."
        if not self.folder.exists():
            return
        below = self.folder.iterdir() if self.folder.is_dir() else [Path("no folder")]
        names = sorted(path.name for path in below if not path.name.startswith("."))
        odd = [name for name in names if name not in (CORRECT, FAILED, SETTINGS, CARD)]
        if odd or (names and SETTINGS not in names):
            raise EvalError(f"{self.folder}: is not what cft collect wrote ({(odd or names)[0]}). {other}")
        was = read_settings(self.folder / SETTINGS) if names else self.settings
        more = isinstance(was.get("tasks"), int) and was["tasks"] < self.settings["tasks"]
        now = self.settings | ({"tasks": was["tasks"]} if more else {})
        keys = sorted(key for key in was.keys() | now if was.get(key) != now.get(key))
        if changed := [f"{key}: {was.get(key)} there, {now.get(key)} now" for key in keys]:
            fix = f"Give the same (--tasks may be more). {other}"
            raise EvalError(f"{self.folder}: was collected with other settings.\n  {listed(changed)}\n{fix}")
        remove_leftovers(self.folder)
        for name in (CORRECT, FAILED):  # what an earlier command left, so that nothing below can lose it
            self.rows |= {row["id"]: row for row in read_own_jsonl(self.folder / name, ROW)}

    def end(self, key: str) -> None:
        """Score a dialogue that has ended. Raises EvalError as `finished` does."""
        self.rows[key] = finished(key, self.talks[key], self.settings["by"])

    def save(self) -> None:
        """Write the rows in the order of the plan, and the card. EvalError if that cannot be."""
        rows = [self.rows[key] for key in self.talks if key in self.rows]
        try:
            write_text(self.folder / SETTINGS, yaml.safe_dump(self.settings, sort_keys=False, allow_unicode=True))
        except OSError as error:
            raise EvalError(f"{self.folder}: cannot be written ({error}). Name another folder with --out.") from None
        write_jsonl(self.folder / CORRECT, (row for row in rows if "outcome" not in row))
        write_jsonl(self.folder / FAILED, (row for row in rows if "outcome" in row))
        ends = Counter((row["kind"], row["level"], row.get("outcome", "correct")) for row in rows)
        tables = {("kind", "level", "outcome", "number"): [(*end, n) for end, n in sorted(ends.items())]}
        tables[("setting", "value")] = [*self.settings.items(), *self.summary.items()]
        lines = [_HEAD]
        for head, cells in tables.items():
            lines += table(head, cells)
        write_text(self.folder / CARD, "\n".join(lines))

    @property
    def summary(self) -> dict[str, Any]:
        """How many are planned and how many ended how, and what was used."""
        outcomes = Counter(row.get("outcome", "correct") for row in self.rows.values())
        return {"planned": len(self.talks), "outcomes": dict(outcomes.most_common())} | self.used
