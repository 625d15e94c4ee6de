"""`cft sweep`: one recipe with some of its values varied, one run for each point, one table."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from cft.cli.common import RUNS, AsJson, Overrides, Runs, answer, answer_files, progress
from cft.words import shell_line

sweep_app = typer.Typer()


@sweep_app.command()
def sweep(
    file: Annotated[
        str | None, typer.Argument(metavar="FILE", help="A shipped sweep's name, or a path. None: list those shipped.")
    ] = None,
    overrides: Overrides = None,
    runs: Runs = RUNS,
    plan: Annotated[bool, typer.Option("--plan", help="Only say what every point would do, take and cost.")] = False,
    max_cost: Annotated[
        float | None,
        typer.Option(
            min=0, help="USD that the answers of all points may cost; one that several points share counts for each."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run a recipe at every point of a sweep file and put all scores into one table. The same command goes on.

    KEY=VALUE sets a key of the recipe in every point, or a key of the sweep: recipe, vary.KEY, points, seeds.
    """
    from cft.recipe.shipped import list_sweeps
    from cft.recipe.sweep import load_sweep

    if file is None:
        return answer_files(list_sweeps(), as_json)
    loaded = load_sweep(file, overrides or [], libraries=True)

    from cft.sweep_run import plan_sweep, print_plan, run_sweep
    from eval.compare.sweep_report import print_sweep

    planned = plan_sweep(loaded, runs)
    if plan:
        return answer(planned, as_json, print_plan)
    print_plan(planned, progress)
    table = run_sweep(loaded, runs, progress, command=shell_line("cft", *sys.argv[1:]), max_cost=max_cost)
    answer(table, as_json, print_sweep)
    if not as_json:
        answer(None, False, f"table: {Path(table['out']) / 'sweep.md'}")
    failed = [run for run in table["runs"] if run["status"] == "failed"]
    if failed:
        progress.print(f"{len(failed)} of {len(table['runs'])} runs failed; the same command tries them again.")
        raise typer.Exit(2)
