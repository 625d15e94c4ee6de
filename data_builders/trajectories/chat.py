"""Formats whose record is a whole conversation. A converter makes the `messages` and `tools` of `repair.finished`.

Read in GAIR-NLP/LIMI `events2messages.py`, smolagents 1.26 `memory.py` and verifiers 0.4 `v1/trace.py`, and in rows of
ShareGPT, Glaive v2, Hermes, xLAM and ToolACE as public code quotes them.
"""

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from data_builders.trajectories.calls import RecordError, as_list, call_of, listed_calls, parse_value, take_calls
from data_builders.trajectories.tools import tool_list, values

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
_BLOCKS = ("thinking", "redacted_thinking", "tool_use", "tool_result")  # Anthropic's, that are no text
_GLAIVE = re.compile(r"(?:^|\n)[ \t]*(USER|ASSISTANT|FUNCTION RESPONSE): ?")
_RESPONSE = re.compile(r"<tool_response>(.*?)(?:</tool_response>|\Z)", re.DOTALL)
_RESULT = re.compile(r"Call id: (\S+)\n|Observation:\n")  # smolagents
_THOUGHT = re.compile(r"\s*<(think|scratch_pad)>(.*?)(?:</\1>|\Z)", re.DOTALL)
# Where a system prompt lists the tools, begins to speak of them, and says how to call them, as the chat template does.
_LISTS = re.compile(
    r"<tools>(?=\s*[\[{'\"])|functions in JSON format that you can invoke|,? with access to the following functions"
)
_SPEAKS = re.compile(r"#+ Tools\b|<tools>")
_HOW = re.compile(
    r"(?:For each function call|Use the following pydantic|Should you decide to return the function)"
    r"(?:(?s:.*</tool_call>)[^\n]*|(?s:.*NO other text MUST be included\.?|.*))"
)


def conversation(record: Mapping, notes: list[str]) -> dict:
    """Turns of a role and a content: OpenAI, Anthropic, ShareGPT, Hermes, ToolACE, smolagents and minimind."""
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
        made = _messages(role, turn, [tool["function"]["name"] for tool in tools], notes)
        if role == "system" and (found := _LISTS.search(made[0]["content"])):
            made[0]["content"], listed = _without_tools(made[0]["content"], found)
            notes += ["tools taken out of the system prompt"] if listed else []
            tools += listed
        messages += made
    kept = {key: value for key, value in record.items() if key not in _TAKEN}
    if kept.get("turns") not in ("all", "last", "each"):  # which say what is trained on; other formats count with it
        kept.pop("turns", None)
    return kept | {"messages": messages, "tools": tool_list(tools)}


def _without_tools(text: str, found: re.Match) -> tuple[str, list[dict]]:
    """A system prompt without its tools and how to call them, and the tools; as it is if none can be read."""
    body, closed, after = text[found.end() :].partition("</tools>")
    start = re.search(r"[\[{]|\Z", body).start()
    listed, end = values(body[start:])
    if not listed:
        return text, []
    before = text[: found.start()]
    if found[0].endswith("following functions"):
        before += "."
    else:
        mark = _SPEAKS.search(before)
        before = re.match(r"(?s:.*(?:[.!?:]\s|\n))?", before[: mark.start() if mark else None])[0]
    after = _HOW.sub("", after if closed else body[start + end :].lstrip(" ."))
    return "\n\n".join(filter(None, (before.strip(), after.strip()))), tool_list(listed)


def _messages(role: str, turn: Mapping, names: Sequence[str], notes: list[str]) -> list[dict]:
    content = turn.get("content", turn.get("value"))
    if role == "tool":
        return _results(text_of(content, notes), turn)
    text, thoughts, calls, results = blocks_of(content, notes)
    if role == _CALL:
        calls = take_calls(text, names, notes)[1] or listed_calls(text)
        return [assistant("", calls)]
    if role == "user" and (text.lstrip().startswith("Observation:\n") or _tagged(text)):
        return _results(text, turn)
    if role != "assistant":
        return [*results, *([{"role": role, "content": text}] if text or not results else [])]
    thoughts += [turn[key] for key in ("reasoning_content", "reasoning", "thinking") if isinstance(turn.get(key), str)]
    if thought := _THOUGHT.match(text):
        thoughts.append(thought[2].strip())
        text = text[thought.end() :].strip()
    text, found = take_calls(text, names, notes)
    calls += found + listed_calls(turn.get("tool_calls") or turn.get("function_call") or [])
    return [assistant(text, calls, thoughts), *results]


def _tagged(text: str) -> list[str]:
    """The parts of a text that is all in tags of results."""
    return [] if _RESPONSE.sub("", text).strip() else _RESPONSE.findall(text)


def _results(text: str, turn: Mapping) -> list[dict]:
    """The result, or the several ones that stand in tags; Hermes has {"name", "content"} in each."""
    key, name = turn.get("tool_call_id"), turn.get("name")
    if found := _RESULT.match(text):
        key, text = key or found[1], text[found.end() :]
    tagged, results = [] if key else _tagged(text), []
    for part in [part.strip() for part in tagged] or [text]:
        one = {"role": "tool", "content": part, "tool_call_id": key, "name": name}
        with suppress(RecordError):
            value = parse_value(part) if tagged else None  # else the tool's own
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
    asked, called = {"role": "user", "content": record["query"]}, {"role": "assistant", "tool_calls": record["answers"]}
    messages = {"messages": [asked, called], "tools": record.get("tools")}
    return conversation({"id": record.get("id")} | messages, notes)


def bfcl(record: Mapping, notes: list[str]) -> dict:
    """BFCL with its `ground_truth` in the row: of the allowed values of an argument the first, "" for left out."""
    turns, gold = as_list(record["question"]), record.get("ground_truth")
    if not gold or len(turns) != 1:
        raise RecordError("has no ground_truth, or several turns")
    called = [pair for one in as_list(gold) if _is(one) for pair in one.items() if _is(pair[1])]
    called = [{"name": name, "arguments": _first(allowed)} for name, allowed in called]
    messages = [*as_list(turns[0]), {"role": "assistant", "tool_calls": called}]
    return conversation({"id": record.get("id"), "messages": messages, "tools": record["function"]}, notes)


def _first(allowed: Any) -> Any:
    """The first of the allowed values of each key, also within one."""
    if isinstance(allowed, list):
        return [_first(one) for one in allowed]
    if not _is(allowed):
        return allowed
    firsts = {key: some[0] for key, some in allowed.items() if isinstance(some, list) and some}
    return {key: _first(value) for key, value in firsts.items() if value != ""}


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
    messages = [node.get("message") for node in reversed(path)]
    return conversation({"id": record.get("id"), "messages": messages, "tools": tools}, notes)


def limi(record: Mapping, notes: list[str]) -> dict:
    """LIMI's logs of SII CLI: the last request holds the conversation, in Gemini's form; all have tools."""
    events = [event for event in record["events"] if _is(event) and event.get("type") == "api_request_full"]
    requests = [event["data"].get("full_request") for event in events if _is(event.get("data"))]
    requests = [request for request in requests if _is(request)]
    if not requests:
        raise RecordError("has no api_request_full event")
    last = requests[-1]
    system = last.get("system_instruction") or last.get("systemInstruction")
    messages = [{"role": "system", "content": system.get("parts") if _is(system) else system}]
    for turn in filter(_is, as_list(last.get("messages") or last.get("contents"))):
        parts = [part for part in as_list(turn.get("parts")) if _is(part)]
        texts = [part for part in parts if isinstance(part.get("text"), str)]
        text, thought = (
            "".join(p["text"] for p in texts if bool(p.get("thought")) == is_it) for is_it in (False, True)
        )
        if turn.get("role") == "model":
            calls = [part["functionCall"] for part in parts if part.get("functionCall")]
            messages.append({"role": "model", "content": text, "tool_calls": calls, "reasoning": thought})
            continue
        for one in [part["functionResponse"] for part in parts if _is(part.get("functionResponse"))]:
            answer = one.get("response")
            answer = text_of(answer.get("output", answer) if _is(answer) else answer, notes)
            messages.append({"role": "tool", "content": answer, "tool_call_id": one.get("id"), "name": one.get("name")})
        messages += [{"role": "user", "content": text}] if text else []
    tools = [tool for request in requests for tool in tool_list(request.get("tools"))]
    return conversation({"id": record.get("id"), "messages": messages, "tools": tools}, notes)


def blocks_of(content: Any, notes: list[str]) -> tuple[str, list[str], list[dict], list[dict]]:
    """Text, thoughts, calls and results of a content, which may be Anthropic's blocks. Raises RecordError."""
    found: dict[str, list[dict]] = {kind: [] for kind in _BLOCKS}
    if isinstance(content, list):
        for block in content:
            if _is(block) and block.get("type") in _BLOCKS:
                found[block["type"]].append(block)
        content = [{"text": one} if isinstance(one, str) else one for one in content]
        content = [one for one in content if not (_is(one) and one.get("type") in _BLOCKS)]
    thoughts = [one["thinking"] for one in found["thinking"] if isinstance(one.get("thinking"), str)]
    calls = [call_of(one) for one in found["tool_use"]]
    results = [(text_of(one.get("content"), notes), one.get("tool_use_id")) for one in found["tool_result"]]
    results = [{"role": "tool", "content": text, "tool_call_id": key} for text, key in results]
    return text_of(content, notes), thoughts, calls, results


def text_of(content: Any, notes: list[str]) -> str:
    """A content as text: its text parts; other values as JSON. Images and files are left out, and noted."""
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list) or not all(
        one is None or (_is(one) and {"text", "type", "content"} & one.keys()) for one in content
    ):
        return json.dumps(content, ensure_ascii=False)
    texts = [one.get("text", one.get("content")) if one else None for one in content]
    notes += ["a part that is no text left out"] if not all(isinstance(text, str) for text in texts) else []
    return "\n".join(text for text in texts if isinstance(text, str))


def assistant(text: str, calls: list[dict], thoughts: Sequence[str] = ()) -> dict:
    """A turn of the assistant as `repair.finished` takes it."""
    thought = "\n\n".join(filter(None, thoughts))
    return {"role": "assistant", "content": text, "reasoning_content": thought, "tool_calls": calls}


def _is(value: Any) -> bool:
    return isinstance(value, dict)
