"""A model solves tasks with tools: all open dialogues ask together, turn by turn, through the ledger.

Tools stand in the system message and results in messages of the user, in the words of Qwen's and Hermes' templates, so
that any server will do, whether it knows of tools or not.
"""

import json
from itertools import groupby
from typing import TYPE_CHECKING

from cft.models.generate import Completion
from data_builders.asking.calls import Call, cost_of
from data_builders.students import sampling_of
from eval.answering.dialogue import MOST_TOKENS, Dialogue
from eval.collecting.collection import Collection
from eval.statistics.samples import shown

if TYPE_CHECKING:
    from cft.recipe.blocks import StudentBlock
    from data_builders.asking.backends import Asking

TEMPLATE = "tools@1"
_TOOLS = """\
# Tools

You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>
{tools}
</tools>

For each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:
<tool_call>
{{"name": <function-name>, "arguments": <args-json-object>}}
</tool_call>"""


def in_text(talk: Dialogue) -> list[dict[str, str]]:
    """The conversation so far as messages of system, user and assistant only."""
    tools = _TOOLS.format(tools="\n".join(json.dumps(tool, ensure_ascii=False) for tool in talk.environment.schemas))
    said = "".join(f"{message['content']}\n\n" for message in talk.asked if message["role"] == "system")
    messages = [{"role": "system", "content": said + tools}, *(m for m in talk.asked if m["role"] != "system")]
    for role, group in groupby(talk.read, key=lambda message: message["role"]):
        texts = [message["content"] if role == "assistant" else shown(message) for message in group]
        messages.append({"role": "assistant" if role == "assistant" else "user", "content": "\n".join(texts)})
    return messages


def solve(kept: Collection, student: "StudentBlock", asking: "Asking", *, turns: int, seed: int) -> None:
    """Bring all dialogues to their end. What a kill loses are the calls in flight: the answers are in the ledger.

    Args:
        kept: samples of one task stand together in its plan; it is saved after each turn.
        student: the model; of its temperatures the first.

    Raises:
        CFTError: as `Asking` and `Collection.end` do.
    """
    backend, sampling = asking.backend(student), sampling_of(student, student.temperatures[0])
    for turn in range(turns + 1):
        calls = {}
        for number, (key, talk) in enumerate(kept.talks.items()):
            if talk.ended:
                continue
            call = Call(student.model, in_text(talk), sampling, TEMPLATE, number % student.samples, seed)
            long = turn and call.tokens_at_most > MOST_TOKENS
            talk.ended = "turns" if turn == turns else "context" if long else None
            calls |= {} if talk.ended else {key: call}
        for key, row in zip(calls, asking([*calls.values()], student, backend), strict=True):
            cut = "length" if row["status"] == "truncated" else "stop"
            kept.talks[key].take(Completion(row["text"], row["output_tokens"] or 0, cut))
        for key in (key for key, talk in kept.talks.items() if talk.ended and key not in kept.rows):
            kept.end(key)
        for way in ("input_tokens", "output_tokens"):
            counts = [row[way] for row in asking.rows]
            kept.used[way] = None if None in counts else sum(counts)
        kept.used["cost_usd"] = cost_of(asking.rows)
        kept.save()
        if not calls:
            return
