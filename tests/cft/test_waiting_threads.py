"""Threads that wait sleep soon, so that a machine which does something else too still computes."""

import os
import subprocess
import sys

import pytest

from cft.devices import SPINS

COMMAND = """
import sys
from cft.cli.process import run_program
run_program(lambda: __import__("torch"), computing=True)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="about libgomp")
@pytest.mark.parametrize(
    ("given", "spins"), [({}, str(SPINS)), ({"OMP_WAIT_POLICY": "PASSIVE"}, "0"), ({"GOMP_SPINCOUNT": "77"}, "77")]
)
def test_libgomp_spins_as_we_or_the_user_say(given: dict[str, str], spins: str):
    """By what libgomp itself prints when torch loads it: a variable that is set too late would change nothing."""
    mine = {key: value for key, value in os.environ.items() if key not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    done = subprocess.run(
        [sys.executable, "-c", COMMAND],
        env=mine | given | {"OMP_DISPLAY_ENV": "VERBOSE"},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"GOMP_SPINCOUNT = '{spins}'" in done.stderr
