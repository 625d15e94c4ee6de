"""The `cft` command. Heavy libraries are imported inside the commands, so that `cft --help` answers at once.

Answers go to standard output (one JSON value with --json), progress to standard error.
"""

import os
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from cft.cli.collect import collect_app
from cft.cli.common import (
    RUNS,
    AsJson,
    DataFolder,
    LaunchName,
    MaxCost,
    Overrides,
    Processes,
    RecipeName,
    RunName,
    Runs,
    Tracker,
    answer,
    answer_files,
    checked_recipe,
    out,
    progress,
    run_and_answer,
)
from cft.cli.data import data_app, problems_app
from cft.cli.evaluate import eval_app
from cft.cli.export import export_app
from cft.cli.pack import pack_app
from cft.cli.process import run_program
from cft.cli.sweep import sweep_app
from cft.errors import RecipeError
from cft.words import shell_line

COMPUTING = {"collect", "data", "eval", "export", "run", "sweep", "train", "try"}  # commands that load a model

app = typer.Typer(
    help="One problem -> critiques of wrong solutions -> a LoRA adapter -> an honest score.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
models_app = typer.Typer(help="The models of models.yaml: licence, size, cached or not.", invoke_without_command=True)
app.add_typer(models_app, name="models")
app.add_typer(data_app, name="data")
app.add_typer(problems_app, name="problems")
app.add_typer(collect_app)
app.add_typer(eval_app)
app.add_typer(export_app)
app.add_typer(pack_app)
app.add_typer(sweep_app)


@app.command()
def recipes(as_json: AsJson = False) -> None:
    """List the shipped recipes."""
    from cft.recipe.shipped import list_recipes

    answer_files(list_recipes(), as_json, "\n\nSweeps over several settings: cft sweep")


@app.command()
def show(recipe: RecipeName, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Print a recipe: its file as written, or as resolved when overrides or --json are given."""
    from cft.recipe.load import load_recipe
    from cft.recipe.shipped import find_recipe

    loaded = load_recipe(recipe, overrides or [])
    text = loaded.to_yaml() if overrides else find_recipe(recipe).read_text(encoding="utf-8")
    answer(loaded.model_dump(mode="json"), as_json, text.rstrip())


@app.command()
def copy(
    recipe: RecipeName,
    to: Annotated[Path | None, typer.Argument(help="File to write; by default NAME.yaml here.")] = None,
    as_json: AsJson = False,
) -> None:
    """Copy a shipped recipe or sweep to a file of your own, to change it there."""
    from cft.recipe.shipped import find_recipe, list_sweeps

    sweep = list_sweeps().get(recipe)
    source = sweep or find_recipe(recipe)
    target = to or Path(source.name)
    target = target / source.name if os.path.isdir(target) else target
    if os.path.lexists(target):
        raise RecipeError(f"{target}: exists already. Name another file, or remove it first.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    except OSError as error:
        raise RecipeError(f"{target}: cannot be written ({error.strerror}). Name another file.") from None
    then = shell_line("cft", "sweep", target, "--plan") if sweep else shell_line("cft", "plan", target)
    answer({"path": str(target)}, as_json, f"{target}\nChange it, then: {then}")


@app.command()
def plan(
    recipe: RecipeName,
    overrides: Overrides = None,
    runs: Runs = RUNS,
    data: DataFolder = None,
    gpu: Annotated[
        str | None, typer.Option("--gpu", help="A card to plan for: GB of memory (12) or a name ('RTX 4090').")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check everything and say what a run would do, take and cost. Downloads and loads nothing."""
    from cft.plan.plan import make_plan
    from cft.plan.show import print_plan

    answer(make_plan(checked_recipe(recipe, overrides, data), runs, gpu), as_json, print_plan)


@app.command()
def run(
    recipe: RecipeName,
    overrides: Overrides = None,
    runs: Runs = RUNS,
    max_cost: MaxCost = None,
    data: DataFolder = None,
    tracker: Tracker = "none",
    launch: LaunchName = None,
    processes: Processes = None,
    as_json: AsJson = False,
) -> None:
    """Run all stages of a recipe: data, train, eval, report. The same command goes on where it stopped."""
    from cft.plan.plan import make_plan
    from cft.plan.show import print_plan

    checked = checked_recipe(recipe, overrides, data)
    print_plan(make_plan(checked, runs), progress)
    run_and_answer(checked, runs, as_json, max_cost=max_cost, tracker=tracker, launch=launch, processes=processes)


@app.command()
def train(
    recipe: RecipeName,
    overrides: Overrides = None,
    runs: Runs = RUNS,
    data: DataFolder = None,
    tracker: Tracker = "none",
    launch: LaunchName = None,
    processes: Processes = None,
    as_json: AsJson = False,
) -> None:
    """Only the train stage: examples to a LoRA adapter."""
    checked = checked_recipe(recipe, overrides, data)
    run_and_answer(checked, runs, as_json, "train", tracker=tracker, launch=launch, processes=processes)


@app.command("eval")
def eval_(
    recipe: RecipeName,
    overrides: Overrides = None,
    runs: Runs = RUNS,
    max_cost: MaxCost = None,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Only the eval stage: score all arms on the same items."""
    run_and_answer(checked_recipe(recipe, overrides, data), runs, as_json, "eval", max_cost=max_cost)


@app.command()
def report(
    recipe: RecipeName,
    overrides: Overrides = None,
    runs: Runs = RUNS,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Only the report stage: tables and plot from the answers."""
    run_and_answer(checked_recipe(recipe, overrides, data), runs, as_json, "report")


@app.command()
def preflight(
    recipe: RecipeName,
    overrides: Overrides = None,
    runs: Runs = RUNS,
    row: Annotated[int, typer.Option(help="Which row to show, counted from 0.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Tokenise the training rows as training will, check them, and show one: prompt dim, trained tokens bright."""
    from cft.pipeline import file_hashes
    from cft.runs import run_of
    from cft.train.preflight import preflight_run

    checked = checked_recipe(recipe, overrides)
    found = run_of(checked, file_hashes(checked), runs)
    found.need("data", found.examples)
    summary = preflight_run(checked, found.examples, row, None if as_json else out)
    counts = {key.replace("_", " "): value for key, value in summary.items() if key != "row"}
    answer(summary, as_json, ", ".join(f"{key} {value}" for key, value in counts.items()))


@app.command()
def trace(
    run_name: RunName,
    item: Annotated[
        str | None,
        typer.Argument(
            help="Id of an example, critique or candidate (or its start), or TASK:DOC_ID. None lists examples."
        ),
    ] = None,
    runs: Runs = RUNS,
    as_json: AsJson = False,
) -> None:
    """Walk back from a training row or a scored item to what made it."""
    from cft.cli.trace import print_trace, trace_item
    from cft.runs import find_run

    answer(trace_item(find_run(run_name, runs), item), as_json, print_trace)


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Check Python, libraries, GPU, memory, disk and hub, and say what will therefore work."""
    from dataclasses import asdict

    from cft.cli.doctor import check, print_checks

    checks = check()
    answer([asdict(one) for one in checks], as_json, lambda _, console: print_checks(checks, console))


@models_app.callback()
def models(context: typer.Context, as_json: AsJson = False) -> None:
    """List the models of models.yaml."""
    if context.invoked_subcommand:
        return
    from cft.models.source import list_models

    rows = list_models()
    head = {key: key for key in ("name", "parameters", "download", "cached", "licence")}
    line = "{name:<20} {parameters:>10} {download:>12}  {cached!s:<6}  {licence}"
    answer(rows, as_json, "\n".join(line.format(**row) for row in [head, *rows]))


@models_app.command("path")
def models_path(name: Annotated[str, typer.Argument(help="A name of `cft models`.")], as_json: AsJson = False) -> None:
    """Fetch a model if it is not cached and print its folder."""
    from cft.models.source import fetch_model

    folder = fetch_model(name)
    answer({"name": name, "path": str(folder)}, as_json, str(folder))


def main() -> None:
    """Entry point."""
    run_program(app, computing=not COMPUTING.isdisjoint(sys.argv[1:2]))


if __name__ == "__main__":
    main()
