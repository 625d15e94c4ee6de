"""A function of a user's Python file, called in a child process: it may print, exit, hang or eat memory there.

`Sandbox` is the parent's side. The child runs this file alone. They exchange JSON over a socket of their own, so that
nothing the function prints or reads stands between. It bounds accidents; an attacker has the user's rights here.
"""

import importlib.util
import json
import math
import os
import resource
import signal
import subprocess
import sys
import traceback
import weakref
from collections.abc import Callable
from contextlib import suppress
from importlib.machinery import SourceFileLoader
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

START_SECONDS = 120.0  # for the file's own imports, on a busy machine
GRACE_SECONDS = 5.0  # after which a child without a parent ends itself
MEMORY_GIB = 4  # of data in the child; files and GPUs that it maps do not count


class SandboxError(Exception):
    """What is wrong with the file or its function, and how to fix it."""


class Sandbox:
    """One function of a file. Its process is started once, and again after it ended."""

    def __init__(self, file: Path, function: str, seconds: float) -> None:
        """Start the process, which imports the file.

        Args:
            seconds: that a call may take by the clock.

        Raises:
            SandboxError: the file cannot be imported, or has no such function.
        """
        self.file, self.function, self.seconds = file.absolute(), function, seconds
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
            self._process = subprocess.Popen(
                [sys.executable, "-PBu", __file__, str(theirs.fileno()), str(self.file), self.function],
                stdin=subprocess.DEVNULL,
                stdout=2,  # its print() stands among our messages, not in our output
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._end = weakref.finalize(self, _end, self._process, self._link, os.getpid())
        self._ask(None, START_SECONDS)

    def _ask(self, given: Any, seconds: float) -> Any:
        """The child's reply. A fault ends the child, and so does Ctrl-C: its reply would be the next call's."""
        reply, late = {}, False
        try:
            self._link.send_bytes(json.dumps([given, seconds]).encode())
            late = not self._link.poll(seconds)
            reply = {} if late else json.loads(self._link.recv_bytes())
        except (EOFError, OSError):
            pass  # the child has ended
        finally:
            if "value" not in reply:
                self._end()
        if "value" in reply:
            return reply["value"]
        code = self._process.returncode
        if late and code == -signal.SIGKILL:
            what = f"{self.function}()" if given else "its import"
            raise SandboxError(f"{what} took longer than {seconds:g} s. Make it faster, or raise its timeout")
        cause = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        ended = f"its process was ended {cause}. It may not exit, crash or run out of memory"
        raise SandboxError(reply.get("fault", ended))


def _end(process: subprocess.Popen, link: Connection, owner: int) -> None:
    """Kill the child, and what it has started."""
    link.close()
    if os.getpid() == owner:  # a fork of the owner has the link, but not the child
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _serve(link: Connection, file: str, name: str) -> None:
    """The child: answer until the parent is gone. The first reply says whether the file can be used."""
    with suppress(ValueError, OSError):  # a lower limit is there already, or the system has none
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_GIB * 2**30, resource.getrlimit(resource.RLIMIT_DATA)[1]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    function = None
    with suppress(EOFError):
        while True:
            given, seconds = json.loads(link.recv_bytes())
            signal.alarm(math.ceil(seconds + GRACE_SECONDS))  # nobody else ends the child of a parent that was killed
            try:
                value = function(*given[0], **given[1]) if function else None
                function = function or _function(file, name)
                reply = json.dumps({"value": value}, default=_plain)
            except BaseException as error:  # SystemExit and KeyboardInterrupt too
                reply = json.dumps({"fault": _fault(error, file, f"{name}()" if function else "its import")})
            signal.alarm(0)
            link.send_bytes(reply.encode())


def _function(file: str, name: str) -> Callable:
    """Import the file and find the function."""
    loader = SourceFileLoader("user_file", file)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    sys.modules[loader.name] = module  # where dataclasses look for it
    loader.exec_module(module)
    if not callable(found := getattr(module, name, None)):
        own = [key for key, value in vars(module).items() if getattr(value, "__module__", "") == loader.name]
        others = f"it has {', '.join(own)}" if own else "it has none"
        raise SandboxError(f"there is no function {name!r}, {others}. Define it, or name another")
    return found


def _plain(value: Any) -> Any:
    """Arrays and tensors as lists, their elements as numbers."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise SandboxError(f"a {type(value).__name__} was returned. Return a list of plain numbers")


def _fault(error: BaseException, file: str, what: str) -> str:
    """What was raised, in which line of the file, and how to fix it."""
    if isinstance(error, SandboxError):
        return str(error)
    if isinstance(error, MemoryError):
        return f"{what} needs more than {MEMORY_GIB} GiB of memory. Let it need less"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    lines += [error.lineno] if isinstance(error, SyntaxError) and error.filename == file else []
    raised = traceback.format_exception_only(error)[-1].strip()[:300]
    place = f" in line {lines[-1]}" if lines else ""
    misfit = isinstance(error, TypeError) and not lines
    return f"{what} raised {raised}{place}. {'Let it take what it is called with' if misfit else 'Correct it'}"


if __name__ == "__main__":
    _serve(Connection(int(sys.argv[1])), sys.argv[2], sys.argv[3])
