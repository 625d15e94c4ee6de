"""Asks a server for many answers, in a process that may be killed (-m tests.support.asking URL LEDGER N C), or a server
in this process, which answers each request with what a test gives it.
"""

import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cft.recipe.blocks import EndpointBlock
from data_builders.asking import engine
from data_builders.asking.calls import Call, Ledger
from data_builders.asking.endpoint import Endpoint
from data_builders.asking.engine import Budget

Reply = tuple[int, dict[str, str], bytes]  # status, headers, body


def plan(count: int, model: str = "fake-teacher") -> list[Call]:
    """`count` different calls."""
    sampling = {"temperature": 0.7, "top_p": 1.0, "max_tokens": 64}
    return [
        Call(model, [{"role": "user", "content": f"Question {k // 4}"}], sampling, "test@1", k % 4)
        for k in range(count)
    ]


def ask(url: str, ledger: Path, calls: list[Call], budget: Budget | None = None, **settings) -> dict[str, dict]:
    """The ledger's rows after asking for what it owes, with shorter waits between attempts."""
    engine.FIRST_WAIT = 0.05
    block = EndpointBlock(base_url=url, **{"patience": 20.0, "timeout": 5.0} | settings)
    endpoint = Endpoint(block, calls[0].model, budget or Budget())
    with Ledger(ledger) as open_ledger:
        endpoint.answer(calls, open_ledger)
        return open_ledger.rows


def whole(text: object = "It is \\boxed{5}.", finish: object = "stop", **more: object) -> dict:
    """A chat completion that is not streamed."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
    usage = {"prompt_tokens": 9, "completion_tokens": 7}
    return {"id": "x", "model": "odd-1", "choices": [choice], "usage": usage} | more


def pieces(*contents: object, finish: object = "stop", done: bool = True) -> bytes:
    """The body of a streamed one."""
    deltas = [{"choices": [{"index": 0, "delta": {"content": content}}]} for content in contents]
    events = [*deltas, {"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}]
    return "".join(f"data: {json.dumps(event)}\n\n" for event in events).encode() + b"data: [DONE]\n\n" * done


@contextmanager
def odd_server(answer: Callable[[str, dict], object]) -> Iterator[tuple[str, list[dict]]]:
    """Its address, and the requests so far: {"path", "headers" by name in lower case}.

    `answer(path, body)` gives a `Reply`, or what is sent as JSON with status 200.
    """
    seen: list[dict] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            seen.append({"path": self.path, "headers": {name.lower(): value for name, value in self.headers.items()}})
            given = answer(self.path, body)
            status, headers, data = given if isinstance(given, tuple) else (200, {}, json.dumps(given).encode())
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            try:
                self.wfile.write(data)
            except ConnectionError:
                return  # the client has read enough

        def log_message(self, *parts: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", seen
    finally:
        server.shutdown()
        server.server_close()


if __name__ == "__main__":
    try:
        ask(sys.argv[1], Path(sys.argv[2]), plan(int(sys.argv[3])), concurrency=int(sys.argv[4]), timeout=2.0)
    except KeyboardInterrupt:
        sys.exit(130)
