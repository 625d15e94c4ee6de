"""`cft doctor`: what this machine has, and what will therefore work. Takes a few seconds and changes nothing."""

import importlib.util
import os
import platform
import re
import shutil
import sys
import tomllib
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Literal

import psutil
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from rich.table import Table

from cft.cache import cache_folder
from cft.errors import CFTError
from cft.files import nearest_folder
from cft.gpus import Gpu, find_gpus, has_code, in_wsl, torch_backend
from cft.models.fetch import hub_reachable
from cft.models.source import list_models
from cft.models.wheels import installed_version
from cft.terminal import Terminal, Text
from cft.words import shell_line, size

DISTRIBUTION = "one-problem-cft"
HERE = Path(__file__).parents[1]
SHOWN = ("torch", "transformers", "trl", "peft", "lm-eval")  # the others are named only when something is amiss
# Versions beside the tested one with which the tests that touch the library passed: `make test-torch TORCH=2.6.0`
TRIED = {"torch": [(2, 6), (2, 11), (2, 14)]}
COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


@dataclass(frozen=True)
class Check:
    """One line of the answer. fail: cft will not work; warn: something will be missing or slow."""

    name: str
    status: Literal["ok", "warn", "fail"]
    value: str
    hint: str = ""


def check(runs: Path = Path("runs")) -> list[Check]:
    """All checks, in the order they are shown. `runs` is the folder that run folders go to."""
    gpus, why_none, fix = find_gpus()
    flags, hub = cpu_flags(), hub_reachable()
    nf4 = importlib.util.find_spec("bitsandbytes") is not None
    python = Check("python", "ok", f"{platform.python_version()} ({sys.executable})")
    checks = [python, *check_libraries(), check_gpus(gpus, why_none, fix), check_cpu(flags), check_memory()]
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
    return checks + what_works(gpus, flags, hub, nf4) + check_faster(gpus)


def check_libraries() -> list[Check]:
    """One summary, and one line for each library that is missing, outside our bounds, or not the tested version."""
    tested = tested_versions()
    installed, faults = {}, []
    for need in requirements():
        name, here = need.name, installed_version(need.name)
        if here is None:
            faults.append(Check(name, "fail", "not installed", f"pip install '{need}'"))
            continue
        installed[name], pin = here, tested.get(canonicalize_name(name))
        public = here.partition("+")[0]
        if not need.specifier.contains(public, prereleases=True):
            faults.append(Check(name, "fail", here, f"{need.specifier} is needed: pip install '{need}'"))
        elif pin and public != pin:
            faults.append(other_version(name, public, pin))
    shown = ", ".join(f"{name} {number}" for name, number in installed.items() if canonicalize_name(name) in SHOWN)
    worst = max((fault.status for fault in faults), key=["ok", "warn", "fail"].index, default="ok")
    extent = f"{len(faults)} not as tested" if faults else "all as tested"
    if not tested:
        extent = f"{len(installed)} found, no constraints file to compare with"
    return [Check("libraries", worst, f"{extent}: {shown}"), *faults]


def other_version(name: str, here: str, tested: str) -> Check:
    """What there is to say of a version within our bounds that is not the one that everything is tested with."""
    tried = TRIED.get(name, ())
    if any(Version(here).release[: len(one)] == one for one in tried):
        return Check(name, "ok", here, f"Tested with {tested}; the tests that touch {name} passed with this one too.")
    age = "Older" if Version(here) < Version(tested) else "Newer"
    also = ", ".join(".".join(map(str, one)) for one in tried)
    also = f" (tried: {also})" if also else ""
    return Check(name, "warn", here, f"{age} than the tested one{also}: pip install {name}=={tested}")


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


def check_gpus(gpus: list[Gpu], why_none: str, fix: str) -> Check:
    """Names, memory and bfloat16 of the GPUs. None is no fault: everything runs on the CPU too."""
    if not gpus:
        return Check("gpu", "warn" if fix else "ok", f"{why_none}; the CPU is used", fix)
    text = "; ".join(f"{gpu.name}, {size(gpu.memory)}, bfloat16 {'yes' if gpu.bfloat16 else 'no'}" for gpu in gpus)
    built = built_for() if any(gpu.capability for gpu in gpus) else []
    if built and (strange := [gpu for gpu in gpus if gpu.capability and not has_code(gpu.capability, built)]):
        lacks = "; ".join(f"no code for {gpu.name} ({gpu.capability})" for gpu in strange)
        fix = "Install a build of torch that has it: https://pytorch.org/get-started/locally"
        return Check("gpu", "warn", f"{text}; this torch has {lacks}, only for {', '.join(built)}", fix)
    if busy := [gpu for gpu in gpus if gpu.used > 0.1 * gpu.memory]:
        held = "; ".join(f"{size(gpu.used)} of {gpu.name} in use" for gpu in busy)
        fix = "nvidia-smi says by what; CUDA_VISIBLE_DEVICES chooses another one."
        return Check("gpu", "warn", f"{text}; busy: {held}", fix)
    return Check("gpu", "ok", text)


def built_for() -> list[str]:
    """The architectures that the installed torch has code for."""
    import torch

    return torch.cuda.get_arch_list()


def check_faster(gpus: list[Gpu]) -> list[Check]:
    """What makes training faster where it is there: a compiler of its layers, and flash attention on a GPU."""
    name, metal = "train.args.torch_compile", bool(gpus) and torch_backend() == "mps"
    if metal:
        return [Check(name, "ok", "not measured on an Apple GPU, so only if a recipe asks for it")]
    # Where Triton and TorchInductor look
    on_cpu = "clang++" if sys.platform == "darwin" else "g++"
    compilers = [os.environ.get("CC"), "gcc", "clang"] if gpus else [os.environ.get("CXX"), on_cpu]
    lacks = [] if any(map(shutil.which, filter(None, compilers))) else [f"no compiler ({compilers[1]})"]
    lacks += ["no Triton"] if gpus and importlib.util.find_spec("triton") is None else []
    fix = "Layers are not compiled. Install what is missing: apt install g++, or pip install triton."
    compiled = Check(name, "ok", "yes, where a training is long enough to pay for it")
    compiled = Check(name, "warn", ", ".join(lacks), fix) if lacks else compiled
    if not gpus:
        return [compiled]
    found = [f"{one} {here}" for one in ("flash-attn", "kernels") if (here := installed_version(one))]
    flash = f"{found[0]}, if it works here" if found else "not installed: PyTorch's own attention is used"
    return [compiled, Check("flash attention", "ok", flash)]


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
    if in_wsl():
        value += ", what Windows leaves to WSL: `memory=` in .wslconfig is its share"
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
    if gpus and torch_backend() == "mps":
        quantized = ("ok", "bitsandbytes has it for an Apple GPU; not measured")
    if not nf4:
        quantized = ("warn" if gpus else "ok", "no (no bitsandbytes)")
    return [
        Check("hub models", "ok" if hub else "warn", "yes" if hub else "no, only those in the hub's own cache"),
        Check("models from wheels", *(("ok", yes) if installed_version("pip") else ("warn", "no", no_pip))),
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
