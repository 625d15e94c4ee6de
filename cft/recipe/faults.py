"""Faults of a recipe: what is wrong with which key, where it stands, and how to mend it."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from cft.errors import RecipeError
from cft.suggest import did_you_mean, nearest

KeyPath = tuple[str | int, ...]

_SECRET = re.compile(r"api_?key|secret|password|auth|bearer|credential|(?<!_)token$", re.IGNORECASE)
MISSING = object()  # the value of a fault about something that is not there
MOST_FAULTS = 25  # what fits on one screen
OVERRIDE = "override"  # the place of a value that the command line gave


@dataclass(frozen=True)
class Fault:
    """One thing wrong with a recipe, and how to mend it."""

    path: KeyPath
    fault: str
    mend: str
    value: Any = MISSING
    place: str = ""  # "FILE:LINE", or "override"

    @property
    def _secret(self) -> bool:
        """Whether the value may be a password or an API key that was put where it does not belong."""
        return bool(self.path) and bool(
            _SECRET.search(str(self.path[-1])) or re.search(r"://[^/]*@|://.*[?]", str(self.value))
        )

    @property
    def key(self) -> str:
        """The key as an override would write it: `data.teachers.0.path`."""
        return ".".join(map(str, self.path))

    def __str__(self) -> str:
        what = self.key if self.value is MISSING or self._secret else f"{self.key} = {show(self.value)}"
        return f"{self.place} {what}: {self.fault}. {self.mend}{'' if self.mend.endswith('?') else '.'}".lstrip()


@dataclass
class Origin:
    """Where a recipe's values were written. Recipes that differ only in this are equal."""

    path: Path | None = field(default=None, compare=False)
    places: dict[KeyPath, str] = field(default_factory=dict, compare=False)

    def place(self, path: KeyPath) -> str:
        """The place of the value at `path`, or of the nearest block around it."""
        around = (path[:length] for length in range(len(path), -1, -1))
        return next((self.places[p] for p in around if p in self.places), "")

    def locate(self, faults: Iterable[Fault]) -> list[Fault]:
        """The faults with their places, in the order of the file; only the first one of each value."""
        first: dict[tuple[KeyPath, str], Fault] = {}
        for fault in faults:
            place = fault.place or self.place(fault.path)
            first.setdefault((fault.path, place), replace(fault, place=place))

        def order(fault: Fault) -> tuple[bool, int]:
            line = fault.place.rpartition(":")[2]
            return fault.place == OVERRIDE, int(line) if line.isdigit() else 0

        return sorted(first.values(), key=order)


def recipe_error(name: str, faults: list[Fault]) -> RecipeError:
    """One error that lists the located `faults` of the recipe `name`."""
    more = f"\n  ... and {len(faults) - MOST_FAULTS} more" if len(faults) > MOST_FAULTS else ""
    lines = "\n  ".join(str(fault) for fault in faults[:MOST_FAULTS])
    return RecipeError(f"{name}: {len(faults)} fault{'s' * (len(faults) > 1)}\n  {lines}{more}")


def show(value: Any, most: int = 60) -> str:
    """A value as it may be written in YAML, on one line and not too long."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= most else text[: most - 3] + "..."


_BOUNDS = {"ge": "at least", "gt": "greater than", "le": "at most", "lt": "less than"}
_KINDS = {  # pydantic's error type, up to its first _ -> what the value must be, how to write it
    "string": ("text", "Put it in quotes"),
    "int": ("a whole number", "Write it in digits, without quotes"),
    "float": ("a number", "Write it in digits, without quotes"),
    "bool": ("true or false", "Write true or false, without quotes"),
    "list": ("a list", "Write [a, b]"),
    "dict": ("a mapping", "Write its keys below it, indented"),
    "model": ("a mapping", "Write its keys below it, indented"),
}
_LIBRARY_KEYS = "peft.LoraConfig's keys belong under train.lora, trl.SFTConfig's under train.args"


@dataclass(frozen=True)
class Schema:
    """What the schema knows of a recipe's mappings, to name the nearest key."""

    models: Mapping[KeyPath, type[BaseModel]]  # the model that reads each mapping, by its path
    tags: Mapping[str, Mapping[str, type[BaseModel]]]  # each key that chooses between models: its values, their models

    def faults(self, error: ValidationError) -> list[Fault]:
        """Pydantic's errors as faults."""
        return [self._fault(details) for details in error.errors()]

    def _fault(self, error: ErrorDetails) -> Fault:
        kind, value, context = error["type"], error["input"], error.get("ctx", {})
        path = _written_path(error["loc"])
        model = self.models.get(path[:-1])
        fields = model.model_fields if model else {}
        if kind == "missing":
            return Fault(path, "is missing", f"Add it: {str(fields[path[-1]].description).rstrip('.')}")
        if kind == "extra_forbidden":
            return Fault(path, "unknown key", self._mend_unknown(path, fields), value)
        if kind in ("union_tag_not_found", "union_tag_invalid"):
            tag = context["discriminator"].strip("'")
            if tag not in value:
                return Fault((*path, tag), "is missing", f"Add one of: {', '.join(self.tags[tag])}")
            mend = did_you_mean(str(value[tag]), self.tags[tag])
            return Fault((*path, tag), "is not known", mend, value[tag])
        return Fault(path, *_value_fault(kind, value, context), value)

    def _mend_unknown(self, path: KeyPath, fields: Mapping[str, Any]) -> str:
        key = str(path[-1])
        if nearest(key, fields):
            return did_you_mean(key, fields)
        homes = [".".join(map(str, (*at, key))) for at, model in self.models.items() if key in model.model_fields]
        if homes:
            return f"It belongs at {' or '.join(homes)}"
        for tag in self.tags.keys() & fields.keys():
            others = [name for name, model in self.tags[tag].items() if key in model.model_fields]
            if others:
                return f"With {tag} {' or '.join(others)} it is a key; leave it out, or change the {tag}"
        return _LIBRARY_KEYS if path[0] == "train" else did_you_mean(key, fields)


def _written_path(location: tuple[str | int, ...]) -> KeyPath:
    """A pydantic location without the tags that it puts behind each choice between models."""
    path = list(location)
    if path[:1] in (["data"], ["train"]):
        del path[1:2]
    if path[:2] == ["data", "teachers"]:
        del path[3:4]
    return tuple(path)


def _value_fault(kind: str, value: Any, context: Mapping[str, Any]) -> tuple[str, str]:
    """What is wrong with a value, and how to mend it."""
    if kind == "value_error":  # raised by a validator of ours, as "fault. Mend"
        fault, _, mend = str(context["error"]).partition(". ")
        return fault, mend
    if kind == "literal_error":
        return "is not known", did_you_mean(str(value), re.findall(r"'([^']*)'", context["expected"]))
    if kind in ("too_short", "string_too_short"):
        return "is empty", "Write at least one"
    for bound, words in _BOUNDS.items():
        if bound in context:
            return f"must be {words} {context[bound]:g}", "Choose another number"
    what, mend = _KINDS.get(kind.partition("_")[0], (kind.replace("_", " "), "Correct it"))
    return f"must be {what}", "Give it a value" if value is None else mend
