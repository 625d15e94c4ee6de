"""`cft pack`: all that a run needs on a machine without internet."""

import platform
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cft.cli.common import AsJson, DataFolder, Overrides, RecipeName, answer, checked_recipe, progress
from cft.terminal import Text
from cft.words import number_of, size

pack_app = typer.Typer()
Extra = StrEnum("Extra", ["GPU", "DEV"])
HERE = ".".join(platform.python_version_tuple()[:2])


@pack_app.command()
def pack(
    recipe: RecipeName,
    overrides: Overrides = None,
    to: Annotated[
        Path, typer.Option("--to", metavar="FOLDER", help="New or empty folder, or one of an earlier pack.")
    ] = ...,
    python: Annotated[str, typer.Option("--python", help="Python of that machine; by default as here.")] = HERE,
    system: Annotated[str, typer.Option("--platform", help="linux_x86_64 or linux_aarch64.")] = "linux_x86_64",
    split: Annotated[
        str | None, typer.Option("--split", metavar="SIZE", help="Write parts of at most this size, as 60MB.")
    ] = None,
    data: DataFolder = None,
    extra: Annotated[list[Extra] | None, typer.Option("--extra", help="Add bitsandbytes; add pytest.")] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Only say what would be gathered, and how large it is.")] = False,
    as_json: AsJson = False,
) -> None:
    """Gather what a run needs on a machine without internet: wheels, model, items, recipe, and an installer.

    torch is left to that machine. The same command goes on after a stop, and downloads nothing twice.
    """
    from cft.cli.doctor import tested_versions
    from cft.pack.make import make_pack, plan_pack, print_plan
    from cft.pack.wheels import Target
    from cft.recipe.load import read_recipe
    from cft.recipe.shipped import find_recipe

    target = Target(python, system)
    checked = checked_recipe(recipe, overrides, data)
    source, _, _ = read_recipe(find_recipe(recipe), overrides or [])
    if source.value["model"].get("dtype") == "auto":  # to be settled there
        checked = checked.model_copy(update={"model": checked.model.model_copy(update={"dtype": "auto"})})
    planned = plan_pack(checked, target, extra or [], tested_versions())
    for note in planned.contents.notes:
        progress.print(Text.assemble(("warning:", "yellow"), f" {note}."), soft_wrap=True)
    if plan:
        return answer(planned.rows, as_json, print_plan)
    print_plan(planned.rows, progress)
    made = make_pack(planned, to, split, progress)
    parts = [{"name": name, "bytes": length} for name, length, _ in made["parts"]]
    total = sum(part["bytes"] for part in parts)
    lines = [f"{part['name']}  {part['bytes']:,} bytes" for part in parts]
    lines += [f"note: {note}" for note in made["notes"]]
    lines += [f"{to}: {size(total)} in {number_of(len(parts), 'part')}; on that machine: python3 install.py"]
    answer({"path": str(to), "bytes": total, "parts": parts, "notes": made["notes"]}, as_json, "\n".join(lines))
