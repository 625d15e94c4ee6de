"""Peak memory of `cft train` against what `cft plan` says of it: models x settings, each in a process of its own.

Each trains the quickstart's whole epoch, because one step hides what grows with the lengths that rows have. The peak is
the highest resident memory of the process: this is for CPUs.
"""

import json
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from benchmarks.common import CORES, console, machine, model_folder, run_cft
from cft.files import write_json

MODELS = ["smollm2-135m", "gemma3-270m", "qwen2.5-coder-0.5b"]
SETTINGS = {
    "1 row": [1, "none", "none"],
    "4 rows": [4, "none", "none"],
    "4 rows, recomputed": [4, "full", "none"],
    "1 row, 4-bit": [1, "none", "nf4"],
}


def overrides(rows: int, checkpointing: str, quantization: str, steps: int | None) -> list[str]:
    """What to write on the command line for a setting."""
    args = {"per_device_train_batch_size": rows, "gradient_accumulation_steps": 4 // rows, "max_length": 2048}
    args["gradient_checkpointing"] = str(checkpointing != "none").lower()
    if steps:
        args["max_steps"] = steps
    return [*(f"train.args.{key}={value}" for key, value in args.items()), f"model.quantization={quantization}"]


def main(
    models: Annotated[list[str] | None, typer.Option("--model", help="Names of `cft models`, or folders.")] = None,
    settings: Annotated[list[str] | None, typer.Option("--setting", help="; ".join(SETTINGS))] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Optimizer steps of 4 rows; by default all 12.")] = None,
    out: Annotated[Path | None, typer.Option("--json", help="File for the result.")] = None,
) -> None:
    """Measure peak memory and compare it with the plan."""
    wanted = settings or list(SETTINGS)
    if unknown := [name for name in wanted if name not in SETTINGS]:
        raise SystemExit(f"--setting {unknown[0]!r}: is not known. Known: {', '.join(SETTINGS)}.")
    rows = []
    with tempfile.TemporaryDirectory(prefix="cft-benchmark-") as name:
        folder = Path(name)
        for model in models or MODELS:
            location = model_folder(model, folder / "model")
            for number, setting in enumerate(wanted):
                place = folder / f"{len(rows)}-{number}"
                given = ["quickstart", f"model.id={location}", *overrides(*SETTINGS[setting], steps)]
                run_cft(["data", "make", *given], place / "runs", place / "data", CORES)
                plan = json.loads(run_cft(["plan", *given], place / "runs", place / "plan", CORES).output)
                planned = plan["memory"]["training_gb"] * 1e9
                trained = run_cft(["train", *given], place / "runs", place / "train", CORES)
                measured = trained.peak_memory_mb * 1e6
                row = {"model": Path(model).name, "setting": setting, "planned": planned, "measured": measured}
                rows.append(row | {"off": round(planned / measured - 1, 3)})
                console.print(rows[-1], highlight=False)
    table = Table("model", "setting", "planned GB", "measured GB", "off", title="peak memory of training")
    for row in rows:
        sizes = (f"{row[key] / 1e9:.2f}" for key in ("planned", "measured"))
        table.add_row(row["model"], row["setting"], *sizes, f"{row['off']:+.1%}")
    console.print(table)
    if out:
        write_json(out, {"benchmark": "memory", "machine": machine(CORES), "steps": steps, "rows": rows})


if __name__ == "__main__":
    typer.run(main)
