"""Any OpenAI-compatible endpoint, through the `openai` client: hosted APIs, `vllm serve`, `llama-server`, Ollama."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cft.errors import DataError
from data_builders.asking.calls import Answer, Call, Ledger, Price, tokens_at_most
from data_builders.asking.connection import api_key, connection_fault, fault_line, masked, open_client, retry_after
from data_builders.asking.engine import Budget, Engine, OnWait, RejectedError, RetryableError
from data_builders.asking.prices import find_price
from data_builders.asking.reply import ENDS, BodyError, read_events, read_reply, words_of

if TYPE_CHECKING:
    from cft.recipe.blocks import EndpointBlock

LONGEST_CALL = 20  # times the time-out that one attempt may take in all, however steadily it trickles
MOST_BYTES = 32 * 2**20  # of a body: 100,000 streamed tokens, each with all that servers put around it
MOST_ERROR_BYTES = 100_000  # of an error's body
SHORTEST_MASKED = 8  # characters of a key that is replaced in answers; shorter ones are words, such as EMPTY
STREAM = {"stream": True, "stream_options": {"include_usage": True}}


class Endpoint:
    """One model at one endpoint."""

    def __init__(self, block: "EndpointBlock", model: str, budget: Budget, on_wait: OnWait = lambda *_: None) -> None:
        self.block, self.model, self.budget, self.on_wait = block, model, budget, on_wait
        self.host, self.price = block.host, find_price(block, model)
        self.key: str | None = None
        self.client: Any = None
        self.odd: set[str] = set()  # finish reasons that are not known

    def check(self) -> None:
        """Find out, before anything else takes time, whether the server can be asked at all.

        Raises:
            DataError: without a key, without a price for --max-cost, or when the server cannot be reached.
        """
        self.budget.check_price(self, self.model)
        api_key(self.block)
        if fault := connection_fault(self.block.base_url):
            raise DataError(
                f"{self.host}: cannot be reached ({fault}). Start the server, or check base_url and proxies."
            )

    def answer(self, calls: Sequence[Call], ledger: Ledger) -> None:
        """See `calls.Backend`."""
        self.budget.spent += spent(self.price, calls, ledger)
        owed = ledger.owed(calls)
        if owed:
            self.budget.check_price(self, self.model)
            self.key = api_key(self.block)
            if asyncio.run(self._answer(owed, ledger)):
                raise KeyboardInterrupt

    async def _answer(self, owed: list[Call], ledger: Ledger) -> bool:
        import openai

        # Retries are the engine's: the client would also retry what should not be, and count nothing.
        settings = {"base_url": self.block.base_url, "api_key": self.key or "none", "max_retries": 0}
        http = open_client(
            openai.DefaultAsyncHttpxClient, timeout=self.block.timeout, event_hooks={"response": [self._check_status]}
        )
        async with openai.AsyncOpenAI(**settings, timeout=self.block.timeout, http_client=http) as self.client:
            engine = Engine(self, self.ask, self.block, self.budget, self.on_wait)
            await engine.run(owed, ledger)
            return engine.interrupted

    async def ask(self, call: Call) -> Answer:
        """One attempt.

        Raises:
            RetryableError, RejectedError: see there.
            DataError: what fails for every call: a wrong key, an unknown model, no such address.
        """
        import httpx2
        import openai

        begun = time.monotonic()
        body, fault = bytearray(), None
        try:
            async with asyncio.timeout(LONGEST_CALL * self.block.timeout), self.request(call) as response:
                async for part in response.iter_bytes():
                    body += part
                    if len(body) > MOST_BYTES:
                        break
        except (openai.APITimeoutError, httpx2.TimeoutException, TimeoutError):
            fault = f"nothing came for {self.block.timeout:g} s"
        except (openai.APIConnectionError, httpx2.RequestError) as error:
            cause = error.__cause__ or error
            fault = self._line(f"the connection broke ({type(cause).__name__}: {cause})")
        answer = self._read(bytes(body), call, fault)
        if answer.finish_reason not in ENDS.keys() | self.odd:
            self.odd.add(answer.finish_reason)
            self.on_wait(f"{self.host}: finish_reason {answer.finish_reason!r} is not known: it counts as cut off", 0)
        secret = self.key if len(self.key or "") >= SHORTEST_MASKED else None
        text, model = masked(answer.text, secret), answer.served_model and masked(answer.served_model, secret)
        return replace(answer, text=text, served_model=model, seconds=round(time.monotonic() - begun, 3))

    def _read(self, body: bytes, call: Call, fault: str | None) -> Answer:
        """The answer in what came, even if the connection broke after it had ended."""
        cut = len(body) > MOST_BYTES
        try:
            try:
                events, whole = read_events(body)
            except RetryableError:
                if not (cut or fault):
                    raise
                events, whole = [], False  # half a JSON object says nothing
            if not (whole or fault):
                fault = "the answer was cut off on its way"
            return read_reply(events, call, fault=fault, cut=cut)
        except RetryableError as error:
            raise RetryableError(self._line(str(error)), written=error.written) from None
        except BodyError as error:
            found = self._status_fault(error.status, str(error), {})
            if isinstance(found, RetryableError):
                found.written = error.written
            raise found from None

    def request(self, call: Call) -> AbstractAsyncContextManager[Any]:
        """The response to one call, its body not yet read."""
        # A gateway that knows this header answers a repeated call from its memory, unpaid.
        headers = {"Idempotency-Key": call.key}
        return self.send(request_body(call, self.block) | (STREAM if self.block.stream else {}), headers)

    def send(self, body: dict, headers: dict[str, str]) -> AbstractAsyncContextManager[Any]:
        known = {key: body.pop(key) for key in ("model", "messages", *STREAM) if key in body}
        create = self.client.chat.completions.with_streaming_response.create
        return create(**known, extra_body=body, extra_headers=headers)

    async def _check_status(self, response: Any) -> None:
        """Raise what a response is that is no answer; of its body only the beginning is read."""
        import httpx2

        if response.status_code < 300:
            return
        if response.status_code < 400:
            where = self._line(response.headers.get("location", "nowhere"))
            raise DataError(
                f"{self.host} answers {response.status_code}: it sends on to {where}. Prompts and keys do not go "
                "there: if that is the server that you mean, write its address as base_url."
            )
        body = bytearray()
        with suppress(httpx2.RequestError):
            async for part in response.aiter_bytes():
                body += part
                if len(body) > MOST_ERROR_BYTES:
                    break
        try:
            events, _ = read_events(bytes(body))
        except RetryableError:
            events = [body.decode("utf-8", "replace")]
        raise self._status_fault(response.status_code, words_of(events[0]) if events else "", response.headers)

    def _line(self, text: str) -> str:
        return fault_line(text, self.key)

    def _status_fault(self, status: int, words: str, headers: Mapping[str, str]) -> Exception:
        text = self._line(words)
        text = f": {text}" if text else ""
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
            return RetryableError(f"{status} rate limit{text}", after=retry_after(headers), limited=True)
        if status in (408, 409) or status >= 500:
            return RetryableError(f"{status}{text}", after=retry_after(headers))
        return RejectedError(f"{status}{text}")


def request_body(call: Call, block: "EndpointBlock") -> dict:
    """The chat completions request of a call, for an endpoint or a batch file."""
    sampling = dict(call.sampling)
    if block.max_tokens_key != "max_tokens":
        sampling[block.max_tokens_key] = sampling.pop("max_tokens")
    if block.send_seed:
        sampling["seed"] = int(call.key[:7], 16)  # another one for each sample
    return {"model": call.model, "messages": call.messages, **sampling, **block.extra_body}


def spent(price: Price | None, calls: Sequence[Call], ledger: Ledger) -> float:
    """USD that the kept answers to the calls cost; where a row does not tell, estimated on the safe side."""
    total = 0.0
    for call in calls:
        if row := ledger.rows.get(call.key):
            guess = price.cost(call.tokens_at_most, tokens_at_most(row["text"])) if price else 0.0
            total += guess if row["cost_usd"] is None else row["cost_usd"]
    return total
