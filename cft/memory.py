"""How much memory this process has used, and that it uses freed memory again."""

import os
import platform
import resource
import sys


def reuse_freed_memory() -> None:
    """Start this program anew without glibc's thread cache, with which a training on a CPU takes more memory.

    PyTorch asks for aligned memory. glibc cuts off what lies before and behind it, and its thread cache keeps these few
    bytes as if they were in use. So the place of a freed tensor is too small for the next one of the same size, which
    also asks for room to align, and is never filled again (glibc 2.36, `_int_memalign`; see benchmarks/README.md).
    The cache can only be turned off when a process starts. Does nothing where it is set already, or without glibc.
    """
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    if "tcache_count" in tunables or platform.libc_ver()[0] != "glibc":
        return
    os.environ["GLIBC_TUNABLES"] = ":".join(filter(None, [tunables, "glibc.malloc.tcache_count=0"]))
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def peak_memory_mb() -> float:
    """Highest memory of this process so far: of the GPU where there is one, else resident. MiB."""
    import torch

    if torch.cuda.is_available():
        return round(torch.cuda.max_memory_allocated() / 2**20, 1)
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss: bytes on macOS, KiB on Linux
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20, 1)
