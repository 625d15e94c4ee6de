"""The kinds of confinement: how each starts a command, which of them works here, and how all of it is killed."""

import importlib.util
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import psutil

from cft.errors import ConfinementError
from cft.sandbox.seccomp import seccomp_filter

OF_ITS_OWN = {"sandlock": 1, "bubblewrap": 2, "rlimits": 0}  # kinds, and the processes that each adds
SYSTEM = ("/usr", "/bin", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache", "/etc/alternatives")
DEVICES = ("/dev/zero", "/dev/urandom", "/dev/random")  # to read; /dev/null can be written too
STARTER = Path(__file__).with_name("start_in_sandlock.py")
INSIDE = Path(__file__).with_name("inside")  # what Python imports first there
OPEN_FILES = 64
GRACE_SECONDS = 5.0


@dataclass(frozen=True)
class Limits:
    """What a confined command may use."""

    seconds: float = 10.0  # by the clock, its start included; of CPU by each process
    memory_mb: int = 512  # address space of a process, and resident memory of all together
    processes: int = 16  # with 16 threads each, on average
    file_mb: int = 16  # of one file
    folder_mb: int = 64  # of all files, each at least 4 KiB; those deleted and still open count
    output_kb: int = 64  # of standard output and of standard error


def start(
    kind: str, command: Sequence[str], folder: Path, readable: Sequence[Path], limits: Limits, **streams: Any
) -> subprocess.Popen:
    """Start a command by one of the kinds, in a session of its own; `end` kills it."""
    rlimits = {"as": limits.memory_mb * 2**20, "fsize": limits.file_mb * 2**20, "nofile": OPEN_FILES, "core": 0}
    rlimits |= {"cpu": math.ceil(limits.seconds) + 1} if limits.seconds < math.inf else {}
    interpreter = {sys.prefix, sys.base_prefix, str(Path(sys.executable).resolve().parents[1])}  # it may be in a home
    named = interpreter | {str(INSIDE), *(str(path.absolute()) for path in readable)}
    paths = [path for path in (*SYSTEM, *sorted(named)) if os.path.exists(path)]
    before, passed = ["prlimit", *(f"--{name}={value}" for name, value in rlimits.items())], []
    with tempfile.TemporaryFile() as file:
        if kind == "sandlock":
            box = {"fs_readable": [*paths, *DEVICES], "fs_writable": [str(folder), "/dev/null"], "cwd": str(folder)}
            box["max_processes"] = limits.processes
            spec = json.dumps({"box": box, "rlimits": rlimits, "parent": os.getpid()})
            before = [sys.executable, "-ISB", str(STARTER), str(Path(_sandlock()).parents[1]), spec]
        elif kind == "bubblewrap":
            file.write(seccomp_filter(os.uname().machine, with_modes=not os.getuid()))
            file.seek(0)
            passed = [file.fileno()]
            if os.getuid() and _kernel() >= (5, 14):  # since then it counts those of a name space; root is exempt
                before.append(f"--nproc={16 * limits.processes}")
            before = [
                *(*_bubblewrap(), "--unshare-all", "--die-with-parent", "--new-session", "--as-pid-1"),
                *("--cap-drop", "ALL", "--seccomp", str(file.fileno())),
                *(text for path in paths for text in ("--ro-bind", path, path)),
                *(text for node in ("/dev/null", *DEVICES) for text in ("--dev-bind", node, node)),
                *("--bind", str(folder), str(folder), "--chdir", str(folder), "--remount-ro", "/"),
                *("--", "sh", "-c", '"$@"; exit $?', "sh", *before),  # as it ends, so has all that it started
            ]
        return subprocess.Popen(
            [*before, *command],
            cwd=folder,
            env=_environment(folder),
            pass_fds=passed,
            start_new_session=True,
            **streams,
        )


def end(process: subprocess.Popen, kind: str | None) -> None:
    """Kill a process that leads a session of its own, and what it has started."""
    if kind in ("sandlock", "bubblewrap") and process.poll() is None:
        with suppress(psutil.Error, subprocess.TimeoutExpired):
            if kind == "sandlock":
                process.terminate()  # it kills what it confines, waits for it, and ends
            for first in psutil.Process(process.pid).children() if kind == "bubblewrap" else ():
                first.kill()
            process.wait(GRACE_SECONDS)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@cache
def pick(wanted: str | None) -> str:
    """The kind that is wanted, or the first that works here."""
    if wanted and wanted not in OF_ITS_OWN:
        raise ConfinementError(f"there is no confinement {wanted!r}. Choose one of {', '.join(OF_ITS_OWN)}")
    if not sys.platform.startswith("linux"):
        raise ConfinementError(
            f"nothing confines programs on {sys.platform}. Run this on Linux, or in a Linux container"
        )
    faults = []
    for kind in [wanted] if wanted else ["sandlock", "bubblewrap"]:
        if not (fault := _fault(kind)):
            return kind
        faults.append(f"{kind} {fault}")
    raise ConfinementError(
        f"programs cannot be confined here: {'; '.join(faults)}. Do `pip install sandlock` (Linux 6.12 or newer) or "
        "`apt-get install bubblewrap`; or, where nothing can be lost, choose rlimits, which keeps out no attacker"
    )


def _fault(kind: str) -> str:
    """Why a kind does not work here, or "". It is tried."""
    if not {"sandlock": _sandlock(), "bubblewrap": shutil.which("bwrap")}.get(kind, True):
        return "is not installed"
    command, pipe = [sys.executable, "-ISc", "print('works')"], subprocess.PIPE
    with tempfile.TemporaryDirectory() as name:
        try:
            process = start(kind, command, Path(name).resolve(), [], Limits(), stdin=pipe, stdout=pipe, stderr=pipe)
        except (OSError, KeyError) as error:
            return f"does not start: {error!r}"
        try:
            out, err = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            return "gives no answer within 60 s"
        finally:
            end(process, kind)
    return "" if out == b"works\n" else f"does not work: {err.decode(errors='replace')[-300:].strip()}"


def _environment(folder: Path) -> dict[str, str]:
    """All variables of a confined command. None is ours: API keys stand there."""
    places = dict.fromkeys(("HOME", "TMPDIR", "PWD"), str(folder)) | {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
    python = {"PYTHONPATH": str(INSIDE), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0"}
    return places | python | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def _sandlock() -> str:
    """Its __init__.py, or "". It is not imported here: its threads and its decisions are a process of their own."""
    spec = importlib.util.find_spec("sandlock")
    return spec.origin or "" if spec else ""


def _kernel() -> tuple[int, ...]:
    return tuple(int(number) for number in os.uname().release.split("-")[0].split(".")[:2])


@cache
def _bubblewrap() -> list[str]:
    """Its path by our PATH, and options: 0.8 can forbid name spaces inside, through which most holes were reached."""
    path, newer = shutil.which("bwrap"), ["--unshare-user", "--disable-userns"]
    known = subprocess.run([path, "--help"], capture_output=True, text=True, check=False)
    return [path, *(newer if "--disable-userns" in known.stdout + known.stderr else [])]
