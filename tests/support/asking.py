"""Asks a server for many answers, in a process that may be killed: -m tests.support.asking URL LEDGER N C."""

import sys
from pathlib import Path

from cft.recipe.blocks import EndpointBlock
from data_builders.asking import engine
from data_builders.asking.calls import Call, Ledger
from data_builders.asking.endpoint import Endpoint
from data_builders.asking.engine import Budget


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


if __name__ == "__main__":
    try:
        ask(sys.argv[1], Path(sys.argv[2]), plan(int(sys.argv[3])), concurrency=int(sys.argv[4]), timeout=2.0)
    except KeyboardInterrupt:
        sys.exit(130)
