"""A pack from a recipe: what goes into it, how large that is, and the making of it."""

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cft.cache import cache_folder
from cft.errors import CFTError
from cft.files import check_space
from cft.models.catalogue import load_entries
from cft.models.fetch import MOVE_CACHE
from cft.models.source import ModelSource, resolve
from cft.pack.contents import Contents, local_models, recipe_contents, recipe_text, take_model
from cft.pack.wheels import DISTRIBUTION, SPARED, Target, gather, likely_bytes, needed, own_wheel
from cft.pack.write import bytes_of, check_folder, part_bytes, write_pack
from cft.recipe.blocks import Recipe
from cft.terminal import Terminal
from cft.words import number_of, size

IMPORTS = ("torch", "transformers", "trl", "peft", "datasets", "lm_eval", "math_verify", "cft.cli.main")
BYTECODE = 1.3  # bytes of installed packages in those of their files


@dataclass(frozen=True)
class Plan:
    """What a pack will hold."""

    recipe: Recipe
    target: Target
    pins: Mapping[str, str]  # normal name -> version that this project was tested with
    needs: list[str]  # NAME==VERSION of the wheels
    contents: Contents
    rows: list[dict[str, Any]]  # {what, bytes, missing}: bytes are estimated where some are yet to be had

    @property
    def bytes(self) -> float:
        return sum(row["bytes"] for row in self.rows)


def plan_pack(recipe: Recipe, target: Target, extras: Sequence[str], pins: Mapping[str, str]) -> Plan:
    """Look at everything, and download nothing but items of tasks.

    Raises:
        CFTError: what cannot be gathered, as far as it can be told before.
    """
    needs = needed(target, [*extras, *["gpu"] * (recipe.model.quantization == "nf4")], pins)
    contents, wheels = recipe_contents(recipe), {need: target.wheel(need) for need in needs}
    total = sum(wheel.stat().st_size if wheel else likely_bytes(need) for need, wheel in wheels.items())
    owed = [need for need, wheel in wheels.items() if not wheel and need.partition("==")[0] not in SPARED]
    rows = [{"what": f"{len(needs)} wheels for {target}", "bytes": total, "missing": len(owed)}]
    for name, block in {block.id: block for block in local_models(recipe).values()}.items():
        source = resolve(block, fetch=False)
        there = Path(source.location).exists()
        rows.append({"what": f"model {name}", "bytes": _model_bytes(source), "missing": int(not there)})
    items = "".join(f", {number_of(count, 'item')} of {task}" for task, count in contents.items.items())
    what = f"the recipe and {number_of(len(contents.files), 'file')} that it needs{items}"
    rows.append({"what": what, "bytes": sum(map(bytes_of, contents.files.values())), "missing": 0})
    return Plan(recipe, target, pins, needs, contents, rows)


def _model_bytes(source: ModelSource) -> float:
    place = Path(source.location)
    if place.exists():
        return sum(path.stat().st_size for path in (place, *place.rglob("*")) if path.is_file())
    entry = load_entries().get(source.name)
    return max(one.cached_mb for one in entry.sources) * 1e6 if entry else 2 * (source.parameters or 0)


def print_plan(rows: Sequence[dict[str, Any]], console: Terminal) -> None:
    """One line for each thing that is gathered, and the sum."""
    for row in rows:
        owed = f", {row['missing']} to download" if row["missing"] else ""
        console.print(f"{row['what']}: {'about ' if owed else ''}{size(row['bytes'])}{owed}", soft_wrap=True)
    console.print(f"together about {size(sum(row['bytes'] for row in rows))}")


def make_pack(plan: Plan, folder: Path, split: str | None, console: Terminal) -> dict[str, Any]:
    """Gather and write everything; returns the manifest.

    Raises:
        CFTError: something cannot be had, or the folder or its disk cannot hold it.
    """
    most = part_bytes(split, plan.bytes)
    check_folder(folder)
    owed = sum(row["bytes"] for row in plan.rows if row["missing"])
    check_space(cache_folder(), owed, "what is to be downloaded", MOVE_CACHE, CFTError)
    check_space(folder, plan.bytes + owed, "the pack", "name another folder with --to", CFTError)
    for key, block in local_models(plan.recipe).items():
        take_model(plan.contents, key, block)
    wheels, left_out = gather(plan.needs, plan.target, console)
    own, data = own_wheel()
    files = plan.contents.files | {f"wheels/{path.name}": path for path in wheels} | {f"wheels/{own}": data}
    files["work/recipe.yaml"] = recipe_text(plan.recipe, plan.contents.renamed).encode()
    [torch] = [need for need in plan.target.asks(DISTRIBUTION) if need.name == "torch"]
    about = {
        "recipe": plan.recipe.name,
        "python": plan.target.python,
        "platform": plan.target.platform,
        "torch": plan.pins.get("torch"),
        "oldest": next(one.version for one in torch.specifier if ">" in one.operator),
        "installed_bytes": int(sum(map(bytes_of, files.values())) + BYTECODE * sum(map(_unpacked, wheels))),
        "imports": IMPORTS,
        "notes": [*plan.contents.notes, *left_out],
    }
    return write_pack(folder, files, about, most)


def _unpacked(wheel: Path) -> int:
    with zipfile.ZipFile(wheel) as archive:
        return sum(member.file_size for member in archive.infolist())
