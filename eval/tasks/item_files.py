"""Where the rows of a benchmark lie: a local file that the user names, a data set on the hub, a file at an address.

A file is JSON Lines, one JSON list, a JSON object that holds one list (`{"examples": [...]}`), or Parquet.
"""

import hashlib
import http.client
import re
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cft.cache import cache_folder
from cft.errors import DataError, EvalError
from cft.files import read_jsonl, sha256_file, write_bytes
from cft.foreign import open_file, parse_json, read_text, user_path
from eval.prompts import PROMPTS
from eval.tasks.source import HUB_ID

if TYPE_CHECKING:
    from eval.tasks.source import Source

Row = tuple[str, dict[str, Any]]  # where it stands ("line 3"), and what it holds

SUFFIXES = (".jsonl", ".json", ".parquet")
SECONDS = 60  # without a byte, until a download is given up


def read_rows(source: "Source", metadata: dict[str, Any]) -> tuple[str, list[Row]]:
    """The place that the rows come from, and the rows as they are there.

    Raises:
        EvalError: the local file is missing, damaged or not the only one, or the pinned source cannot be had.
    """
    path = local_file(source, metadata)
    if path is None and source.hub:
        return source.hub, hub_rows(source)
    try:
        path = path or download(source)
        return str(path), read_file(path)
    except DataError as error:
        raise EvalError(f"{source.task}: {error}") from None


def local_file(source: "Source", metadata: dict[str, Any]) -> Path | None:
    """The file that the user named for this task or for a variant of it, else the one in the user's folder, else None.

    Raises:
        EvalError: the folder has no file for this task, or several.
    """
    for name in (source.task, *(f"{source.task}_{variant}" for variant in PROMPTS)):
        if name in metadata:
            return user_path(metadata[name], EvalError)
    if not metadata.get("data_dir"):
        return None
    folder = user_path(metadata["data_dir"], EvalError)
    stems = list(dict.fromkeys((source.task.removeprefix("cft_"), source.task, *source.names)))
    for suffix in SUFFIXES:
        found = [folder / f"{stem}{suffix}" for stem in stems]
        within = [path for stem in stems for path in sorted((folder / stem).rglob(f"*{suffix}"))]
        found += [path for path in within if path.stem.partition("-")[0] in ("test", "task")]  # test-00000-of-00001
        found = [path for path in found if path.is_file()]
        if len(found) > 1:
            raise EvalError(
                f"{source.task}: {folder} has {len(found)} files for it ({', '.join(map(str, found))}). "
                f"Leave one of them there, or name it. {_way_out(source.task)}"
            )
        if found:
            return found[0]
    raise EvalError(
        f"{source.task}: {folder} has no file for it. Looked for {' and '.join(stems)} with {', '.join(SUFFIXES)}, and "
        f"for test.jsonl and the like in a folder of that name. {_way_out(source.task)}"
    )


def read_file(path: Path) -> list[Row]:
    """All rows of a JSON Lines, JSON or Parquet file.

    Raises:
        DataError: the file is missing, empty or damaged; of JSON Lines all faulty lines are named.
    """
    if path.suffix == ".parquet":
        return numbered(path, "row", _parquet(path))
    if path.suffix == ".json" and (rows := _json_list(path)) is not None:
        return numbered(path, "item", rows)
    return [(f"line {number}", row) for number, row in read_jsonl(path)]


def _parquet(path: Path) -> list[Any]:
    import pyarrow.parquet

    try:
        with open_file(path) as file:
            return pyarrow.parquet.read_table(file).to_pylist()
    except DataError:
        raise
    except (OSError, ValueError, OverflowError, MemoryError, pyarrow.ArrowException) as error:
        fault = str(error).partition("\n")[0]
        raise DataError(f"{path}: cannot be read as Parquet ({fault}). Check the path and the file.") from None


def numbered(place: Path | str, word: str, rows: list[Any]) -> list[Row]:
    """The rows with their numbers.

    Raises:
        DataError: there are none, or some are no objects.
    """
    kinds = [(i, type(row).__name__) for i, row in enumerate(rows, 1) if not isinstance(row, dict)]
    if kinds:
        faults = "\n  ".join(f"{word} {i}: is a JSON {kind}" for i, kind in kinds[:10])
        raise DataError(f"{place}: {len(kinds)} are no objects\n  {faults}")
    if not rows:
        raise DataError(f"{place}: has no rows.")
    return [(f"{word} {number}", row) for number, row in enumerate(rows, 1)]


def _json_list(path: Path) -> list[Any] | None:
    """The list that a JSON file is, or the only list that its object holds; None where it may be JSON Lines."""
    text = read_text(path)
    try:
        value = parse_json(text)
    except ValueError as fault:
        if text.lstrip().partition("\n")[0].rstrip().endswith("}"):
            return None  # an object a line: read_jsonl names the lines at fault
        raise DataError(f"{path}: {fault}. Correct the file.") from None
    if isinstance(value, list):
        return value
    lists = [part for part in value.values() if isinstance(part, list)] if isinstance(value, dict) else []
    return lists[0] if len(lists) == 1 and all(isinstance(part, dict) for part in lists[0]) else None


def hub_rows(source: "Source") -> list[Row]:
    """The rows of a data set on the hub, at its pinned revision.

    Raises:
        EvalError: the hub cannot be reached, or does not have it.
    """
    if not source.revision:
        raise EvalError(f"{source.task}: its hub data set needs a revision, else it may change between two runs.")
    try:
        return load_hub(source.hub, source.config, source.split, source.revision)
    except DataError as error:
        raise EvalError(f"{source.task}: {error} {_way_out(source.task)}") from error


def load_hub(hub: str, config: str | None, split: str, revision: str) -> list[Row]:
    """The rows of a data set on the hub, or of a local folder that begins with / or ./.

    Raises:
        DataError: the hub cannot be reached, or does not have it.
    """
    from datasets import load_dataset

    # An id by its address: of a bare name the library would first look for a folder here.
    place = f"hf://datasets/{hub}" if re.fullmatch(HUB_ID, hub) else hub
    try:
        rows = load_dataset(place, config, split=split, revision=revision)
    except Exception as error:  # whatever the hub's client raises, the way out is the same
        raise DataError(f"{hub} cannot be loaded from the hub ({_fault(error)}).") from error
    return numbered(hub, "row", list(rows))


def download(source: "Source") -> Path:
    """The pinned file in the cache (`CFT_CACHE`, else `~/.cache/cft`), fetched where it is not there yet.

    Raises:
        EvalError: there is no address, it cannot be reached, its bytes are not the pinned ones, or the cache cannot
            be written.
    """
    if not source.url or not source.sha256:
        lack = "neither hub nor url" if not source.url else "a url without its sha256"
        raise EvalError(f"{source.task}: its YAML has {lack}. {_way_out(source.task)}")
    path = cache_folder() / "data" / f"{source.sha256[:16]}-{source.url.rpartition('/')[2]}"
    if path.is_file() and sha256_file(path) == source.sha256:
        return path
    try:
        with urllib.request.urlopen(source.url, timeout=SECONDS) as response:
            data = response.read()
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise EvalError(
            f"{source.task}: {source.url} cannot be loaded ({_fault(error)}). {_way_out(source.task)}"
        ) from error
    if (found := hashlib.sha256(data).hexdigest()) != source.sha256:
        raise EvalError(
            f"{source.task}: {source.url} gave other bytes than the pinned ones (sha256 {found}, not {source.sha256}). "
            f"Does a proxy stand between? {_way_out(source.task)}"
        )
    try:
        write_bytes(path, data)
    except OSError as error:
        raise EvalError(f"{path}: cannot be written ({error.strerror}). Set CFT_CACHE to a folder that can.") from None
    return path


def _fault(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0]


def _way_out(task: str) -> str:
    """How to name a local file in its place."""
    return (
        f"Name a local JSONL file: eval.data.{task}=FILE in the recipe, or "
        f'--metadata \'{{"{task}": "FILE"}}\' with lm_eval.'
    )
