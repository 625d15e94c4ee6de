"""A task with tools: the class whose public methods are the tools, and the function that scores what they left.

The class keeps to TRL's `environment_factory`: `reset(**row)` begins a task and may return a text that the user's
message ends with; every other public method is a tool. Its state is the dict `files`, path -> text. The task's YAML
names both under `dataset_kwargs: tools:`, and `load` and `score` are what it calls.
"""

import contextlib
import importlib
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cft.errors import EvalError
from cft.foreign import check_shape, parse_json
from eval.grading import Grade, last_box

if TYPE_CHECKING:
    from datasets import Dataset

KEYS = ("environment", "outcome", "rows", "messages", "split", "size")  # of `dataset_kwargs: tools:`
NO_TOOLS = ("reset", "get_reward")  # public methods that TRL does not take for tools
ROW = {"id": str, "request": str, "kind": str, "level": int, "files": dict[str, str], "expected": dict}
EXPECTED = {"files": dict[str, str], "answer": str}
METRICS = {"exact_match": "correct", "no_answer": "no_answer"}
MOST_RESULT = 4_000  # characters of a tool's result that the model reads
BLOCK = re.compile(r"<tool_call>(.*?)(?:</tool_call>|(?=<tool_call>)|$)", re.DOTALL)
BARE = re.compile(r'\{\s*"name"\s*:')
EMPTY_BLOCK = re.compile(r"```(?:json)?\s*```")
ARGUMENTS = ("arguments", "parameters")  # the second is Llama's word


@dataclass(frozen=True)
class ToolCall:
    """One call, as a model wrote it."""

    name: str
    arguments: dict[str, Any]
    form: str  # "tool_call": between the marks that the template asks for; "json": the same object without them
    fault: str = ""  # why it cannot be read


def read_calls(message: str) -> tuple[list[ToolCall], str]:
    r"""The calls in a message, and the text around them.

    `<tool_call>{"name": …, "arguments": {…}}</tool_call>` is a call, and where no such mark is, so is the bare object,
    in a ```json block or not: Qwen2.5-Coder writes it so, and a base that can do the task must not fail by its marks.
    Only text after the last `</think>` is read. What is marked and cannot be read is a call with a fault.
    """
    thought, mark, text = message.rpartition("</think>")
    if "<tool_call>" in text:
        calls, outside = [_call(body.strip(), "tool_call") for body in BLOCK.findall(text)], BLOCK.sub("", text)
    else:
        calls, outside, end = [], "", 0
        for match in BARE.finditer(text):
            if match.start() >= end and (stop := _end(text, match.start())):
                calls.append(_call(text[match.start() : stop], "json"))
                outside, end = outside + text[end : match.start()], stop
        outside = EMPTY_BLOCK.sub("", outside + text[end:])
    return calls, (thought + mark + outside).strip()


def _end(text: str, begin: int) -> int | None:
    """Where the bare call ends that begins here; None where there is none."""
    try:
        value, end = json.JSONDecoder().raw_decode(text, begin)
    except (ValueError, RecursionError):
        return None
    return end if len(value) == 2 and value.keys() & {*ARGUMENTS} else None


def _call(body: str, form: str) -> ToolCall:
    try:
        value = parse_json(body)
        if not isinstance(value, dict) or not isinstance(value.get("name"), str):
            raise ValueError("has no name")
        given = next((value[key] for key in ARGUMENTS if key in value), {})
        given = parse_json(given) if isinstance(given, str) else given  # OpenAI's form
        if not isinstance(given, dict):
            raise ValueError("has arguments that are no object")
    except ValueError as fault:
        return ToolCall("unreadable", {"text": body}, form, f"the call {fault}")
    return ToolCall(value["name"], given, form)


@dataclass(frozen=True)
class Environment:
    """What a task with tools is played in."""

    factory: Callable[[], Any]
    outcome: Callable[..., str]  # (row, files at the end, last message, cut=whether a limit ended it) -> outcome

    @classmethod
    def of(cls, settings: Any, where: str) -> "Environment":
        """The environment that `dataset_kwargs: tools:` names.

        Raises:
            EvalError: with `where`, the file, if it names none, or `size` is no count.
        """
        if not isinstance(settings, dict) or set(settings) != set(KEYS):
            keys = ", ".join(settings) if isinstance(settings, dict) else settings
            raise EvalError(f"{where}: dataset_kwargs.tools needs {', '.join(KEYS)}, but has {keys}. Correct it.")
        if type(settings["size"]) is not int or settings["size"] < 1:
            raise EvalError(f"{where}: dataset_kwargs.tools.size is {settings['size']!r}. Write a whole number from 1.")
        factory, outcome = (named(settings[key], f"{where}: {key}") for key in KEYS[:2])
        return cls(factory, outcome)

    @cached_property
    def schemas(self) -> list[dict[str, Any]]:
        """The tools as chat templates take them, in TRL's order."""
        from transformers.utils import get_json_schema

        with told("the task's tools cannot be shown to a model", "Give each type hints and a docstring as Google's."):
            return [get_json_schema(tool) for tool in tools_of(self.factory()).values()]

    def grade(self, row: dict[str, Any], trajectory: dict[str, Any]) -> Grade:
        """The grade of a finished dialogue; `answer` is what stands in the box of its last message."""
        *_, last = trajectory["messages"]
        text = last["content"] if last["role"] == "assistant" else ""
        cut = trajectory["ended"] != "answer" and last_box(text) is None
        return Grade(self.outcome(row, trajectory["files"], text, cut=cut), last_box(text) or None)


@contextlib.contextmanager
def told(fault: str, fix: str) -> Iterator[None]:
    """Raise EvalError for whatever the user's own code raises inside."""
    try:
        yield
    except EvalError:
        raise
    except Exception as error:
        raise EvalError(f"{fault} ({type(error).__name__} {error}). {fix}") from None


def named(place: Any, where: str) -> Any:
    """What "module:name" names. EvalError where it cannot be had."""
    with told(f"{where} is {place!r}, which cannot be loaded", "Write module:name."):
        module, _, name = place.partition(":")
        return getattr(importlib.import_module(module), name)


def sources(settings: dict[str, Any], file: Path) -> list[Path]:
    """The files of code that a task's YAML, `file`, names. EvalError where one beside it is not the one loaded."""
    found = []
    for key in KEYS[:4]:
        thing, module = named(settings[key], f"{file}: {key}"), settings[key].partition(":")[0]
        own, loaded = file.parent / f"{module.replace('.', '/')}.py", getattr(sys.modules[module], "__file__", None)
        if own.is_file() and own.resolve() != Path(loaded or "").resolve():
            raise EvalError(f"{own}: {loaded or 'a built-in module'} is loaded in its place. Give it another name.")
        with told(f"{file}: {key}: {settings[key]} has no source file", "Name a class or function of a Python file."):
            found.append(Path(inspect.getsourcefile(thing)).resolve())
    return found


def tools_of(environment: Any) -> dict[str, Callable[..., Any]]:
    """Name -> tool, in TRL's order."""
    names = [name for name, _ in inspect.getmembers(type(environment), inspect.isfunction)]
    return {name: getattr(environment, name) for name in names if name not in NO_TOOLS and not name.startswith("_")}


def misfit(environment: Any, call: ToolCall) -> str:
    """Why a call cannot be run: it cannot be read, or no tool takes it; "" where one does."""
    tools = tools_of(environment)
    if call.fault:
        return f'error: {call.fault}. Write {{"name": ..., "arguments": {{...}}}}.'
    if call.name not in tools:
        return f"error: there is no tool {call.name!r:.80}. Tools: {', '.join(tools)}."
    takes = inspect.signature(tools[call.name])
    try:
        takes.bind(**call.arguments)
    except TypeError as fault:
        return f"error: {call.name}: {fault}. It takes {', '.join(takes.parameters) or 'no arguments'}."
    return ""


def result(environment: Any, call: ToolCall) -> str:
    """What a model reads of its call. Nothing is raised: a fault is a text that begins with "error: "."""
    if fault := misfit(environment, call):
        return fault
    try:
        text = str(getattr(environment, call.name)(**call.arguments)).encode("utf-8", "replace").decode("utf-8")
    except Exception as fault:  # a tool may be anybody's
        text = f"error: {call.name} failed, {type(fault).__name__} {fault}. Try other arguments."
    cut = f"\n... cut: {MOST_RESULT} of {len(text)} characters shown"
    return text if len(text) <= MOST_RESULT else text[:MOST_RESULT] + cut


def with_tools(render: Callable[..., str], environment: Environment | None) -> Callable[[list[dict]], str]:
    """A render function that knows the tools of a task that has some."""
    return partial(render, tools=environment.schemas) if environment else render


def load(tools: dict[str, Any], **_: Any) -> "dict[str, Dataset]":
    """What a task's YAML calls: `{"test": items}`, each with the row as JSON: files of all kinds fit into no table."""
    from datasets import Dataset

    environment = Environment.of(tools, "the task")
    rows, messages = (named(tools[key], f"the task: {key}") for key in ("rows", "messages"))
    with told(f"{tools['rows']} gives no list of rows", "Correct it."):
        rows = list(rows(tools["split"], tools["size"]))
    if not rows:
        raise EvalError(f"{tools['rows']} gives no rows of split {tools['split']!r}. Correct it, or the split.")
    for number, row in enumerate(rows):
        try:
            check_shape(row, ROW)
            check_shape(row["expected"], EXPECTED)
        except ValueError as fault:
            raise EvalError(f"{tools['rows']}: row {number}: {fault}. Correct what it returns.") from None
    with told(f"{tools['messages']} or the environment's reset cannot take a row", "Correct them."):
        return {"test": Dataset.from_list([_doc(row, messages(row), environment, tools) for row in rows])}


def _doc(row: dict[str, Any], messages: list[dict], environment: Environment, tools: dict[str, Any]) -> dict[str, str]:
    expected, files = row["expected"], row["files"]
    ends = [expected["answer"]]
    ends += [f"writes {path}" for path, text in expected["files"].items() if text != files.get(path)]
    ends += [f"removes {path}" for path in files if path not in expected["files"]]
    return {
        "question": row["request"],
        "system": "".join(m["content"] for m in messages if m["role"] == "system"),
        "prompt": messages[-1]["content"] + (environment.factory().reset(**row) or ""),
        "answer": "; ".join(filter(None, ends)),
        "subject": row["kind"],
        "level": str(row["level"]),
        "row": json.dumps(row, ensure_ascii=False),
        "tools": json.dumps(tools),
    }


def score(doc: dict[str, str], results: list[list[str]]) -> dict[str, float]:
    """What a task's YAML calls: metrics of one item, means over its samples, each a trajectory as JSON.

    Raises:
        EvalError: an answer is none: plain lm_eval runs no tools.
    """
    environment, row = Environment.of(json.loads(doc["tools"]), "the task"), json.loads(doc["row"])
    try:
        outcomes = [environment.grade(row, json.loads(said)).outcome for said in results[0]]
    except (ValueError, TypeError, KeyError):
        raise EvalError("A task with tools is not answered by plain lm_eval, which runs none. Use cft eval.") from None
    return {key: outcomes.count(name) / len(outcomes) for key, name in METRICS.items()}
