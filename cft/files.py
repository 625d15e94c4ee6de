"""Files that are never half-written: atomic writes, JSON Lines that survive a kill, content hashes."""

import codecs
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from cft.errors import CFTError, DataError, ModelError, RunError
from cft.foreign import check_shape, decoded, open_file, parse_json, read_bytes
from cft.words import size

MOST_OWN_BYTES = 1 << 40  # of our own logs, which nobody bounds
CURES = {  # what to do with a damaged file, by the error that its reader raises
    ModelError: "Get it again, or correct it",
    RunError: "It was changed after it was written: put it back, or delete it and give the command again",
}


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` beside `path`, flush it to disk, then rename it into place."""
    write_parts(path, [data])


def write_parts(path: Path, parts: Iterable[bytes]) -> None:
    """`write_bytes` of the parts one after the other, which need not fit into memory together."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with beside.open("wb") as out:
            out.writelines(parts)
            out.flush()
            os.fsync(out.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove what processes that are gone had begun to write below `folder`, beside its place (`.NAME.PID.tmp`)."""
    for path in list(folder.rglob(".*.tmp")):
        process = path.suffixes[-2][1:] if len(path.suffixes) > 1 else ""
        if process.isdecimal() and (int(process) == os.getpid() or not psutil.pid_exists(int(process))):
            whole = path.is_dir() and not path.is_symlink()
            shutil.rmtree(path) if whole else path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically. NaN is refused: JSON has none."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(
    path: Path, shape: Mapping[str, Any] | None = None, error: type[CFTError] = RunError, *, exact: bool = True
) -> dict[str, Any] | None:
    """The JSON object in `path`, or None if there is no such file.

    Args:
        shape: key -> type of the values that the caller reads, in whatever form pydantic knows: {"counts": dict,
            "r": Annotated[int, Field(gt=0)], "seed": NotRequired[int]}. Other keys may hold anything.
        exact: as in `cft.foreign.parse_json`; never for a ModelError, whose files others wrote.

    Raises:
        CFTError: of the class `error`, naming file and place: it is no ordinary file, no JSON, not an object, or some
            values are missing or of another type; all of them are named.
    """
    try:
        value = parse_json(decoded(read_bytes(path, error)), exact=exact and error is not ModelError)
        if not isinstance(value, dict):
            raise ValueError(f"is a JSON {type(value).__name__}, not an object")
        check_shape(value, shape or {})
    except FileNotFoundError:
        return None
    except CFTError:
        raise
    except ValueError as fault:
        raise error(f"{path}: {fault}. {CURES.get(error, 'Correct the file')}.") from None
    return value


def dump_jsonl(rows: Iterable[dict]) -> str:
    """The rows as JSON Lines. NaN is refused: JSON has none."""
    return "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)


def write_jsonl(path: Path, rows: Iterable[dict]) -> None:
    """Write all `rows` as JSON Lines, atomically, each as it comes."""
    write_parts(path, (dump_jsonl([row]).encode("utf-8") for row in rows))


def append_jsonl(path: Path, rows: Iterable[dict]) -> None:
    """Append `rows` in one write and flush to disk; a kill in between leaves at most one torn last line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as out:
        out.write(dump_jsonl(rows).encode("utf-8"))
        out.flush()
        os.fsync(out.fileno())


def read_own_jsonl(path: Path, shape: Mapping[str, Any] | None = None) -> list[dict]:
    """Rows of a file written by `append_jsonl`. A last line torn by a kill is cut off.

    `shape` is what each row must hold, as in `read_json`. Other faults than a torn last line raise DataError.
    """
    try:
        data = read_bytes(path, most=MOST_OWN_BYTES)
    except FileNotFoundError:
        return []
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        with path.open("r+b") as file:
            file.truncate(len(whole))
    return [row for _, row in parse_jsonl(whole, path, shape=shape, exact=False)]


def read_jsonl(path: Path, error: type[CFTError] = DataError, *, exact: bool = True) -> list[tuple[int, dict]]:
    """`(line number, row)` of a JSON Lines file that the user wrote; `exact` as in `cft.foreign.parse_json`.

    Raises:
        CFTError: of the class `error`: the file is missing, empty or no ordinary file; or every line that is empty, not
            UTF-8, or not a JSON object that `cft.foreign.parse_json` takes.
    """
    try:
        data = read_bytes(path, error)
    except FileNotFoundError:
        raise error(f"{path}: cannot be read, there is no such file. Check the path in the recipe.") from None
    rows = list(parse_jsonl(data, path, error, exact=exact))
    if not rows:
        raise error(f"{path}: has no rows. It must hold one JSON object a line.")
    return rows


def parse_jsonl(
    data: bytes,
    path: Path,
    error: type[CFTError] = DataError,
    *,
    shape: Mapping[str, Any] | None = None,
    exact: bool = True,
) -> Iterator[tuple[int, dict]]:
    """Yield `(line number, row)`; raise one `error` that lists all faulty lines (the first ten in words).

    `shape` as in `read_json`, `exact` as in `cft.foreign.parse_json`.
    """
    faults, rows = [], []
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise error(f"{path}: is UTF-16. Save the file as UTF-8.")
    lines = data.removeprefix(codecs.BOM_UTF8).split(b"\n")
    if lines and lines[-1] == b"":
        lines.pop()
    for number, line in enumerate(lines, 1):
        try:
            text = line.decode("utf-8")
            if not text.strip():
                raise ValueError("is empty; remove it")
            row = parse_json(text, exact=exact)
            if not isinstance(row, dict):
                raise ValueError(f"is a JSON {type(row).__name__}, not an object")
            check_shape(row, shape or {})
        except UnicodeDecodeError as fault:
            faults.append(f"line {number}: is not UTF-8 (byte {fault.start}); save the file as UTF-8")
        except ValueError as fault:
            torn = " (the last line: torn?)" if number == len(lines) and "is not JSON" in str(fault) else ""
            faults.append(f"line {number}: {fault}{torn}")
        else:
            rows.append((number, row))
    if faults:
        raise faulty(path, faults, "faulty line(s)", error)
    yield from rows


def faulty(path: Path, faults: Sequence[str], kind: str = "fault(s)", error: type[CFTError] = DataError) -> CFTError:
    """One error that counts all faults of a file, with the first ten in words."""
    return error(f"{path}: {len(faults)} {kind}\n  {listed(faults)}")


def listed(faults: Sequence[str], most: int = 10) -> str:
    """The first faults, one a line, and of each what a screen can hold."""
    faults = [fault if len(fault) <= 600 else f"{fault[:600]} ..." for fault in faults]
    more = [f"... and {len(faults) - most} more"] if len(faults) > most else []
    return "\n  ".join([*faults[:most], *more])


def sha256_file(path: Path) -> str:
    """Hex sha256 of the bytes of an ordinary file; DataError for a pipe or a device, which may have no end."""
    with open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_folder(folder: Path, pattern: str = "*") -> str:
    """Hex sha256 over the names and bytes of the files below `folder` that match `pattern`, in name order."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob(pattern) if p.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{sha256_file(path)}\n".encode())
    return digest.hexdigest()


def content_id(*parts: Any, length: int = 12) -> str:
    """A short stable id: the first hex digits of the sha256 of the parts' canonical JSON."""
    canonical = json.dumps(parts, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(canonical.encode("utf-8")).hexdigest()[:length]


def let_others_read(folder: Path) -> None:
    """Give the weights in a model's folder the mode of its other files, so that a server of another user can read them.

    safetensors 0.8 makes every file 0600, whatever the umask (github.com/safetensors/safetensors/issues/782).
    """
    config = next(folder.glob("*config.json"))
    for weights in folder.glob("*.safetensors"):
        shutil.copymode(config, weights)


def nearest_folder(path: Path) -> Path:
    """`path`, or the nearest folder above it that exists."""
    return next(place for place in (path.absolute(), *path.absolute().parents) if place.exists())


def check_space(folder: Path, needed: float, what: str, elsewhere: str, error: type[CFTError]) -> None:
    """Raise `error` unless `needed` bytes are free on the disk where `folder` is or will be; the rest is for words."""
    free = shutil.disk_usage(nearest_folder(folder)).free
    if free < needed:
        raise error(
            f"{what}: needs {size(needed)} on the disk of {folder}, {size(free)} are free. Free some space, or "
            f"{elsewhere}."
        )
