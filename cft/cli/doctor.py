"""`cft doctor`: what this machine has, and what will therefore work. Takes a few seconds and changes nothing."""

import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Literal

import psutil
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from rich.table import Table

from cft.cache import cache_folder
from cft.errors import CFTError
from cft.files import nearest_folder
from cft.models.fetch import hub_reachable
from cft.models.source import list_models
from cft.models.wheels import has_pip
from cft.terminal import Terminal, Text
from cft.words import shell_line, size

DISTRIBUTION = "one-problem-cft"
HERE = Path(__file__).parents[1]
SHOWN = ("torch", "transformers", "trl", "peft", "lm-eval")  # the others are named only when something is amiss
COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


@dataclass(frozen=True)
class Check:
    """One line of the answer. fail: cft will not work; warn: something will be missing or slow."""

    name: str
    status: Literal["ok", "warn", "fail"]
    value: str
    hint: str = ""


@dataclass(frozen=True)
class Gpu:
    """One accelerator as torch will see it."""

    name: str
    memory: int  # bytes
    bfloat16: bool
    used: int = 0  # bytes that programs hold now


def check(runs: Path = Path("runs")) -> list[Check]:
    """All checks, in the order they are shown. `runs` is the folder that run folders go to."""
    gpus, why_none = find_gpus()
    flags, hub = cpu_flags(), hub_reachable()
    nf4 = importlib.util.find_spec("bitsandbytes") is not None
    python = Check("python", "ok", f"{platform.python_version()} ({sys.executable})")
    checks = [python, *check_libraries(), check_gpu(gpus, why_none), check_cpu(flags), check_memory()]
    try:
        checks.append(check_disk("cache", cache_folder()))
    except CFTError as error:
        checks.append(Check("disk: cache", "fail", "no folder", str(error)))
    checks.append(check_disk("runs", runs.absolute()))
    why, hint = "no answer within 3 s, or HF_HUB_OFFLINE is set", "Use a name of `cft models`."
    checks.append(Check("model hub", "ok", "answers") if hub else Check("model hub", "warn", why, hint))
    hint = "For model.quantization=nf4: pip install 'one-problem-cft[gpu]'" if gpus and not nf4 else ""
    installed = version("bitsandbytes") if nf4 else "not installed"
    checks.append(Check("bitsandbytes", "warn" if hint else "ok", installed, hint))
    return checks + what_works(gpus, flags, hub, nf4)


def check_libraries() -> list[Check]:
    """One summary, and one line for each library that is missing, outside our bounds, or not the tested version."""
    tested = tested_versions()
    installed, faults = {}, []
    for need in requirements():
        name = need.name
        try:
            installed[name] = version(name)
        except PackageNotFoundError:
            faults.append(Check(name, "fail", "not installed", f"pip install '{need}'"))
            continue
        here, pin = installed[name], tested.get(canonicalize_name(name))
        public = here.partition("+")[0]
        if not need.specifier.contains(public, prereleases=True):
            faults.append(Check(name, "fail", here, f"{need.specifier} is needed: pip install '{need}'"))
        elif pin and public != pin:
            faults.append(Check(name, "warn", here, f"Tested with {pin}: pip install {name}=={pin}"))
    shown = ", ".join(f"{name} {number}" for name, number in installed.items() if canonicalize_name(name) in SHOWN)
    worst = "fail" if any(fault.status == "fail" for fault in faults) else "warn" if faults else "ok"
    extent = f"{len(faults)} not as tested" if faults else "all as tested"
    if not tested:
        extent = f"{len(installed)} found, no constraints file to compare with"
    return [Check("libraries", worst, f"{extent}: {shown}"), *faults]


def requirements() -> list[Requirement]:
    """What we need to run: from the installed distribution, else from pyproject.toml of the checkout."""
    try:
        lines = requires(DISTRIBUTION) or []
    except PackageNotFoundError:
        project = HERE.parent / "pyproject.toml"
        lines = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["dependencies"]
    needs = map(Requirement, lines)
    return [need for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})]


def tested_versions() -> dict[str, str]:
    """Library -> tested version, from constraints.txt of the checkout or of the installed package; else empty."""
    for path in (HERE.parent / "constraints.txt", HERE / "_constraints.txt"):
        if path.is_file():
            pins = re.findall(r"^([\w.-]+)==([\w.]+)", path.read_text(encoding="utf-8"), re.MULTILINE)
            return {canonicalize_name(name): pin for name, pin in pins}
    return {}


def find_gpus() -> tuple[list[Gpu], str]:
    """Accelerators that torch can use, and why there is none. Imports torch only where nothing cheaper can tell."""
    backend = torch_backend()
    if backend == "cuda":
        if os.environ.get("CUDA_VISIBLE_DEVICES", "all") in ("", "-1"):
            return [], "hidden by CUDA_VISIBLE_DEVICES"
        return nvidia_gpus(), "no NVIDIA driver answers (nvidia-smi)"
    if backend == "mps" or (backend == "hip" and Path("/dev/kfd").exists()):
        import torch

        if torch.cuda.is_available():
            properties = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
            return [Gpu(p.name, p.total_memory, torch.cuda.is_bf16_supported()) for p in properties], ""
        if torch.backends.mps.is_available():
            return [Gpu("Apple GPU (mps)", torch.mps.recommended_max_memory(), True)], ""
    here = nvidia_gpus()
    if here:
        return [], f"{here[0].name} is here, but this torch is built without CUDA"
    return [], "none found"


def torch_backend() -> str | None:
    """cuda, hip or mps: what the installed torch was built for, read from its version file. None: CPU only."""
    torch = importlib.util.find_spec("torch")
    if torch is None or torch.origin is None:
        return None
    text = (Path(torch.origin).parent / "version.py").read_text(encoding="utf-8")
    built = [kind for kind in ("cuda", "hip") if re.search(rf"^{kind}\b[^=\n]*= *['\"]", text, re.MULTILINE)]
    return built[0] if built else "mps" if sys.platform == "darwin" and platform.machine() == "arm64" else None


def nvidia_gpus() -> list[Gpu]:
    """The GPUs that nvidia-smi names; empty where it is missing or fails."""
    query = ["nvidia-smi", "--query-gpu=name,memory.total,compute_cap,memory.used", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=3, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    rows = [[cell.strip() for cell in line.rsplit(",", 3)] for line in answer.splitlines() if line.count(",") >= 3]
    return [
        Gpu(name, int(mib) << 20, float(capability) >= 8, int(used) << 20 if used.isdigit() else 0)
        for name, mib, capability, used in rows
        if mib.isdigit()
    ]


def check_gpu(gpus: list[Gpu], why_none: str) -> Check:
    """Names, memory and bfloat16 of the GPUs. None is no fault: everything runs on the CPU too."""
    if not gpus:
        hint = "Install a CUDA build of torch to use it." if "without CUDA" in why_none else ""
        return Check("gpu", "warn" if hint else "ok", f"{why_none}; the CPU is used", hint)
    text = [f"{gpu.name}, {size(gpu.memory)}, bfloat16 {'yes' if gpu.bfloat16 else 'no'}" for gpu in gpus]
    if busy := [gpu for gpu in gpus if gpu.used > 0.1 * gpu.memory]:
        held = "; ".join(f"{size(gpu.used)} of {gpu.name} in use" for gpu in busy)
        hint = "nvidia-smi says by what; CUDA_VISIBLE_DEVICES chooses another one."
        return Check("gpu", "warn", f"{'; '.join(text)}; busy: {held}", hint)
    return Check("gpu", "ok", "; ".join(text))


def cpu_flags() -> set[str]:
    """The CPU's bfloat16 instructions: a subset of {avx512_bf16, amx_bf16, bf16}; empty where unknown."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {"bf16"} if sys.platform == "darwin" and platform.machine() == "arm64" else set()
    line = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    return {"avx512_bf16", "amx_bf16", "bf16"} & set(line[1].split() if line else [])


def check_cpu(flags: set[str]) -> Check:
    """Cores this process may use, and bfloat16 instructions."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Check("cpu", "ok", f"{cores} core(s), bfloat16 instructions: {', '.join(sorted(flags)) or 'none'}")


def check_memory() -> Check:
    """Memory that is free now."""
    memory = psutil.virtual_memory()
    value = f"{size(memory.available)} free of {size(memory.total)}"
    if memory.available < 4e9:
        return Check("memory", "warn", value, "This is little; `cft plan RECIPE` says what a run needs.")
    return Check("memory", "ok", value)


def check_disk(name: str, folder: Path) -> Check:
    """Whether `folder` can be written, and free space on its disk."""
    there = nearest_folder(folder)
    free = shutil.disk_usage(there).free
    value = f"{size(free)} free in {folder}"
    variable = "Set CFT_CACHE to" if name == "cache" else "Give --runs"
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        return Check(f"disk: {name}", "fail", f"{there} cannot be written", f"{variable} a folder that can.")
    if free < 3e9:
        return Check(f"disk: {name}", "warn", value, f"3 GB are little. Free some, or: {variable} a folder elsewhere.")
    return Check(f"disk: {name}", "ok", value)


def what_works(gpus: list[Gpu], flags: set[str], hub: bool, nf4: bool) -> list[Check]:
    """The consequences, in the words of a recipe."""
    yes = "yes, if pip reaches its package index"
    no_pip = f"This Python has no pip: {shell_line(sys.executable, '-m', 'ensurepip')}"
    try:
        cached = [row["name"] for row in list_models() if row["cached"]]
        listed = Check("models.yaml", "ok", f"cached: {', '.join(cached) or 'none yet'}")
    except CFTError as error:
        listed = Check("models.yaml", "fail", "cannot be read", str(error))
    fast = any(gpu.bfloat16 for gpu in gpus) if gpus else flags
    dtype = ("ok", "yes") if fast else ("warn", "works, but is emulated and slow", "Set model.dtype=auto.")
    quantized = ("ok", "yes" if gpus else "yes, on the CPU, which saves no memory there")
    if not nf4:
        quantized = ("warn" if gpus else "ok", "no (no bitsandbytes)")
    return [
        Check("hub models", "ok" if hub else "warn", "yes" if hub else "no, only those in the hub's own cache"),
        Check("models from wheels", *(("ok", yes) if has_pip() else ("warn", "no", no_pip))),
        listed,
        Check("model.dtype=bfloat16", *dtype),
        Check("model.quantization=nf4", *quantized),
    ]


def print_checks(checks: list[Check], console: Terminal) -> None:
    """One line a check; hints below the value they belong to."""
    table = Table(box=None, pad_edge=False, show_header=False)
    for item in checks:
        hint = f"\n{item.hint}" if item.hint else ""
        mark = Text(item.status, style=COLOURS[item.status])
        table.add_row(mark, item.name, Text.assemble(item.value, (hint, "dim")))
    console.print(table)
