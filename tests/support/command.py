"""`cft` as a user starts it."""

import os
import subprocess
import sys
from pathlib import Path

from cft.devices import pick_device
from tests.support.forks import ENVIRONMENT, TIMEOUT, Forked, run_forked


def cft(*arguments: str, cwd: Path, given: bytes = b"", **environment: str) -> subprocess.CompletedProcess:
    """The finished command, with `given` as its standard input."""
    env = os.environ | ENVIRONMENT | environment
    if pick_device() == "cpu":
        return run_forked([*arguments], cwd, env, given)
    command = [sys.executable, "-m", "cft.cli.main", *arguments]
    done = subprocess.run(command, cwd=cwd, env=env, input=given, capture_output=True, timeout=TIMEOUT)
    return subprocess.CompletedProcess(command, done.returncode, done.stdout.decode(), done.stderr.decode())


def started(*arguments: str, cwd: Path, streams: list[str] | None = None, **environment: str) -> Forked:
    """The running command, which sees no GPU.

    Args:
        streams: paths of its standard input, output and error; nowhere if None.
    """
    env = os.environ | ENVIRONMENT | {"CUDA_VISIBLE_DEVICES": ""} | environment
    return Forked([*arguments], cwd, env, streams or [os.devnull] * 3)
