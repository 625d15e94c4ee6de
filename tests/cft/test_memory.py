"""Memory of a process: freed tensors leave room for the next ones."""

import platform
import subprocess
import sys
from textwrap import indent

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="about glibc's heap")

START = "import os; from cft.memory import reuse_freed_memory; reuse_freed_memory()\n"
LAYERS = """
import resource, torch
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
torch.set_num_threads(1)
large = torch.ones(7_500_000)
del large  # glibc takes tensors of up to this size from its heap from now on
before, kept = peak(), []
for _ in range(60):  # layers, each with 1 MB to keep and 4 MB that pass
    passing = torch.ones(1_000_000)
    kept.append(torch.ones(250_000))
    del passing
print(peak() - before)
"""


def run(code: str, monkeypatch: pytest.MonkeyPatch, tunables: str | None = None) -> str:
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    if tunables is not None:
        monkeypatch.setenv("GLIBC_TUNABLES", tunables)
    done = subprocess.run([sys.executable, "-c", code, "--json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_place_of_a_freed_tensor_is_used_again(monkeypatch):
    """60 MB are kept at the end; with glibc's thread cache 200 were taken."""
    assert float(run(START + LAYERS, monkeypatch)) < 90


def test_where_memory_is_short_freed_tensors_go_back_to_the_system(monkeypatch):
    inside = "from cft.memory import freed_memory_given_back\nwith freed_memory_given_back(True):" + indent(
        LAYERS, "    "
    )
    assert float(run(inside, monkeypatch)) < 90


def test_a_program_is_started_again_once_and_what_the_user_set_stays(monkeypatch):
    code = START + "import sys; print(os.environ.get('GLIBC_TUNABLES'), sys.argv)"
    off = "glibc.malloc.tcache_count=0"
    assert run(code, monkeypatch) == f"{off} ['-c', '--json']"
    assert run(code, monkeypatch, "glibc.malloc.arena_max=1") == f"glibc.malloc.arena_max=1:{off} ['-c', '--json']"
    assert run(code, monkeypatch, "glibc.malloc.tcache_count=3").startswith("glibc.malloc.tcache_count=3 ")


def test_a_command_that_loads_a_model_still_says_what_is_wrong(tmp_path, monkeypatch):
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    command = [sys.executable, "-m", "cft.cli.main", "train", "no_such_recipe"]  # no fork: a fork has been restarted
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and "no_such_recipe: there is no such recipe" in done.stderr
