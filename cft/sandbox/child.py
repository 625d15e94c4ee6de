"""The child of `Sandbox`: it imports a user's Python file and calls a function of it, which may print, exit or hang.

A program of its own, without our packages. It exchanges JSON with the parent over a socket that it gets as standard
input, so that nothing the function prints or reads stands between.
"""

import importlib.util
import json
import math
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from importlib.machinery import SourceFileLoader
from multiprocessing.connection import Connection
from typing import Any

GRACE_SECONDS = 5.0  # after which a child without a parent ends itself


class SandboxError(Exception):
    """What is wrong with the file or its function, and how to fix it."""


def _serve(link: Connection, file: str, name: str, memory_gib: float) -> None:
    """Answer until the parent is gone. The first reply says whether the file can be used."""
    with suppress(ValueError, OSError):  # confinement has limits of its own, and some systems have none
        most = resource.getrlimit(resource.RLIMIT_DATA)[1]
        resource.setrlimit(resource.RLIMIT_DATA, (int(memory_gib * 2**30), most))
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
                reply = json.dumps(
                    {"fault": _fault(error, file, f"{name}()" if function else "its import", memory_gib)}
                )
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


def _fault(error: BaseException, file: str, what: str, memory_gib: float) -> str:
    """What was raised, in which line of the file, and how to fix it."""
    if isinstance(error, SandboxError):
        return str(error)
    if isinstance(error, MemoryError):
        return f"{what} needs more than {memory_gib:.3g} GiB of memory. Let it need less"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    lines += [error.lineno] if isinstance(error, SyntaxError) and error.filename == file else []
    raised = traceback.format_exception_only(error)[-1].strip()[:300]
    place = f" in line {lines[-1]}" if lines else ""
    misfit = isinstance(error, TypeError) and not lines
    return f"{what} raised {raised}{place}. {'Let it take what it is called with' if misfit else 'Correct it'}"


if __name__ == "__main__":
    parent = Connection(os.dup(0))  # not inherited by what the function starts
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    _serve(parent, sys.argv[1], sys.argv[2], float(sys.argv[3]))
