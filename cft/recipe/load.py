"""The recipe: one YAML file that fully describes one experiment. Reads it and says all its faults at once.

Importing this loads no model library.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from cft.recipe.blocks import DataBlock, EvalBlock, ModelBlock, Recipe, TrainBlock
from cft.recipe.checks import cross_faults
from cft.recipe.faults import Fault, Schema, recipe_error
from cft.recipe.shipped import find_recipe
from cft.recipe.source import Source


def load_recipe(name_or_path: str, overrides: Sequence[str] = (), *, libraries: bool = False) -> Recipe:
    """Read and check a recipe.

    Args:
        overrides: `key.sub=value` each, the value in YAML, items of lists by their index.
        libraries: check `train.lora` and `train.args` against PEFT and TRL too, which takes seconds to import them.

    Raises:
        RecipeError: with all faults at once, each with its place, key, value and fix.
    """
    source, faults, recipe = read_recipe(find_recipe(name_or_path), overrides, libraries=libraries)
    if faults or recipe is None:
        raise recipe_error(source.name, source.locate(faults))
    return recipe


def read_recipe(
    path: Path, overrides: Sequence[str] = (), *, libraries: bool = False
) -> tuple[Source, list[Fault], Recipe | None]:
    """A recipe's file with its overrides, all its faults, not yet located, and the recipe if it can be read."""
    source = Source(path)
    for override in overrides:
        source.override(override)
    faults, recipe = list(source.faults), None
    try:
        recipe = Recipe.model_validate(source.value)
    except ValidationError as error:
        faults += Schema(Recipe, source.value).faults(error)
        faults += cross_faults(*(_readable(source.value, block) for block in _CROSSED))
    else:
        recipe = in_native_dtype(recipe)
        faults += cross_faults(recipe.data, recipe.train, recipe.eval, recipe.model)
    train = source.value.get("train")
    if libraries and isinstance(train, dict):
        from cft.recipe.library_args import library_faults

        model = source.value.get("model")
        dtype = model.get("dtype", "bfloat16") if isinstance(model, dict) else "bfloat16"
        told = {fault.path for fault in faults}  # of a key that is told to be wrong the library says the same
        faults += [f for f in library_faults(train, recipe.model.dtype if recipe else dtype) if f.path not in told]
    return source, faults, recipe


def in_native_dtype(recipe: Recipe) -> Recipe:
    """The recipe with a type in the place of model.dtype=auto, so that its run folder says what was computed in."""
    if recipe.model.dtype != "auto":
        return recipe
    from cft.devices import native_dtype

    return recipe.model_copy(update={"model": recipe.model.model_copy(update={"dtype": native_dtype()})})


def _readable(raw: dict[str, Any], block: str) -> Any:
    """One block on its own, whatever unknown keys it has; None if it cannot be read."""
    try:
        return _CROSSED[block].validate_python(raw.get(block), extra="ignore")
    except ValidationError:
        return None


_CROSSED = {
    "data": TypeAdapter(DataBlock),
    "train": TypeAdapter(TrainBlock),
    "eval": TypeAdapter(EvalBlock),
    "model": TypeAdapter(ModelBlock),
}
