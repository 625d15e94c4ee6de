"""Runs the parts of a step within its time, each in a process of its own, and keeps each result at once."""

import os
from collections.abc import Callable
from typing import Any

from benchmarks.common import CORES, visible_card
from benchmarks.gpu.card import lacking
from benchmarks.gpu.child import run_child
from benchmarks.gpu.record import Part, Record, Settings
from benchmarks.gpu.steps import Step
from cft.errors import CFTError

Left = Callable[[], float]  # seconds left to the step
Show = Callable[[str, dict[str, Any] | None], None]


def run_step(step: Step, settings: Settings, record: Record, left: Left, show: Show) -> None:
    """Bring a step as far as its time allows; `record` is written after each part.

    Args:
        show: called a few times a second with the name of the part that runs, and at its end with what is kept of it.
    """
    record.skipped = step.absent(settings)
    for part in step.parts(settings, record, left) if not record.skipped else ():
        if not record.done(part):
            kept = record.parts[part.name] = run_part(part, step.name, settings, left, show)
            record.seconds += kept["seconds"]
            record.write()
            show(part.name, kept)
    record.write()


def run_part(part: Part, step: str, settings: Settings, left: Left, show: Show) -> dict[str, Any]:
    """What the record keeps of a part: status, command, why, seconds, result."""
    kept: dict[str, Any] = {"command": part.command, "seconds": 0.0, "why": ""}
    if why := part.skip or (lacking(part.gb) if settings.on_gpu else ""):
        return kept | {"status": "skipped", "why": why}
    if left() < max(part.seconds, 1):
        takes = f"takes {part.seconds:.0f} s or more, " if part.seconds else ""
        return kept | {"status": "cut", "why": f"{takes}{max(0, left()):.0f} s were left to this step"}
    ended = run_child(
        part.command,
        settings.place(step, part.name),
        left(),
        environment(settings) | part.environment,
        lambda: show(part.name, None),
    )
    kept["seconds"] = ended.seconds
    cut = ended.cut and ended.code != 0
    told = f"cut off after {ended.seconds:.0f} s; the same command goes on"
    if cut and not part.partly:
        return kept | {"status": "cut", "why": told}
    if not cut and ended.code not in part.codes:
        return kept | {"status": "failed", "why": ended.tail}
    try:
        result = part.read(ended)
    except (CFTError, LookupError, TypeError, ValueError) as error:
        why = f"its result cannot be read ({type(error).__name__}: {error})\n{ended.tail}"
        return kept | {"status": "failed", "why": why}
    fault = result.pop("fault", "")
    status = "failed" if fault else "cut" if cut else "done"
    return kept | {"status": status, "why": fault or (told if cut else ""), "result": result}


def environment(settings: Settings) -> dict[str, str]:
    """What each process is told: one card, or none, and all cores."""
    card = visible_card()[0] if settings.on_gpu else ""
    threads = os.environ.get("OMP_NUM_THREADS", str(CORES))
    told = {"CUDA_VISIBLE_DEVICES": card, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}  # the order of nvidia-smi
    told |= {"OMP_NUM_THREADS": threads, "COLUMNS": "200"}
    return told | {"HF_DATASETS_CACHE": str(settings.work / "datasets")}
