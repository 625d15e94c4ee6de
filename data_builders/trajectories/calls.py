"""Calls as they stand in texts: JSON, Python's repr, tagged JSON, Python calls. Nothing of a text is ever executed."""

import ast
import json
import re
import warnings
from collections.abc import Collection
from contextlib import suppress
from typing import Any

from cft.foreign import parse_json

INTERPRETER = "python_interpreter"  # smolagents' name of the tool that takes code, not JSON
_SMOLAGENTS = "Calling tools:\n"
_TAGGED = re.compile(r"<(tool_call|functioncall)>(.*?)(?:</\1>|\Z)", re.DOTALL)
_QUOTED = re.compile(r"""\{\s*"name":\s*"([^"]+)",\s*"arguments":\s*'(.*)'\s*\}""", re.DOTALL)  # Glaive's
_CALLS = re.compile(r"\[?\s*[A-Za-z_][\w ./-]*\(.*\)\s*\]?", re.DOTALL)
_STRING = r"""(?s:"(?:\\.|[^"\\])*(?:"|\Z)|'(?:\\.|[^'\\])*(?:'|\Z))"""
_NAMES = {"true": True, "false": False, "null": None}
_NO_CALL = "a call cannot be read"


class RecordError(ValueError):
    """Why a record cannot be a row. Nothing of its content is in the message, since that may be secret."""


class _Json(ast.NodeTransformer):
    """JSON's names as values."""

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Constant(_NAMES[node.id]) if node.id in _NAMES else node


def parse_value(text: str) -> Any:
    """The value of a text in JSON or, where it is none, in Python's repr, as JSON has it. Raises RecordError."""
    with suppress(ValueError):
        return parse_json(text)
    return _literal(_parsed(text))


def as_list(value: Any) -> list[Any]:
    """The value, or a list of it."""
    return value if isinstance(value, list) else [value]


def call_of(value: Any) -> dict:
    """One call of any of the usual spellings in OpenAI's form, its arguments as they are. Raises RecordError."""
    if isinstance(value, str):
        quoted = _QUOTED.fullmatch(value.strip())
        try:
            value = parse_value(value)
        except RecordError:
            if not quoted:
                raise
            value = {"name": quoted[1], "arguments": quoted[2].replace("\\'", "'")}
    named = value.get("function", value) if isinstance(value, dict) else None
    named = {**value, "name": named} if isinstance(named, str) else named
    if not isinstance(named, dict) or not isinstance(named.get("name"), str) or not named["name"]:
        raise RecordError(_NO_CALL)
    arguments = next((named[key] for key in ("arguments", "parameters", "args", "input") if key in named), {})
    if value.get("type") == "custom":  # a tool that takes text
        arguments = {"input": arguments}
    elif named["name"] == INTERPRETER and isinstance(arguments, str) and not arguments.startswith("{"):
        arguments = {"code": arguments}
    key = value.get("id") or value.get("call_id")
    function = {"name": named["name"], "arguments": arguments}
    return {"type": "function", "id": key if isinstance(key, str) else None, "function": function}


def take_calls(text: str, tools: Collection[str], notes: list[str]) -> tuple[str, list[dict]]:
    """A turn's text without its calls, and the calls: tagged ones, smolagents' lists, Python calls (ToolACE).

    Args:
        tools: names of the tools that the row has.
        notes: to which a change of the text is added, in words.

    Raises:
        RecordError: something is marked as a call and is none.
    """
    if tagged := [part for _, part in _TAGGED.findall(text)]:
        notes += ["text behind a call put before it"] if _TAGGED.split(text)[-1].strip() else []
        return _TAGGED.sub("\n", text).strip(), [call for part in tagged for call in listed_calls(part)]
    before, mark, after = text.partition(_SMOLAGENTS)
    if mark and after.lstrip().startswith("["):
        return before.strip(), listed_calls(after)
    return _python_calls(text, sorted(tools, key=len, reverse=True)) if _CALLS.fullmatch(text.strip()) else (text, [])


def listed_calls(value: Any) -> list[dict]:
    """The calls of a value, or of its text: one of them or a list. Raises RecordError."""
    if isinstance(value, str):
        with suppress(RecordError):
            value = parse_value(value)
    return [call_of(one) for one in as_list(value)]


def _python_calls(text: str, names: list[str]) -> tuple[str, list[dict]]:
    """`[f(a=1), g()]` by its syntax tree. ToolACE's names may hold spaces, so known ones are made identifiers first."""
    code = text.strip()
    if names:
        pattern = rf"(?<![\w.'\"])({'|'.join(map(re.escape, names))})(?=\s*\()|{_STRING}"
        code = re.sub(pattern, lambda found: f"tool_{names.index(found[1])}_" if found[1] else found[0], code)
    known = code != text.strip()
    spelled = {f"tool_{number}_": name for number, name in enumerate(names)}
    try:
        node = _parsed(code)
        nodes = node.elts if isinstance(node, ast.List) else [node] if known else []
        calls = []
        for one in nodes:
            if not isinstance(one, ast.Call) or one.args or any(word.arg is None for word in one.keywords):
                raise RecordError(_NO_CALL)  # which parameter a value belongs to is not said
            name = ast.get_source_segment(code, one.func)
            arguments = {word.arg: _literal(word.value) for word in one.keywords}
            calls.append(call_of({"name": spelled.get(name, name), "arguments": arguments}))
    except RecordError:
        if known:
            raise
        return text, []
    return "" if calls else text, calls


def _parsed(text: str) -> ast.expr:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of backslashes within strings
            return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise RecordError(_NO_CALL) from None


def _literal(node: ast.expr) -> Any:
    try:
        return parse_json(json.dumps(ast.literal_eval(_Json().visit(node))))  # which refuses what JSON has not
    except (ValueError, TypeError, MemoryError, RecursionError):
        raise RecordError(_NO_CALL) from None
