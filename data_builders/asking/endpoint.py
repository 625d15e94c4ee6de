"""Any OpenAI-compatible endpoint, through the `openai` client: hosted APIs, `vllm serve`, `llama-server`, Ollama."""

import asyncio
import email.utils
import json
import os
import re
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cft.errors import DataError
from data_builders.asking.calls import Answer, Call, Ledger
from data_builders.asking.engine import Budget, Engine, OnWait, RejectedError, RetryableError
from data_builders.asking.prices import find_price

if TYPE_CHECKING:
    from cft.recipe.blocks import EndpointBlock

LONGEST_CALL = 20  # times the time-out that one attempt may take in all, however steadily it trickles


class Endpoint:
    """One model at one endpoint."""

    def __init__(self, block: "EndpointBlock", model: str, budget: Budget, on_wait: OnWait = lambda *_: None) -> None:
        self.block, self.model, self.budget, self.on_wait = block, model, budget, on_wait
        self.host, self.price = block.host, find_price(block, model)
        self.key: str | None = None
        self.client: Any = None

    def check(self) -> None:
        """Find out, before anything else takes time, whether the server can be asked at all.

        Raises:
            DataError: without a key, without a price for --max-cost, or when the server cannot be reached.
        """
        self.budget.check_price(self, self.model)
        api_key(self.block)
        if fault := connection_fault(self.block.base_url):
            raise DataError(f"{self.host}: cannot be reached ({fault}). Start the server, or check base_url.")

    def answer(self, calls: Sequence[Call], ledger: Ledger) -> None:
        """See `calls.Backend`."""
        self.budget.spent += sum(ledger.rows[c.key]["cost_usd"] or 0.0 for c in calls if c.key in ledger.rows)
        owed = ledger.owed(calls)
        if owed:
            self.budget.check_price(self, self.model)
            self.key = api_key(self.block)
            if asyncio.run(self._answer(owed, ledger)):
                raise KeyboardInterrupt

    async def _answer(self, owed: list[Call], ledger: Ledger) -> bool:
        import openai

        block = self.block
        # Retries are the engine's: the client would also retry what should not be, and count nothing.
        async with openai.AsyncOpenAI(
            base_url=block.base_url, api_key=self.key or "none", max_retries=0, timeout=block.timeout
        ) as self.client:
            engine = Engine(self, self.ask, block, self.budget, self.on_wait)
            await engine.run(owed, ledger)
            return engine.interrupted

    async def ask(self, call: Call) -> Answer:
        """One attempt.

        Raises:
            RetryableError, RejectedError: see there.
            DataError: what fails for every call: a wrong key, an unknown model, no such address.
        """
        import openai

        begun = time.monotonic()
        try:
            async with asyncio.timeout(LONGEST_CALL * self.block.timeout):
                answer = await self.request(call)
        except (openai.APITimeoutError, TimeoutError):
            raise RetryableError(f"nothing came for {self.block.timeout:g} s") from None
        except openai.APIStatusError as error:
            raise self._status_fault(error) from None
        except openai.APIError as error:
            cause = error.__cause__ or error
            raise RetryableError(self._clean(f"{type(cause).__name__}: {cause}")) from None
        except (DataError, RetryableError, RejectedError):
            raise
        except Exception as error:  # in mid-stream, those of the HTTP library and of its JSON parser come through
            raise RetryableError(self._clean(f"the answer broke off ({type(error).__name__}: {error})")) from None
        return replace(answer, seconds=round(time.monotonic() - begun, 3))

    async def request(self, call: Call) -> Answer:
        """The server's answer to one call; what fails is raised as the openai client raises it."""
        body = request_body(call, self.block) | (STREAM if self.block.stream else {})
        known = {key: body.pop(key) for key in ("model", "messages", *STREAM) if key in body}
        # A gateway that knows this header answers a repeated call from its memory, unpaid.
        sent = {"extra_body": body, "extra_headers": {"Idempotency-Key": call.key}}
        reply = await self.client.chat.completions.create(**known, **sent)
        if not self.block.stream:
            return read_completion(reply)
        parts, finish, served, usage = [], None, None, None
        async with reply as stream:
            async for chunk in stream:
                served, usage = getattr(chunk, "model", None) or served, getattr(chunk, "usage", None) or usage
                for choice in getattr(chunk, "choices", None) or []:
                    parts.append((choice.delta and choice.delta.content) or "")
                    finish = choice.finish_reason or finish
        return _answer("".join(parts), finish, served, usage)

    def _status_fault(self, error: Any) -> Exception:
        status, text = error.status_code, self._clean(_message(error))
        where = f"{self.host} answers {status}"
        if status == 401:
            held = "is not accepted" if self.key else "is missing"
            return DataError(
                f"{where}: the API key {held}{text}. Set it in the environment variable {self.block.api_key_env}."
            )
        if status == 403:
            return DataError(f"{where}: access is refused{text}. Check what the API key is allowed to do.")
        if status in (404, 405):
            return DataError(
                f"{where}: model {self.model!r} or the address is not known there{text}. Check `model`, and that "
                "`base_url` is right (for most servers it ends in /v1)."
            )
        if status == 402 or "insufficient_quota" in text:
            return DataError(f"{where}: the account has no credit left{text}. Add some, then give the same command.")
        if status == 429:
            return RetryableError(f"{status} rate limit{text}", after=retry_after(error.response.headers), limited=True)
        if status in (408, 409) or status >= 500:
            return RetryableError(f"{status}{text}", after=retry_after(error.response.headers))
        return RejectedError(f"{status}{text}")

    def _clean(self, text: str) -> str:
        """One short line without the key, should the server have echoed it."""
        text = " ".join(text.split())
        if self.key:
            text = text.replace(self.key, "***")
        return re.sub(r"\b(sk|key|hf|gsk|xai)[-_][A-Za-z0-9_-]{8,}", "***", text)[:300]


STREAM = {"stream": True, "stream_options": {"include_usage": True}}


def connection_fault(url: str) -> str | None:
    """Why nothing can be connected to at this address; None if something can."""
    address = urlsplit(url)
    port = address.port or (443 if address.scheme == "https" else 80)
    try:
        socket.create_connection((address.hostname, port), timeout=10).close()
    except OSError as error:
        return error.strerror or str(error)
    return None


def request_body(call: Call, block: "EndpointBlock") -> dict:
    """The chat completions request of a call, for an endpoint or a batch file."""
    sampling = dict(call.sampling)
    if block.max_tokens_key != "max_tokens":
        sampling[block.max_tokens_key] = sampling.pop("max_tokens")
    if block.send_seed:
        sampling["seed"] = int(call.key[:7], 16)  # another one for each sample
    return {"model": call.model, "messages": call.messages, **sampling, **block.extra_body}


def read_completion(completion: Any) -> Answer:
    """The answer in a chat completion object that was not streamed.

    Raises:
        RetryableError: if it is none: a page of HTML, say, or JSON of another shape.
    """
    choices = getattr(completion, "choices", None)
    message = getattr(choices[0], "message", None) if choices else None
    if message is None:
        start = " ".join(str(completion).split())[:80]
        raise RetryableError(f"the answer is no chat completion (it begins {start!r}); is base_url right?")
    text = message.content or ""
    finish = "content_filter" if getattr(message, "refusal", None) else choices[0].finish_reason
    return _answer(text or getattr(message, "refusal", None) or "", finish, completion.model, completion.usage)


def _answer(text: str, finish: str | None, served: str | None, usage: Any) -> Answer:
    if not finish:
        raise RetryableError("the answer was cut off on its way (it has no finish_reason)")
    status = {"length": "truncated", "content_filter": "refused"}.get(finish)
    status = status or ("ok" if text.strip() else "empty")
    tokens = (getattr(usage, key, None) for key in ("prompt_tokens", "completion_tokens"))
    return Answer(text, status, finish, served, *tokens)


def api_key(block: "EndpointBlock") -> str | None:
    """The key from the environment; None where the endpoint needs none.

    Raises:
        DataError: if the variable is not set.
    """
    if block.api_key_env is None:
        return None
    key = os.environ.get(block.api_key_env, "").strip()
    if not key:
        raise DataError(
            f"{block.api_key_env}: is not set, and {block.host} needs an API key. "
            f"`export {block.api_key_env}=...`, or set api_key_env to null for a server without keys."
        )
    return key


def retry_after(headers: Any) -> float | None:
    """Seconds that a Retry-After header asks to wait, from a number or a date; None without a readable one."""
    value = headers.get("retry-after", "")
    with suppress(ValueError):
        return max(0.0, float(value))
    with suppress(TypeError, ValueError):
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    return None


def _message(error: Any) -> str:
    """What the server says, as ": text", or "" if it says nothing readable."""
    body = error.body
    if isinstance(body, dict):
        text = body.get("message") or body.get("detail") or json.dumps(body)[:200]
        code = body.get("code")
        return f": {text}" + (f" ({code})" if code and str(code) not in str(text) else "")
    text = "" if body is None else str(body)
    return "" if not text.strip() else ": an HTML page" if "<" in text[:50] else f": {text[:200]}"
