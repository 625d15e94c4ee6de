"""Tools as JSON schemas in OpenAI's form, and whether the arguments of a call fit them."""

import json
import re
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from cft.foreign import parse_json
from data_builders.trajectories.calls import RecordError, as_list, parse_value

_TYPES = {
    **{"str": "string", "text": "string", "int": "integer", "long": "integer", "float": "number", "double": "number"},
    **{"bool": "boolean", "list": "array", "tuple": "array", "set": "array", "dict": "object", "map": "object"},
}
_PYTHON = {
    **{"boolean": bool, "string": str, "integer": int, "number": float, "array": list, "object": dict},
    "null": type(None),
}
_NO_TOOLS = "its tools cannot be read"
_BETWEEN = re.compile(r"[\s,]*")


def tool_list(value: Any) -> list[dict]:
    """The schemas of a record's tools: a list, one of them, or either as text, in any of the usual spellings.

    OpenAI's, a bare function, Gemini's `functionDeclarations`, Anthropic's `input_schema`, xLAM's parameters without
    their envelope, BFCL's type `dict`. Of tools of one name the first counts.

    Raises:
        RecordError: something among them is no tool.
    """
    raw, end = values(value) if isinstance(value, str) else (as_list(value) if value else [], 1)
    if not end and value.strip():
        raise RecordError(_NO_TOOLS)
    tools: dict[str, dict] = {}
    for one in raw:
        one = parse_value(one) if isinstance(one, str) else one
        declared = one.get("functionDeclarations") if isinstance(one, dict) else None
        for tool in declared if isinstance(declared, list) else [one]:
            function = _function(tool)
            tools.setdefault(function["name"], {"type": "function", "function": function})
    return list(tools.values())


def values(text: str) -> tuple[list[Any], int]:
    """The values that a text begins with, a list of them or several one after the other, and where they end.

    Raises:
        RecordError: one of them holds what we could not go on with, such as NaN.
    """
    with suppress(RecordError):
        value = parse_value(text)
        return [] if value is None else as_list(value), len(text)
    found, end, decoder = [], 0, json.JSONDecoder()
    try:
        while True:
            start = _BETWEEN.match(text, end).end()
            end = decoder.raw_decode(text, start)[1]
            found += as_list(parse_json(text[start:end]))
    except json.JSONDecodeError:  # what follows is no value
        return found, end
    except (ValueError, RecursionError):
        raise RecordError(_NO_TOOLS) from None


def _function(tool: Any) -> dict:
    inner = tool.get("function", tool) if isinstance(tool, dict) else None
    if not isinstance(inner, dict) or not isinstance(inner.get("name"), str) or not inner["name"]:
        raise RecordError(_NO_TOOLS)
    given = next((inner[key] for key in ("parameters", "input_schema", "inputSchema") if inner.get(key)), {})
    if not isinstance(given, dict):
        raise RecordError(_NO_TOOLS)
    if not isinstance(given.get("properties"), dict) and not isinstance(given.get("type"), str):
        bare = {key: one for key, one in given.items() if isinstance(one, dict)}  # xLAM
        free = {key for key, one in bare.items() if "default" in one or "optional" in str(one.get("type"))}
        given = {"properties": bare} | ({"required": needed} if (needed := [k for k in bare if k not in free]) else {})
    parameters = {"type": "object", "properties": {}} | _schema(given)
    return {"name": inner["name"], "description": str(inner.get("description") or ""), "parameters": parameters}


def _schema(schema: Any) -> Any:
    """A schema whose types have JSON Schema's names, instead of STRING, dict, `List[str]` or `str, optional`."""
    if not isinstance(schema, dict):
        return schema
    fixed = {}
    for key, value in schema.items():
        if key == "type" and isinstance(value, str):
            word = re.match(r"\w*", value.lower())[0]
            word = _TYPES.get(word, word)
            fixed |= {"type": word} if word in _PYTHON else {}  # others ("any", "Union[...]") say nothing
        elif key in ("properties", "$defs", "definitions") and isinstance(value, dict):
            fixed[key] = {name: _schema(one) for name, one in value.items()}
        elif key in ("anyOf", "allOf", "oneOf") and isinstance(value, list):
            fixed[key] = [_schema(one) for one in value]
        else:
            fixed[key] = _schema(value) if key in ("items", "additionalProperties") else value
    return fixed


def inferred(calls: Iterable[dict]) -> list[dict]:
    """Schemas by what the calls of a row give: each tool's parameters, those of all its calls as required."""
    given: dict[str, list[dict]] = {}
    for call in calls:
        given.setdefault(call["name"], []).append(call["arguments"])
    tools = []
    for name, arguments in given.items():
        properties = {}
        for key in dict.fromkeys(key for one in arguments for key in one):
            types = {_type_of(one[key]) for one in arguments if key in one}
            properties[key] = {"type": types.pop()} if len(types) == 1 else {}
        required = [key for key in properties if all(key in one for one in arguments)]
        parameters = {"type": "object", "properties": properties} | ({"required": required} if required else {})
        tools.append({"type": "function", "function": {"name": name, "description": "", "parameters": parameters}})
    return tools


def fitted(call: dict, tools: dict[str, dict], notes: list[str]) -> dict:
    """A call's arguments as its tool's schema has them; a changed type is put right where nothing is lost.

    Raises:
        RecordError: it fits none of the tools.
    """
    if call["name"] not in tools:
        raise RecordError("calls a tool that is not among its tools")
    schema = tools[call["name"]]["parameters"]
    properties = schema["properties"] if isinstance(schema.get("properties"), dict) else {}
    required = [key for key in properties if key in as_list(schema.get("required"))]
    fixed = {}
    for key, value in call["arguments"].items():
        if key not in properties and properties and not schema.get("additionalProperties"):
            raise RecordError("an argument that its tool does not have")
        if value is None and key not in required and not _is(None, properties.get(key)):
            notes.append("null left out where an argument is optional")  # as tables of fixed columns leave them
            continue
        fixed[key] = _typed(value, properties.get(key), notes)
    if any(key not in fixed for key in required):
        raise RecordError("a required argument is missing")
    return fixed


def _type_of(value: Any) -> str:
    return next(name for name, python in _PYTHON.items() if isinstance(value, python))


def _is(value: Any, schema: Any) -> bool:
    """Whether a value has one of the types of a schema; one without a type takes all."""
    types = as_list(schema.get("type")) if isinstance(schema, dict) and schema.get("type") else []
    name = _type_of(value)
    other = {"integer": "number", "number": "integer" if name == "number" and value == int(value) else None}.get(name)
    return not types or name in types or (other and other in types) or (value is None and bool(schema.get("nullable")))


def _typed(value: Any, schema: Any, notes: list[str]) -> Any:
    if _is(value, schema):
        return value
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    candidates = [text]
    with suppress(RecordError):
        candidates.append(parse_value(text))
    for other in candidates:
        if _is(other, schema):
            notes.append("an argument's type changed to its schema's")
            return other
    raise RecordError("an argument is not of its schema's type")
