"""What a run trained, as the exports take it, and the folder that each of them fills."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cft.errors import RunError
from cft.files import read_json, sha256_file, write_json
from cft.models.source import ModelSource, resolve
from cft.recipe.blocks import ModelBlock, Recipe
from cft.recipe.load import load_recipe
from cft.runs import Run, versions

TARGETS = ("merged", "gguf", "ollama", "adapter")


OUTTYPES = {"bf16": 2.0, "f16": 2.0, "f32": 4.0, "q8_0": 34 / 32}  # bytes a weight


RECORD = "export.json"


@dataclass(frozen=True)
class Trained:
    """What a run's train stage left: an adapter, or after full fine-tuning a whole model."""

    run: Run
    recipe: Recipe
    folder: Path
    step: int | None  # None: the last one
    full: bool
    quantized: bool  # whether it was trained on 4-bit weights

    @cached_property
    def block(self) -> ModelBlock:
        """The base as it is merged into: not quantised."""
        return self.recipe.model.model_copy(update={"quantization": "none"})

    @cached_property
    def base(self) -> ModelSource:
        return resolve(self.block)

    @property
    def name(self) -> str:
        return self.recipe.name if self.step is None else f"{self.recipe.name}-step-{self.step}"

    @cached_property
    def identity(self) -> dict:
        """What decides the exported weights; no paths in it."""
        names = ("*.safetensors", "adapter_config.json", "config.json")
        files = {path.name: sha256_file(path) for name in names for path in sorted(self.folder.glob(name))}
        return {
            "trained": files,
            "base": self.base.identity,
            "dtype": self.block.dtype,
            "chat_template": self.block.chat_template,
            "step": self.step,
        }


def open_trained(run: Run, step: int | None = None) -> Trained:
    """The adapter or model of a run, after `step` optimizer steps or at the end.

    Raises:
        RunError: the run trains nothing, its training is not finished, or the step was not kept.
        EvalError: the folder is no adapter.
    """
    from cft.weights.adapter import adapter_identity

    recipe = load_recipe(str(run.path / "recipe.yaml"))
    if recipe.train.method == "none":
        raise RunError(f"{run.path}: its recipe trains nothing (train.method none), so there is nothing to export.")
    run.need("train", run.adapter)
    summary = (read_json(run.adapter.parent / "metrics.json") or {}).get("summary", {})
    folder = run.adapter
    if step is not None and step != summary.get("steps"):
        folder = run.adapter.parent / "steps" / f"step-{step}"
        if not folder.is_dir():
            kept = sorted(int(p.name.removeprefix("step-")) for p in folder.parent.glob("step-*"))
            steps = ", ".join(map(str, [*kept, *([summary["steps"]] if "steps" in summary else [])]))
            raise RunError(
                f"--step {step}: was not kept. Kept steps of {run.path}: {steps or 'none'}. train.keep_steps keeps "
                "more of them."
            )
    full = (folder / "config.json").is_file() and not (folder / "adapter_config.json").is_file()
    if not full:
        adapter_identity(folder)
    fell_back = "quantization=nf4" in str(summary.get("fell_back_to", ""))
    quantized = recipe.model.quantization == "nf4" or fell_back
    return Trained(run, recipe, folder, None if folder == run.adapter else step, full, quantized)


def check_ours(folder: Path) -> None:
    """Raise RunError if there is something at `folder` that no export wrote."""
    if folder.exists() and not (folder / RECORD).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError(f"{folder}: exists and was not written by cft export. Name another folder with --out.")


def check_disk(folder: Path, needed: float) -> None:
    """Raise RunError unless `needed` bytes are free where `folder` is going to be."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    if free < needed:
        raise RunError(
            f"{folder}: needs {needed / 1e9:.2f} GB, {free / 1e9:.2f} GB are free there. Free some space, or name a "
            "folder on another disk with --out."
        )


def made_before(folder: Path, identity: dict) -> dict | None:
    """What export.json says if `folder` was made from exactly this."""
    record = read_json(folder / RECORD)
    return record if record and record["made_from"] == json.loads(json.dumps(identity)) else None


@contextmanager
def placed(folder: Path) -> Iterator[Path]:
    """A new empty folder that takes the place of `folder` when all went well, and is removed otherwise."""
    check_ours(folder)
    beside = folder.with_name(f".{folder.name}.tmp")
    old = folder.with_name(f".{folder.name}.old")
    for path in (beside, old):
        shutil.rmtree(path, ignore_errors=True)
    try:
        beside.mkdir(parents=True)
        yield beside
        for path in beside.glob("*.safetensors"):
            path.chmod(0o644)  # safetensors writes for its owner only
        if folder.exists():
            folder.rename(old)
        beside.rename(folder)
    finally:
        for path in (beside, old):
            shutil.rmtree(path, ignore_errors=True)


def write_record(folder: Path, identity: dict, facts: dict) -> dict:
    """Write export.json, which tells that the folder is ours and what it was made from; returns what it holds."""
    record = {"made_from": identity, **facts, "versions": versions()}
    write_json(folder / RECORD, record)
    return record


def told(folder: Path, record: dict, made: bool) -> dict:
    """What the command says of an export."""
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    facts = {key: value for key, value in record.items() if key not in ("made_from", "versions")}
    return {"path": str(folder), "bytes": size, "made": made, **facts}
