"""A process with a limit of time. It ends with all that it started, at the limit or when who started it is gone."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.common import REPOSITORY, python_path

GRACE = 15  # seconds between SIGTERM, at which `cft` keeps what is done, and SIGKILL
# Leads a process group of its own. Killed with -9, a benchmark can end nobody: so the group watches for it
LEADER = """
import os, signal, subprocess, sys, time
parent = int(sys.argv[1])
signal.signal(signal.SIGTERM, lambda number, frame: None)  # it waits for the command, which got the signal too
command = subprocess.Popen(sys.argv[2:])
while command.poll() is None:
    if os.getppid() != parent:
        os.killpg(0, signal.SIGKILL)
    time.sleep(0.1)
sys.exit(command.returncode if command.returncode >= 0 else 128 - command.returncode)
"""


@dataclass(frozen=True)
class Ended:
    """How a process ended."""

    code: int  # above 128: by a signal
    seconds: float
    cut: bool  # at its limit
    folder: Path

    @property
    def output(self) -> str:
        return (self.folder / "stdout.txt").read_text(errors="replace")

    @property
    def tail(self) -> str:
        """The end of its standard error: of a traceback, what it says."""
        lines = (self.folder / "stderr.txt").read_text(errors="replace").strip().splitlines()
        if lines and lines[-1].startswith("exit status"):  # what `run_process` adds: its command, which is a long one
            lines.pop()
        return "\n".join(line[:300] for line in lines[-6:]) or f"exit status {self.code}, without a word"


def run_child(
    command: list[str], folder: Path, limit: float, environment: dict[str, str], tick: Callable[[], None]
) -> Ended:
    """Run `command` in the repository for at most `limit` seconds, and GRACE more to keep what is done.

    Args:
        folder: for its output.
        tick: called a few times a second.
    """
    folder.mkdir(parents=True, exist_ok=True)
    start, cut = time.monotonic(), False
    with (
        open(folder / "stdout.txt", "wb") as out,
        open(folder / "stderr.txt", "wb") as err,
        tempfile.TemporaryDirectory(prefix="cft-benchmark-", ignore_cleanup_errors=True) as temporary,
    ):
        environment = os.environ | {"PYTHONPATH": python_path(), "TMPDIR": temporary} | environment
        watched = [sys.executable, "-c", LEADER, str(os.getpid()), *command]
        streams = {"stdin": subprocess.DEVNULL, "stdout": out, "stderr": err}
        process = subprocess.Popen(watched, cwd=REPOSITORY, env=environment, start_new_session=True, **streams)
        try:
            while process.poll() is None:
                elapsed = time.monotonic() - start
                if elapsed > limit + GRACE:
                    break
                if elapsed > limit and not cut:
                    cut = True
                    os.killpg(process.pid, signal.SIGTERM)
                tick()
                time.sleep(0.1)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return Ended(process.returncode, round(time.monotonic() - start, 1), cut, folder)
