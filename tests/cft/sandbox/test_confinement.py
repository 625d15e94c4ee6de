"""What surrounds a confined program: its folder afterwards, its descendants, and a function in confinement."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cft.errors import CFTError, ConfinementError
from cft.sandbox import Confinement, Limits, Sandbox, SandboxError, kinds, read_files, run_program
from cft.sandbox.kinds import pick

LINGERING = """
import os, time
if not os.fork():
    os.setsid()
    if not os.fork():
        os.closerange(0, 3)
        while True: open("alive", "a").write("x"), time.sleep(0.01)
    os._exit(0)
while not os.path.exists("alive"): time.sleep(0.01)
"""


@pytest.fixture(params=["sandlock", "bubblewrap"])
def kind(request) -> str:
    """Each confinement that this machine has."""
    return pick_or_skip(request.param)


def pick_or_skip(kind: str | None = None) -> str:
    try:
        return pick(kind)
    except ConfinementError as error:
        pytest.skip(str(error))


def grows(file: Path) -> bool:
    sizes = []
    for _ in range(2):
        time.sleep(0.1)
        sizes.append(file.stat().st_size if file.exists() else 0)
    return sizes[1] > sizes[0]


@pytest.mark.parametrize(("rest", "seconds", "ended"), [("", 60, "exit"), ("time.sleep(99)", 1.5, "time")])
def test_a_daemon_of_a_program_ends_with_it(tmp_path: Path, kind: str, rest: str, seconds: float, ended: str) -> None:
    done = run_program(LINGERING + rest, tmp_path, Limits(seconds), kind)
    assert done.ended == ended, done
    assert not grows(tmp_path / "alive")


def test_nothing_is_left_of_a_program_whose_parent_is_killed(tmp_path: Path, kind: str) -> None:
    code = f"from cft.sandbox import run_program; import pathlib; run_program({LINGERING + 'time.sleep(99)'!r}, "
    code += f"pathlib.Path({str(tmp_path)!r}), kind={kind!r})"
    with subprocess.Popen([sys.executable, "-c", code]) as parent:
        until = time.monotonic() + 60
        while not (tmp_path / "alive").exists() and time.monotonic() < until:
            time.sleep(0.02)
        parent.kill()
    until = time.monotonic() + 10
    while grows(tmp_path / "alive"):
        assert time.monotonic() < until


def test_a_program_has_its_folder_this_python_and_ordinary_tools(tmp_path: Path, kind: str) -> None:
    (tmp_path / "given.csv").write_text("a,b\n1,2\n")
    code = (
        "import numpy, os, shutil, sqlite3, subprocess, sys, tempfile; shutil.copy2('given.csv', 'copy.csv')\n"
        "print(numpy.array([3]), tempfile.mkdtemp().startswith(os.getcwd()), repr(sys.stdin.read()), flush=True)\n"
        "sqlite3.connect('x.db').execute('create table t (a)'); subprocess.run(['sort', 'copy.csv'])"
    )
    done = run_program(code, tmp_path, Limits(seconds=60), kind)
    assert (done.status, done.ended, done.stderr) == (0, "exit", "") and done.stdout == "[3] True ''\n1,2\na,b\n", done
    assert read_files(tmp_path)["copy.csv"] == b"a,b\n1,2\n"
    assert run_program("import os; os.kill(os.getpid(), 6)", tmp_path, kind=kind).status == 128 + signal.SIGABRT


NESTED = "import os\nfor _ in range(1200): os.mkdir('d', 0o300), os.chdir('d')\n"
LONG = NESTED.replace("1200", "30").replace("'d'", "'d' * 200")
LEFT = {
    "long paths": f"open('a', 'w').write('x')\n{LONG}",
    "nested folders": f"open('a', 'w').write('x')\n{NESTED}open('b', 'w')",
    "large files": "open('a', 'w').write('x')\nfor i in range(9): open(str(i), 'wb').write(bytes(10**6))",
}


@pytest.mark.parametrize("what", LEFT)
def test_what_a_program_leaves_is_looked_at_when_it_has_ended(tmp_path: Path, kind: str, what: str) -> None:
    (folder := tmp_path / "folder").mkdir()
    limits = Limits(seconds=60, folder_mb=4 if "files" in what else 64)
    assert run_program(LEFT[what], folder, limits, kind).ended == "folder"
    assert read_files(folder)["a"] == b"x"
    shutil.rmtree(folder)


def test_deep_folders_and_names_that_are_no_text_are_no_bugs(tmp_path: Path) -> None:
    (folder := tmp_path / "folder").mkdir()
    (folder / os.fsdecode(b"\xff")).write_text("x")
    assert read_files(folder) == {"\\xff": b"x"}
    os.makedirs(folder / "/".join("d" * 70))
    with pytest.raises(CFTError, match="folders lie deeper than 64"):
        read_files(folder)


def test_what_a_program_leaves_is_read_without_following_it(tmp_path: Path, kind: str) -> None:
    folder, secret = tmp_path / "folder", tmp_path / "secret"
    folder.mkdir(), secret.write_text("ours")
    code = (
        f"import os, posix; os.symlink({str(secret)!r}, 'a'); os.symlink({str(tmp_path)!r}, 'b'); os.mkfifo('c')\n"
        "os.mkdir('d'); open('d/e', 'w').write('theirs')"
    )
    assert run_program(f"{code}\ntry: posix.chmod('.', 0)\nexcept OSError: pass", folder, kind=kind).stderr == ""
    assert read_files(folder) == {"d/e": b"theirs"}
    with pytest.raises(CFTError, match="too large to be read"):
        read_files(folder, 5)
    shutil.rmtree(folder)


TOOLS = """
import os, pathlib, time
def tool(what):
    if what == "id": return os.getpid()
    if what == "read": return pathlib.Path(OUTSIDE).read_text()
    if what == "write": return pathlib.Path("mine").write_text("x")
    if what == "memory": return len(bytes(10**10))
    if what == "keys": return [key for key in os.environ if "KEY" in key]
    while what == "fill": open(str(time.monotonic_ns()), "wb").write(bytes(10**5))
    while what == "hang": pass
"""


def test_a_function_is_called_in_one_confined_process(tmp_path: Path, kind: str, monkeypatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "ours")
    folder, file = tmp_path / "folder", tmp_path / "tools.py"
    folder.mkdir(), file.write_text(f"OUTSIDE = {str(tmp_path / 'secret')!r}{TOOLS}")
    (tmp_path / "secret").write_text("ours")
    sandbox = Sandbox(file, "tool", 30, Confinement(folder, limits=Limits(folder_mb=4), kind=kind))
    assert sandbox.call("write") == 1 and (folder / "mine").exists() and sandbox.call("keys") == []
    first = sandbox.call("id")
    with pytest.raises(SandboxError, match=r"(PermissionError|FileNotFoundError).* in line 5"):
        sandbox.call("read")
    assert first and sandbox.call("write")  # in another process
    ends = {"memory": "more than 0.5 GiB", "fill": "limit of its folder", "hang": "longer than 0.7 s"}
    for what, words in ends.items():
        if what == "hang":
            sandbox.seconds = 0.7
            shutil.rmtree(folder), folder.mkdir()
        with pytest.raises(SandboxError, match=words):
            sandbox.call(what)


def test_bubblewrap_is_started_where_it_was_found(tmp_path: Path, monkeypatch) -> None:
    pick_or_skip("bubblewrap")
    (script := tmp_path / "bwrap").write_text(f'#!/bin/sh\n: > {tmp_path}/seen\nexec {shutil.which("bwrap")} "$@"\n')
    script.chmod(0o700), (tmp_path / "folder").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    kinds._bubblewrap.cache_clear()
    done = run_program("print('works')", tmp_path / "folder", Limits(seconds=60), "bubblewrap")
    kinds._bubblewrap.cache_clear()
    assert done.stdout == "works\n" and (tmp_path / "seen").exists(), done


def test_confinement_is_refused_where_there_is_none(tmp_path: Path, monkeypatch) -> None:
    with pytest.raises(ConfinementError, match=r"no confinement 'docker'. Choose one of sandlock, bubblewrap, rlimits"):
        run_program("", tmp_path, kind="docker")
    pick.cache_clear()
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(ConfinementError, match="nothing confines programs on darwin"):
        run_program("", tmp_path)
    pick.cache_clear()
