"""Faults of a recipe: what is wrong with which key, where it stands, and how to fix it."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from cft.errors import RecipeError
from cft.files import listed
from cft.suggest import did_you_mean, nearest

KeyPath = tuple[str | int, ...]

_SECRET = re.compile(r"api_?key|secret|password|auth|bearer|credential|(?<!_)token$", re.IGNORECASE)
MISSING = object()  # the value of a fault about something that is not there
MOST_FAULTS = 25  # what fits on one screen
OVERRIDE = "override"  # the place of a value that the command line gave


@dataclass(frozen=True)
class Fault:
    """One thing wrong with a recipe, and how to fix it."""

    path: KeyPath
    fault: str
    fix: str
    value: Any = MISSING
    place: str = ""  # "FILE:LINE", or "override"

    @property
    def _secret(self) -> bool:
        """Whether the value may be a password or an API key that was put where it does not belong."""
        return bool(self.path) and bool(
            _SECRET.search(str(self.path[-1]))
            or re.search(r"://[^/]*@|://.*[?#]", str(self.value))
            or (self.path[-1] == "base_url" and re.search(r"[@?#]|\b(sk|key|hf|gsk|xai)[-_]", str(self.value)))
        )

    @property
    def key(self) -> str:
        """The key as an override would write it: `data.teachers.0.path`."""
        return cut(".".join(map(str, self.path)), 200)

    def __str__(self) -> str:
        what = self.key if self.value is MISSING or self._secret else f"{self.key} = {show(self.value)}"
        return f"{self.place} {what}: {self.fault}. {self.fix}{'' if self.fix.endswith('?') else '.'}".lstrip()


def by_line(fault: Fault) -> float:
    """Sorts faults by the line that their place names; what the command line gave comes last."""
    line = re.search(r":(\d+)(?: |$)", fault.place)
    return math.inf if fault.place == OVERRIDE else int(line[1]) if line else 0


def recipe_error(name: str, faults: list[Fault]) -> RecipeError:
    """One error that lists the located `faults` of the recipe `name`."""
    lines = listed(list(map(str, faults)), MOST_FAULTS)
    return RecipeError(f"{name}: {len(faults)} fault{'s' * (len(faults) > 1)}\n  {lines}")


def show(value: Any) -> str:
    """A value as it may be written in YAML, on one line and not too long."""
    return cut(json.dumps(value, ensure_ascii=False, default=str), 60)


def cut(text: str, most: int) -> str:
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


class Schema:
    """Which model reads each mapping of what was written, to name the nearest key."""

    def __init__(self, model: type[BaseModel], raw: Any) -> None:
        """`raw` is what `model` was given to read, with whatever faults."""
        self.models: dict[KeyPath, type[BaseModel]] = {}  # by the path of the mapping
        self.tags: dict[KeyPath, tuple[str, dict[str, type[BaseModel]]]] = {}  # key that chooses; value -> model
        self._add(model, raw, ())

    def _add(self, hint: Any, raw: Any, path: KeyPath, tag: str | None = None) -> None:
        """Note the models of all that is in `raw`, whose type is `hint`; `tag` is the key that chooses one."""
        kind, parts = get_origin(hint), get_args(hint)
        if kind is Annotated:
            tag = next((note.discriminator for note in parts[1:] if getattr(note, "discriminator", None)), tag)
            self._add(parts[0], raw, path, tag)
        elif kind in (Union, UnionType) and tag:
            models = {value: part for part in parts for value in get_args(part.model_fields[tag].annotation)}
            self.tags[path] = tag, models
            chosen = raw.get(tag) if isinstance(raw, dict) else raw  # of rewards the kind alone may stand there
            if isinstance(chosen, str) and chosen in models:
                self._add(models[chosen], raw, path)
        elif kind in (Union, UnionType) and isinstance(raw, dict):
            for part in parts:
                self._add(part, raw, path)
        elif kind is list and isinstance(raw, list):
            for i, item in enumerate(raw):
                self._add(parts[0], item, (*path, i))
        elif kind is None and issubclass(hint, BaseModel):
            self.models[path] = hint
            for name, field in hint.model_fields.items():
                below = raw.get(name) if isinstance(raw, dict) else None
                self._add(field.annotation, below, (*path, name), field.discriminator)

    def faults(self, error: ValidationError) -> list[Fault]:
        """Pydantic's errors as faults."""
        return [self._fault(details) for details in error.errors()]

    def _fault(self, error: ErrorDetails) -> Fault:
        kind, value, context = error["type"], error["input"], error.get("ctx", {})
        path = self._written_path(error["loc"])
        model = self.models.get(path[:-1])
        fields = model.model_fields if model else {}
        if kind == "missing":
            return Fault(path, "is missing", f"Add it: {str(fields[path[-1]].description).rstrip('.')}")
        if kind == "extra_forbidden":
            return Fault(path, "unknown key", self._fix_unknown(path, fields), value)
        if kind in ("union_tag_not_found", "union_tag_invalid"):
            tag, known = self.tags[path]
            if tag not in value:
                return Fault((*path, tag), "is missing", f"Add one of: {', '.join(known)}")
            return Fault((*path, tag), "is not known", did_you_mean(str(value[tag]), known), value[tag])
        return Fault(path, *_value_fault(kind, value, context), value)

    def _written_path(self, location: tuple[str | int, ...]) -> KeyPath:
        """A pydantic location without the tags that it puts behind each choice between models."""
        path, after_tag = (), False
        for step in location:
            if path in self.tags and not after_tag:
                after_tag = True
            else:
                path, after_tag = (*path, step), False
        return path

    def _fix_unknown(self, path: KeyPath, fields: Mapping[str, Any]) -> str:
        key = str(path[-1])
        if nearest(key, fields):
            return did_you_mean(key, fields)
        homes = [".".join(map(str, (*at, key))) for at, model in self.models.items() if key in model.model_fields]
        if homes:
            return f"It belongs at {' or '.join(homes)}"
        tag, models = self.tags.get(path[:-1], ("", {}))
        others = [name for name, model in models.items() if key in model.model_fields]
        if others:
            return f"With {tag} {' or '.join(others)} it is a key; leave it out, or change the {tag}"
        return _LIBRARY_KEYS if path[0] == "train" else did_you_mean(key, fields)


def _value_fault(kind: str, value: Any, context: Mapping[str, Any]) -> tuple[str, str]:
    """What is wrong with a value, and how to fix it."""
    if kind == "value_error":  # raised by a validator of ours, as "fault. Fix"
        fault, _, fix = str(context["error"]).partition(". ")
        return fault, fix
    if kind == "literal_error":
        return "is not known", did_you_mean(str(value), re.findall(r"'([^']*)'", context["expected"]))
    if kind == "string_too_long":
        return f"has more than {context['max_length']} characters", "Shorten it"
    if kind in ("too_short", "string_too_short"):
        return "is empty", "Write at least one"
    for bound, words in _BOUNDS.items():
        if bound in context:
            number = f"{context[bound]:,}" if isinstance(context[bound], int) else f"{context[bound]:g}"
            return f"must be {words} {number}", "Choose another number"
    what, fix = _KINDS.get(kind.partition("_")[0], (kind.replace("_", " "), "Correct it"))
    return f"must be {what}", "Give it a value" if value is None else fix
