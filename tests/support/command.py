"""`cft` as a user starts it."""

import os
import subprocess
import sys
from pathlib import Path

from cft.devices import pick_device
from tests.support.forks import ENVIRONMENT, TIMEOUT, run_forked


def cft(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess:
    """The finished command. Variables of the hub are read while its library is imported: then it is started anew."""
    env = os.environ | ENVIRONMENT | environment
    if pick_device() == "cpu" and not any(name.startswith("HF_") for name in environment):
        return run_forked([*arguments], cwd, env)
    command = [sys.executable, "-m", "cft.cli.main", *arguments]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=TIMEOUT)
