"""Chat templates: programs that come with a model, tried in a process of their own before anything rests on them."""

import contextlib
import json
import os
import resource
import signal
import warnings
from typing import TYPE_CHECKING, Any

import psutil

from cft.errors import ModelError
from cft.models.fetch import one_line

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MOST_SECONDS, MOST_MEMORY = 5, 1 << 30  # of computing and bytes, for the few messages that a template is tried with
MOST_CHARACTERS = 100_000

ANSWERED = [{"role": "user", "content": "1+1?"}, {"role": "assistant", "content": "It is two."}]


def apply_template(tokenizer: "PreTrainedTokenizerBase", messages: list[dict], **options: Any) -> Any:
    """`tokenizer.apply_chat_template`. ModelError with the roles and the template's own words where it cannot."""
    try:
        return tokenizer.apply_chat_template(messages, **options)
    except Exception as error:  # a template may raise anything: it divides by zero, recurses, has no such role
        roles = ", ".join(dict.fromkeys(message["role"] for message in messages))
        raise ModelError(
            f"The chat template of {tokenizer.name_or_path} cannot render messages of {roles}: {words(error)}. "
            "Set model.chat_template to one that can, such as plain."
        ) from None


def check_tools(tokenizer: "PreTrainedTokenizerBase", tools: list[dict], task: str) -> None:
    """Raise ModelError, with the task's name, unless the template shows the tools, the calls and their results."""
    marks = {"tools": tools[-1]["function"]["name"], "calls": "<tool_call>{}</tool_call>", "results": "forty-one cats"}
    messages = [
        {"role": "user", "content": "How many cats?"},
        {"role": "assistant", "content": marks["calls"]},
        {"role": "tool", "name": marks["tools"], "content": marks["results"]},
    ]
    text = ""
    if tokenizer.chat_template:
        text = apply_template(tokenizer, messages, tools=tools, tokenize=False, add_generation_prompt=True)
    if dropped := [name for name, mark in marks.items() if mark not in text]:
        raise ModelError(
            f"{task} is a task with tools, but the chat template of {tokenizer.name_or_path} drops "
            f"{' and '.join(dropped)}. Take a model that knows tools, such as qwen2.5-coder-0.5b, or set "
            "model.chat_template to a file that shows them."
        )


def words(error: Exception) -> str:
    """What a library said, on one line; the name of the error where its words alone say little."""
    said = one_line(error)
    return said if len(said.split()) > 2 else f"{type(error).__name__} {said}".strip()


def try_template(tokenizer: "PreTrainedTokenizerBase", name: str) -> str:
    """The text that the template makes of `ANSWERED`; empty where it cannot, as templates of other roles cannot.

    It is run in a child of this process, whose time and memory are bounded: it may loop for ever.

    Raises:
        ModelError: it cannot render a question, or not within these bounds. `name` is the template's, for the message.
    """
    reading, writing = os.pipe()
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # of threads, which the child lacks
        child = os.fork()
    if not child:
        try:
            os.close(reading)
            with open(writing, "w", encoding="utf-8") as out:
                json.dump(_rendered(tokenizer), out)
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, encoding="utf-8") as said:
        answer = said.read()
    os.waitpid(child, 0)
    if not answer:
        raise ModelError(
            f"{name} renders no question within {MOST_SECONDS} s and {MOST_MEMORY >> 30} GB. Does it loop for ever? "
            'Set model.chat_template to another, such as "plain".'
        )
    texts, faults = json.loads(answer)
    if faults[0]:
        raise ModelError(f"{name} cannot be rendered: {faults[0]}. Correct it, or set model.chat_template to another.")
    return texts[1]


def _rendered(tokenizer: "PreTrainedTokenizerBase") -> tuple[list[str], list[str]]:
    """Of a question and of `ANSWERED`: the texts, and the faults; empty where there is none."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(12 * MOST_SECONDS)  # in case it waits for what another thread held at the fork
    room = psutil.Process().memory_info().vms + MOST_MEMORY
    for kind, most in (("CORE", 0), ("CPU", MOST_SECONDS), ("AS", room)):
        number = getattr(resource, f"RLIMIT_{kind}")
        with contextlib.suppress(ValueError, OSError):  # the limit is lower already, or this system has none
            resource.setrlimit(number, (most, resource.getrlimit(number)[1]))
    texts, faults = ["", ""], ["", ""]
    for i, messages in enumerate((ANSWERED[:1], ANSWERED)):
        try:
            text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=not i)
            text.encode("utf-8")
            if len(text) > MOST_CHARACTERS:
                raise ValueError(f"it writes {len(text):,} characters around a short question")
            texts[i] = text
        except Exception as error:  # as in `apply_template`
            faults[i] = words(error)
    return texts, faults
