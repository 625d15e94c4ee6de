"""Runs `cft` in forks of a process that has imported the libraries: processes of their own, without the ten seconds.

The forks share what was imported and the seed of Python's hashes, and nothing that a command did before. What reads its
environment while it is imported, or is about the start of a process, belongs in `subprocess.run`.
"""

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from functools import cache
from importlib import import_module
from pathlib import Path

ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "COLUMNS": "100",
    "HF_HUB_OFFLINE": "1",
    "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0",  # as `cft.memory.reuse_freed_memory` would set it
}
TIMEOUT = 300  # seconds


def run_forked(arguments: list[str], cwd: Path, environment: dict[str, str]) -> subprocess.CompletedProcess:
    """`cft ARGUMENTS` in `cwd` with `environment`: its exit code and output, as `subprocess.run` would give them."""
    server = start_server()
    with tempfile.TemporaryDirectory() as folder:
        streams = [str(Path(folder, name)) for name in ("stdout", "stderr")]
        job = {"arguments": arguments, "cwd": str(cwd), "environment": environment, "streams": streams}
        server.stdin.write(json.dumps(job) + "\n")
        server.stdin.flush()
        if not select.select([server.stdout], [], [], TIMEOUT)[0]:
            os.killpg(server.pid, signal.SIGKILL)
            start_server.cache_clear()
            raise subprocess.TimeoutExpired(["cft", *arguments], TIMEOUT)
        output = [Path(stream).read_text() for stream in streams]
    return subprocess.CompletedProcess(["cft", *arguments], int(server.stdout.readline()), *output)


@cache
def start_server() -> subprocess.Popen:
    """The process to fork, one for all tests of this process. It ends when its input does."""
    return subprocess.Popen([sys.executable, "-m", "tests.support.forks"], cwd=Path(__file__).parents[2], text=True,
                            env=os.environ | ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            start_new_session=True)  # fmt: skip


def serve() -> None:
    """Fork for every line of the input, and answer with the exit code."""
    for module in ("cft.train.sft", "eval.answering.arms"):
        import_module(module)
    from cft.cli.main import main

    for line in sys.stdin:
        if child := os.fork():
            _, status = os.waitpid(child, 0)
            print(os.waitstatus_to_exitcode(status), flush=True)
            continue
        job = json.loads(line)
        for number, stream in enumerate((os.devnull, *job["streams"])):
            os.dup2(os.open(stream, os.O_RDWR | os.O_CREAT), number)
        os.environ.clear()
        os.environ.update(job["environment"])
        os.chdir(job["cwd"])
        sys.argv = ["cft", *job["arguments"]]
        main()
        return


if __name__ == "__main__":
    serve()
