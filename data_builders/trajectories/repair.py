"""One pass over a trajectory in the common form: turns joined, calls paired with their results, arguments checked."""

import json
from collections.abc import Iterable
from contextlib import suppress

from data_builders.trajectories.calls import RecordError, parse_value
from data_builders.trajectories.tools import fitted, inferred


def finished(messages: Iterable[dict], tools: list[dict], notes: list[str], *, infer: bool, strict: bool) -> dict:
    """A row's `messages` and `tools` in OpenAI's form, arguments as objects, results in the order of their calls.

    Args:
        messages: in OpenAI's form, arguments as they are; "tool_calls", "reasoning_content", "tool_call_id", its "name"
            and the ids of calls may be missing.
        notes: to which every repair is added, in words.
        infer: write schemas by the calls where there are no tools; else such a row is refused.
        strict: refuse calls that do not fit their schema.

    Raises:
        RecordError: the row cannot be repaired without a guess.
    """
    turns, messages = _Turns(notes), list(messages)
    for message, after in zip(messages, [*messages[1:], {}], strict=True):
        turns.add(message, alone=after.get("role") != "tool")
    done = turns.ended()
    calls = [call["function"] for message in done for call in message.get("tool_calls", ())]
    for call in calls:
        call["arguments"] = _arguments(call["arguments"])
    if calls and not tools:
        if not infer:
            raise RecordError("has calls but no tools")
        tools = inferred(calls)
        notes.append("tools written by their calls")
    known = {tool["function"]["name"]: tool["function"] for tool in tools}
    for call in calls:
        try:
            call["arguments"] = fitted(call, known, notes)
        except RecordError as fault:
            if strict:
                raise
            notes.append(f"kept although: {fault}")
    return {
        "messages": [{key: value for key, value in one.items() if value or key == "content"} for one in done],
        "tools": tools,
    }


class _Turns:
    """The messages of a conversation, added one after the other."""

    def __init__(self, notes: list[str]) -> None:
        self.notes, self.done, self.number = notes, [], 0
        self.open: dict[str, dict] = {}  # calls without a result
        self.results: dict[str, str] = {}  # of the calls that have one
        self.current: dict[str, str] = {}  # id in the record -> id here, where an id comes again later

    def add(self, message: dict, *, alone: bool) -> None:
        """Add a message; a result is `alone` if none follows it."""
        role, last = message["role"], self.done[-1] if self.done else {"role": None}
        if role == "tool":
            return self._answer(message, alone)
        if role == "assistant" and last["role"] in (None, "system"):
            return self.notes.append("assistant turn before the first user turn left out")
        says = message["content"].strip() or message.get("tool_calls") or message.get("reasoning_content")
        if not says and (role != "user" or last["role"] == "user"):
            return None if role == "system" else self.notes.append(f"empty {role} turn left out")
        if self.open and not (role == "assistant" == last["role"] and message.get("tool_calls")):  # parallel calls
            raise RecordError("a call has no result")
        if role == "system" and last["role"] not in (None, "system"):
            raise RecordError("a system message within the conversation")
        if role == last["role"]:
            if last["content"] and message["content"]:  # agents log a turn's text and calls apart
                self.notes.append(f"two {role} turns in a row joined")
            texts = {key: [last.get(key), message.get(key)] for key in ("content", "reasoning_content")}
            last |= {key: "\n\n".join(filter(None, both)) for key, both in texts.items() if key in last or any(both)}
        else:
            self.done.append(last := {**message, "tool_calls": []} if role == "assistant" else message)
        for call in message.get("tool_calls", ()):
            self._call(call, last)
        return None

    def _call(self, call: dict, message: dict) -> None:
        self.number += 1
        own = key = call["id"] or f"call_{self.number}"
        if key in self.open:
            if self.open[key] == call | {"id": key}:
                return self.notes.append("a doubled call left out")
            raise RecordError("two open calls have one id")
        key = f"{key}_{self.number}" if key in self.results else key
        self.current[own] = key
        self.open[key] = call = call | {"id": key}
        return message["tool_calls"].append(call)

    def _answer(self, message: dict, alone: bool) -> None:
        key, text = message.get("tool_call_id"), message["content"]
        key = self.current.get(key, key) if isinstance(key, str) else None
        if key and key in self.results:
            if self.results[key] != text:
                raise RecordError("two results of one call differ")
            return self.notes.append("a doubled result left out")
        if not key and not self.open and self.done and self.done[-1]["role"] == "tool":
            self.done[-1]["content"] += f"\n{text}"
            return self.notes.append("two results of one call joined")
        if (key and key not in self.open) or not self.open:
            raise RecordError("a result has no call")
        named = [one for one, call in self.open.items() if call["function"]["name"] == message.get("name")]
        several = alone and not key and not named and len(self.open) > 1
        parts = _parts(text, len(self.open)) if several else []
        keys = [key] if key else list(self.open) if parts else (named or list(self.open))[:1]
        for one, part in zip(keys, parts or [text], strict=True):
            self.results[one] = part
            name = self.open.pop(one)["function"]["name"]
            self.done.append({"role": "tool", "content": part, "name": name, "tool_call_id": one})
        return None

    def ended(self) -> list[dict]:
        """The messages up to the last turn of the assistant, which may end in calls."""
        length = len(self.done)
        while self.done and self.done[-1]["role"] != "assistant":
            self.done.pop()
        if not self.done:
            raise RecordError("no assistant turn")
        if len(self.done) < length:
            self.notes.append("cut after the last assistant turn")
        for place, message in enumerate(self.done, 1):
            order = [call["id"] for call in message.get("tool_calls", ())]
            results = self.done[place : place + len(order)]
            if [one["tool_call_id"] for one in results if "tool_call_id" in one] not in ([], order):
                self.notes.append("results put in the order of their calls")  # templates show no ids
                self.done[place : place + len(order)] = sorted(
                    results, key=lambda one: order.index(one["tool_call_id"])
                )
        return self.done


def _parts(text: str, number: int) -> list[str]:
    """The results of several calls that stand in one list (ToolACE); none if it is no such list."""
    with suppress(RecordError):
        value = parse_value(text)
        if isinstance(value, list) and len(value) == number:
            return [one if isinstance(one, str) else json.dumps(one, ensure_ascii=False) for one in value]
    return []


def _arguments(value: object) -> dict:
    try:
        for _ in range(3):  # text within text
            value = (parse_value(value) if value.strip() else {}) if isinstance(value, str) else value
    except RecordError:
        raise RecordError("arguments are no JSON") from None
    if value is not None and not isinstance(value, dict):
        raise RecordError("arguments are no JSON object")
    return value or {}
