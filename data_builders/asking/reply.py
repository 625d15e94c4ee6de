"""The one place where what a server sends becomes an `Answer`: chat or text, in pieces or whole, or in a batch file.

A server may send anything. What comes out is typed and sane: text that can be written as UTF-8, how it ended in one of
our words, and tokens that can be multiplied by a price. What was paid for is kept wherever it can be read.
"""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from cft.words import tidy
from data_builders.asking.calls import Answer, Call, tokens_at_most
from data_builders.asking.engine import RetryableError

MOST_CHARACTERS = 32  # a token, on average over an answer
MOST_TOKENS = 10_000_000  # of a call: more than any model's context
MOST_WORDS = 1500  # characters of an error; who shows it cuts it, after a key in it is masked

# How servers say that an answer has ended: OpenAI, vLLM, TGI, Anthropic, Gemini, Mistral, Cohere, Bedrock, DeepSeek ...
# A call for a tool is cut off too: the model would go on when it had the tool's answer, and there is no tool.
_ENDS = {
    "ok": "stop eos eos_token end_turn stop_sequence complete completed end done finished",
    "truncated": "length max_tokens max_length model_length max_output_tokens max_new_tokens token_limit incomplete "
    "model_context_window_exceeded context_window_exceeded truncated pause_turn tool_calls tool_use function_call",
    "refused": "content_filter content_filtered refusal refused safety recitation blocklist spii prohibited_content "
    "language guardrail_intervened error_toxic moderation blocked sensitive",
    "failed": "error abort aborted cancelled canceled timeout network_error failed interrupted user_cancel error_limit "
    "insufficient_system_resource server_error internal_error unavailable",
}
ENDS = {word: end for end, words in _ENDS.items() for word in words.split()}


class BodyError(Exception):
    """The server sent an error instead of an answer, or after the beginning of one."""

    def __init__(self, error: Any, written: int) -> None:
        super().__init__(words_of(error))
        self.status, self.written = status_of(error), written


@dataclass
class _Seen:
    """What the events of one answer hold."""

    texts: list[str] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    finish: Any = None
    model: str | None = None
    usage: dict = field(default_factory=dict)
    choice: Any = None  # the index of the one that is read, should there be several
    error: Any = None

    def add(self, event: Any) -> None:
        if not isinstance(event, dict):
            return
        if self.finish is None:  # what happens after the end takes nothing away
            self.error = self.error or event.get("error")
        model, usage, choices = (event.get(key) for key in ("model", "usage", "choices"))
        self.model = model if isinstance(model, str) and model else self.model
        self.usage = usage if isinstance(usage, dict) and usage else self.usage
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict) and self.choice in (None, (choice.get("index"),)):
                self.choice = (choice.get("index"),)
                self._add_choice(choice)

    def _add_choice(self, choice: dict) -> None:
        finish = choice.get("finish_reason")
        if finish is not None and (self.finish is None or ENDS.get(plain(self.finish)) == "ok"):
            self.finish = finish
        message = next((choice[key] for key in ("delta", "message", "text") if choice.get(key) is not None), None)
        if not isinstance(message, dict):
            message = {"content": message}
        self._add_part(message.get("content"), self.texts)
        for key in ("reasoning_content", "reasoning", "thinking"):
            self._add_part(message.get(key), self.thoughts)
        if refusal := message.get("refusal"):
            self._add_part(refusal, self.refusals)
            self.refusals.append("")  # one without a text is one too

    def _add_part(self, part: Any, into: list[str], depth: int = 0) -> None:
        """Add a text, or a part of one, or a list of parts, to the texts or to where its type belongs."""
        if isinstance(part, str):
            into.append(part)
        elif isinstance(part, list) and depth < 4:
            for one in part:
                self._add_part(one, into, depth + 1)
        elif isinstance(part, dict) and depth < 4:
            kind = part.get("type") if isinstance(part.get("type"), str) else "text"
            if kind == "refusal":
                into = self.refusals
            elif part.get("thought") or re.search("think|thought|reason", kind):
                into = self.thoughts
            inner = next((part[key] for key in ("text", kind, "content") if part.get(key)), None)
            self._add_part(inner, into, depth + 1)
        elif isinstance(part, int | float) and not isinstance(part, bool):
            into.append(str(part))


def read_reply(events: Sequence[Any], call: Call, *, fault: str | None = None, cut: bool = False) -> Answer:
    """The answer in a chat or text completion.

    Args:
        events: the JSON values that came: one, or those of a stream.
        fault: why not all came, where it did not; an answer that had ended before is one all the same.
        cut: whether more would have come than is read.

    Raises:
        RetryableError: without an answer that has ended.
        BodyError: with an error in its place.
    """
    seen = _Seen()
    for event in events:
        seen.add(event)
    text, thoughts = repaired("".join(seen.texts)), repaired("".join(seen.thoughts))
    written = tokens_at_most(text + thoughts)
    if seen.error:
        raise BodyError(seen.error, written)
    if seen.choice is None and not cut:
        what = _shown(events[0]) if events else "nothing"
        raise RetryableError(fault or f"is base_url right? The answer is no chat completion, but {what}")
    if seen.finish is None and fault and not cut:
        raise RetryableError(fault, written=written)
    finish = plain(seen.finish) if seen.finish is not None else "missing"
    status = ENDS.get(finish, "truncated")  # what is not known to be whole must not be trained on as such
    if status == "failed":
        raise RetryableError(f"the server broke off its answer (finish_reason {finish!r})", written=written)
    most = call.sampling["max_tokens"] * MOST_CHARACTERS + 1000
    if cut or len(text) > most:
        text, finish, status = text[:most], "length", "truncated"
        written = max(written, call.sampling["max_tokens"])
    if seen.refusals:
        text, finish, status = text or repaired("".join(seen.refusals)), "content_filter", "refused"
    if status == "ok" and not text.strip():
        status = "empty"
    asked = _count(seen.usage, "prompt_tokens", "input_tokens", least=1)
    used = _count(seen.usage, "completion_tokens", "output_tokens", least=bool(text or thoughts))
    return Answer(
        text,
        status,
        finish,
        seen.model and tidy(repaired(seen.model))[:200],
        call.tokens_at_most if asked is None else asked,
        written if used is None else used,
        estimated=asked is None or used is None,
    )


def plain(finish: Any) -> str:
    """A finish reason in lower case and without ornament: `FinishReason.MAX_TOKENS` -> `max_tokens`."""
    text = finish if isinstance(finish, str) else type(finish).__name__
    text = re.sub(r"[^a-z0-9]+", "_", text[:200].lower()).strip("_")
    return re.sub(r"^finish_?reason_", "", text)[:40]


def _count(usage: dict, *names: str, least: int) -> int | None:
    """A number of tokens under one of the names, if it can be one."""
    count = next((usage[name] for name in names if name in usage), None)
    fits = isinstance(count, int | float) and not isinstance(count, bool) and least <= count <= MOST_TOKENS
    return int(count) if fits and count == int(count) else None


def repaired(text: str) -> str:
    """`text` as it can be written: halves of a character that came apart are joined, lone ones become U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def read_events(data: bytes) -> tuple[list[Any], bool]:
    """The JSON values of a body: those of a stream's events, or the one that it is; and whether it has come whole.

    Raises:
        RetryableError: if the body is neither, or if an event that has come whole is no JSON.
    """
    text = data.decode(json.detect_encoding(data), "replace").lstrip("\ufeff \r\n")
    if not re.match(r"(?:data|event|id|retry|):", text):
        return ([_loads(text)] if text.strip() else []), True
    events, lines, is_error = [], [], False
    for line in re.split(r"\r\n|\n|\r", text):
        name, _, value = line.partition(":")
        if name == "data":
            lines.append(value.removeprefix(" "))
        elif name == "event":
            is_error = value.strip() == "error"
        elif not line and lines:
            if lines[0].strip() == "[DONE]":
                return events, True
            event = _loads("\n".join(lines))
            bare = is_error and not (isinstance(event, dict) and "error" in event)
            events.append({"error": event} if bare else event)
            lines, is_error = [], False
    return events, bool(lines) and lines[0].strip() == "[DONE]"


def _loads(text: str) -> Any:
    def whole(digits: str) -> float:
        return int(digits) if len(digits) < 30 else math.inf

    try:
        return json.loads(text, parse_int=whole, parse_constant=lambda name: None)
    except (ValueError, RecursionError):
        what = "an HTML page" if "<" in text[:50] else text[:MOST_WORDS]
        raise RetryableError(f"is base_url right? The answer is no JSON, but {what}") from None


def _shown(value: Any) -> str:
    """A JSON value in one line, however deep it is."""
    try:
        return " ".join(json.dumps(value, ensure_ascii=False)[:MOST_WORDS].split())
    except RecursionError:
        return f"a {type(value).__name__} of many levels"


def words_of(error: Any) -> str:
    """What an error says, with its code; "" for none."""
    if isinstance(error, dict) and isinstance(error.get("error"), dict | str) and error["error"]:
        error = error["error"]
    if not isinstance(error, dict):
        text = "" if error is None else error if isinstance(error, str) else _shown(error)
        return "an HTML page" if "<" in text[:50] else text[:MOST_WORDS]
    text = next((error[key] for key in ("message", "detail", "msg", "title") if error.get(key)), error)
    text = text if isinstance(text, str) else _shown(text)
    raw = error["metadata"].get("raw") if isinstance(error.get("metadata"), dict) else None  # of a gateway's provider
    codes = [str(code) for code in (error.get("code"), raw) if isinstance(code, str | int) and str(code) not in text]
    return (text[:MOST_WORDS] + (f" ({', '.join(codes)})" if codes else ""))[: 2 * MOST_WORDS]


def status_of(error: Any) -> int:
    """The HTTP status that an error in a body stands for."""
    keys = ("code", "status", "status_code", "type")
    codes = [str(error[key]) for key in keys if isinstance(error, dict) and isinstance(error.get(key), str | int)]
    for code in codes:
        if re.fullmatch("[45][0-9][0-9]", code):
            return int(code)
    words = " ".join([words_of(error), *codes])
    kinds = {
        429: r"rate.?limit|too.many.requests|throttl|resource.?exhausted",
        401: r"invalid.api.key|authentication|unauthori[sz]ed",
        402: r"insufficient.(?:quota|credit|balance|funds)|billing|payment.required",
        404: r"model.not.found|no.such.model",
        400: r"context.length|invalid.request|bad.request",
    }
    return next((code for code, pattern in kinds.items() if re.search(pattern, words, re.I)), 500)
