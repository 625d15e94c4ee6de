"""Programs that attack: what they do not reach, and which limits end them. The victims are of the test's own making."""

import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from cft.errors import ConfinementError
from cft.sandbox import Confinement, Limits, run_program

KINDS = ("sandlock", "bubblewrap")
CLOSED = {"reads a key in its environment", "uses an open file of ours"}  # to every program

# Each prints ESCAPED if it reaches what it is after. SECRET is a file outside, VICTIM a process of ours.
LIBC = "import ctypes; c = ctypes.CDLL(None, use_errno=True)\n"
CALL = LIBC + "def check(result):\n    if result < 0: raise OSError(ctypes.get_errno(), 'refused')\n"
ATTACKS = {
    "reads a file": "print(open(SECRET).read())",
    "reads through a link": "os.symlink(SECRET, 'link'); print(open('link').read())",
    "reads with another program": "print(subprocess.run(['cat', SECRET], stdout=-1, text=True, check=True).stdout)",
    "lists a folder": "print('ESCAPED', os.listdir(os.path.dirname(SECRET)))",
    "links a file in": "os.link(SECRET, 'mine'); print('ESCAPED')",
    "writes a file": "open(SECRET + '2', 'w'); print('ESCAPED')",
    "truncates a file": "os.truncate(SECRET, 0); print('ESCAPED')",
    "removes a file": "os.remove(SECRET); print('ESCAPED')",
    "moves a file away": "os.rename(SECRET, 'mine'); print('ESCAPED')",
    "moves its own folder": "os.rename(os.getcwd(), SECRET + '3'); print('ESCAPED')",
    "changes a mode": "posix.chmod(SECRET, 0o777); print('ESCAPED')",
    "changes the mode of what it may read": "f = open(sys.executable)\n"
    "posix.fchmod(f.fileno(), os.fstat(f.fileno()).st_mode); print('ESCAPED')",
    "changes the mode of a device": "posix.chmod('/dev/null', os.stat('/dev/null').st_mode & 0o7777); print('ESCAPED')",
    "changes the owner": "posix.chown(SECRET, 1, 1); print('ESCAPED')",
    "changes a time": "posix.utime(SECRET, (0, 0)); print('ESCAPED')",
    "adds an attribute": "posix.setxattr(SECRET, 'user.a', b'x'); print('ESCAPED')",
    "writes to shared memory": "open('/dev/shm/' + NAME, 'w'); os.remove('/dev/shm/' + NAME); print('ESCAPED')",
    "writes to /tmp": "open('/tmp/' + NAME, 'w'); os.remove('/tmp/' + NAME); print('ESCAPED')",
    "opens a setting of the kernel": "open('/proc/sys/kernel/core_pattern', 'a'); print('ESCAPED')",
    "reads a key in its environment": "print(os.environ['OPENAI_API_KEY'])",
    "reads a key in another's environment": "print(open(f'/proc/{VICTIM}/environ').read())",
    "uses an open file of ours": "print(os.pread(FILE, 99, 0).decode())",
    "kills a process": "os.kill(VICTIM, 9); print('ESCAPED')",
    "traces a process": CALL + "check(c.ptrace(0x4206, VICTIM, 0, 0)); print('ESCAPED')",
    "reads another's memory": "open(f'/proc/{VICTIM}/mem', 'rb'); print('ESCAPED')",
    "slows a process": "os.setpriority(os.PRIO_PROCESS, VICTIM, 19); print('ESCAPED')",
    "moves a process": "os.sched_setaffinity(VICTIM, os.sched_getaffinity(0)); print('ESCAPED')",
    "limits a process": "import resource; resource.prlimit(VICTIM, resource.RLIMIT_CORE, (0, 0)); print('ESCAPED')",
    "connects to our port": "socket.create_connection(('127.0.0.1', PORT), 1); print('ESCAPED')",
    "connects to our socket": "s = socket.socket(socket.AF_UNIX); s.connect(SECRET + '.socket'); print('ESCAPED')",
    "connects to our abstract socket": "s = socket.socket(socket.AF_UNIX); s.connect('\\0' + NAME); print('ESCAPED')",
    "reads our keys": CALL + "check(c.syscall(KEYCTL, 0, -3, 0)); print('ESCAPED')",
    "watches a folder": CALL + "check(c.inotify_add_watch(c.inotify_init1(0), SECRET.encode(), 2)); print('ESCAPED')",
}
# These are refused to an ordinary user without any confinement too.
REFUSED = {
    "mounts": LIBC + "print('refused' if c.mount(b'none', os.getcwd().encode(), b'tmpfs', 0, 0) else 'ESCAPED')",
    "leaves a user name space": LIBC + "print('refused' if c.unshare(0x10000000) else 'ESCAPED')",
    "becomes another user": "os.setuid(4321); print('ESCAPED')",
    "may gain rights by a program": LIBC + "print('refused' if c.prctl(39, 0, 0, 0, 0) == 1 else 'ESCAPED')",
    "makes a device": "os.mknod('disk', 0o60600, os.makedev(254, 0)); print('ESCAPED')",
    "sets the clock": "t = time.clock_gettime_ns(0); time.clock_settime_ns(0, t); print('ESCAPED')",
    "asks for a name": "socket.getaddrinfo('example.com', 80); print('ESCAPED')",
    "raises its limits": "import resource as r; r.setrlimit(r.RLIMIT_FSIZE, (2**40, 2**40)); print('ESCAPED')",
}
# Each in a process of its own, with what came of it in a line.
EACH = """
import contextlib, io, json
for name, code in json.load(open("attacks.json")).items():
    if not os.fork():
        with contextlib.redirect_stdout(io.StringIO()) as out:
            try: exec(code, dict(globals()))
            except BaseException as error: print(f"{type(error).__name__}: {error}")
        os.write(1, json.dumps([name, out.getvalue()]).encode() + b"\\n")
        os._exit(0)
    os.wait()
"""
MISTAKES = ("SyntaxError", "NameError", "TypeError", "AttributeError", "ImportError", "ModuleNotFoundError")
SMALL = Limits(seconds=20, memory_mb=256, processes=8, file_mb=1, folder_mb=4, output_kb=16)
TINY = "open(f'{i}', 'w').write('x')"
FORK = "if not os.fork():\n        time.sleep(9); os._exit(0)"
# What each does, how it may end, and a word of its last message if it ends by itself.
GREEDY = {
    "allocates": ("x = bytearray(10**9)", {"exit"}, "MemoryError"),
    "maps shared memory": ("import mmap; mmap.mmap(-1, 10**9)", {"exit"}, "memory"),
    "allocates in many processes": (
        "for _ in range(6):\n    if not os.fork(): x = os.urandom(1) * 9 * 10**7; time.sleep(9)\ntime.sleep(9)",
        {"memory"},
        "",
    ),
    "fills files in memory": (
        "fs = [os.memfd_create('x') for _ in range(32)]\nfor f in fs: os.write(f, bytes(10**6))\ntime.sleep(9)",
        {"folder"},
        "",
    ),
    "forks": (f"for _ in range(99):\n    {FORK}\ntime.sleep(9)", {"processes", "exit"}, "Error"),
    "starts threads": (
        "import threading; threading.stack_size(2**15)\n"
        "for _ in range(3000): threading.Thread(target=time.sleep, args=(9,), daemon=True).start()\ntime.sleep(9)",
        {"processes", "exit"},
        "thread",
    ),
    "writes a large file": ("open('x', 'wb').write(bytes(2 * 10**6))", {"exit"}, "File too large"),
    "makes a sparse file": ("os.truncate(os.open('x', os.O_CREAT | os.O_RDWR), 2**40)", {"exit"}, "File too large"),
    "writes many small files": (f"import itertools\nfor i in itertools.count(): {TINY}", {"folder"}, ""),
    "makes nested folders": ("for _ in range(1200): os.mkdir('d'), os.chdir('d')\ntime.sleep(9)", {"folder"}, ""),
    "makes many folders": ("import itertools\nfor i in itertools.count(): os.mkdir(str(i))", {"folder"}, ""),
    "writes deleted files": (
        "f = []\nfor i in range(9): f.append(open('x', 'wb')), f[i].write(bytes(10**6)), os.remove('x')\ntime.sleep(9)",
        {"folder"},
        "",
    ),
    "opens many files": ("fs = [open('/dev/null') for _ in range(999)]", {"exit"}, "Too many open files"),
    "prints without end": ("while True: print('y' * 9999)", {"output"}, ""),
    "complains without end": ("while True: print('y' * 9999, file=sys.stderr)", {"output"}, ""),
    "crashes": ("import ctypes; ctypes.string_at(0)", {"exit"}, ""),
}
ENDLESS = {
    "loops": "while True: pass",
    "goes on behind closed output": "os.closerange(0, 64)\ntime.sleep(99)",
    "ignores signals": "[signal.signal(s, signal.SIG_IGN) for s in {*range(1, 32)} - {9, 19}]; time.sleep(99)",
    "sleeps": "time.sleep(99)",
    "stops itself": "os.kill(os.getpid(), 19)",
}


@pytest.fixture
def kind(request) -> str:
    """A confinement, if this machine has it."""
    try:
        return Confinement(Path("/"), kind=request.param).kind
    except ConfinementError as error:
        pytest.skip(str(error))


@pytest.fixture
def attack(tmp_path: Path, monkeypatch):
    """A function that runs code among things of ours, all of which it is told."""
    outside, folder, name = tmp_path / "outside", tmp_path / "folder", f"cft-{os.getpid()}-{time.monotonic_ns()}"
    outside.mkdir(), folder.mkdir()
    (secret := outside / "s").write_text("ESCAPED")
    monkeypatch.setenv("OPENAI_API_KEY", "ESCAPED")
    before = os.stat(secret)
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_UNIX) as path_socket,
        socket.socket(socket.AF_UNIX) as abstract_socket,
        subprocess.Popen(["sleep", "60"], env={"KEY": "ESCAPED"}) as victim,
        open(secret) as open_file,
    ):
        os.set_inheritable(open_file.fileno(), True)
        path_socket.bind(f"{secret}.socket"), abstract_socket.bind(f"\0{name}")
        path_socket.listen(), abstract_socket.listen()
        told = {"SECRET": str(secret), "VICTIM": victim.pid, "NAME": name, "FILE": open_file.fileno()}
        told |= {"PORT": server.getsockname()[1], "KEYCTL": 219 if os.uname().machine == "aarch64" else 250}

        head = "import os, posix, signal, socket, subprocess, sys, time\n"
        head += "".join(f"{key} = {value!r}\n" for key, value in told.items())

        def run(code: str, kind: str, limits: Limits = SMALL):
            return run_program(head + code, folder, limits, kind)

        def in_plain_python(code: str) -> str:
            command = [sys.executable, "-c", head + code]
            return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False).stdout

        def is_unharmed() -> bool:
            after, keys = os.stat(secret), ("st_mode", "st_uid", "st_mtime", "st_nlink")
            same = all(getattr(before, key) == getattr(after, key) for key in keys)
            alive = victim.poll() is None and os.getpriority(os.PRIO_PROCESS, victim.pid) == os.getpriority(0, 0)
            return same and alive and secret.read_text() == "ESCAPED" and len(list(outside.iterdir())) == 2

        run.folder, run.is_unharmed, run.in_plain_python = folder, is_unharmed, in_plain_python
        yield run
        victim.kill()


@pytest.mark.parametrize("kind", KINDS, indirect=True)
def test_a_confined_program_reaches_nothing_of_ours(kind: str, attack) -> None:
    (attack.folder / "attacks.json").write_text(json.dumps(ATTACKS | REFUSED))
    done = attack(EACH, kind, replace(SMALL, seconds=60))
    results = dict(json.loads(line) for line in done.stdout.splitlines())
    assert results.keys() == ATTACKS.keys() | REFUSED.keys(), done
    assert {name: text for name, text in results.items() if "ESCAPED" in text or text in ("", "None")} == {}
    assert {name: text for name, text in results.items() if text.startswith(MISTAKES)} == {}  # the others were tried
    assert attack.is_unharmed()


@pytest.mark.parametrize("name", sorted(ATTACKS.keys() - CLOSED))
@pytest.mark.parametrize("kind", ["rlimits"], indirect=True)
def test_the_attacks_are_real_where_only_limits_hold(kind: str, name: str, attack) -> None:
    done = attack(ATTACKS[name], kind)
    if "ESCAPED" not in done.stdout and "ESCAPED" not in attack.in_plain_python(ATTACKS[name]):
        pytest.skip("this machine refuses it to any program of this user")
    assert "ESCAPED" in done.stdout, done


@pytest.mark.parametrize("name", GREEDY)
@pytest.mark.parametrize("kind", KINDS, indirect=True)
def test_a_limit_ends_a_greedy_program(kind: str, name: str, attack) -> None:
    code, ends, word = GREEDY[name]
    done = attack(code, kind)
    assert done.ended in ends and done.status, done
    assert word in done.stderr or done.ended != "exit", done
    assert len(done.stdout) + len(done.stderr) <= 2 * 16 * 1024


@pytest.mark.parametrize("name", ENDLESS)
@pytest.mark.parametrize("kind", KINDS, indirect=True)
def test_a_program_without_end_is_killed_when_its_time_is_up(kind: str, name: str, attack) -> None:
    done = attack(ENDLESS[name], kind, Limits(seconds=0.5))
    assert done.ended == "time" and done.status and done.seconds < 9
