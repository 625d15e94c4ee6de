"""An OpenAI-compatible server on loopback that fails on purpose, for tests of what asks a teacher.

Run `python -m tests.support.faulty_server --log FILE`, or use `FaultyServer` in a test. A client that goes away while
its answer is being made still pays for it, as with the real ones, but no longer counts as in flight.
"""

import argparse
import asyncio
import contextlib
import hashlib
import json
import os
import random
import subprocess
import sys
import time
from email.utils import formatdate
from pathlib import Path
from typing import Self

SERVED_MODEL = "fake-teacher-0613"
CHAT, TEXT = "POST /v1/chat/completions", "POST /v1/completions"
ERRORS = {  # fault: status, code, message
    "400": (400, "context_length_exceeded", "This model's maximum context length is 8192 tokens."),
    "401": (401, "invalid_api_key", "Incorrect API key provided: {token}."),
    "404": (404, "model_not_found", "The model `{model}` does not exist or you do not have access to it."),
    "429": (429, "rate_limit_exceeded", "Rate limit reached for {model}. Please try again later."),
    "429-date": (429, "rate_limit_exceeded", "Rate limit reached for {model}. Please try again later."),
    "500": (500, "server_error", "The server had an error while processing your request."),
    "unknown-url": (404, "unknown_url", "Unknown request URL."),
}
HTML = {"503-html": 503, "html-200": 200}
FINISH = {"truncated": "length", "refused": "content_filter", "no-finish": None}
PAID = {None, "slow", "empty", "truncated", "refused", "no-finish"}  # what counts as answered
AT_ONCE = {"down", "401", "404"}  # decided before any work: no latency
FAULTS = [
    *["429", "429-date", "500", "503-html", "cut", "drop", "stall", "slow", "garbage", "html-200"],
    *["empty", "truncated", "refused", "no-finish", "400", "wrong-shape"],
]
GARBAGE = '{"id": "chatcmpl-1", "choices": [{"ind'


def digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def answer_to(messages: list[dict], key: str) -> str:
    """The good answer to these messages under this Idempotency-Key ("" if there was none)."""
    number = int(digest(messages, key)[:8], 16) % 100_000
    return f"Answer to {digest(messages)[:12]}: as {key or 'nobody'} asked, the result is \\boxed{{{number}}}"


class Call:
    """One request, as far as it can be read."""

    def __init__(self, path: str, headers: dict[str, str], raw: bytes):
        body = {}
        with contextlib.suppress(ValueError, TypeError):
            body = dict(json.loads(raw))
        self.path, self.headers = path, headers
        self.key = headers.get("idempotency-key")
        self.model, self.messages, self.stream = body.get("model"), body.get("messages"), bool(body.get("stream"))
        if "prompt" in body:  # a text to go on with
            self.messages = [{"role": "user", "content": body["prompt"]}]
        self.seed, self.stop = body.get("seed"), body.get("stop")
        self.wants_usage = bool((body.get("stream_options") or {}).get("include_usage"))


async def read_call(reader: asyncio.StreamReader) -> Call:
    """The next request on this connection; an end of the connection is an IncompleteReadError."""
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").strip().split("\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    raw = await reader.readexactly(int(headers.get("content-length", 0)))
    method, target, _ = first.split(" ")
    return Call(f"{method} {target.partition('?')[0]}", headers, raw)


def whole(status: int, body: dict | str, kind: str = "application/json", retry_after: str | None = None) -> list[bytes]:
    """Headers, then the body in two halves."""
    data = (body if isinstance(body, str) else json.dumps(body)).encode()
    more = f"Retry-After: {retry_after}\r\n" if retry_after else ""
    head = f"HTTP/1.1 {status} -\r\nContent-Type: {kind}\r\nContent-Length: {len(data)}\r\n{more}\r\n"
    return [head.encode(), data[: len(data) // 2], data[len(data) // 2 :]]


def events(bodies: list[dict | str]) -> list[bytes]:
    """Headers, then one piece for each server-sent event, the last one together with the end of the body."""
    texts = [f"data: {body if isinstance(body, str) else json.dumps(body)}\n\n".encode() for body in bodies]
    pieces = [b"%x\r\n%s\r\n" % (len(text), text) for text in texts]
    head = b"HTTP/1.1 200 -\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    return [head, *pieces[:-1], pieces[-1] + b"0\r\n\r\n"]


def completion(call: Call, fault: str | None) -> list[bytes]:
    """Headers and pieces of an answer in the shape that the call asked for."""
    text = answer_to(call.messages, call.key or "")
    text = {"empty": "", "refused": "", "truncated": text[: len(text) // 2]}.get(fault, text)
    refusal = {"refusal": "I can't help with that."} if fault == "refused" else {}
    finish = FINISH.get(fault, "stop")
    asked, told = len(json.dumps(call.messages)) // 4 + 1, len(text) // 4 + 1
    usage = {"prompt_tokens": asked, "completion_tokens": told, "total_tokens": asked + told}
    base = {"id": f"chatcmpl-{digest(call.messages, call.key)[:24]}", "created": int(time.time())}
    base |= {"object": "chat.completion" + ".chunk" * call.stream, "model": SERVED_MODEL}
    if call.path == TEXT:
        choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish}
        return whole(200, base | {"object": "text_completion", "choices": [choice], "usage": usage})
    if not call.stream:
        message = {"role": "assistant", "content": None if refusal else text, "refusal": None} | refusal
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
        return whole(200, base | {"choices": [choice], "usage": usage})
    step = len(text) // 5 + 1
    deltas = [{"content": text[at : at + step]} for at in range(0, max(len(text), 1), step)]
    deltas[0] = {"role": "assistant"} | deltas[0] | refusal
    choices = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    if finish:
        choices.append({"index": 0, "delta": {}, "finish_reason": finish})
    bodies = [base | {"choices": [choice]} for choice in choices]
    if fault == "garbage":
        return events([bodies[0], GARBAGE, *bodies[1:], "[DONE]"])
    if call.wants_usage:
        bodies = [body | {"usage": None} for body in bodies] + [base | {"choices": [], "usage": usage}]
    return events([*bodies, "[DONE]"])


class Server:
    """The server's state over all connections."""

    def __init__(self, options: argparse.Namespace):
        self.options = options
        self.random = random.Random(options.seed)
        self.answered = 0
        self.in_flight: set[Call] = set()
        self.log_file = os.open(options.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def log(self, event: str, call: Call, fault: str | None = None) -> None:
        """Append one event in one write."""
        row = {"event": event, "key": call.key, "fault": fault, "in_flight": len(self.in_flight)}
        row |= {"time": time.monotonic(), "authorization": "authorization" in call.headers, "model": call.model}
        row |= {"path": call.path, "seed": call.seed, "stop": call.stop, "messages": call.messages}
        os.write(self.log_file, (json.dumps(row) + "\n").encode())

    def is_down(self) -> bool:
        return self.options.down_after is not None and self.answered >= self.options.down_after

    def fault_for(self, call: Call) -> str | None:
        """The fault that this call gets: the switches first, then by chance."""
        required, only = self.options.require_key, self.options.only_model
        if self.is_down():
            return "down"
        if required is not None and call.headers.get("authorization") != f"Bearer {required}":
            return "401"
        if call.path not in (CHAT, TEXT):
            return "unknown-url"
        if only is not None and call.model != only:
            return "404"
        if self.options.always:
            return self.options.always
        by_chance = self.random.random() < self.options.fault_rate
        return self.random.choice(self.options.faults) if self.options.faults and by_chance else None

    def reply(self, call: Call, fault: str | None) -> list[bytes]:
        """Headers and the pieces of the body."""
        if fault in ERRORS:
            status, code, message = ERRORS[fault]
            token = call.headers.get("authorization", "").removeprefix("Bearer ")
            kind = "server_error" if status == 500 else "invalid_request_error"
            error = {"message": message.format(token=token, model=call.model), "type": kind, "code": code}
            after = {"429": f"{self.options.retry_after:g}", "429-date": formatdate(time.time() + 1, usegmt=True)}
            return whole(status, {"error": error | {"param": None}}, retry_after=after.get(fault))
        if fault in HTML:
            return whole(HTML[fault], "<!DOCTYPE html>\n<html><body>\n<h1>Gateway</h1>\n</body></html>\n", "text/html")
        if fault == "wrong-shape":
            return events([{"detail": "x"}, "[DONE]"]) if call.stream else whole(200, {"detail": "x"})
        if fault == "garbage" and not call.stream:
            return whole(200, GARBAGE)
        return completion(call, fault)

    async def watch(self, call: Call, reader: asyncio.StreamReader, seconds: float) -> None:
        """Wait; if the client goes away (it never pipelines), return at once with the call no longer in flight."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                with contextlib.suppress(ConnectionError):
                    await reader.read(1)
                self.in_flight.discard(call)

    async def chat(self, call: Call, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer or fail; a ConnectionError means that the connection is to be closed."""
        self.log("request", call)
        fault = self.fault_for(call)
        if fault:
            self.log("fault", call, fault)
        if fault not in AT_ONCE:
            ready = time.monotonic() + self.options.latency + (self.options.slow if fault == "slow" else 0)
            await self.watch(call, reader, ready - time.monotonic())
            await asyncio.sleep(ready - time.monotonic())  # without a client, the answer is made all the same
        if fault in PAID:
            if self.is_down():
                fault = "down"
                self.log("fault", call, fault)
            else:
                self.answered += 1
                self.log("answered", call, fault)
        if fault in ("drop", "down") or call not in self.in_flight:
            raise ConnectionAbortedError
        pieces = self.reply(call, fault)
        if fault in ("cut", "stall"):
            writer.write(b"".join(pieces[: 2 if fault == "stall" else (len(pieces) + 1) // 2]))
            await self.watch(call, reader, self.options.stall if fault == "stall" else 0)
            raise ConnectionAbortedError
        for piece in pieces[:-1]:
            writer.write(piece)
            await writer.drain()
        self.in_flight.discard(call)  # before the client can have it all and ask again
        writer.write(pieces[-1])

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """All requests of one connection."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError), contextlib.closing(writer):
            while True:
                call = await read_call(reader)
                if call.path in (CHAT, TEXT):
                    self.in_flight.add(call)
                    try:
                        await self.chat(call, reader, writer)
                    finally:
                        self.in_flight.discard(call)
                elif (fault := self.fault_for(call)) == "down":
                    break
                else:
                    writer.write(b"".join(self.reply(call, fault)))
                await writer.drain()


class FaultyServer:
    """The server as a process of its own, for a test: `with FaultyServer(log=..., faults=["429"]) as server`."""

    def __init__(self, log: Path, **options: object):
        self.log = Path(log)
        self.command = [sys.executable, "-m", "tests.support.faulty_server", "--log", str(self.log.absolute())]
        for name, value in options.items():
            text = ",".join(value) if isinstance(value, list | tuple) else str(value)
            self.command += [f"--{name.replace('_', '-')}={text}"] if value is not None else []

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(self.command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().strip()
        if not self.url:
            self.__exit__()
            raise RuntimeError("the faulty server did not start; its reason is on stderr")
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def requests(self) -> list[dict]:
        """Every event in the log so far."""
        lines = self.log.read_text("utf-8").splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--faults", type=lambda text: [name for name in text.split(",") if name], default=[])
    parser.add_argument("--always", choices=FAULTS)
    numbers = {"fault-rate": 0.3, "latency": 0.01, "retry-after": 0.05, "stall": 30.0, "slow": 0.5}
    for name, default in (numbers | {"port": 0, "seed": 0}).items():
        parser.add_argument(f"--{name}", type=type(default), default=default)
    parser.add_argument("--down-after", type=int)
    parser.add_argument("--require-key")
    parser.add_argument("--only-model")
    options = parser.parse_args()
    if unknown := set(options.faults) - set(FAULTS):
        parser.error(f"unknown faults {unknown}; there are {FAULTS}")
    server = await asyncio.start_server(Server(options).serve, "127.0.0.1", options.port, backlog=1024)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
