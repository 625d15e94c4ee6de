"""The installer of a pack, as a person starts it; with CFT_TEST_NETWORK=1 a real pack, run without a network."""

import json
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from cft.pack.write import write_pack
from tests.support.tiny import write_wheel

HERE = ".".join(platform.python_version_tuple()[:2])
ABOUT = {"recipe": "r", "python": HERE, "platform": f"{sys.platform}_{platform.machine()}", "torch": "2.13.0"}
ABOUT |= {"oldest": "2.6", "installed_bytes": 1000, "imports": ["numpy"], "notes": ["something is left out"]}


@pytest.fixture
def pack(tmp_path) -> Path:
    """A pack in three parts with one wheel."""
    wheel = write_wheel(tmp_path, "tiny_part", os.urandom(100_000))
    files = {f"wheels/{wheel.name}": wheel, "work/recipe.yaml": b"name: r\n", "cache/models.yaml": b"{}\n"}
    write_pack(tmp_path / "a pack", files, ABOUT, 50_000)
    return tmp_path / "a pack"


def install(pack: Path, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(pack / "install.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd="/", timeout=600)


def change(pack: Path, **changes) -> None:
    manifest = json.loads((pack / "manifest.json").read_text())
    (pack / "manifest.json").write_text(json.dumps(manifest | changes))


def test_missing_and_damaged_parts_are_named_and_when_they_are_whole_all_is_installed(pack):
    whole = (pack / "part-001").read_bytes()
    (pack / "part-001").write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    (pack / "part-003").rename(pack / "later")
    done = install(pack)
    assert (done.returncode, done.stdout) == (2, "")
    assert "1 of 3 parts are whole; part-001 is damaged, part-003 is missing" in done.stderr
    assert not any((pack / name).exists() for name in ("venv", "work", "wheels", "env.sh"))

    (pack / "part-001").write_bytes(whole)
    (pack / "later").rename(pack / "part-003")
    (pack / "venv").mkdir()  # as a kill leaves it
    done = install(pack)
    assert done.returncode == 0, done.stderr
    assert "ready: cd '" in done.stdout and "note: something is left out" in done.stdout
    show = '. "$1/env.sh"; python -c "import sys; print(sys.prefix)"; echo $CFT_CACHE $CFT_MODELS $HF_HUB_OFFLINE'
    shown = subprocess.run(["sh", "-c", show, "sh", pack], capture_output=True, text=True).stdout
    assert shown == f"{pack}/venv\n{pack}/cache {pack}/cache/models.yaml 1\n"
    assert list((pack / "venv").glob("lib/python*/site-packages/tiny_part-1.0.dist-info"))


def test_another_python_or_machine_too_little_disk_and_a_wheel_that_does_not_fit_are_said(pack):
    change(pack, python="3.99", platform="linux_vax", installed_bytes=1 << 60)
    done = install(pack)
    assert done.returncode == 2
    for words in (
        f"for Python 3.99, {sys.executable} is Python {HERE}",
        "for linux_vax, this machine is",
        "MB are needed",
    ):
        assert words in done.stderr
    assert not (pack / "venv").exists()
    assert install(pack, "--home").returncode == 2
    assert "Traceback" not in install(pack, "--into", "/bin/false").stderr
    assert "/bin/true is no Python" in install(pack, "--into", "/bin/true").stderr
    (pack / "manifest.json").write_text("{")
    assert "manifest.json is damaged" in install(pack).stderr


TORCH = ["torch", "torchgen", "functorch", "sympy", "mpmath", "networkx", "jinja2", "markupsafe", "filelock", "fsspec"]
SIZE = ["data.students.0.samples=4", "data.max_examples=4", "train.args.max_steps=1", "eval.limit=2"]
SIZE += ["eval.max_new_tokens=16", "data.students.0.max_new_tokens=64"]


def machine_with_torch(folder: Path) -> Path:
    """The Python of a new venv that has torch and what torch brings, and nothing else."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    site = next(folder.glob("lib/python*/site-packages"))
    for source in Path(sysconfig.get_path("purelib")).iterdir():
        name = source.name.partition("-")[0].lower()
        if name in TORCH or source.name == "typing_extensions.py":
            (site / source.name).symlink_to(source)
    return folder / "bin" / "python"


@pytest.mark.soak
@pytest.mark.network
@pytest.mark.skipif(not os.environ.get("CFT_TEST_NETWORK"), reason="downloads wheels; CFT_TEST_NETWORK=1 runs it")
def test_a_pack_runs_to_its_report_on_a_machine_that_has_torch_and_no_network(tmp_path):
    command = [
        sys.executable,
        "-m",
        "cft.cli.main",
        "pack",
        "smoke",
        *SIZE,
        "--to",
        "pack",
        "--split",
        "100MB",
        "--json",
    ]
    made = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    assert all(part["bytes"] <= 100_000_000 for part in json.loads(made.stdout)["parts"])
    python, pack = machine_with_torch(tmp_path / "machine"), tmp_path / "pack"
    (tmp_path / "home").mkdir()
    clean = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"}
    alone = ["unshare", "-n"] if os.getuid() == 0 and shutil.which("unshare") else []
    script = f"{python} install.py && . ./env.sh && cd work && cft run recipe.yaml --json"
    done = subprocess.run([*alone, "sh", "-c", script], cwd=pack, env=clean, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    report = Path(pack, "work", json.loads(done.stdout.splitlines()[-1])["report"]).read_text()
    assert "adapter" in report and "base" in report
