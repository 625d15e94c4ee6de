"""The graphics cards of this machine, and why torch computes on none of them. Torch is loaded only where a card is."""

import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

# The last builds of torch for drivers that go up to CUDA 11 or 12 (https://download.pytorch.org/whl)
WHEELS = {11: "cu118", 12: "cu126"}
NVIDIA_DRIVER = Path("/dev/nvidiactl")
AMD_DRIVER = (Path("/dev/kfd"), Path("/dev/dxg"))  # of Linux, and of Linux inside Windows
WSL_NVIDIA_SMI = "/usr/lib/wsl/lib/nvidia-smi"  # where Windows puts it, on no PATH of some distributions


@dataclass(frozen=True)
class Gpu:
    """One accelerator as torch will see it."""

    name: str
    memory: int  # bytes
    bfloat16: bool
    used: int = 0  # bytes that programs hold now
    capability: str = ""  # what its code is built for: 8.6, or gfx1100


def find_gpus() -> tuple[list[Gpu], str, str]:
    """The cards that torch can use; if none, why; and what to do where there is one that it could use."""
    backend = torch_backend()
    if backend == "mps":
        import torch

        if torch.backends.mps.is_available():
            bfloat16 = torch.backends.mps.is_macos_or_newer(14, 0)
            return [Gpu("Apple GPU (mps)", torch.mps.recommended_max_memory(), bfloat16)], "", ""
    if backend in ("cuda", "hip"):
        variable = "CUDA_VISIBLE_DEVICES" if backend == "cuda" else "HIP_VISIBLE_DEVICES"
        if os.environ.get(variable, "all") in ("", "-1"):
            return [], f"hidden by {variable}", ""
    if backend == "hip" and any(path.exists() for path in AMD_DRIVER):
        return amd_gpus()
    here = nvidia_gpus()
    if here and backend == "cuda":
        return nvidia_answer(here)
    if here:
        without = "Install a CUDA build of torch to use it: https://pytorch.org/get-started/locally"
        return [], f"{here[0].name} is here, but this torch is built without CUDA", without
    if backend == "cuda" and NVIDIA_DRIVER.exists() and (found := torch_gpus()):  # a container without nvidia-smi
        return found, "", ""
    if backend == "cuda":
        return [], "no NVIDIA driver answers (nvidia-smi)", ""
    if backend is None and AMD_DRIVER[0].exists():
        return [], "there is an AMD GPU, perhaps one that ROCm does not know, and this torch is built without ROCm", ""
    silent = shutil.which("nvidia-smi") and "nvidia-smi fails, names no card, or takes more than 3 s"
    return [], silent or "none found", ""


def idle_gpu() -> str | None:
    """What to tell who computes on the CPU although torch could use a card; None where it could not."""
    gpus, why, fix = find_gpus()
    return f"the CPU computes: {why}. {fix}" if fix and not gpus else None


def torch_backend() -> str | None:
    """cuda, hip or mps: what the installed torch was built for. None: CPU only.

    It is read from torch's version file where torch is not loaded, which takes seconds.
    """
    kinds = ("cuda", "hip")
    if loaded := sys.modules.get("torch"):
        built = [kind for kind in kinds if getattr(loaded.version, kind, None)]
    else:
        torch = importlib.util.find_spec("torch")
        if torch is None or torch.origin is None:
            return None
        text = (Path(torch.origin).parent / "version.py").read_text(encoding="utf-8")
        built = [kind for kind in kinds if re.search(rf"^{kind}\b[^=\n]*= *['\"]", text, re.MULTILINE)]
    return built[0] if built else "mps" if sys.platform == "darwin" and platform.machine() == "arm64" else None


def nvidia_smi(*arguments: str) -> str:
    """What nvidia-smi says; empty where it is missing or fails."""
    program = shutil.which("nvidia-smi") or WSL_NVIDIA_SMI
    try:
        done = subprocess.run([program, *arguments], capture_output=True, timeout=3, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode(errors="replace")


def nvidia_gpus() -> list[Gpu]:
    """The GPUs that nvidia-smi names; empty where it is missing or fails."""
    for capability in ("compute_cap,", ""):  # which drivers before 495 do not know
        asked = f"--query-gpu=name,memory.total,{capability}memory.used"
        answer = nvidia_smi(asked, "--format=csv,noheader,nounits")
        row = r"(.+?), *(\d+), *" + (r"(\d+\.\d+), *" if capability else "()") + "(.+)"
        if found := [match.groups() for line in answer.splitlines() if (match := re.fullmatch(row, line.strip()))]:
            break
    return [
        Gpu(name, int(mib) << 20, float(number or 0) >= 8, int(used) << 20 if used.isdigit() else 0, number)
        for name, mib, number, used in found
    ]


def nvidia_answer(here: list[Gpu]) -> tuple[list[Gpu], str, str]:
    """As `find_gpus`, for a torch built for CUDA and cards that the driver knows."""
    import torch

    if torch.cuda.is_available():
        return here, "", ""
    said, built = nvidia_smi(), torch.version.cuda
    driver = re.search(r"Driver Version: *([\d.]+)", said)
    reaches = re.search(r"CUDA (?:\w+ )?Version: *((\d+)\.\d+)", said)
    if driver and reaches and int(reaches[2]) < int(built.partition(".")[0]):
        why = f"its driver {driver[1]} goes up to CUDA {reaches[1]}, and torch {torch.__version__} is built for {built}"
        fix = f"Update the driver{' of Windows' if in_wsl() else ''}"
        if wheel := WHEELS.get(int(reaches[2])):
            fix += f", or: pip install torch --index-url https://download.pytorch.org/whl/{wheel}"
        return [], f"{here[0].name} is here, but {why}", f"{fix}."
    try:
        torch.cuda.init()
        why = "torch does not find it"
    except Exception as error:  # torch's own words, of whatever class
        why = f"torch cannot use it: {' '.join(str(error).split()).partition('. ')[0].rstrip('.')}"
    return [], f"{here[0].name} is here, but {why}", "Restart the machine, or install driver and torch again."


def amd_gpus() -> tuple[list[Gpu], str, str]:
    """As `find_gpus`, for a torch built for ROCm, which torch calls cuda."""
    import torch

    if not torch.cuda.is_available():
        why = "an AMD GPU is here, but torch cannot open it"
        return [], why, "See `rocminfo`: your user must be in the groups render and video, and ROCm must know the card."
    return torch_gpus(), "", ""


def torch_gpus() -> list[Gpu]:
    """The GPUs that torch names."""
    import torch

    found = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    if torch.version.hip:
        return [Gpu(p.name, p.total_memory, True, 0, p.gcnArchName.partition(":")[0]) for p in found]
    return [Gpu(p.name, p.total_memory, p.major >= 8, 0, f"{p.major}.{p.minor}") for p in found]


def has_code(capability: str, built: list[str]) -> bool:
    """Whether a torch that is built for some architectures has code for a card.

    Args:
        capability: of the card, "12.0"; AMD's are names, "gfx1100".
        built: what torch.cuda.get_arch_list() says: "sm_90" runs on 9.0 and later 9.x, "compute_90" is compiled by the
            driver for whatever is newer.
    """
    if capability.startswith("gfx"):
        return capability in built
    major, minor = map(int, capability.split("."))
    for kind, number in (arch.split("_", 1) for arch in built):
        code = int(re.match(r"\d+", number)[0])  # sm_90a
        if (kind == "sm" and code // 10 == major and code % 10 <= minor) or (
            kind == "compute" and code <= 10 * major + minor
        ):
            return True
    return False


def in_wsl() -> bool:
    """Whether this Linux runs inside Windows."""
    return "microsoft" in platform.release().lower()
