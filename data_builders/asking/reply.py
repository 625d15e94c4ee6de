"""The one place where what a server sends becomes an `Answer`: chat or text, in pieces or whole, or in a batch file.

A server may send anything. What comes out is typed and sane: text that can be written as UTF-8, how it ended in one of
our words, and tokens that can be multiplied by a price. What was paid for is kept wherever it can be read.
"""

import json
import math
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from cft.words import tidy
from data_builders.asking.calls import Answer, Call, Status, tokens_at_most
from data_builders.asking.engine import RetryableError

MOST_CHARACTERS = 32  # a token, on average over an answer
MOST_TOKENS = 10_000_000  # of a call: more than any model's context
MOST_WORDS = 1500  # characters of an error; who shows it cuts it, after a key in it is masked

# How servers say that an answer has ended: OpenAI, vLLM, TGI, Anthropic, Gemini, Mistral, Cohere, Bedrock, DeepSeek ...
FINISHED = {"stop", "eos", "eos_token", "end_turn", "stop_sequence", "complete", "completed", "end", "done", "finished"}
CUT_OFF = {
    *("length", "max_tokens", "max_length", "model_length", "max_output_tokens", "max_new_tokens", "token_limit"),
    *("model_context_window_exceeded", "context_window_exceeded", "incomplete", "truncated", "pause_turn"),
    *("tool_calls", "tool_use", "function_call"),  # it wants to go on when a tool has answered, and there is none
}
REFUSED = {
    *("content_filter", "content_filtered", "refusal", "refused", "safety", "recitation", "blocklist", "spii"),
    *("prohibited_content", "language", "guardrail_intervened", "error_toxic", "moderation", "blocked", "sensitive"),
}
FAILED = {
    *("error", "abort", "aborted", "cancelled", "canceled", "timeout", "network_error", "failed", "interrupted"),
    *("insufficient_system_resource", "user_cancel", "error_limit", "server_error", "internal_error", "unavailable"),
}


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
        if finish is not None and (self.finish is None or plain(self.finish) in FINISHED):
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
    if finish in FAILED:
        raise RetryableError(f"the server broke off its answer (finish_reason {finish!r})", written=written)
    most = call.sampling["max_tokens"] * MOST_CHARACTERS + 1000
    if cut or len(text) > most:
        text, finish, written = text[:most], "length", max(written, call.sampling["max_tokens"])
    if refused := bool(seen.refusals):
        text, finish = text or repaired("".join(seen.refusals)), "content_filter"
    told = seen.usage.get("prompt_tokens", seen.usage.get("input_tokens"))
    asked = _count(told, least=1)
    told = seen.usage.get("completion_tokens", seen.usage.get("output_tokens"))
    used = _count(told, least=bool(text or thoughts))
    return Answer(
        text,
        "refused" if refused else _status(finish, text),
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


def is_known(finish: str) -> bool:
    return finish in FINISHED | CUT_OFF | REFUSED


def _status(finish: str, text: str) -> Status:
    """How an answer ended. What is not known to be whole counts as cut off: a half text must not be trained on."""
    if finish in REFUSED:
        return "refused"
    if finish in CUT_OFF:
        return "truncated"
    if not text.strip():
        return "empty"
    return "ok" if finish in FINISHED else "truncated"


def _count(told: Any, least: int) -> int | None:
    """A number of tokens, if it can be one."""
    if isinstance(told, bool) or not isinstance(told, int | float) or not least <= told <= MOST_TOKENS:
        return None
    return int(told) if told == int(told) else None


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
            found = _loads_lines(lines)
            bare = is_error and not any(isinstance(one, dict) and "error" in one for one in found)
            events += [{"error": found}] if bare else found
            lines, is_error = [], False
    return events, bool(lines) and lines[0].strip() == "[DONE]"


def _loads_lines(lines: list[str]) -> list[Any]:
    """The values of an event's lines: one over all of them, or, as some servers write it, one in each."""
    if len(lines) > 1:
        with suppress(RetryableError):
            return [_loads("\n".join(lines))]
    return [_loads(line) for line in lines if line.strip() not in ("", "[DONE]")]


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
    said = next((error[key] for key in ("message", "detail", "msg", "title") if error.get(key)), error)
    text = said if isinstance(said, str) else _shown(said)
    more = error["metadata"].get("raw") if isinstance(error.get("metadata"), dict) else None  # a gateway's provider
    codes = [str(code)[:MOST_WORDS] for code in (error.get("code"), more) if code and isinstance(code, str | int)]
    codes = [code for code in codes if code not in text]
    return text[:MOST_WORDS] + (f" ({', '.join(codes)})" if codes else "")


def status_of(error: Any) -> int:
    """The HTTP status that an error in a body stands for."""
    told = [error.get(key) for key in ("code", "status", "status_code")] if isinstance(error, dict) else []
    for code in told:
        if isinstance(code, str | int) and re.fullmatch("[45][0-9][0-9]", str(code)[:9]):
            return int(code)
    kind = error.get("type") if isinstance(error, dict) else None
    words = f"{words_of(error)} {[one for one in (kind, *told) if isinstance(one, str)]}"
    kinds = {
        429: r"rate.?limit|too.many.requests|throttl|resource.?exhausted",
        401: r"invalid.api.key|authentication|unauthori[sz]ed",
        402: r"insufficient.(?:quota|credit|balance|funds)|billing|payment.required",
        404: r"model.not.found|no.such.model",
        400: r"context.length|invalid.request|bad.request",
    }
    return next((code for code, pattern in kinds.items() if re.search(pattern, words, re.I)), 500)
