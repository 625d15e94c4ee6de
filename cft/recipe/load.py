"""The recipe: one YAML file that fully describes one experiment. Finds it, reads it, and tells all its faults at once.

Importing this loads no model library.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from cft.errors import RecipeError
from cft.recipe.blocks import (
    DATA_BLOCKS,
    TEACHERS,
    TRAIN_BLOCKS,
    CritiquesData,
    DataBlock,
    DemonstrationsData,
    EndpointBlock,
    EvalBlock,
    ExactTeacher,
    FileTeacher,
    ModelBlock,
    ModelTeacher,
    NoData,
    Recipe,
    StudentBlock,
    TrainBlock,
    models_of,
)
from cft.recipe.checks import cross_faults
from cft.recipe.faults import Fault, Schema, recipe_error
from cft.recipe.source import Source
from cft.suggest import nearest

__all__ = [
    "CritiquesData",
    "DemonstrationsData",
    "EndpointBlock",
    "EvalBlock",
    "ExactTeacher",
    "FileTeacher",
    "ModelBlock",
    "ModelTeacher",
    "NoData",
    "Recipe",
    "StudentBlock",
    "TrainBlock",
    "find_recipe",
    "list_recipes",
    "load_recipe",
    "nearest",
    "read_recipe",
    "recipes_folder",
    "shipped_name",
    "validate_recipe",
]


TAGS = {"builder": DATA_BLOCKS, "kind": TEACHERS, "method": TRAIN_BLOCKS}  # keys that choose between models
NO_RECIPES = {"problems", "critiques", "sweeps", "prices.yaml"}  # below recipes/


def recipes_folder() -> Path:
    """The shipped recipes: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "_recipes"
    return installed if installed.is_dir() else package.parent / "recipes"


def list_recipes() -> list[Path]:
    """The files of the shipped recipes, in the order of their names; those at the top of the folder first."""
    folder = recipes_folder()
    files = [(path, path.relative_to(folder).parts) for path in folder.rglob("*.yaml")]
    found = [(path, parts) for path, parts in files if NO_RECIPES.isdisjoint(parts)]
    return [path for path, parts in sorted(found, key=lambda one: (len(one[1]), one[1]))]


def shipped_name(path: Path) -> str:
    """The name of a shipped recipe's file: its path below the folder of the recipes, without the ending."""
    return path.relative_to(recipes_folder()).with_suffix("").as_posix()


def find_recipe(name_or_path: str) -> Path:
    """The file of a shipped recipe's name, or of a path.

    Raises:
        RecipeError: there is none; the message has the nearest name and all shipped ones.
    """
    shipped = {shipped_name(path): path for path in list_recipes()}
    if name_or_path in shipped:
        return shipped[name_or_path]
    path = Path(name_or_path).expanduser()
    try:
        if path.is_file():
            return path
        if name_or_path and path.is_dir():
            files = ", ".join(sorted(p.name for p in path.glob("*.yaml"))[:8]) or "none"
            raise RecipeError(f"{name_or_path}: is a folder. Name a recipe file; YAML files in it: {files}.")
    except OSError as error:
        raise RecipeError(f"{name_or_path}: cannot be read ({error.strerror}). Name a recipe or its file.") from None
    near = nearest(path.stem, shipped)
    meant = f" Did you mean {near}?" if near else ""
    raise RecipeError(
        f"{name_or_path or repr('')}: there is no such recipe or file.{meant} Shipped recipes: {', '.join(shipped)}."
    )


def load_recipe(name_or_path: str, overrides: Sequence[str] = (), *, libraries: bool = False) -> Recipe:
    """Read and check a recipe.

    Args:
        overrides: `key.sub=value` each, the value in YAML, items of lists by their index.
        libraries: check `train.lora` and `train.args` against PEFT and TRL too, which takes seconds to import them.

    Raises:
        RecipeError: with all faults at once, each with its place, key, value and mend.
    """
    source, faults, recipe = read_recipe(find_recipe(name_or_path), overrides, libraries=libraries)
    if faults or recipe is None:
        raise recipe_error(source.name, source.origin.locate(faults))
    return recipe


def read_recipe(
    path: Path, overrides: Sequence[str] = (), *, libraries: bool = False
) -> tuple[Source, list[Fault], Recipe | None]:
    """The recipe in a file with its overrides, and all its faults; arguments as in `load_recipe`.

    Returns:
        The values as they were written; the faults, not yet located; the recipe, None where it could not be read.

    Raises:
        RecipeError: the file is no YAML mapping.
    """
    source = Source(path)
    for override in overrides:
        source.override(override)
    faults, recipe = list(source.faults), None
    try:
        recipe = Recipe.model_validate(source.value)
    except ValidationError as error:
        faults += Schema(models_of(source.value), TAGS).faults(error)
        faults += cross_faults(*(_readable(source.value, block) for block in _CROSSED))
    else:
        recipe = in_native_dtype(recipe)
        faults += cross_faults(recipe.data, recipe.train, recipe.eval, recipe.model)
    train = source.value.get("train")
    if libraries and isinstance(train, dict):
        from cft.recipe.library_args import library_faults

        model = source.value.get("model")
        dtype = model.get("dtype", "bfloat16") if isinstance(model, dict) else "bfloat16"
        faults += library_faults(train, recipe.model.dtype if recipe else dtype)
    if recipe is not None:
        recipe._origin = source.origin
    return source, faults, recipe


def in_native_dtype(recipe: Recipe) -> Recipe:
    """The recipe with a type in the place of model.dtype=auto, so that its run folder says what was computed in."""
    if recipe.model.dtype != "auto":
        return recipe
    from cft.devices import native_dtype

    return recipe.model_copy(update={"model": recipe.model.model_copy(update={"dtype": native_dtype()})})


def validate_recipe(recipe: Recipe) -> None:
    """Check what the types cannot: blocks against each other, and `train.lora` and `train.args` against PEFT and TRL.

    Raises:
        RecipeError: with all faults at once.
    """
    from cft.recipe.library_args import check_library_args

    faults = [*cross_faults(recipe.data, recipe.train, recipe.eval, recipe.model), *check_library_args(recipe)]
    if faults:
        raise recipe_error(str(recipe.source or recipe.name), recipe.origin.locate(faults))


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
