"""A command that can write only into one folder, has no network, and has limits: by sandlock, or else bubblewrap.

Both hold: it reads that folder, what is named readable, the interpreter and /usr; it changes nothing elsewhere, not
even modes and times; it has no sockets but pairs of its own, and no other processes, keys, mounts or devices. The
kernel bounds memory, CPU seconds and open files of a process, and the size of a file. How many processes there are,
their memory together and the size of the folder are looked at ten times a second; what passes a limit is ended.

Not held: the kernel is shared, so a hole in it is a way out. Within its limits a program can slow the machine. Under
bubblewrap a fork bomb of root grows until the next look. Under sandlock existence, size and times of any file can be
seen, modes and times of the folder's own files cannot be changed, and if its supervisor is killed by SIGKILL, processes
that left their session live on, confined, until their CPU seconds are up. Space of files that are deleted, closed and
still mapped is not counted. What is left in the folder is hostile: read it with `read_files`.
"""

import os
import stat
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path
from typing import Any

import psutil

from cft.sandbox.kinds import OF_ITS_OWN, Limits, pick, start

LOOK_SECONDS = 0.1  # between two looks at what all processes use
MIB = 2**20
DEPTH = 64  # of folders in folders, at which our walks end: far below it os.walk, which calls itself, would fail


@dataclass(frozen=True)
class Confinement:
    """Where a command may write, what it may read and use, and which program holds it there.

    Args:
        folder: an existing folder, which has the same path inside. All of it can be read.
        readable: further files and folders to be read.
        kind: "sandlock" or "bubblewrap", by default the first that works. "rlimits" must be asked for: it has the
            limits, keeps out accidents, and no attacker.

    Raises:
        ConfinementError: none works, or the one that is named does not.
    """

    folder: Path
    readable: Sequence[Path] = ()
    limits: Limits = field(default_factory=Limits)
    kind: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", self.folder.resolve(strict=True))
        object.__setattr__(self, "kind", pick(self.kind))

    def popen(self, command: Sequence[str], *, lasting: bool = False, **streams: Any) -> subprocess.Popen:
        """Start `command` confined, in the folder, with a clean environment; `cft.sandbox.kinds.end` kills it.

        Args:
            lasting: its CPU seconds are not limited.
            streams: stdin, stdout, stderr of `subprocess.Popen`. No other open file is passed on.
        """
        limits = replace(self.limits, seconds=inf) if lasting else self.limits
        return start(self.kind, command, self.folder, self.readable, limits, **streams)

    def excess(self, pid: int) -> str | None:
        """Which limit all that the process has started passes together: "processes", "memory", "folder", or None."""
        try:
            family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)][OF_ITS_OWN[self.kind] :]
        except psutil.Error:  # it has just ended
            return None
        threads = memory = space = 0
        for process in family:
            with suppress(psutil.Error, FileNotFoundError, ProcessLookupError):
                threads, memory = threads + process.num_threads(), memory + process.memory_info().rss
                try:
                    opened = [os.stat(link.path) for link in os.scandir(f"/proc/{process.pid}/fd")]
                except PermissionError:
                    if process.status() != psutil.STATUS_ZOMBIE:
                        return "folder"  # it hides what it has open
                    continue
                space += sum(one.st_blocks * 512 for one in opened if stat.S_ISREG(one.st_mode) and not one.st_nlink)
        if len(family) > self.limits.processes or threads > 16 * self.limits.processes:
            return "processes"
        if memory > self.limits.memory_mb * MIB:
            return "memory"
        return "folder" if _is_larger(self.folder, self.limits.folder_mb * MIB - space) else None

    def tidy(self) -> bool:
        """Whether the folder is too large; if so, it is opened to us, and what is too deep for `rmtree` is removed."""
        if larger := _is_larger(self.folder, self.limits.folder_mb * MIB):
            command = f'PATH="$PATH:/usr/bin:/bin"; chmod -R u+rwX "$1"; find "$1" -mindepth {DEPTH} -delete'
            subprocess.run(["/bin/sh", "-c", command, "sh", str(self.folder)], stderr=subprocess.DEVNULL, check=False)
        return larger


def too_deep(place: str, folder: Path) -> bool:
    """Whether a walk of the folder ends at this place below it."""
    return place.count(os.sep) - str(folder).count(os.sep) >= DEPTH


def _is_larger(folder: Path, size: int) -> bool:
    """Whether its files need more bytes. What is deep, or keeps us out, could hide anything, and counts as larger."""
    hidden: list[OSError] = []
    for place, folders, files in os.walk(folder, onerror=hidden.append):
        for name in (*folders, *files):
            try:
                size -= max(4096, os.lstat(os.path.join(place, name)).st_blocks * 512)
            except OSError as error:  # the path is too long
                hidden.append(error)
        if size < 0 or too_deep(place, folder):
            return True
    return any(not isinstance(error, FileNotFoundError) for error in hidden)
