"""`cft data ...` and `cft problems ...`: make training data, look at it, pass it on; choose a problem."""

from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperGroup

from cft.cli.common import (
    RUNS,
    ApiKeyEnv,
    AsJson,
    BaseUrl,
    MaxCost,
    Overrides,
    RecipeName,
    RunName,
    Runs,
    answer,
    checked_recipe,
    progress,
    run_and_answer,
    sent_text,
    students_of,
)
from cft.words import number_of


class _RecipeOrCommand(TyperGroup):
    """`cft data RECIPE` is `cft data make RECIPE`."""

    def resolve_command(self, ctx, args):
        if args and args[0] not in self.commands:
            args = ["make", *args]
        return super().resolve_command(ctx, args)


data_app = typer.Typer(
    cls=_RecipeOrCommand,
    no_args_is_help=True,
    help="Training data: `cft data RECIPE` runs the data stage; inspect and push what it made.",
)
problems_app = typer.Typer(help="Seed problems.", no_args_is_help=True)


@data_app.command()
def make(
    recipe: RecipeName,
    overrides: Overrides = None,
    runs: Runs = RUNS,
    max_cost: MaxCost = None,
    as_json: AsJson = False,
) -> None:
    """Only the data stage: sample candidates, have them criticised, verify, write examples. `make` may be left out."""
    run_and_answer(checked_recipe(recipe, overrides), runs, as_json, "data", max_cost=max_cost)


@data_app.command()
def inspect(
    run_name: RunName,
    runs: Runs = RUNS,
    dropped: Annotated[bool, typer.Option("--dropped", help="Only critiques that may not train.")] = False,
    accepted: Annotated[bool, typer.Option("--accepted", help="Only critiques that may train.")] = False,
    reason: Annotated[str | None, typer.Option(help="Only those dropped for this reason.")] = None,
    teacher: Annotated[str | None, typer.Option(help="Only critiques of this teacher.")] = None,
    style: Annotated[str | None, typer.Option(help="Only critiques of this style.")] = None,
    search: Annotated[str | None, typer.Option(help="Only items that hold this text.")] = None,
    html: Annotated[Path | None, typer.Option("--html", help="Write one self-contained page instead.")] = None,
    as_json: AsJson = False,
) -> None:
    """Page through problem, candidate, critique and verdict, side by side."""
    from dataclasses import asdict

    from cft.runs import find_run
    from data_builders.inspect.inspection import load_items, select, show_items

    found = find_run(run_name, runs)
    found.need("data", found.examples)
    chosen = {"dropped": dropped, "accepted": accepted, "reason": reason, "teacher": teacher, "style": style}
    items = select(load_items(found.examples.parent), search=search, **chosen)
    if html:
        from data_builders.inspect.inspection_page import write_page

        write_page(items, html, found.path.parent.name)
        answer({"page": str(html), "items": len(items)}, as_json, f"{html}: {number_of(len(items), 'item')}")
    else:
        answer([asdict(item) for item in items], as_json, lambda _, console: show_items(items, console))


@data_app.command()
def push(
    run_name: RunName,
    repository: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="Data set repository on the hub.")],
    runs: Runs = RUNS,
    public: Annotated[bool, typer.Option("--public", help="Anyone may read it; by default it is private.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without this, only say what would be sent.")] = False,
    as_json: AsJson = False,
) -> None:
    """Send a run's examples, critiques, candidates and data card to a data set repository on the hub."""
    from cft.export.push import push_data
    from cft.runs import find_run

    sent = push_data(find_run(run_name, runs), repository, private=not public, really=yes)
    answer(sent, as_json, sent_text(sent, repository, public=public, really=yes))


@problems_app.command()
def rank(
    pool: Annotated[str, typer.Argument(help="Folder of problem files, a JSONL file (question, answer), or one name.")],
    model: Annotated[list[str], typer.Option("--model", help="A student; give it again for more.")],
    samples: Annotated[int, typer.Option(min=2, help="Solutions to sample of each problem and student.")] = 8,
    temperature: Annotated[float, typer.Option(min=0.01, help="Sampling temperature.")] = 0.8,
    top_k: Annotated[int, typer.Option(min=0, help="Likely tokens that are sampled from; 0 is all, as for RL.")] = 50,
    max_new_tokens: Annotated[int, typer.Option(min=16, help="Most tokens of a solution.")] = 448,
    base_url: BaseUrl = None,
    api_key_env: ApiKeyEnv = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first problems of the pool.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Solutions sampled at a time, without a server.")] = 24,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    runs: Runs = RUNS,
    max_cost: MaxCost = None,
    as_json: AsJson = False,
) -> None:
    """Score a pool of problems by how useful each is as a seed: half of it solved, many different wrong answers."""
    from data_builders.asking.backends import Asking
    from data_builders.ranking import load_pool, print_ranking, rank_pool

    settings = {"samples": samples, "temperatures": [temperature], "max_new_tokens": max_new_tokens}
    settings |= {"top_k": top_k, "batch_size": batch_size}
    first, students = students_of("cft problems rank", model, base_url, api_key_env, **settings)
    asking = Asking(first, runs / "calls", progress, max_cost)
    ranked = rank_pool(load_pool(pool)[:limit], students, seed, asking)
    answer(ranked, as_json, print_ranking)
