"""The card that is to be measured: whether torch can use it, how much of it is free, and who else is on it."""

import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.common import CORES, machine, visible_card
from cft.errors import CFTError
from cft.gpus import find_gpus, nvidia_smi
from cft.runs import git_commit
from cft.words import size


def choose_device(asked: str | None) -> str:
    """cuda or cpu. Raises CFTError where no card can be used and the CPU was not asked for."""
    if asked not in (None, "cuda", "cpu"):
        raise CFTError(f"--device {asked}: is neither cuda nor cpu.")
    if asked == "cpu":
        return "cpu"
    gpus, *why = find_gpus()
    if gpus and "(mps)" in gpus[0].name:
        gpus, why = [], ["an Apple GPU is here, which this does not measure"]
    if not gpus:
        told = ". ".join(filter(None, why))
        raise CFTError(f"no GPU can be used: {told}. --device cpu runs everything in a small form on the CPU.")
    return "cuda"


def others() -> list[str]:
    """The programs that compute on the card, each with what it holds."""
    asked = "--query-compute-apps=process_name,pid,used_memory"
    told = nvidia_smi("-i", visible_card()[0], asked, "--format=csv,noheader")
    rows = [[cell.strip() for cell in line.rsplit(",", 2)] for line in told.splitlines() if line.count(",") >= 2]
    return [f"{name} (process {pid}, {held})" for name, pid, held in rows]


def lacking(gb: float) -> str:
    """Why a measurement that takes so many GB cannot be made; "" where it can, or nobody knows."""
    _, card = visible_card()
    if card is None or card.memory - card.used >= 1e9 * gb:
        return ""
    free, held = card.memory - card.used, f"; on it: {', '.join(others())}" if others() else ""
    return f"needs {gb:.1f} GB of the card, {size(free)} of {size(card.memory)} are free{held}"


def notes(device: str) -> list[str]:
    """What a reader of the figures must know of this machine."""
    if device == "cpu":
        return ["A CPU, in a small form: it shows that everything runs. So few rows and tokens say little of speed."]
    found = [f"The card is also in use by {', '.join(others())}."] if others() else []
    if not shutil.which("nvcc"):
        found.append("No nvcc is here. Nothing needs it: torch.compile wants Triton and a C compiler.")
    return found


def identity(device: str, model: str, data: Path | None) -> dict[str, Any]:
    """What decides the figures: results of another card, torch or commit are no results of this one."""
    _, seen = visible_card()
    name = machine(CORES)["cpu"] if device == "cpu" else seen.name if seen else "a GPU"
    about = {"device": device, "card": name, "torch": version("torch"), "commit": git_commit()}
    return about | {"model": model, "data": str(data) if data else None}
