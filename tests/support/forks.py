"""Runs `cft` in forks of a process that has imported the libraries: processes of their own, without the ten seconds.

The forks share what was imported and the seed of Python's hashes, and nothing that a command did before. What is about
the start of a process belongs in `subprocess.run`.
"""

import atexit
import gc
import importlib
import json
import os
import pkgutil
import select
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NoReturn

ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "COLUMNS": "100",
    "HF_HUB_OFFLINE": "1",
    "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0",  # as `cft.memory.reuse_freed_memory` would set it
}
TIMEOUT = 300  # seconds


class Forked:
    """A running `cft ARGUMENTS`, with what the tests need of `subprocess.Popen`.

    Args:
        streams: paths of its standard input, output and error.
    """

    def __init__(self, arguments: list[str], cwd: Path, environment: dict[str, str], streams: list[str]):
        self.arguments, self.returncode = arguments, None
        job = {"arguments": arguments, "cwd": str(cwd), "environment": environment, "streams": streams}
        self.pid = ask_server(job)

    def poll(self, wait: bool = False) -> int | None:
        if self.returncode is None:
            self.returncode = ask_server({"pid": self.pid, "wait": wait})
        return self.returncode

    def wait(self) -> int:
        return self.poll(wait=True)

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


@contextmanager
def open_streams(paths: list[str]) -> Iterator[list[int]]:
    """The files, open to be a process's standard input, output and error."""
    numbers = [os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOCTTY) for path in paths]
    try:
        yield numbers
    finally:
        for number in numbers:
            os.close(number)


def ask_server(request: dict) -> int | None:
    """The pid of a started command, or the exit code of a running one."""
    server = start_server()
    server.stdin.write(json.dumps(request) + "\n")
    server.stdin.flush()
    if not select.select([server.stdout], [], [], TIMEOUT)[0]:
        os.killpg(server.pid, signal.SIGKILL)
        start_server.cache_clear()
        raise subprocess.TimeoutExpired(str(request), TIMEOUT)
    return json.loads(server.stdout.readline())


@cache
def start_server() -> subprocess.Popen:
    """The process to fork, one for all tests of this process. It ends when its input does."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.forks"],
        cwd=Path(__file__).parents[2],
        text=True,
        env=os.environ | ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )


def serve() -> None:
    """Answer every line of the input: fork and tell the pid, or tell how a fork ended."""
    for package in ("cft", "data_builders", "eval"):
        for module in pkgutil.walk_packages([package], f"{package}."):
            if not module.name.startswith("cft.cli"):  # its consoles look at the terminal when they are made
                importlib.import_module(module.name)
    gc.freeze()  # the forks then share more of the memory
    for line in sys.stdin:
        request = json.loads(line)
        if "pid" in request:
            pid, status = os.waitpid(request["pid"], 0 if request["wait"] else os.WNOHANG)
            print(json.dumps(os.waitstatus_to_exitcode(status) if pid else None), flush=True)
            continue
        with open_streams(request["streams"]) as streams:
            if not (child := os.fork()):
                become(request, streams)
        print(child, flush=True)


def become(job: dict, streams: list[int]) -> NoReturn:
    """Be the command of this job."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    if os.isatty(0):
        os.setsid()
    sys.stdout.reconfigure(line_buffering=os.isatty(1))
    os.environ.clear()
    os.environ.update(job["environment"])
    os.chdir(job["cwd"])
    sys.argv = ["cft", *job["arguments"]]
    importlib.reload(importlib.import_module("huggingface_hub.constants"))  # what it read from the environment
    code = 1
    try:
        code = importlib.import_module("cft.cli.main").main() or 0
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
    finally:  # as an interpreter ends, but for the two seconds in which it would free all that was imported
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve()
