"""The folder that an export fills: made beside and renamed, and not made again from the same weights."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cft.errors import RunError
from cft.export.card import write_card
from cft.export.trained import Trained
from cft.files import check_space, read_json, write_json
from cft.runs import versions

RECORD = "export.json"  # tells that a folder is ours, and what it was made from
TOKENIZER = 40e6  # bytes that a tokenizer and its files may take


def make_folder(
    trained: Trained, folder: Path, kind: str, make: Callable[[Path], dict], **settings: Any
) -> dict[str, Any]:
    """`folder` as it stands if it was made from exactly these weights and `settings`, else filled again by `make`.

    `make` is given an empty folder and returns what it has to say of it.

    Returns:
        {"path", "bytes", "made": whether it was made now, and what `make` returned}.
    """
    made_from = json.loads(json.dumps({"kind": kind, **settings, **trained.identity}))
    record = read_json(folder / RECORD)
    stands = bool(record) and record["made_from"] == made_from and (folder / record.get("file", RECORD)).is_file()
    if not stands:
        with placed(folder) as beside:
            facts = make(beside)
            write_card(trained, beside, kind, facts)
            record = {"made_from": made_from, **facts, "versions": versions()}
            write_json(beside / RECORD, record)
    facts = {key: value for key, value in record.items() if key not in ("made_from", "versions")}
    return {"path": str(folder), "bytes": bytes_in(folder), "made": not stands, **facts}


def bytes_in(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def check_disk(folder: Path, needed: float) -> None:
    """Raise RunError unless `needed` bytes are free where `folder` is going to be."""
    check_space(folder, needed, "the export", "name a folder on another disk with --out", RunError)


def check_ours(folder: Path) -> None:
    """Raise RunError if there is something at `folder` that no export wrote."""
    if folder.exists() and not (folder / RECORD).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError(f"{folder}: exists and was not written by cft export. Name another folder with --out.")


@contextmanager
def placed(folder: Path) -> Iterator[Path]:
    """A new empty folder that takes the place of `folder` when all went well, and is removed otherwise."""
    check_ours(folder)
    beside, old = folder.with_name(f".{folder.name}.tmp"), folder.with_name(f".{folder.name}.old")
    for path in (beside, old):
        shutil.rmtree(path, ignore_errors=True)
    try:
        beside.mkdir(parents=True)
        yield beside
        for path in beside.glob("*.safetensors"):
            path.chmod(0o644)  # safetensors writes for its owner only
        if folder.exists():
            folder.rename(old)
        beside.rename(folder)
    finally:
        for path in (beside, old):
            shutil.rmtree(path, ignore_errors=True)
