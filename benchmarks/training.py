"""Tokens a second: `cft train` against TRL's own command `trl sft` with its defaults, on the same rows.

Both train a LoRA adapter of the same shape on critiques of recipes/critiques/bakery.jsonl, taking turns, each in a
process of its own. --compiled adds ours with compiled layers, --unsloth adds unsloth, from an environment of its own.
Says too what share of the machine's matrix multiplication ours reaches. See benchmarks/README.md for what is compared.
"""

import json
import re
import shutil
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.common import (
    CORES,
    Finished,
    busy_processes,
    console,
    machine,
    model_folder,
    report,
    run_cft,
    run_process,
    summarise,
)
from cft.files import read_json, read_jsonl, write_jsonl
from cft.models.architecture import Architecture
from cft.recipe.load import load_recipe

ROWS_A_STEP = 8  # TRL's default. TRL: one batch of 8; ours: 8 batches of one row
TRL_MAX_LENGTH = 1024  # TRL's default
OURS, TRL, COMPILED, UNSLOTH = "cft train", "trl sft", "cft train, compiled", "unsloth"


def main(
    rows: Annotated[int, typer.Option(help="Training rows, a multiple of those of a step.")] = 16,
    steps: Annotated[int, typer.Option(help="Optimizer steps; together whole epochs of the rows.")] = 2,
    rows_a_step: Annotated[int, typer.Option(min=1, help="Rows of an optimizer step.")] = ROWS_A_STEP,
    model: Annotated[str, typer.Option(help="A name of `cft models`, or a folder.")] = "qwen2.5-coder-0.5b",
    repeats: Annotated[int, typer.Option(min=1, help="Rounds; in each, both take their turn.")] = 3,
    max_length: Annotated[int, typer.Option(help="Most tokens of a row; a longer row is an error.")] = TRL_MAX_LENGTH,
    threads: Annotated[int, typer.Option(min=1, help="Threads of each side.")] = CORES,
    busy: Annotated[int, typer.Option(min=0, help="Other processes that compute all the while.")] = 0,
    compiled: Annotated[bool, typer.Option("--compiled", help="Race ours with train.args.torch_compile too.")] = False,
    unsloth: Annotated[Path | None, typer.Option(help="A Python that has unsloth, to race it too.")] = None,
    out: Annotated[Path | None, typer.Option("--json", help="File for the result.")] = None,
) -> None:
    """Measure `cft train` against `trl sft`."""
    seen = steps * rows_a_step
    if unsloth and rows_a_step != ROWS_A_STEP:
        raise SystemExit(f"--rows-a-step {rows_a_step}: unsloth is raced with {ROWS_A_STEP}.")
    if rows < 1 or steps < 1 or rows % rows_a_step or seen % rows:
        raise SystemExit(
            f"--rows {rows} --steps {steps}: {steps} steps take {seen} rows, which are not whole epochs of {rows}. Let "
            f"--rows be a multiple of {rows_a_step}, and --steps a multiple of rows / {rows_a_step}."
        )
    with tempfile.TemporaryDirectory(prefix="cft-benchmark-") as name, busy_processes(busy):
        folder = Path(name)
        location = model_folder(model, folder / "model")
        settings = ["quickstart", f"model.id={location}", "model.dtype=bfloat16", f"data.max_examples={rows}"]
        args = {"max_length": max_length, "max_steps": steps, "per_device_train_batch_size": 1}
        args["gradient_accumulation_steps"] = rows_a_step
        settings += [f"train.args.{key}={value}" for key, value in args.items()]

        # The rows, once
        made = folder / "made"
        compiling = [*settings, "train.args.torch_compile=true"]
        for one in [settings, compiling][: 1 + compiled]:  # another recipe has another run folder
            run_cft(["data", *one], made, folder / "data", threads)
        examples = next(made.glob("*/*/data/examples.jsonl"))
        given = [{key: row[key] for key in ("prompt", "completion")} for _, row in read_jsonl(examples)]
        if len(given) != rows:
            raise SystemExit(f"--rows {rows}: the bakery file makes only {len(given)}. Ask for less.")
        write_jsonl(folder / "rows" / "train.jsonl", given)

        # A B A B ...
        rounds: list[dict[str, dict[str, Any]]] = []
        for number in range(repeats):
            say = partial(console.print, f"round {number + 1} of {repeats}:", highlight=False)
            say(OURS)
            ours, metrics = measure_ours(settings, made, folder / f"ours-{number}", threads, seen)
            tokens = metrics["log"][-1]["tokens"]
            flags = trl_flags(steps, rows_a_step, max_length, on_cpu=metrics["settings"]["args"]["use_cpu"])
            say(TRL)
            theirs = measure_trl(location, folder / "rows", flags, folder / f"trl-{number}", threads, tokens)
            rounds.append({OURS: ours, TRL: theirs})
            if compiled:
                say(COMPILED)
                rounds[-1][COMPILED], _ = measure_ours(compiling, made, folder / f"compiled-{number}", threads, seen)
            if unsloth:
                say(UNSLOTH)
                same = location, folder / "rows", steps, max_length, folder / f"unsloth-{number}", threads, tokens
                rounds[-1][UNSLOTH] = measure_unsloth(unsloth, *same)
            console.print({side: measured["tokens_per_second"] for side, measured in rounds[-1].items()})

        matmul = [sys.executable, "-m", "benchmarks.gpu.machine", str(folder / "peak.json"), "--matmul"]
        run_process(matmul, folder / "peak", threads)
        peak = read_json(folder / "peak.json")["peak_flops"]

    result = {
        "benchmark": "training",
        "machine": machine(threads),
        "model": Path(model).name,
        "rows": rows,
        "steps": steps,
        "busy_processes": busy,
        "tokens": tokens,
        "longest_tokens": metrics["summary"]["longest_tokens"],
        "trl_flags": [{"flag": " ".join(flag), "why": why} for *flag, why in flags],
        "matmul_flops": round(peak),
        **summarise(rounds, ["tokens_per_second"]),
    }
    sizes = Architecture.from_config(read_json(Path(location) / "config.json"))
    if sizes:  # of ours: what training on these rows takes, over what the machine could do in that time
        counts = metrics["summary"]
        each = counts["prompt_tokens"] / counts["rows"], counts["completion_tokens"] / counts["rows"]
        work = seen * sizes.flops(*each, full=False, recomputes=False)
        result["mfu"] = round(work / result["medians"][OURS]["train_seconds"] / peak, 3)
        console.print(f"{OURS}: {result['mfu']:.0%} of the matmul peak, {peak / 1e9:.0f} GFLOP/s", highlight=False)
    report(f"{Path(model).name}: {steps} steps, {tokens} tokens, {threads} thread(s)", result, out)


def measure_ours(settings: list[str], made: Path, folder: Path, threads: int, seen: int) -> tuple[dict, dict]:
    """Train from a copy of the run folder whose data stage is finished; the measures, and what metrics.json holds.

    Raises:
        SystemExit: it failed (a row above max_length, say), or did not train on `seen` rows in whole epochs.
    """
    shutil.copytree(made, folder / "runs")
    process = run_cft(["train", *settings], folder / "runs", folder, threads)
    metrics = read_json(next((folder / "runs").glob("*/*/train/metrics.json")))
    counts, last = metrics["summary"], metrics["log"][-1]
    tokens = (counts["prompt_tokens"] + counts["completion_tokens"]) * seen // counts["rows"]  # of the tokenised rows
    if last["tokens"] != tokens:
        raise SystemExit(f"{OURS} trained on {last['tokens']} tokens instead of {tokens}.")
    measured = measures(last["train_runtime"], tokens, process)
    measured["tokens_per_second_of_steps"] = counts["tokens_per_second"]  # without the trial, and without compiling
    if not metrics["settings"]["args"]["use_cpu"]:
        measured["gpu_memory_mb"] = round(counts["peak_memory_mb"] * 2**20 / 1e6)
    return measured, metrics


def measure_trl(location: str, rows: Path, flags: list[list[str]], folder: Path, threads: int, tokens: int) -> dict:
    """Train with `trl sft`.

    Raises:
        SystemExit: it failed, or its own count of tokens is another: a row was cut or dropped.
    """
    command = [sys.executable, "-m", "trl.cli.main", "sft"]  # what the script `trl` runs
    command += ["--model_name_or_path", location, "--dataset_name", str(rows), "--output_dir", str(folder / "adapter")]
    process = run_process([*command, *(word for *flag, _ in flags for word in flag)], folder, threads)
    logged = {key: re.findall(rf"'{key}': '([^']+)'", process.output) for key in ("train_runtime", "num_tokens")}
    if not all(logged.values()):
        raise SystemExit(f"{TRL} printed no train_runtime or num_tokens:\n{process.output[-2000:]}")
    if logged["num_tokens"][-1] != f"{tokens:.4g}":  # it prints four digits
        raise SystemExit(f"{TRL} trained on {logged['num_tokens'][-1]} tokens instead of {tokens}: rows were lost.")
    return measures(float(logged["train_runtime"][-1]), tokens, process)


def measure_unsloth(
    python: Path, location: str, rows: Path, steps: int, max_length: int, folder: Path, threads: int, tokens: int
) -> dict:
    """Train with unsloth as its notebooks do (benchmarks/unsloth_train.py).

    Raises:
        SystemExit: it failed, or counts other tokens: a row was cut, dropped, or rendered by another template.
    """
    lora = {"r": 16, "lora_alpha": 32} | load_recipe("quickstart").train.lora
    settings = {"model": location, "rows": str(rows / "train.jsonl"), "steps": steps, "lora": lora}
    settings |= {"max_length": max_length, "out": str(folder / "adapter")}
    script = str(Path(__file__).with_name("unsloth_train.py"))
    process = run_process([str(python), script, json.dumps(settings)], folder, threads)
    done = json.loads(process.output.strip().splitlines()[-1])
    if abs(done["num_tokens"] / tokens - 1) > 0.01:  # its template may write some tokens less
        raise SystemExit(f"{UNSLOTH} trained on {done['num_tokens']:.0f} tokens instead of {tokens}: rows were lost.")
    return measures(done["train_runtime"], tokens, process)


def trl_flags(steps: int, rows_a_step: int, max_length: int, on_cpu: bool) -> list[list[str]]:
    """Every flag of `trl sft` that is not model, rows and output, with the reason as its last item."""
    lora = {"r": 16, "lora_alpha": 32, "lora_dropout": 0.0} | load_recipe("quickstart").train.lora
    same = "the same adapter as the quickstart recipe"
    flags = [
        ["--use_peft", same],
        ["--lora_r", str(lora["r"]), f"{same} (also TRL's default)"],
        ["--lora_alpha", str(lora["lora_alpha"]), f"{same} (also TRL's default)"],
        ["--lora_dropout", str(lora["lora_dropout"]), f"{same} (TRL: 0.05)"],
        ["--lora_target_modules", str(lora["target_modules"]), f"{same} (TRL: PEFT's choice for the architecture)"],
        ["--max_steps", str(steps), "the same steps"],
        ["--save_strategy", "no", "its checkpoint would count as training time"],
    ]
    if on_cpu:
        flags.append(["--use_cpu", "without a GPU it refuses to start, as its default is bf16"])
    if rows_a_step != ROWS_A_STEP:
        flags.append(
            ["--per_device_train_batch_size", str(rows_a_step), f"fewer than its {ROWS_A_STEP} were asked for"]
        )
    if max_length != TRL_MAX_LENGTH:
        flags.append(["--max_length", str(max_length), f"rows above its {TRL_MAX_LENGTH} would be cut"])
    return flags


def measures(seconds: float, tokens: int, process: Finished) -> dict[str, Any]:
    """Seconds are transformers' `train_runtime` on both sides."""
    return {
        "tokens_per_second": round(tokens / seconds, 2),
        "train_seconds": round(seconds, 2),
        "process_seconds": process.seconds,
        "peak_memory_mb": process.peak_memory_mb,
    }


if __name__ == "__main__":
    typer.run(main)
