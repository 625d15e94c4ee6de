"""Items a second: our evaluation against the plain `lm_eval` command with its defaults, on the same items.

All sides answer the same prompts greedily with the base model, taking turns, each in a process of its own. See
benchmarks/README.md for what is compared.
"""

import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.answer import DTYPE, TASK
from benchmarks.common import CORES, busy_processes, console, machine, model_folder, report, run_process, summarise
from cft.files import read_json

OURS, PLAIN = "cft eval", "lm_eval"


def main(
    limit: Annotated[int, typer.Option(min=1, max=300, help="The first so many items.")] = 48,
    batch_size: Annotated[int, typer.Option(min=1, help="Of our side; lm_eval keeps its default, 1.")] = 48,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Most tokens of an answer.")] = 320,
    model: Annotated[str, typer.Option(help="A name of `cft models`, or a folder.")] = "qwen2.5-coder-0.5b",
    repeats: Annotated[int, typer.Option(min=1, help="Rounds; in each, all take their turn.")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="Threads of each side.")] = CORES,
    busy: Annotated[int, typer.Option(min=0, help="Other processes that compute all the while.")] = 0,
    out: Annotated[Path | None, typer.Option("--json", help="File for the result.")] = None,
) -> None:
    """Measure our evaluation against plain `lm_eval`."""
    rounds: list[dict[str, dict[str, Any]]] = []
    answers: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="cft-benchmark-") as name, busy_processes(busy):
        folder = Path(name)
        location = model_folder(model, folder / "model")
        for number in range(repeats):
            rounds.append({})
            for side, key in ((OURS, "ours"), (PLAIN, "lm_eval")):
                console.print(f"round {number + 1} of {repeats}: {side}", highlight=False)
                beside = folder / f"{key}-{number}"
                arguments = map(str, (key, location, limit, max_new_tokens, batch_size, beside / "answers.json"))
                process = run_process([sys.executable, "-m", "benchmarks.answer", *arguments], beside, threads)
                answers[side] = measured = read_json(beside / "answers.json")
                rounds[-1][side] = {
                    "items_per_second": round(limit / measured["seconds"], 4),
                    "tokens_per_second": round(measured["tokens"] / measured["seconds"], 2),
                    "generation_seconds": round(measured["seconds"], 2),
                    "tokens": measured["tokens"],
                    "correct": measured["correct"],
                    "process_seconds": process.seconds,
                    "peak_memory_mb": process.peak_memory_mb,
                }
    if any(answered["prompts"] != answers[OURS]["prompts"] for answered in answers.values()):
        raise SystemExit("The sides were asked different prompts; nothing can be compared.")
    agree = sum(a == b for a, b in zip(answers[OURS]["texts"], answers[PLAIN]["texts"], strict=True))

    result = {
        "benchmark": "evaluation",
        "machine": machine(threads),
        "model": Path(model).name,
        "dtype": DTYPE,
        "task": TASK,
        "items": limit,
        "max_new_tokens": max_new_tokens,
        "busy_processes": busy,
        "batch_size": {OURS: batch_size, PLAIN: 1},
        "same_text": agree,
        **summarise(rounds, ["items_per_second", "tokens_per_second"]),
    }
    report(f"{Path(model).name}: {limit} items, {threads} thread(s); {agree} of {limit} answers alike", result, out)


if __name__ == "__main__":
    typer.run(main)
