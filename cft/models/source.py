"""What `model.id` means: a name in `models.yaml`, a local folder, a GGUF file, or a hub id `org/name`."""

import functools
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cft.cache import cache_folder
from cft.errors import ModelError
from cft.files import content_id, read_json, sha256_file
from cft.foreign import tensor_shapes, user_path
from cft.models.architecture import Architecture
from cft.models.catalogue import RECORD, RECORD_SHAPE, cached_record, load_entries, missing_parts
from cft.models.fetch import fetch, fetch_gguf, fetch_hub, hub_snapshot
from cft.models.wheels import UnreachableError
from cft.suggest import nearest
from cft.terminal import Terminal
from cft.words import shell_line

if TYPE_CHECKING:
    from cft.recipe.blocks import ModelBlock


DECIDING = ("*.safetensors", "*.json", "*.jinja", "*/*.jinja", "*.model", "*.txt", "*.tiktoken", "*.py")


@dataclass(frozen=True)
class ModelSource:
    """Where a model comes from. Hub weights and de-quantised GGUF weights are different weights: see `identity`."""

    name: str  # as the recipe has it
    kind: Literal["hub", "wheels", "gguf", "folder"] | None  # None: not fetched, so not known yet
    location: str  # folder to load from; the hub id or file while nothing is fetched
    cached: bool
    hub_id: str | None = None  # the public name of the base
    hub_revision: str | None = None  # a commit once fetched
    licence: str | None = None
    parameters: int | None = None
    download: str | None = None  # size for people
    sha256: str | None = None  # of the GGUF file that the weights come from
    note: str = ""

    @property
    def public_name(self) -> str:
        """What an adapter names as its base: the hub id, or the path where there is none."""
        return self.hub_id or (self.name if self.kind == "gguf" else self.location)

    @property
    def identity(self) -> dict[str, str | None]:
        """What tells these weights from others, for fingerprints; no paths in it. The model must be cached."""
        if self.kind is None:
            raise ModelError(
                f"{self.name}: is not fetched yet. Fetch it: {shell_line('cft', 'models', 'path', self.name)}"
            )
        if self.kind == "hub":
            return {"kind": "hub", "hub_id": self.hub_id, "revision": self.hub_revision}
        if self.kind == "folder":
            return {"kind": "folder", "sha256": folder_sha256(Path(self.location))}
        return {"kind": self.kind, "hub_id": self.hub_id, "sha256": self.sha256}


def resolve(block: "ModelBlock", *, fetch: bool = True) -> ModelSource:
    """What `block.id` stands for.

    Args:
        fetch: download it if it is not cached. False downloads and loads nothing, and says whether it is cached.

    Raises:
        ModelError: the name is unknown, the folder or file is no model, or it cannot be fetched.
    """
    name, revision = block.id.strip(), block.revision
    entries = load_entries()
    path = user_path(name, ModelError)
    if name in entries and revision in (None, entries[name].revision):
        return _resolve_entry(name, fetch)
    if name in entries:  # another revision than the pinned one: only the hub has it
        return _resolve_hub(name, entries[name].hub_id, revision, fetch, block.trust_remote_code)
    if path.suffix == ".gguf":
        return _resolve_gguf(path.absolute(), fetch)
    if re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", name):  # a hub id, whatever folder of that name lies here
        return _resolve_hub(name, name, revision, fetch, block.trust_remote_code)
    if path.is_dir():
        return _resolve_folder(name, path.absolute())
    if re.match(r"[./~\\]|\w:", name) or "/" in name:
        raise ModelError(f"{path}: there is no such folder. Check model.id.")
    near = nearest(name, entries)
    meant = f" Did you mean {near}?" if near else ""
    raise ModelError(
        f"Unknown model {name!r}.{meant} `cft models` lists the known names; a local folder, a .gguf file "
        "or a hub id like org/name will do as well."
    )


def _resolve_entry(name: str, may_fetch: bool) -> ModelSource:
    entry = load_entries()[name]
    record = cached_record(name) or (fetch(name, entry, Terminal(stderr=True)) if may_fetch else None)
    about = {"licence": entry.licence, "parameters": entry.parameters, "download": entry.download}
    if record is None:
        return ModelSource(name, None, entry.hub_id, False, entry.hub_id, entry.revision, note=entry.note, **about)
    note = "; ".join(filter(None, [entry.note, record["note"]]))
    return _from_record(name, record, about | {"note": note})


def _from_record(name: str, record: dict, about: dict) -> ModelSource:
    place = (record["kind"], record["folder"], True, record["hub_id"], record["revision"])
    return ModelSource(name, *place, sha256=record.get("sha256"), **about)


def _resolve_folder(name: str, folder: Path) -> ModelSource:
    if (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file():
        config = read_json(folder / "adapter_config.json", error=ModelError)
        raise ModelError(
            f"{folder}: is a PEFT adapter, not a model. Its base is {config.get('base_model_name_or_path')!r}: "
            "set model.id to that."
        )
    if missing := missing_parts(folder):
        raise ModelError(f"{folder}: is no model folder, it lacks {', '.join(missing)}.")
    parameters = count_parameters(folder)
    if (folder / RECORD).is_file() and folder.parent == cache_folder() / "models":  # one of ours, named by its path
        record = read_json(folder / RECORD, RECORD_SHAPE | {"licence": str | None}, ModelError) | {
            "folder": str(folder)
        }
        return _from_record(name, record, {"licence": record["licence"], "parameters": parameters})
    return ModelSource(name, "folder", str(folder), True, parameters=parameters)


def _resolve_gguf(file: Path, may_fetch: bool) -> ModelSource:
    if not file.is_file():
        raise ModelError(f"{file}: there is no such file. Check model.id.")
    sha256 = file_sha256(file)
    record = cached_record(f"gguf-{sha256[:16]}") or (
        fetch_gguf(file, sha256, Terminal(stderr=True)) if may_fetch else None
    )
    if record is None:
        return ModelSource(str(file), None, str(file), False, sha256=sha256)
    parameters = count_parameters(Path(record["folder"]))
    return _from_record(str(file), record, {"parameters": parameters, "note": record["note"]})


def _resolve_hub(name: str, hub_id: str, revision: str | None, may_fetch: bool, remote_code: bool) -> ModelSource:
    from huggingface_hub.errors import HFValidationError

    known = next((e for e in load_entries().values() if e.hub_id == hub_id), None)
    here = f" The folder of that name here is not meant by it; write ./{name} for that." if Path(name).is_dir() else ""
    about = {"licence": known.licence, "parameters": known.parameters} if known else {}
    try:  # what the hub's own cache has is used as it is, also when the branch has moved on
        folder = hub_snapshot(hub_id, revision, remote_code)
    except HFValidationError as error:
        raise ModelError(f"{hub_id!r}: is no hub id. {error}") from None
    if folder is None:
        if not may_fetch:
            return ModelSource(name, None, hub_id, False, hub_id, revision, note=here.strip(), **about)
        try:
            folder = fetch_hub(hub_id, revision, Terminal(stderr=True), remote_code)
        except UnreachableError as error:
            same = [n for n, entry in load_entries().items() if entry == known and len(entry.sources) > 1]
            other = f" The same base, de-quantised, is to be had without the hub: model.id={same[0]}" if same else ""
            raise ModelError(
                f"{name}: {error}. Check the id, the revision, the network, and for a gated model HF_TOKEN."
                f"{here}{other}"
            ) from error
    about = about or {"parameters": count_parameters(folder)}
    return ModelSource(name, "hub", str(folder), True, hub_id, folder.name, **about)


def list_models() -> list[dict]:
    """One row for each name in `models.yaml`, sizes as text for people, with "cached" and what it was cached from."""
    rows = []
    for name, entry in load_entries().items():
        record, millions = cached_record(name), entry.parameters / 1e6
        notes = [entry.note, *(f"{source.kind}: {source.note}" for source in entry.sources if source.note)]
        rows.append(
            {
                "name": name,
                "parameters": f"{millions / 1000:.2f}B" if millions >= 1000 else f"{millions:.0f}M",
                "download": entry.download,
                "disk": f"{max(s.cached_mb for s in entry.sources)} MB",
                "cached": record is not None,
                "source": record["kind"] if record else None,
                "path": record["folder"] if record else None,
                "licence": entry.licence,
                "hub_id": entry.hub_id,
                "revision": entry.revision,
                "note": "; ".join(filter(None, notes)),
            }
        )
    return rows


def fetch_model(name: str) -> Path:
    """The folder of the model `name` (whatever `model.id` may be), fetched if need be."""
    from cft.recipe.blocks import ModelBlock

    if not name.strip():
        raise ModelError("The name of the model is empty. `cft models` lists the known names.")
    return Path(resolve(ModelBlock(id=name)).location)


def count_parameters(folder: Path) -> int:
    """Numbers in the folder's safetensors files, by their headers; a tied layer counts once. ModelError if damaged."""
    shapes = [shape for path in sorted(folder.glob("*.safetensors")) for shape in tensor_shapes(path).values()]
    return sum(map(math.prod, shapes))


def folder_sha256(folder: Path) -> str:
    """Hash of the files that decide what a model folder computes: weights, settings, tokenizer, templates, code."""
    files = [path for ending in DECIDING for path in folder.glob(ending)]
    return content_id([[path.name, file_sha256(path)] for path in sorted(files)], length=64)


def template_identity(block: "ModelBlock") -> str | None:
    """What tells a model block's chat template from others: None, plain, or the sha256 of its file."""
    own = block.chat_template not in (None, "plain")
    return sha256_file(user_path(block.chat_template, ModelError)) if own else block.chat_template


def file_sha256(path: Path) -> str:
    """sha256 of a file, computed once a process for as long as its size and time stay the same."""
    return _file_sha256(path, path.stat().st_size, path.stat().st_mtime_ns)


@functools.cache
def _file_sha256(path: Path, size: int, changed: int) -> str:
    return sha256_file(path)


def architecture_of(source: ModelSource) -> Architecture | None:
    """The model's sizes: from its config.json where it is cached, else from models.yaml; None if neither has them."""
    path = Path(source.location) / "config.json"
    if source.cached and (config := read_json(path, error=ModelError)):
        try:
            return Architecture.from_config(config)
        except ValueError as error:
            raise ModelError(f"{path}: {error}. Correct it, or get the folder again.") from None
    entries = load_entries()
    known = [entry for name, entry in entries.items() if name == source.name or entry.hub_id == source.hub_id]
    return known[0].architecture if known else None
