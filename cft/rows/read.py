"""Reads training rows, of a prompt and its completion or of several turns, and names every one that is damaged."""

from pathlib import Path

from cft.files import faulty, read_jsonl

TURNS = ("all", "last", "each")  # what `turns` of a row may be
ROLES = ("system", "user", "assistant", "tool")


def load_rows(path: Path, *, completions: bool = True, conversations: bool = True) -> list[dict]:
    """The examples in `path`: {"id", "prompt": [messages], "completion": [messages]}; other keys are kept unread.

    Args:
        completions: whether rows have one; else they are prompts, for methods that train on the model's own.
        conversations: whether rows may have several turns instead: {"id", "messages": [...], "tools": [schemas],
            "turns"}, in the form that chat templates take. `turns` is what is trained on: "all" turns of the
            assistant (or no such key), the "last" one, or "each" in a row of its own, id ID/1, ID/2, ...

    Raises:
        DataError: naming every line that is damaged, is no such row, or repeats an id.
    """
    faults, rows, first_line = [], [], {}
    for number, row in read_jsonl(path):
        if "messages" in row and "prompt" not in row and completions and conversations:
            fault = _conversation_fault(row)
        else:
            fault = _row_fault(row, ("prompt", "completion") if completions else ("prompt",))
        made = [] if fault else rows_of(row)
        if twice := next((one["id"] for one in made if one["id"] in first_line), None):
            fault = f"id {twice!r} stands on line {first_line[twice]} already; remove one of them"
        if fault:
            faults.append(f"line {number}: {fault}")
        else:
            first_line |= {one["id"]: number for one in made}
            rows += made
    if faults:
        raise faulty(path, faults, "faulty row(s)")
    return rows


def rows_of(row: dict) -> list[dict]:
    """What a row of the file stands for: itself; where its `turns` is "each" one row for each turn of the assistant."""
    if row.get("turns") != "each" or "messages" not in row or "prompt" in row:
        return [row]
    ends = [i for i, message in enumerate(row["messages"], 1) if message["role"] == "assistant"]
    return [
        row | {"id": f"{row['id']}/{n}", "messages": row["messages"][:end], "turns": "last"}
        for n, end in enumerate(ends, 1)
    ]


def _row_fault(row: dict, keys: tuple[str, ...]) -> str | None:
    if not isinstance(row.get("id"), str):
        return f"`id` is {row.get('id')!r}; give each row a string of its own"
    for key in keys:
        messages = row.get(key)
        if not isinstance(messages, list) or not messages:
            return f"`{key}` is {messages!r:.60}; it must be a list of messages, at least one"
        for message in messages:
            texts = (message.get("role"), message.get("content")) if isinstance(message, dict) else (None,)
            if not all(isinstance(text, str) for text in texts):
                return f'`{key}` holds {message!r:.60}; a message is {{"role": "...", "content": "..."}}'
    return None


def _conversation_fault(row: dict) -> str | None:
    if fault := _row_fault(row, ("messages",)):
        return fault
    if row.get("turns", "all") not in TURNS:
        return f"`turns` is {row['turns']!r:.60}; it is one of {', '.join(TURNS)}"
    tools = row.get("tools") or []
    listed = tools if isinstance(tools, list) else [None]
    if not all(isinstance(tool, dict) and _is_schema(tool.get("function")) for tool in listed):
        return f'`tools` is {tools!r:.60}; it is a list of {{"type": "function", "function": {{"name": "...", ...}}}}'
    asked, owed = False, 0  # whether the assistant is asked anything; calls without a result
    for number, message in enumerate(row["messages"], 1):
        role, calls, where = message["role"], message.get("tool_calls") or [], f"message {number} ({message['role']})"
        if role not in ROLES:
            return f"{where}: a role is one of {', '.join(ROLES)}"
        if not isinstance(message.get("reasoning_content"), str | None):
            return f"{where}: `reasoning_content` is {message['reasoning_content']!r:.60}; it is a text"
        if role == "assistant" and not asked:
            return f"{where}: nothing is asked before it; let a message of the user stand there"
        if role == "tool" and not owed:
            return f"{where}: a result that no call asked for; put the call into `tool_calls` before it, or remove it"
        if role != "tool" and owed:
            return f"{where}: {owed} call(s) before it have no result; add a message of role tool for each"
        if calls and (role != "assistant" or not isinstance(calls, list) or not all(map(_is_call, calls))):
            return (
                f"{where}: `tool_calls` is {calls!r:.60}; of an assistant it is a list of "
                '{"type": "function", "function": {"name": "...", "arguments": {...}}}, the arguments an object'
            )
        if role == "assistant" and not calls and not message["content"].strip():
            return f"{where}: has neither text nor calls; remove it"
        asked, owed = asked or role == "user", owed - 1 if role == "tool" else len(calls)
    return None if role == "assistant" else f"ends in a message of role {role}, which no turn of the assistant answers"


def _is_schema(function: object) -> bool:
    texts = (function.get("name"), function.get("description", "")) if isinstance(function, dict) else (None,)
    return all(isinstance(text, str) for text in texts)


def _is_call(call: object) -> bool:
    function = call.get("function") if isinstance(call, dict) else None
    name, arguments = (function.get("name"), function.get("arguments")) if isinstance(function, dict) else (None, None)
    return isinstance(name, str) and isinstance(arguments, dict)
