"""Writes a pack: all its files as one tar, cut into parts, then the installer, a README and the manifest.

The same contents give the same bytes: files in the order of their names, without dates and owners.
"""

import hashlib
import io
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import ByteSize, TypeAdapter, ValidationError

from cft.errors import CFTError
from cft.files import nearest_folder, read_json, remove_leftovers, write_bytes, write_json, write_text
from cft.words import number_of, size

FORMAT = "cft pack 1"
MANIFEST, INSTALLER, README = "manifest.json", "install.py", "README.md"
PART = "part-[0-9][0-9][0-9]"
MOST_PARTS = 999

Files = Mapping[str, Path | bytes]  # path in the pack -> the file, or its bytes


def part_bytes(text: str | None, total: float) -> int:
    """The bytes that --split asks for, as 60MB; without it, as many as a pack of `total` bytes could have.

    Raises:
        CFTError: it is no size, or there would be too many parts.
    """
    try:
        most = int(TypeAdapter(ByteSize).validate_python(text)) if text else 1 << 50
    except ValidationError:
        raise CFTError(f"--split {text!r}: is no size. Write one as 60MB or 1.5GB.") from None
    if total > MOST_PARTS * most:
        least = size(total / MOST_PARTS + 1e6)
        raise CFTError(f"--split {text!r}: {size(total)} would be more than {MOST_PARTS} parts. Write {least} or more.")
    return most


def check_folder(folder: Path) -> None:
    """Raise CFTError unless `folder` can be written, and is missing, empty, or a pack, whole or begun."""
    there = nearest_folder(folder)
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        raise CFTError(f"--to {folder}: {there} cannot be written. Name another folder.")
    if not folder.exists():
        return
    begun = folder.is_dir() and all(path.match(PART) or path.match(f".{PART}.*.tmp") for path in folder.iterdir())
    found = read_json(folder / MANIFEST, error=CFTError) if folder.is_dir() else None
    pack = begun or (found and found.get("format") == FORMAT)
    if not pack or any(path.is_dir() for path in (*folder.glob(PART), folder / INSTALLER, folder / README)):
        raise CFTError(f"--to {folder}: holds other things than a pack. Name a new or an empty folder.")


def write_pack(folder: Path, files: Files, about: dict[str, Any], most: int) -> dict[str, Any]:
    """Write the pack in parts of at most `most` bytes; its manifest has what `about` has, and the parts."""
    folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder)
    parts = Parts(folder, most)
    with tarfile.open(fileobj=parts, mode="w|") as archive:
        for name in sorted(files):
            source = files[name]
            member = tarfile.TarInfo(name)
            member.size = bytes_of(source)
            with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
                archive.addfile(member, file)
    parts.end()
    names = {name for name, *_ in parts.written}
    for stale in (path for path in folder.glob(PART) if path.name not in names):
        stale.unlink()
    wheels = sorted(Path(name).name for name in files if name.startswith("wheels/"))
    manifest = {"format": FORMAT, **about, "wheels": wheels, "parts": parts.written}
    write_bytes(folder / INSTALLER, Path(__file__).with_name(INSTALLER).read_bytes())
    write_text(folder / README, readme(manifest))
    write_json(folder / MANIFEST, manifest)
    return manifest


def bytes_of(source: Path | bytes) -> int:
    """The length of a file, or of what would be one."""
    return len(source) if isinstance(source, bytes) else source.stat().st_size


class Parts:
    """What is written becomes files of at most `most` bytes, each under its name once it is whole."""

    def __init__(self, folder: Path, most: int) -> None:
        self.folder, self.most = folder, most
        self.written: list[tuple[str, int, str]] = []  # name, bytes, sha256
        self.file: BinaryIO | None = None

    def write(self, data: bytes) -> None:
        while data:
            if self.file is None:
                self.name = f"part-{len(self.written) + 1:03}"
                self.beside = self.folder / f".{self.name}.{os.getpid()}.tmp"
                self.file, self.digest = self.beside.open("wb"), hashlib.sha256()
            left = self.most - self.file.tell()
            block, data = data[:left], data[left:]
            self.file.write(block)
            self.digest.update(block)
            if self.file.tell() == self.most:
                self.end()

    def end(self) -> None:
        """The part under way is whole."""
        if self.file:
            file, self.file = self.file, None  # closed even if it cannot have its name
            self.written.append((self.name, file.tell(), self.digest.hexdigest()))
            file.close()
            self.beside.replace(self.folder / self.name)


def readme(pack: dict[str, Any]) -> str:
    """What a person reads who gets the pack."""
    parts = f"{size(sum(length for _, length, _ in pack['parts']))} in {number_of(len(pack['parts']), 'part')}"
    disk = size(pack["installed_bytes"])
    lines = [
        f"# {pack['recipe']}, packed for a machine without internet",
        "",
        f"{parts}, for Python {pack['python']} on {pack['platform']}. That machine must have this Python, torch",
        f"{pack['oldest']} or newer (tested with {pack['torch']}), and {disk} of disk besides the parts.",
        "",
        "```sh",
        "python3 install.py    # checks, unpacks, and installs into a venv that uses this machine's torch",
        "cd work && . ../env.sh && cft run recipe.yaml",
        "```",
        "",
        "The installer names parts that are missing or damaged: copy those again, and start it again. `--into PYTHON`",
        "installs into that Python in place of a venv. Other recipes of `cft recipes` run with what this pack has.",
        *(f"\n- {note}." for note in pack["notes"]),
    ]
    return "\n".join(lines) + "\n"
