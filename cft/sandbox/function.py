"""A function of a user's Python file, called in a child process: it may print, exit, hang or eat memory there."""

import json
import os
import signal
import subprocess
import sys
import time
import weakref
from dataclasses import replace
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from cft.sandbox.child import SandboxError
from cft.sandbox.confinement import LOOK_SECONDS, Confinement
from cft.sandbox.kinds import end

CHILD = Path(__file__).with_name("child.py")
MEMORY_GIB = 4  # of data in a child that is not confined; files and GPUs that it maps do not count
START_SECONDS = 120.0  # for the file's own imports, on a busy machine


class Sandbox:
    """One function of a file. Its process is started once, and again after it ended."""

    def __init__(self, file: Path, function: str, seconds: float, confinement: Confinement | None = None) -> None:
        """Start the process, which imports the file.

        Args:
            seconds: that a call may take by the clock.
            confinement: what holds the process, its imports included; its own `seconds` are not looked at. Without one
                accidents are bounded, and an attacker has the user's rights. The file itself is trusted in either case:
                what it is called with need not be. The thread that starts the process must outlive it.

        Raises:
            SandboxError: the file cannot be imported, or has no such function.
        """
        self.file, self.function, self.seconds = file.absolute(), function, seconds
        self.confinement = confinement and replace(confinement, readable=(*confinement.readable, CHILD, self.file))
        self._start()

    def call(self, *arguments: Any, **keywords: Any) -> Any:
        """What the function returns, as JSON has it: arrays are lists. What it is given must be JSON too.

        Raises:
            SandboxError: it raised, exited, took too long or too much memory, or returned something else.
        """
        if not self._end.alive:
            self._start()
        return self._ask([arguments, keywords], self.seconds)

    def _start(self) -> None:
        if not self.file.is_file():
            raise SandboxError("there is no such file. Correct its path")
        self._link, theirs = Pipe()
        with theirs:
            memory = self.confinement.limits.memory_mb / 1024 if self.confinement else MEMORY_GIB
            command = [sys.executable, "-PBu", str(CHILD), str(self.file), self.function, str(memory)]
            if self.confinement:
                nothing = subprocess.DEVNULL  # it could fill our terminal or log
                self._process = self.confinement.popen(
                    command, lasting=True, stdin=theirs, stdout=nothing, stderr=nothing
                )
            else:
                self._process = subprocess.Popen(
                    command,
                    stdin=theirs,
                    stdout=2,  # its print() stands among our messages, not in our output
                    start_new_session=True,
                )
        self._end = weakref.finalize(self, _end, self._process, self._link, os.getpid(), self.confinement)
        self._ask(None, START_SECONDS)

    def _ask(self, given: Any, seconds: float) -> Any:
        """The child's reply. A fault ends the child, and so does Ctrl-C: its reply would be the next call's."""
        reply, over = {}, None
        try:
            self._link.send_bytes(json.dumps([given, seconds]).encode())
            over = self._wait(seconds)
            reply = {} if over else json.loads(self._link.recv_bytes())
        except (EOFError, OSError):
            pass  # the child has ended
        finally:
            if "value" not in reply:
                self._end()
        if "value" in reply:
            return reply["value"]
        code, what = self._process.returncode, f"{self.function}()" if given else "its import"
        if over == "time" and code in (-signal.SIGKILL, 128 + signal.SIGKILL):
            raise SandboxError(f"{what} took longer than {seconds:g} s. Make it faster, or raise its timeout")
        if over and over != "time":
            raise SandboxError(f"{what} passed the limit of its {over}. Let it need less, or raise the limit")
        cause = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        ended = f"its process was ended {cause}. It may not exit, crash or run out of memory"
        raise SandboxError(reply.get("fault", ended))

    def _wait(self, seconds: float) -> str | None:
        """Wait for the reply. What is passed before it comes: "time", or a limit of the confinement."""
        until = time.monotonic() + seconds
        while not self._link.poll(min(seconds, LOOK_SECONDS) if self.confinement else seconds):
            if self.confinement and (over := self.confinement.excess(self._process.pid)):
                return over
            if time.monotonic() >= until:
                return "time"
        return None


def _end(process: subprocess.Popen, link: Connection, owner: int, confinement: Confinement | None) -> None:
    """Kill the child, and what it has started."""
    link.close()
    if os.getpid() == owner:  # a fork of the owner has the link, but not the child
        end(process, confinement and confinement.kind)
        if confinement:
            confinement.tidy()
