"""How much memory this process has used, and that it uses freed memory again."""

import ctypes
import gc
import os
import platform
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from cft.devices import free_cache

M_MMAP_THRESHOLD = -3  # of glibc's malloc.h
LARGE, LARGEST = 1 << 20, 32 << 20  # bytes; the second is glibc's own limit of what it moves the threshold to


def reuse_freed_memory() -> None:
    """Start this program again without glibc's thread cache, with which a training on a CPU takes more memory.

    PyTorch asks for aligned memory. glibc cuts off what lies before and behind it, and its thread cache keeps these few
    bytes as if they were in use. So the place of a freed tensor is too small for the next one of the same size, which
    also asks for room to align, and is never filled again (glibc 2.36, `_int_memalign`; see benchmarks/README.md).
    Does nothing where it is set already, or without glibc.
    """
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    if "tcache_count" in tunables or platform.libc_ver()[0] != "glibc":
        return
    # glibc reads this once, before main: mallopt has no such option, and pip's console script cannot set a variable
    os.environ["GLIBC_TUNABLES"] = ":".join(filter(None, [tunables, "glibc.malloc.tcache_count=0"]))
    with suppress(OSError):  # not started again, it only takes more memory
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


@contextmanager
def freed_memory_given_back(active: bool) -> Iterator[None]:
    """Within this glibc gives tensors of 1 MiB and more back to the system when they are freed, so that none lie idle.

    New pages for each tensor take time: worth it where memory is short. Nothing happens without glibc.
    """
    if not active or platform.libc_ver()[0] != "glibc":
        yield
        return
    mallopt = ctypes.CDLL(None).mallopt
    mallopt(M_MMAP_THRESHOLD, LARGE)
    try:
        yield
    finally:
        mallopt(M_MMAP_THRESHOLD, LARGEST)


def clear_memory() -> None:
    """Give back what earlier work has left behind, and count the peak of a GPU's memory from here on.

    A trainer and its callbacks name each other, so that only the collector frees them, and the model that they hold.
    """
    import torch

    gc.collect()
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
    free_cache()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def peak_memory_mb() -> float:
    """Highest memory of this process, MiB: of a GPU's tensors since `clear_memory`, else resident since it began.

    Of an Apple GPU torch knows no highest: it is what its allocator holds, which keeps what it got until it is emptied.
    """
    import torch

    if torch.cuda.is_available():
        return round(torch.cuda.max_memory_allocated() / 2**20, 1)
    if torch.backends.mps.is_available():
        return round(torch.mps.driver_allocated_memory() / 2**20, 1)
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss: bytes on macOS, KiB on Linux
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20, 1)
