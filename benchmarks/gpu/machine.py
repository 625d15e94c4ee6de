"""What a machine is and can do: libraries, matrix products, copies, the launch of a kernel.

    python -m benchmarks.gpu.machine FILE [--matmul]

Writes JSON to FILE; with --matmul the peak of matrix products alone. In a process of its own, because it loads torch.
"""

import importlib.util
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from cft.devices import CARDS, known_card, native_dtype, pick_device
from cft.files import write_json
from cft.runs import versions

OPTIONAL = ("triton", "bitsandbytes", "flash_attn", "kernels", "unsloth", "vllm")
LAUNCHES = 2000  # of a kernel on one number


def main(out: Path, *only: str) -> None:
    """Measure and write."""
    device = pick_device()
    dtype = torch.bfloat16 if only else getattr(torch, native_dtype())
    products = matmul_flops(device, dtype)
    found: dict[str, Any] = {"matmul_flops": products, "peak_flops": max(products.values())}
    if not only:
        found |= about(device) | {"dtype": str(dtype).removeprefix("torch.")}
        found |= {"copy_bytes_per_second": copy_speed(device), "launch_microseconds": launch_time(device)}
    write_json(out, found)


def about(device: str) -> dict[str, Any]:
    """Libraries, and the card where there is one; memory in bytes."""
    found = {"device": device, "versions": versions(), "threads": torch.get_num_threads()}
    found["cuda"] = torch.version.cuda or torch.version.hip
    found["optional"] = [name for name in OPTIONAL if importlib.util.find_spec(name)]
    found["nvcc"] = shutil.which("nvcc")
    if device == "cuda":
        card = torch.cuda.get_device_properties(0)
        free, total = torch.cuda.mem_get_info()
        found |= {"card": card.name, "free": free, "total": total, "multiprocessors": card.multi_processor_count}
        found |= {"capability": f"{card.major}.{card.minor}", "code_for": torch.cuda.get_arch_list()}
        known = known_card(card.name)
        found["published_flops"] = CARDS[known][1] * 1e12 if known else None
    return found


def seconds_of(device: str, work: Callable[[], Any], times: int) -> float:
    """Seconds of one `work`: the mean of `times` in a row, what the device still does included."""

    def wait() -> None:
        if device == "cuda":
            torch.cuda.synchronize()

    work()
    wait()
    start = time.perf_counter()
    for _ in range(times):
        work()
    wait()
    return (time.perf_counter() - start) / times


def matmul_flops(device: str, dtype: torch.dtype) -> dict[str, float]:
    """Floating-point operations a second of square matrix products, the best of five, by their size."""
    best: dict[str, float] = {}
    for size in (2048, 4096, 8192, 16384) if device == "cuda" else (1024, 2048, 4096):
        if best and 2 * size**3 / max(best.values()) > 5:  # a CPU that emulates the type
            break
        a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
        times = max(2, 2**39 // size**3) if device == "cuda" else max(1, 2**31 // size**3)
        seconds = min(seconds_of(device, lambda a=a, b=b: a @ b, times) for _ in range(5))
        best[str(size)] = round(2 * size**3 / seconds)
    return best


def copy_speed(device: str) -> float:
    """Bytes read and written a second while a large tensor is copied."""
    count = 2**30 if device == "cuda" else 2**27  # bytes
    source = torch.zeros(count, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return round(2 * count / min(seconds_of(device, lambda: target.copy_(source), 5) for _ in range(3)))


def launch_time(device: str) -> float:
    """Microseconds from one call of a kernel on one number to the next: what a step of a small model waits for."""
    number = torch.zeros(1, device=device)
    return round(1e6 * min(seconds_of(device, lambda: number.add_(1), LAUNCHES) for _ in range(3)), 2)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
