"""Formats whose record is a whole conversation. A converter makes the `messages` and `tools` of `repair.finished`.

Read in GAIR-NLP/LIMI `events2messages.py`, smolagents 1.26 `memory.py` and verifiers 0.4 `v1/trace.py`, and in rows of
ShareGPT, Glaive v2, Hermes, xLAM and ToolACE as public code quotes them.
"""

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Any

from data_builders.trajectories.calls import (
    INTERPRETER,
    RecordError,
    as_list,
    call_of,
    listed_calls,
    parse_value,
    take_calls,
    values,
)
from data_builders.trajectories.tools import tool_list

TURNS = ("messages", "conversations", "conversation")
_TAKEN = (*TURNS, "tools", "functions", "system", "prompt", "completion", "candidate", "critique")
_CALL = "call"  # ShareGPT's turn of a call alone
_ROLES = {
    **dict.fromkeys(("system", "developer", "system_prompt"), "system"),
    **dict.fromkeys(("user", "human"), "user"),
    **dict.fromkeys(("assistant", "gpt", "model", "bot", "chatgpt"), "assistant"),
    **dict.fromkeys(("tool", "function", "observation", "ipython", "tool_response", "function_response"), "tool"),
    **dict.fromkeys(("function_call", "tool_call"), _CALL),
}
_GLAIVE = re.compile(r"(?:^|\n)\s*(USER|ASSISTANT|FUNCTION RESPONSE): ?")
_RESPONSE = re.compile(r"<tool_response>(.*?)(?:</tool_response>|\Z)", re.DOTALL)
_RESULT = re.compile(r"Call id: (\S+)\n|Observation:\n")  # smolagents
_THOUGHT = re.compile(r"\s*<(think|scratch_pad)>(.*?)(?:</\1>|\Z)", re.DOTALL)
# Where a system prompt begins to list the tools. What follows says how to call them, which the chat template does too.
_LISTS = re.compile(
    r"<tools>(?=\s*[\[{'\"])|functions in JSON format that you can invoke|,? with access to the following functions"
)


def conversation(record: Mapping, notes: list[str]) -> dict:
    """OpenAI's messages, ShareGPT, Hermes, ToolACE, smolagents and minimind: turns with a role and a content."""
    turns = next((record[key] for key in TURNS if isinstance(record.get(key), list)), None)
    if turns is None:
        turns = [turn for key in ("prompt", "completion") for turn in as_list(record.get(key))]
    if isinstance(record.get("system"), str):
        turns = [{"role": "system", "content": record["system"]}, *turns]
    tools = tool_list(record.get("tools") or record.get("functions"))
    messages: list[dict] = []
    for turn in turns:
        role = _ROLES.get(str(turn.get("role", turn.get("from"))).lower().replace("-", "_")) if _is(turn) else None
        if role is None:
            raise RecordError("a message without a known role")
        tools += tool_list(turn.get("tools"))  # minimind
        text = text_of(turn.get("content", turn.get("value")), notes)
        if role == "system" and (found := _LISTS.search(text)):
            listed = tool_list(_listed_tools(text, found))
            rest = f"{text[: found.start()].rstrip()}." if found[0].endswith("following functions") else ""
            text, tools = (rest, tools or listed) if listed else (text, tools)
            notes += ["tools taken out of the system prompt"] if listed else []
        messages += _messages(role, text, turn, [tool["function"]["name"] for tool in tools])
    for before, after in pairwise(messages):  # smolagents has the code of a call in the text before it too
        for call in after.get("calls", ()):
            code = call["arguments"].get("code") if call["name"] == INTERPRETER and _is(call["arguments"]) else None
            if isinstance(code, str) and before["role"] == "assistant" and code in before["content"]:
                before["content"] = re.split(r"<code>|```", before["content"])[0].strip()
    kept = {key: value for key, value in record.items() if key not in _TAKEN}
    if kept.get("turns") not in ("all", "last", "each"):  # which say what is trained on; other formats count with it
        kept.pop("turns", None)
    return kept | {"messages": messages, "tools": tools}


def _listed_tools(text: str, found: re.Match) -> list[Any]:
    after = text[found.end() :].partition("</tools>")[0]
    start = re.search(r"[\[{]", after)
    return values(after[start.start() :]) if start else []


def _messages(role: str, text: str, turn: Mapping, names: Sequence[str]) -> list[dict]:
    if role == _CALL:
        return [_assistant("", take_calls(text, names)[1] or listed_calls(text))]
    if role == "tool" or (role == "user" and text.lstrip().startswith(("<tool_response>", "Observation:\n"))):
        return _results(text, turn)
    if role != "assistant":
        return [{"role": role, "content": text}]
    thoughts = [turn[key] for key in ("reasoning_content", "reasoning", "thinking") if isinstance(turn.get(key), str)]
    if thought := _THOUGHT.match(text):
        thoughts.append(thought[2].strip())
        text = text[thought.end() :].strip()
    text, calls = take_calls(text, names)
    return [_assistant(text, calls + listed_calls(turn.get("tool_calls") or turn.get("function_call") or []), thoughts)]


def _results(text: str, turn: Mapping) -> list[dict]:
    """The result, or the several ones that stand in tags; Hermes has {"name", "content"} in each."""
    key, name = turn.get("tool_call_id"), turn.get("name")
    if found := _RESULT.match(text):
        key, text = key or found[1], text[found.end() :]
    results = []
    for part in [part.strip() for part in _RESPONSE.findall(text)] or [text]:
        one = {"role": "tool", "content": part, "id": key, "name": name}
        with suppress(RecordError):
            value = parse_value(part)
            if _is(value) and value.keys() == {"name", "content"}:
                one |= {"content": text_of(value["content"], []), "name": name or value["name"]}
        results.append(one)
    return results


def glaive(record: Mapping, notes: list[str]) -> dict:
    """Glaive v2: one text of all turns, calls with JSON in single quotes."""
    parts = _GLAIVE.split(str(record["chat"]).replace("<|endoftext|>", ""))
    roles = {"USER": "user", "ASSISTANT": "assistant", "FUNCTION RESPONSE": "tool"}
    pairs = zip(parts[1::2], parts[2::2], strict=True)
    turns = [{"role": roles[role], "content": text.strip()} for role, text in pairs]
    return conversation({"system": str(record["system"]).removeprefix("SYSTEM:").strip(), "messages": turns}, notes)


def xlam(record: Mapping, notes: list[str]) -> dict:
    """xLAM and APIGen: a query and the calls that answer it, all JSON in texts."""
    messages = [{"role": "user", "content": text_of(record["query"], notes)}]
    return {
        "messages": [*messages, _assistant("", listed_calls(record["answers"]))],
        "tools": tool_list(record.get("tools")),
    }


def bfcl(record: Mapping, notes: list[str]) -> dict:
    """BFCL with its `ground_truth` in the row: of the allowed values of an argument the first, "" for left out."""
    turns, gold = as_list(record["question"]), record.get("ground_truth")
    if not gold or len(turns) != 1:
        raise RecordError("has no ground_truth, or several turns")
    calls = []
    for name, arguments in [pair for one in as_list(gold) if _is(one) for pair in one.items() if _is(pair[1])]:
        first = {key: allowed[0] for key, allowed in arguments.items() if isinstance(allowed, list) and allowed}
        calls.append({"id": None, "name": name, "arguments": {k: value for k, value in first.items() if value != ""}})
    found = conversation({"messages": as_list(turns[0]), "tools": record["function"]}, notes)
    return found | {"messages": [*found["messages"], _assistant("", calls)]}


def verifiers(record: Mapping, notes: list[str]) -> dict:
    """A trace of verifiers v1: the branch of its tree that ends in the last node."""
    nodes, path = record["nodes"], []
    place = len(nodes) - 1
    while isinstance(place, int) and 0 <= place < len(nodes) and _is(nodes[place]) and len(path) < len(nodes):
        path.append(nodes[place])
        place = nodes[place].get("parent")
    if len(path) < len(nodes):
        notes.append("only the branch of the last message read")
    tools = record.get("tools") or (path[-1].get("tools") if path else None)
    return conversation({"messages": [node.get("message") for node in reversed(path)], "tools": tools}, notes)


def limi(record: Mapping, notes: list[str]) -> dict:
    """LIMI's logs of SII CLI: the last request holds the conversation, in Gemini's form; all have tools."""
    events = [event for event in record["events"] if _is(event) and event.get("type") == "api_request_full"]
    requests = [event["data"].get("full_request") for event in events if _is(event.get("data"))]
    requests = [request for request in requests if _is(request)]
    if not requests:
        raise RecordError("has no api_request_full event")
    last = requests[-1]
    system = last.get("system_instruction") or last.get("systemInstruction")
    messages = [{"role": "system", "content": text_of(system.get("parts") if _is(system) else system, notes)}]
    for turn in filter(_is, as_list(last.get("messages") or last.get("contents"))):
        parts = [part for part in as_list(turn.get("parts")) if _is(part)]
        text = "".join(part["text"] for part in parts if isinstance(part.get("text"), str) and not part.get("thought"))
        if turn.get("role") == "model":
            calls = [call_of(part["functionCall"]) for part in parts if part.get("functionCall")]
            messages.append(_assistant(text, calls))
            continue
        for one in [part["functionResponse"] for part in parts if _is(part.get("functionResponse"))]:
            answer = one.get("response")
            answer = text_of(answer.get("output", answer) if _is(answer) else answer, notes)
            messages.append({"role": "tool", "content": answer, "id": one.get("id") or None, "name": one.get("name")})
        messages += [{"role": "user", "content": text}] if text else []
    tools = [tool for request in requests for tool in tool_list(request.get("tools"))]
    return {"messages": messages, "tools": tool_list(tools)}


def text_of(content: Any, notes: list[str]) -> str:
    """A content as text: its text parts; other values as JSON. Images and files are left out, and noted."""
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list) or not all(
        _is(part) and {"text", "type", "content"} & part.keys() for part in content
    ):
        return json.dumps(content, ensure_ascii=False)
    texts = [part.get("text", part.get("content")) for part in content]
    notes += ["a part that is no text left out"] if not all(isinstance(text, str) for text in texts) else []
    return "\n".join(text for text in texts if isinstance(text, str))


def _assistant(text: str, calls: list[dict], thoughts: Sequence[str] = ()) -> dict:
    return {"role": "assistant", "content": text, "calls": calls, "reasoning": "\n\n".join(filter(None, thoughts))}


def _is(value: Any) -> bool:
    return isinstance(value, dict)
