r"""A person solves tasks with tools at the terminal: reads what a model would read, writes what a model would write.

Lines are one message until one of them is a call or has a box: `read_file {"path": "staff.csv"}`, the name alone if a
tool takes nothing, or the JSON object that a model would write. `skip` goes to the next task, `quit` or the end of the
input stops. What is no call, or none that a tool takes, is told, and does not count.
"""

import json
import re

from cft.errors import EvalError
from cft.models.generate import Completion
from cft.terminal import Terminal, Text, panel
from eval.answering.dialogue import Dialogue
from eval.collecting.collection import Collection
from eval.grading import last_box
from eval.tasks.tools.environment import ToolCall, misfit, read_calls, tools_of

HOW = """\
Write what you think, then a call as a line of its own: TOOL {"argument": "value"}; or the answer in \\boxed{}.
skip: another task. quit: stop; the same command goes on."""
CALL = re.compile(r"(\w+)\s*(\{.*)?", re.DOTALL)


def solve(kept: Collection, console: Terminal, *, turns: int) -> None:
    """Give one task after the other to the person at `console`, until all are done or the input ends.

    Raises:
        EvalError: what is written is not UTF-8; as `Collection.end` does.
    """
    kept.save()  # a folder that cannot be written is told before anything is solved
    owed = {key: talk for key, talk in kept.talks.items() if key not in kept.rows}
    for number, (key, talk) in enumerate(owed.items(), 1):
        if number == 1:
            _show_tools(console, talk)
        asked = Text("\n\n".join(message["content"] for message in talk.asked))
        console.print(panel(f"{number} of {len(owed)}: {key}", asked))
        try:
            while not talk.ended and (message := _message(talk, console)) is not None:
                seen = len(talk.read)
                talk.take(Completion(message, 0, "stop"))
                for told in talk.read[seen + 1 :]:
                    console.print(panel(told["name"], Text(told["content"])))
                spoken = sum(one["role"] == "assistant" for one in talk.read)
                talk.ended = talk.ended or ("turns" if spoken >= turns else None)
        except StopIteration:
            return
        if talk.ended:
            kept.end(key)
            kept.save()
            end = {"outcome": "correct"} | kept.rows[key]
            told = [f"{name} {end[name]}" for name in ("outcome", "ended", "answer", "differing_files") if name in end]
            console.print(f"{key}: {', '.join(told)}\n")


def _show_tools(console: Terminal, talk: Dialogue) -> None:
    for tool in (schema["function"] for schema in talk.environment.schemas):
        properties = tool["parameters"].get("properties", {})
        takes = ", ".join(f"{name}: {it.get('description', '')}" for name, it in properties.items())
        console.print(Text.assemble((tool["name"], "bold"), f" {{{takes}}}  {tool['description']}"), soft_wrap=True)
    console.print(HOW)


def _message(talk: Dialogue, console: Terminal) -> str | None:
    """What the person writes up to a call or a box; None to skip the task. Raises StopIteration at the end."""
    lines: list[str] = []
    while True:
        console.print("> ", end="")
        try:
            line = input().strip()
            line.encode()
        except EOFError:
            raise StopIteration from None
        except UnicodeError:
            raise EvalError("standard input: is not UTF-8. Set the terminal, or the file, to UTF-8.") from None
        if line in ("skip", "quit") and not lines:
            if line == "quit":
                raise StopIteration
            return None
        calls = _calls(line, talk)
        if faults := [fault for fault in (misfit(talk.state, call) for call in calls) if fault]:
            console.print(f"{faults[0]} Nothing was done.")
            continue
        if calls:
            made = [json.dumps({"name": c.name, "arguments": c.arguments}, ensure_ascii=False) for c in calls]
            return "\n".join([*lines, *(f"<tool_call>\n{one}\n</tool_call>" for one in made)])
        lines.append(line)
        if last_box(line) is not None:
            return "\n".join(lines).strip()


def _calls(line: str, talk: Dialogue) -> list[ToolCall]:
    """The calls of a line: a tool's name with its arguments, or as a model writes them."""
    match = CALL.fullmatch(line)
    if match and (match[2] or match[1] in tools_of(talk.state)):
        line = json.dumps({"name": match[1], "arguments": match[2] or "{}"})
    return read_calls(line)[0]
