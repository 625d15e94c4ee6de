"""What confinement costs: a program in plain Python, in each confinement that is here, and a call into one that stays.

All take turns in one process. A program prints one word; a call returns one.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer

from benchmarks.common import console, machine, report, summarise
from cft.errors import ConfinementError
from cft.sandbox import Confinement, Sandbox, run_program
from cft.sandbox.kinds import pick


def main(
    calls: Annotated[int, typer.Option(min=1, help="Of each side, a round; the median counts.")] = 20,
    repeats: Annotated[int, typer.Option(min=1, help="Rounds.")] = 3,
    out: Annotated[Path | None, typer.Option("--json", help="File for the result.")] = None,
) -> None:
    """Measure what each confinement costs a program and a call."""
    kinds = [kind for kind in ("sandlock", "bubblewrap") if works(kind)]
    with tempfile.TemporaryDirectory(prefix="cft-benchmark-") as name:
        folder, file = Path(name, "folder"), Path(name, "tool.py")
        folder.mkdir()
        file.write_text("def tool(): return 'word'\n")
        plain, programs, tools = "plain python", {}, {}
        for kind in kinds:
            programs[kind] = lambda kind=kind: run_program("print('word')", folder, kind=kind)
            tool = Sandbox(file, "tool", 10, Confinement(folder, kind=kind))
            tools[f"call, {kind}"] = tool.call
        command = [sys.executable, "-s", "-c", "print('word')"]
        bare = {plain: lambda: subprocess.run(command, capture_output=True, check=True)}
        first = dict(list(programs.items())[:1])
        sides = first | bare | programs | {"call, no confinement": Sandbox(file, "tool", 10).call} | tools
        rounds = [{side: measure(call, calls) for side, call in sides.items()} for _ in range(repeats)]
    result = summarise(rounds, ["milliseconds"])
    report(f"one program, or one call: median of {calls}", result | {"machine": machine(1)}, out)


def works(kind: str) -> bool:
    try:
        return bool(pick(kind))
    except ConfinementError as error:
        console.print(str(error), markup=False, highlight=False)
        return False


def measure(call: Callable[[], Any], calls: int) -> dict[str, float]:
    """Median of the clock, and mean CPU time of the processes that were started and have ended."""
    times, before = [], os.times()
    for _ in range(calls):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return {"milliseconds": round(1000 * median(times), 2), "cpu_milliseconds": round(1000 * cpu / calls, 2)}


if __name__ == "__main__":
    typer.run(main)
