"""A sweep: one recipe, some of its keys varied, a run for each point. Reads a sweep file and tells all its faults.

Importing this loads no model library.
"""

import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, ValidationError

from cft.errors import RecipeError
from cft.recipe.blocks import Block, Recipe, Text
from cft.recipe.blocks.base import once
from cft.recipe.blocks.recipe import folder_name
from cft.recipe.faults import OVERRIDE, Fault, Schema, by_line, cut, recipe_error, show
from cft.recipe.load import read_recipe
from cft.recipe.shipped import find_recipe, find_sweep, list_recipes
from cft.recipe.source import Source

MOST_POINTS, MOST_RUNS = 200, 1000  # more are taken for a slip
LONGEST_VALUE = 24  # characters of a value in a point's name
# Keys of a recipe that a sweep sets otherwise.
OWN = {"name": "the sweep's own name is that of the folder of its runs", "seed": "seeds are listed under seeds:"}


class Sweep(Block):
    """One recipe, and what is varied."""

    name: Annotated[str, AfterValidator(folder_name)] = Field(description="Name of the folder of its runs.")
    description: str = Field("", description="What the sweep is for.")
    recipe: Text = Field(description="Name of a shipped recipe, or path of a recipe file.")
    set: dict[str, Any] = Field(default_factory=dict, description="Keys of the recipe to change in every point.")
    vary: dict[str, Annotated[list[Any], Field(min_length=1)]] = Field(
        default_factory=dict, description="Key of the recipe -> its values; a point for each combination."
    )
    points: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="Name of one more point -> keys of the recipe and their values."
    )
    seeds: Annotated[list[Annotated[int, Field(ge=0, lt=2**32)]], AfterValidator(once)] = Field(
        default_factory=list, description="Seeds to run every point with; none: the recipe's."
    )


@dataclass(frozen=True)
class Point:
    """One setting of a sweep, and the recipes of its runs: one a seed."""

    name: str
    overrides: tuple[str, ...]  # KEY=VALUE over the recipe, without name and seed
    varied: dict[str, Any]  # the part of them that `vary` gave; empty for a named point
    recipes: tuple[Recipe, ...]


@dataclass(frozen=True)
class LoadedSweep:
    """A checked sweep."""

    sweep: Sweep
    path: Path
    recipe: str  # as `cft run` takes it
    points: tuple[Point, ...]


def load_sweep(name_or_path: str, overrides: Sequence[str] = (), *, libraries: bool = False) -> LoadedSweep:
    """Read and check a sweep and the recipe of each of its points. Raises RecipeError with all their faults at once.

    Args:
        overrides: `KEY=VALUE` each: a key of the sweep (recipe, seeds, vary.KEY ...), or one of the recipe, then set in
            every point.
        libraries: as in `cft.recipe.load.load_recipe`.
    """
    source = Source(find_sweep(name_or_path))
    for_recipe = _override(source, overrides)
    source.value = {key: value for key, value in source.value.items() if value is not None}  # vary=null: none
    faults, sweep = list(source.faults), None
    try:
        sweep = Sweep.model_validate(source.value)
    except ValidationError as error:
        faults += Schema(Sweep, source.value).faults(error)
    if sweep and not faults:
        faults += _own_faults(sweep, for_recipe)
    if sweep is None or faults:
        raise recipe_error(source.name, source.locate(faults))
    recipe = _recipe_file(sweep.recipe, source)
    points, faults = [], []
    for name, given, varied in _settings(sweep):
        values = {key: value for key, value in sweep.set.items() if key not in for_recipe} | given
        texts = [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in values.items()]
        texts += [text for key, text in for_recipe.items() if key not in given]
        recipes = []
        for seed in sweep.seeds or [None]:
            whose = [f"name={sweep.name}", *([] if seed is None else [f"seed={seed}"])]
            written, found, made = read_recipe(recipe, [*texts, *whose], libraries=libraries)
            faults += [_in_sweep(fault, source, name, given) for fault in written.locate(found)]
            recipes.append(made)
        points.append(Point(name, tuple(texts), varied, tuple(recipes)))
    if not faults:
        faults = _same_runs(points, source)
    if faults:
        different = {str(fault): fault for fault in faults}  # most points share most faults
        raise recipe_error(source.name, sorted(different.values(), key=by_line))
    return LoadedSweep(sweep, source.path, _recipe_name(recipe), tuple(points))


def _override(source: Source, overrides: Sequence[str]) -> dict[str, str]:
    """Apply the overrides of the sweep's own keys; those of the recipe's keys, by key, as an override writes them."""
    for_recipe: dict[str, str] = {}
    for text in overrides:
        key, equals, written = text.partition("=")
        first, dot, _ = key.partition(".")
        if first == "points" and dot:
            fault = "changes a part of a point"
            source.faults.append(Fault((key,), fault, "Give points='{NAME: {KEY: VALUE}}' whole", place=OVERRIDE))
        elif not equals or not written.strip() or (first in Sweep.model_fields and first != "set"):
            source.override(text, depth=2)  # vary.train.lora.r is the key train.lora.r of vary
        elif (key := key.removeprefix("set.")) in for_recipe:
            source.faults.append(Fault((key,), "is overridden twice", "Give it once", place=OVERRIDE))
        else:
            for_recipe[key] = f"{key}={written}"
    return for_recipe


def _own_faults(sweep: Sweep, for_recipe: dict[str, str]) -> Iterator[Fault]:
    """What is wrong with a sweep that has the right shape."""
    count = (math.prod(map(len, sweep.vary.values())) if sweep.vary else 0) + len(sweep.points)
    if count > MOST_POINTS:  # told before any is made
        yield Fault(("vary",), f"makes {count:,} points, more than {MOST_POINTS}", "Vary less at a time")
        return
    if (runs := count * max(1, len(sweep.seeds))) > MOST_RUNS:
        yield Fault(("seeds",), f"make {runs:,} runs, more than {MOST_RUNS:,}", "Give fewer at a time", sweep.seeds)
    if not sweep.vary and not sweep.points:
        yield Fault(("vary",), "is empty, and so is points", "Vary a key: vary: {train.lora.r: [4, 16]}")
    for key, values in sweep.vary.items():
        twice = [value for i, value in enumerate(values) if value in values[:i]]
        if twice:
            yield Fault(("vary", key), f"has {show(twice[0])} twice", "Name each value once")
        if key in for_recipe:
            fix = f"Write vary.{key}=[...] to vary it otherwise, or vary=null"
            yield Fault((key,), "is varied by this sweep", fix, place=OVERRIDE)
    named = [(("set", key), key) for key in sweep.set] + [(("vary", key), key) for key in sweep.vary]
    named += [(("points", name, key), key) for name, keys in sweep.points.items() for key in keys]
    for path, key in named:
        if key in OWN:
            yield Fault(path, OWN[key], "Remove it here")
    for key in for_recipe:
        if key == "name" or (key == "seed" and sweep.seeds):
            yield Fault((key,), OWN[key], "Write seeds=[...]" if key == "seed" else "Write name=...", place=OVERRIDE)


def _combinations(sweep: Sweep) -> list[dict[str, Any]]:
    return [dict(zip(sweep.vary, values, strict=True)) for values in product(*sweep.vary.values()) if values]


def _settings(sweep: Sweep) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Name, values, and varied values of each point: first those that are varied, then those that are named."""
    short = {key: _short(key, sweep.vary) for key in sweep.vary}
    taken = set(sweep.points)
    for values in _combinations(sweep):
        name = ", ".join(f"{short[key]} {_told(value)}" for key, value in values.items())
        tried = (name if n == 1 else f"{name} #{n}" for n in range(1, MOST_POINTS + 2))
        name = next(n for n in tried if n not in taken)
        taken.add(name)
        yield name, values, values
    for name, values in sweep.points.items():
        yield name, values, {}


def _short(key: str, keys: Sequence[str]) -> str:
    """As many of the last parts of `key` as tell it from the other keys."""
    parts = key.split(".")
    ends = (".".join(parts[-n:]) for n in range(1, len(parts) + 1))
    return next((end for end in ends if sum(f".{k}".endswith(f".{end}") for k in keys) == 1), key)


def _told(value: Any) -> str:
    text = f"{value:g}" if isinstance(value, float) else value if isinstance(value, str) else show(value)
    return cut(text, LONGEST_VALUE)


def _recipe_file(name: str, source: Source) -> Path:
    """The recipe of a sweep: a shipped one, a file beside the sweep's, or a file here; else RecipeError."""
    beside = source.path.parent / name
    if source.place(("recipe",)) != OVERRIDE and Path(name).suffix in (".yaml", ".yml") and beside.is_file():
        return beside
    try:
        return find_recipe(name)
    except RecipeError as error:
        raise RecipeError(f"{source.place(('recipe',)) or source.name} recipe: {error}") from None


def _recipe_name(path: Path) -> str:
    return next((name for name, shipped in list_recipes().items() if shipped == path), None) or os.path.relpath(path)


def _in_sweep(fault: Fault, source: Source, point: str, given: dict[str, Any]) -> Fault:
    """A fault of a point's recipe, with the place in the sweep that wrote the value."""
    places = source.places
    homes = [("vary", key) if ("vary", key) in places else ("points", point, key) for key in given]
    homes += [("set", key) for key in source.value.get("set") or {}]
    for home in homes if fault.place == OVERRIDE else []:
        if f"{fault.key}.".startswith(f"{home[-1]}.") and home in places:
            return replace(fault, place=places[home] + (f" (point {point})" if home[0] == "points" else ""))
    return fault


def _same_runs(points: Sequence[Point], source: Source) -> list[Fault]:
    """Points that are one run under two names."""
    seen: dict[str, str] = {}
    faults = []
    for point in points:
        same = seen.setdefault(json.dumps([recipe.dump() for recipe in point.recipes], sort_keys=True), point.name)
        if same != point.name:
            path = ("vary", next(iter(point.varied))) if point.varied else ("points", point.name)
            fault = f"the point {point.name!r} is the same as {same!r}"
            faults.append(Fault(path, fault, "Remove one of them", place=source.place(path)))
    return faults
