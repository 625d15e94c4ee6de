"""A Python program that a model wrote, run once: confined, within limits, to its end or to what ended it."""

import os
import selectors
import stat
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cft.errors import DataError
from cft.sandbox.confinement import DEPTH, LOOK_SECONDS, Confinement, too_deep
from cft.sandbox.kinds import Limits, end

Ended = Literal["exit", "time", "output", "processes", "memory", "folder"]


@dataclass(frozen=True)
class Finished:
    """What became of a program."""

    status: int  # exit status; 128 + the signal that ended it
    stdout: str  # no more than the limit, even where the program wrote more
    stderr: str
    seconds: float  # by the clock
    ended: Ended  # "exit": by itself, an uncaught MemoryError too; or the limit that it passed


def run_program(code: str, folder: Path, limits: Limits | None = None, kind: str | None = None) -> Finished:
    """Run the code with this Python and its packages, nothing on standard input, in the folder.

    Args:
        folder: where it may write, and may leave links, pipes, closed folders. What is 64 folders deep may be removed.
        kind: of `Confinement`.

    Raises:
        ConfinementError: nothing can confine a program here.
    """
    confinement = Confinement(folder, limits=limits or Limits(), kind=kind)
    folder, limits, start = confinement.folder, confinement.limits, time.monotonic()
    mode = stat.S_IMODE(folder.stat().st_mode)
    with tempfile.TemporaryFile() as source:
        source.write(code.encode("utf-8", "replace"))
        source.seek(0)
        command, pipe = [sys.executable, "-s", "-"], subprocess.PIPE
        process = confinement.popen(command, stdin=source, stdout=pipe, stderr=pipe)
    texts = {process.stdout: bytearray(), process.stderr: bytearray()}
    try:
        ended = _watch(process, texts, confinement, start + limits.seconds)
        seconds = time.monotonic() - start
    finally:
        end(process, confinement.kind)
        for stream in texts:
            stream.close()
        with suppress(OSError):
            folder.chmod(mode)  # the program may have shut us out
        larger = confinement.tidy()
    status = process.returncode if process.returncode >= 0 else 128 - process.returncode
    out, err = (bytes(text).decode("utf-8", "replace") for text in texts.values())
    return Finished(status, out, err, seconds, "folder" if larger and ended == "exit" else ended)


def _watch(process: subprocess.Popen, texts: dict, confinement: Confinement, until: float) -> Ended:
    """Read what the process writes until it ends, or passes a limit."""
    most, look, ended = confinement.limits.output_kb * 1024, time.monotonic() + LOOK_SECONDS, False
    with selectors.DefaultSelector() as selector:
        for stream in texts:
            os.set_blocking(stream.fileno(), False)
            selector.register(stream, selectors.EVENT_READ)
        while True:
            ready = selector.select(0 if ended else max(0, min(look, until) - time.monotonic()))
            for key, _ in ready:
                text = texts[key.fileobj]
                text += (piece := os.read(key.fd, most + 1 - len(text)))
                if not piece:
                    selector.unregister(key.fileobj)
                if len(text) > most:
                    del text[most:]
                    return "output"
            if ended and not ready:
                return "exit"  # all that it wrote is read; a process that it has left may hold the pipes
            now = time.monotonic()
            if not selector.get_map():  # it ends, or has closed its output and goes on
                with suppress(subprocess.TimeoutExpired):
                    process.wait(max(0, min(look, until) - now))
            ended = process.poll() is not None
            if not ended and (now := time.monotonic()) >= until:
                return "time"
            if not ended and now >= look:
                if over := confinement.excess(process.pid):
                    return over
                look = time.monotonic() + LOOK_SECONDS


def read_files(folder: Path, most_bytes: int = 2**24) -> dict[str, bytes]:
    """The regular files that a program left in a folder, by path (`\\xff`: no UTF-8). No link is followed.

    Raises:
        DataError: they are larger than `most_bytes` together, or lie too deep.
    """
    found: dict[str, bytes] = {}
    for place, folders, names, descriptor in os.fwalk(folder):
        folders.sort()
        if too_deep(place, folder):
            raise DataError(f"{folder}: its folders lie deeper than {DEPTH}. Remove those")
        for name in sorted(names):
            with suppress(OSError):  # a link (ELOOP), no permission
                flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
                with open(os.open(name, flags, dir_fd=descriptor), "rb") as file:
                    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                        continue
                    text = file.read(most_bytes + 1)
                if (most_bytes := most_bytes - len(text)) < 0:
                    raise DataError(f"{folder}: its files are too large to be read. Remove some, or raise most_bytes")
                found[os.fsencode(os.path.relpath(f"{place}/{name}", folder)).decode(errors="backslashreplace")] = text
    return found
