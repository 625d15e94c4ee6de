"""What the generation engine adds to a call: our ledger and engine against the bare `openai` client, on one server.

The server is on loopback and answers at once (tests/support/faulty_server.py), so nearly all time is the two sides'
own. Both stream the same calls with the same number in flight, taking turns in one process. See benchmarks/README.md.
"""

import asyncio
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.common import console, machine, report, summarise
from data_builders.asking.calls import Call
from data_builders.asking.endpoint import STREAM
from tests.support.asking import ask, plan
from tests.support.faulty_server import FaultyServer

OURS, BARE = "cft engine", "openai client"


def main(
    calls: Annotated[int, typer.Option(min=1, help="Calls a side and round.")] = 400,
    in_flight: Annotated[int, typer.Option(min=1, help="Calls in flight.")] = 1,
    repeats: Annotated[int, typer.Option(min=1, help="Rounds; in each, both take their turn.")] = 3,
    out: Annotated[Path | None, typer.Option("--json", help="File for the result.")] = None,
) -> None:
    """Measure the engine's own time a call."""
    planned, rounds = plan(calls), []
    with tempfile.TemporaryDirectory(prefix="cft-benchmark-") as name:
        folder = Path(name)
        with FaultyServer(log=folder / "log", latency=0.0) as server:
            asyncio.run(bare(server.url, planned[:20], in_flight))  # imports, and the first connection
            for number in range(repeats):
                start = time.perf_counter()
                ask(server.url, folder / f"{number}.jsonl", planned, concurrency=in_flight)
                ours = time.perf_counter() - start
                start = time.perf_counter()
                asyncio.run(bare(server.url, planned, in_flight))
                theirs = time.perf_counter() - start
                rounds.append({OURS: _measures(ours, calls), BARE: _measures(theirs, calls)})
    result = {"benchmark": "asking", "calls": calls, "in_flight": in_flight, "machine": machine(1)}
    result |= summarise(rounds, ["calls_per_second"])
    added = result["medians"][OURS]["milliseconds_a_call"] - result["medians"][BARE]["milliseconds_a_call"]
    result["added_milliseconds"] = round(added, 3)
    report(f"{calls} calls, {in_flight} in flight: {added:.2f} ms a call of the engine's own", result, out)
    console.print(f"the engine adds {added:.2f} ms a call", highlight=False)


async def bare(url: str, calls: list[Call], in_flight: int) -> None:
    """The calls through the client alone, what it answers thrown away."""
    import openai

    async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
        left = list(reversed(calls))

        async def work() -> None:
            while left:
                call = left.pop()
                stream = await client.chat.completions.create(
                    model=call.model,
                    messages=call.messages,
                    extra_body=call.sampling,
                    extra_headers={"Idempotency-Key": call.key},
                    **STREAM,
                )
                async for _ in stream:
                    pass

        await asyncio.gather(*(work() for _ in range(in_flight)))


def _measures(seconds: float, calls: int) -> dict[str, float]:
    return {"calls_per_second": round(calls / seconds, 1), "milliseconds_a_call": round(1000 * seconds / calls, 3)}


if __name__ == "__main__":
    typer.run(main)
