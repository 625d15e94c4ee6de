"""A command that computes starts itself once more, with glibc's setting that lets freed tensors be used again."""

import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="about glibc's heap")

START = "import os; from cft.memory import reuse_freed_memory; reuse_freed_memory()\n"


def run(code: str, monkeypatch: pytest.MonkeyPatch, tunables: str | None = None) -> str:
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    if tunables is not None:
        monkeypatch.setenv("GLIBC_TUNABLES", tunables)
    done = subprocess.run([sys.executable, "-c", code, "--json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


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
