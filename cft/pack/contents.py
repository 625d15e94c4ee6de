"""What a recipe needs elsewhere: itself with its overrides, the files that it names, its items, its models.

A pack has the folders `work`, which is the working folder there, `cache` (CFT_CACHE) and `hub` (the hub's own cache).
Files below the folder that the command is given in keep their path below `work`, so that what names them holds there.
"""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cft.errors import EvalError
from cft.files import content_id, dump_jsonl
from cft.foreign import user_path
from cft.models.catalogue import RECORD, cached_record, load_entries
from cft.models.source import DECIDING, resolve
from cft.pipeline import LOOK_UP, file_hashes
from cft.recipe.blocks import ModelBlock, Recipe, named_files
from cft.recipe.source import dump_yaml
from data_builders.asking.backends import local_model
from data_builders.trajectories.build import trajectory_files
from eval.tasks.item_files import local_file, read_file, read_rows
from eval.tasks.items import normalised
from eval.tasks.lm_tasks import FORMATS, find_task, task_files
from eval.tasks.source import HUB_ID, read_source

OUTSIDE = "outside"  # folder in `work` for files from elsewhere


@dataclass
class Contents:
    """What goes into the pack, and what is to be said of it."""

    files: dict[str, Path | bytes] = field(default_factory=dict)  # path in the pack -> the file, or its bytes
    renamed: dict[str, str] = field(default_factory=dict)  # key of the recipe -> the path that it has in the pack
    items: dict[str, int] = field(default_factory=dict)  # task -> items that go along
    notes: list[str] = field(default_factory=list)  # what the other machine must have

    def take(self, key: str, written: str, path: Path, root: Path | None = None) -> None:
        """Put a file into the pack, and what names it into `renamed`, where its path is another there.

        Args:
            root: the folder that the recipe names, if it does not name the file itself.
        """
        real, named = Path(os.path.abspath(path)), Path(os.path.abspath(root or path))
        try:
            base, inside = Path.cwd(), named.relative_to(Path.cwd())
        except ValueError:
            base = named.parent
            inside = Path(OUTSIDE, content_id(str(base), length=6), named.name)
        self.files[f"work/{(inside / real.relative_to(named)).as_posix()}"] = real
        if Path(written) != inside or base != Path.cwd():
            self.renamed[key] = f"./{inside.as_posix()}"


def recipe_contents(recipe: Recipe) -> Contents:
    """The recipe and all that it needs but the models.

    Raises:
        CFTError: a file or the items of a task cannot be had, or a task needs the hub.
    """
    file_hashes(recipe)  # which reads every file that is named
    found = Contents(notes=list(_servers(recipe)))
    for key, kind, name in named_files(recipe):
        if kind in LOOK_UP and (kind, name) != ("chat template", "plain"):
            path = LOOK_UP[kind](name)
            if path == user_path(name):  # else it is shipped, and in the project's wheel
                for file in trajectory_files(path) if kind == "trajectories" else [path]:
                    found.take(key, name, file, path)
                if kind == "trajectories":
                    found.notes.append(
                        f"{key} {name} goes along as it is, with what secrets are in it; rows alone are masked"
                    )
        elif kind == "if it is one" and re.search(r"[./\\]", name) and os.path.isfile(name):
            found.take(key, name, Path(name))
    if recipe.eval.task_dir:
        _take_tasks(found, recipe)
    _take_items(found, recipe)
    if extra := os.environ.get("CFT_MODELS"):
        found.files["cache/models.yaml"] = user_path(extra)
    return found


def _servers(recipe: Recipe) -> Iterator[str]:
    """A sentence on each part of the recipe that asks a server."""
    for key in ("students", "teachers"):
        for number, block in enumerate(getattr(recipe.data, key, [])):
            if endpoint := getattr(block, "endpoint", None):
                yield (
                    f"data.{key}.{number} asks {block.model} at {endpoint.host}, which must be reached there. Or "
                    "make the critiques here with `cft data`, and name their file as a teacher {kind: file}"
                )
    if getattr(recipe.data, "hub", None) and not recipe.data.path:
        yield f"data.hub reads {recipe.data.hub}, which must be reached there; or save it as a file, and set data.path"
    if recipe.eval.endpoint:
        yield f"eval.endpoint asks {recipe.eval.endpoint.host}, which must be reached from there"


def _take_tasks(found: Contents, recipe: Recipe) -> None:
    """The files of the tasks in `eval.task_dir`. They name each other by relative paths, so all keep their places."""
    here, folder = Path.cwd(), os.path.abspath(user_path(recipe.eval.task_dir))
    files = [os.path.abspath(path) for path in task_files(recipe)]
    if Path(above := os.path.commonpath([here, folder, *files])) != here:
        raise EvalError(
            f"eval.task_dir: {recipe.eval.task_dir}, or a file that its tasks name, is outside of this folder, so "
            f"relative paths would not hold there. Give the command in {above}, with the recipe's paths as from there."
        )
    found.files |= {f"work/{Path(file).relative_to(here).as_posix()}": Path(file) for file in files}
    found.renamed["eval.task_dir"] = f"./{Path(folder).relative_to(here).as_posix()}"


def _take_items(found: Contents, recipe: Recipe) -> None:
    """The items of all tasks: local files as they are, those on the hub as JSON Lines."""
    select = recipe.train.select
    asked = [(name, None, "eval.tasks") for name in recipe.eval.tasks]
    asked += [(select.task, select.data, "train.select.task")] if select else []
    for name, file, key in asked:
        task = find_task(name, recipe.eval, key=key, file=file)
        items, place = (task.settings.get("dataset_kwargs") or {}).get("items"), task.settings.get("dataset_path")
        if not items:
            if isinstance(place, str) and re.fullmatch(HUB_ID, place) and place not in FORMATS:
                fix = f"Save it as JSON Lines, and set dataset_path to its folder, as ./{name}, in {task.file}"
                raise EvalError(f"{name}: its items are {place} on the hub, which lm-eval would load there. {fix}.")
            continue
        source = read_source(items)
        path = local_file(source, task.data)
        where, rows = (str(path), read_file(path)) if path else read_rows(source, {})
        found.items[name] = len(normalised(source, where, rows))
        if path is None:
            file_name = f"{source.task.removeprefix('cft_')}.jsonl"
            found.files[f"work/items/{file_name}"] = dump_jsonl(row for _, row in rows).encode()
            found.renamed["eval.data_dir"] = "./items"
        elif recipe.eval.data_dir and path.is_relative_to(folder := user_path(recipe.eval.data_dir)):
            found.take("eval.data_dir", recipe.eval.data_dir, path, folder)


def local_models(recipe: Recipe) -> dict[str, ModelBlock]:
    """The models that run in the process itself, by key of the recipe."""
    models = {"model.id": recipe.model}
    for key in ("students", "teachers"):
        for number, block in enumerate(getattr(recipe.data, key, [])):
            if getattr(block, "endpoint", 0) is None and block.model is not None:
                models[f"data.{key}.{number}.model"] = local_model(recipe.model, block)
    return models


def take_model(found: Contents, key: str, block: ModelBlock) -> None:
    """A model's files as they are cached, fetched if they are not, where the same `model.id` finds them there.

    Raises:
        ModelError: as `resolve` does.
    """
    name, models = block.id.strip(), load_entries()
    if user_path(name).suffix == ".gguf":
        return found.take(key, name, Path(resolve(block, fetch=False).name))
    source = resolve(block)
    folder = Path(source.location)
    if name in models and block.revision in (None, models[name].revision):
        place = f"cache/models/{name}"
        _take_folder(found, place, folder)
        record = {key: value for key, value in cached_record(name).items() if key != "folder"}
        found.files[f"{place}/{RECORD}"] = (json.dumps(record, indent=2) + "\n").encode()
    elif source.kind == "hub" and folder.name == source.hub_revision:
        place = f"hub/models--{source.hub_id.replace('/', '--')}"
        _take_folder(found, f"{place}/snapshots/{folder.name}", folder)
        found.files[f"{place}/refs/{block.revision or 'main'}"] = folder.name.encode()
    else:
        for path in sorted({path for pattern in DECIDING for path in folder.glob(pattern)}):
            found.take(key, name, path, folder)
    return None


def _take_folder(found: Contents, place: str, folder: Path) -> None:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    found.files |= {f"{place}/{path.relative_to(folder).as_posix()}": path for path in paths}


def recipe_text(recipe: Recipe, renamed: dict[str, str]) -> str:
    """The recipe in YAML with all its values, and the paths that its files have in the pack."""

    def changed(value: Any, key: str) -> Any:
        if isinstance(value, dict):
            return {step: changed(below, f"{key}.{step}".lstrip(".")) for step, below in value.items()}
        if isinstance(value, list):
            return [changed(below, f"{key}.{number}") for number, below in enumerate(value)]
        return renamed.get(key, value)

    return dump_yaml(changed(recipe.model_dump(mode="json"), ""))
