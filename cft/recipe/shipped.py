"""The files that come with this project, by name: recipes, sweeps, and what stands beside them."""

from collections.abc import Mapping
from pathlib import Path

from cft.errors import CFTError, DataError, RecipeError
from cft.foreign import user_path
from cft.suggest import nearest

NO_RECIPES = {"problems", "critiques", "trajectories", "sweeps", "prices.yaml"}  # below recipes/


def recipes_folder() -> Path:
    """The shipped recipes: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "_recipes"
    return installed if installed.is_dir() else package.parent / "recipes"


def list_recipes() -> dict[str, Path]:
    """Name -> file of the shipped recipes, those at the top of the folder first; a name is the path below it."""
    folder = recipes_folder()
    parts = {path: path.relative_to(folder).parts for path in folder.rglob("*.yaml")}
    files = sorted((path for path in parts if NO_RECIPES.isdisjoint(parts[path])), key=lambda p: (len(parts[p]), p))
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in files}


def list_sweeps() -> dict[str, Path]:
    """Name -> file of the shipped sweeps; the name is the file's, without its folder."""
    return {path.stem: path for path in sorted(recipes_folder().rglob("sweeps/*.yaml"))}


def about(path: Path) -> str:
    """The first line of a file's head comment."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return next((line[1:].strip() for line in lines if line.startswith("#")), "")


def find_recipe(name_or_path: str) -> Path:
    """The file of a shipped recipe's name, or of a path; RecipeError as in `find_file`."""
    return find_file(name_or_path, list_recipes(), "recipe", RecipeError)


def find_sweep(name_or_path: str) -> Path:
    """The file of a shipped sweep's name, or of a path; errors as in `find_recipe`."""
    shipped = list_sweeps()
    if name_or_path in list_recipes().keys() - shipped.keys() and not Path(name_or_path).exists():
        raise RecipeError(
            f"{name_or_path}: is a recipe, not a sweep. `cft run {name_or_path}` runs it; a sweep file names it as "
            f"recipe: and says what to vary. Shipped sweeps: {', '.join(shipped)}."
        )
    return find_file(name_or_path, shipped, "sweep", RecipeError)


def find_file(
    name_or_path: str, shipped: Mapping[str, Path], kind: str, fault: type[CFTError] = DataError, suffix: str = ".yaml"
) -> Path:
    """The file of a shipped name, or the path as it is given, which has the ending `suffix`. `kind` is for messages.

    Raises:
        CFTError: of the class `fault`: there is no such file; it says the nearest name and all shipped ones.
    """
    if name_or_path in shipped:
        return shipped[name_or_path]
    path = user_path(name_or_path, fault)
    if path.is_file():
        return path
    if name_or_path and path.is_dir():
        files = ", ".join(sorted(p.name for p in path.glob(f"*{suffix}"))[:8]) or "none"
        raise fault(f"{name_or_path}: is a folder. Name a {kind} file; {suffix} files in it: {files}.")
    if name_or_path and path.exists():
        raise fault(f"{name_or_path}: is a pipe or a device, not a file. Name a {kind} file.")
    near = nearest(path.stem, shipped)
    meant = f" Did you mean {near}?" if near else ""
    raise fault(
        f"{name_or_path or repr('')}: there is no such {kind} or file.{meant} Shipped: {', '.join(shipped) or 'none'}."
    )


def by_stem(folder: Path, suffix: str) -> dict[str, Path]:
    """Name -> file of the files of a folder; the name is the file's, without its ending."""
    return {path.stem: path for path in sorted(folder.glob(f"*{suffix}"))}
