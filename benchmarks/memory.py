"""Peak memory of a training against what `cft plan` says of it: models x settings, each in a process of its own.

Each trains the quickstart's whole epoch, because one step hides what grows with the lengths that rows have. The peak is
the highest resident memory of the process; on a GPU what tensors took of the card, and CUDA's own part.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from benchmarks.common import CORES, console, machine, model_folder, run_process
from cft.files import read_json, write_json

MODELS = ["smollm2-135m", "gemma3-270m", "qwen2.5-coder-0.5b"]
SETTINGS = {
    "1 row": [1, "none", "none"],
    "4 rows": [4, "none", "none"],
    "4 rows, recomputed": [4, "full", "none"],
    "1 row, 4-bit": [1, "none", "nf4"],
}
OWN = "the recipe's own"


def overrides(rows: int, checkpointing: str, quantization: str) -> list[str]:
    """What to write on the command line for a setting."""
    args = {"per_device_train_batch_size": rows, "gradient_accumulation_steps": 4 // rows, "max_length": 2048}
    args["gradient_checkpointing"] = str(checkpointing != "none").lower()
    return [*(f"train.args.{key}={value}" for key, value in args.items()), f"model.quantization={quantization}"]


def main(
    given: Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Overrides of the recipe.")] = None,
    models: Annotated[list[str] | None, typer.Option("--model", help="Names of `cft models`, or folders.")] = None,
    settings: Annotated[list[str] | None, typer.Option("--setting", help=f"{'; '.join(SETTINGS)}; {OWN}")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Optimizer steps; by default all of the recipe.")] = None,
    recipe: Annotated[str, typer.Option(help="The recipe that is trained.")] = "quickstart",
    card: Annotated[float | None, typer.Option(min=1, help="GB of a smaller card: all that training may take.")] = None,
    shape: Annotated[
        bool, typer.Option("--shape", help="Train random weights of the recipe's sizes, with the tokenizer of --model.")
    ] = False,
    runs: Annotated[Path | None, typer.Option(help="Folder that keeps data and random models; else none does.")] = None,
    out: Annotated[Path | None, typer.Option("--json", help="File for the result.")] = None,
) -> None:
    """Measure peak memory and compare it with the plan."""
    known = SETTINGS | {OWN: None}
    wanted = settings or list(SETTINGS)
    if unknown := [name for name in wanted if name not in known]:
        raise SystemExit(f"--setting {unknown[0]!r}: is not known. Known: {', '.join(known)}.")
    rows = []
    with tempfile.TemporaryDirectory(prefix="cft-benchmark-") as name:
        folder = Path(name)
        for model in models or MODELS:
            location = model_folder(model, folder / "model")
            for setting in wanted:
                said = [] if shape else [f"model.id={json.dumps(location)}"]
                said += overrides(*known[setting]) if known[setting] else []
                said += [*(given or []), *([f"train.args.max_steps={steps}"] if steps else [])]
                asked: dict[str, Any] = {"recipe": recipe, "card": card, "shape": location if shape else None}
                asked["overrides"] = {word.partition("=")[0]: word.partition("=")[2] for word in said}
                asked["runs"] = str((runs or folder).resolve() / "runs")
                rows.append({"model": Path(model).name, "setting": setting} | measure(asked, folder / str(len(rows))))
                console.print(rows[-1], highlight=False)
    table = Table(
        "model", "setting", "planned GB", "measured GB", "off", "", title=f"{recipe}: peak memory of training"
    )
    for row in rows:
        sizes = (f"{row[key] / 1e9:.2f}" for key in ("planned", "measured"))
        told = row.get("error") or (f"fell back: {row['fell_back_to']}" if row["fell_back_to"] else "")
        table.add_row(row["model"], row["setting"], *sizes, f"{row['off']:+.1%}", told)
    console.print(table)
    if out:
        about = {"benchmark": "memory", "machine": machine(CORES), "recipe": recipe, "steps": steps}
        write_json(out, about | {"card_gb": card, "shape": shape, "rows": rows})


def measure(asked: dict[str, Any], folder: Path) -> dict[str, Any]:
    """One row: bytes planned and measured, and how far the plan is off."""
    command = [sys.executable, "-m", "benchmarks.memory_train", json.dumps(asked), str(folder / "row.json")]
    process = run_process(command, folder, CORES)
    row = {"measured": process.peak_memory_mb * 1e6} | read_json(folder / "row.json")
    return row | {"off": round(row["planned"] / row["measured"] - 1, 3)}


if __name__ == "__main__":
    typer.run(main)
