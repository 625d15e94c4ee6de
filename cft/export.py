"""`cft export`: what a run trained, in the form that other programs take.

    RUN/export/merged/    base and adapter in one: safetensors, tokenizer, chat template, generation config
    RUN/export/gguf/      the same for llama.cpp, and for Ollama with its Modelfile
    RUN/export/adapter/   the PEFT folder with tokenizer and card, for `vllm serve --lora-modules`

Each is written beside, checked against the adapter, and renamed into place. export.json in it says what it was made
from: what is there already is not made again.
"""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from rich.console import Console

from cft.errors import RunError
from cft.files import read_json, sha256_file, write_json
from cft.models import ModelSource, resolve
from cft.recipe import ModelBlock, Recipe, load_recipe, nearest
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


@dataclass(frozen=True)
class Options:
    """How to export."""

    outtype: str = "bf16"
    llama_cpp: Path | None = None


def open_trained(run: Run, step: int | None = None) -> Trained:
    """The adapter or model of a run, after `step` optimizer steps or at the end.

    Raises:
        RunError: the run trains nothing, its training is not finished, or the step was not kept.
        EvalError: the folder is no adapter.
    """
    from eval.arms import adapter_identity

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


def check_targets(targets: Sequence[str]) -> list[str]:
    """The targets in the order of making, each once.

    Raises:
        RunError: one of them is not known.
    """
    if unknown := [name for name in targets if name not in TARGETS]:
        near = nearest(unknown[0], TARGETS)
        meant = f" Did you mean {near}?" if near else ""
        raise RunError(f"--to {unknown[0]}: is not known.{meant} Give {', '.join(TARGETS)}.")
    return [name for name in TARGETS if name in targets]


def export(
    trained: Trained, targets: Sequence[str], out: Path | None, console: Console, options: Options | None = None
) -> dict[str, dict]:
    """Make the exports and return what is known of each: {target: {"path", "bytes", "made", "check", ...}}.

    Args:
        targets: names of TARGETS.
        out: folder for the exports; None: RUN/export, and RUN/export/step-N for a step.

    Raises:
        CFTError: there is no such target or converter, a folder is not ours, memory or disk is too small, the base
            cannot be had or is another one, or an export does not answer as the adapter does.
    """
    from cft.export_gguf import export_gguf, find_converter
    from cft.export_merge import export_merged
    from cft.export_ollama import export_ollama
    from cft.export_vllm import export_adapter

    targets, options = check_targets(targets), options or Options()
    if options.outtype not in OUTTYPES:
        raise RunError(f"--outtype {options.outtype}: is not known. Give {', '.join(OUTTYPES)}.")
    if trained.full and "adapter" in targets:
        raise RunError(f"{trained.run.path}: trained the whole model, so it has no adapter. Give --to merged.")
    out = out or trained.run.path / "export" / ("" if trained.step is None else f"step-{trained.step}")
    for name in targets:
        check_ours(out / ("gguf" if name == "ollama" else name))
    converter = find_converter(options.llama_cpp) if "gguf" in targets else None  # told before the long work
    done = {}
    try:
        if {"merged", "gguf", "ollama"} & set(targets):
            done["merged"] = export_merged(trained, out / "merged", console)
        if converter:
            done["gguf"] = export_gguf(trained, out, converter, options.outtype, console)
        if "ollama" in targets:
            done["ollama"] = export_ollama(trained, out, console)
        if "adapter" in targets:
            done["adapter"] = export_adapter(trained, out / "adapter")
    except (PermissionError, FileNotFoundError, NotADirectoryError) as error:
        if isinstance(error, FileNotFoundError) and out.exists():
            raise  # some other file is missing, which is a bug
        raise RunError(
            f"{error.filename or out}: cannot be written ({error.strerror}). Name a folder with --out."
        ) from None
    return done


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
