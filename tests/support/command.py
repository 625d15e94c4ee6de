"""`cft` as a user starts it: a fork of a process that has the libraries, or without a fork where there is a GPU."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from cft.devices import pick_device
from tests.support.forks import ENVIRONMENT, Forked, open_streams


def started(
    *arguments: str, cwd: Path, streams: list[str] | None = None, **environment: str
) -> Forked | subprocess.Popen:
    """The running command.

    Args:
        streams: paths of its standard input, output and error; nowhere if None.
    """
    env, streams = os.environ | ENVIRONMENT | environment, streams or [os.devnull] * 3
    if pick_device() == "cpu":
        return Forked([*arguments], cwd, env, streams)
    with open_streams(streams) as files:
        command = [sys.executable, "-m", "cft.cli.main", *arguments]
        return subprocess.Popen(
            command, cwd=cwd, env=env, stdin=files[0], stdout=files[1], stderr=files[2], start_new_session=True
        )


def cft(*arguments: str, cwd: Path, given: bytes = b"", **environment: str) -> subprocess.CompletedProcess:
    """The finished command, with `given` as its standard input."""
    with tempfile.TemporaryDirectory() as folder:
        streams = [Path(folder, name) for name in ("stdin", "stdout", "stderr")]
        streams[0].write_bytes(given)
        code = started(*arguments, cwd=cwd, streams=[str(path) for path in streams], **environment).wait()
        return subprocess.CompletedProcess(["cft", *arguments], code, *(path.read_text() for path in streams[1:]))
