"""`cft collect TASK`: trajectories of one's own, by a model or a person, for `data.builder: trajectories`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cft.cli.common import (
    RUNS,
    ApiKeyEnv,
    AsJson,
    BaseUrl,
    MaxCost,
    Runs,
    answer,
    progress,
    students_of,
)
from cft.errors import CFTError
from cft.words import number_of

if TYPE_CHECKING:
    from cft.recipe.blocks import ModelBlock, StudentBlock
    from eval.collecting.collection import Collection

collect_app = typer.Typer()


@collect_app.command()
def collect(
    task: Annotated[str, typer.Argument(metavar="TASK", help="A task with tools, such as cft_office.")],
    out: Annotated[Path, typer.Option("--out", help="Folder to write; the same command goes on in it.")],
    model: Annotated[str | None, typer.Option("--model", help="Who solves: a model, as in model.id.")] = None,
    base_url: BaseUrl = None,
    api_key_env: ApiKeyEnv = None,
    person: Annotated[bool, typer.Option("--person", help="You solve, at this terminal.")] = False,
    tasks: Annotated[int, typer.Option(min=1, help="How many of the split are solved.")] = 78,
    skip: Annotated[int, typer.Option(min=0, help="Begin after so many; the shipped 78 are the first.")] = 0,
    split: Annotated[str | None, typer.Option(help="Which rows; by default train.")] = None,
    samples: Annotated[int, typer.Option(min=1, max=1000, help="Trajectories of each, above temperature 0.")] = 1,
    temperature: Annotated[float, typer.Option(min=0, help="Sampling temperature; 0 is greedy.")] = 0.7,
    turns: Annotated[int, typer.Option(min=1, max=100, help="Most messages of a trajectory; eval allows 8.")] = 8,
    max_new_tokens: Annotated[int, typer.Option(min=16, help="Most tokens of a message.")] = 512,
    batch_size: Annotated[int, typer.Option(min=1, help="Messages written at a time, without a server.")] = 24,
    price: Annotated[
        tuple[float, float] | None, typer.Option(help="USD for a million tokens read and written.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    task_dir: Annotated[str | None, typer.Option(help="Folder of tasks of your own, as eval.task_dir.")] = None,
    runs: Runs = RUNS,
    max_cost: MaxCost = None,
    as_json: AsJson = False,
) -> None:
    """Solve tasks with tools, by a model or by hand; what ends in a right state becomes training data."""
    if (model is None) is not person:
        given = "both --model and --person" if person else "neither --model nor --person"
        raise CFTError(f"cft collect: {given}. Give one: a model that solves, or --person if you do.")
    if samples > 1 and (person or temperature == 0):
        raise CFTError(f"--samples {samples}: " + ("--person solves once." if person else "set --temperature above 0."))
    from eval.collecting.collection import Collection, begun, find_tools

    found = find_tools(task, task_dir)
    about = {"task": task, "by": model or "a person", "split": split or "train", "skip": skip, "tasks": tasks}
    about |= {"turns": turns, "code": found.code}
    talks, used = begun(found, split, skip, tasks, samples), {}
    if person:
        kept = Collection(out, about, talks)
        by_hand(kept, turns)
    else:
        settings = {"samples": samples, "temperatures": [temperature], "max_new_tokens": max_new_tokens}
        settings |= {"batch_size": batch_size, "price": price and dict(zip(("input", "output"), price, strict=True))}
        block, (student,) = students_of("cft collect", [model], base_url, api_key_env, **settings)
        about |= {"samples": samples, "temperature": temperature, "max_new_tokens": max_new_tokens, "seed": seed}
        kept = Collection(out, about | {"host": student.endpoint and student.endpoint.host}, talks)
        used = by_model(kept, block, student, runs / "calls", max_cost, turns=turns, seed=seed)
    result = {"folder": str(kept.folder), "planned": len(talks), "outcomes": kept.counts} | used
    ends = ", ".join(f"{what} {n}" for what, n in kept.counts.items()) or "none ended"
    answer(result, as_json, f"{number_of(len(talks), 'dialogue')}: {ends}\ncollected: {kept.folder}")


def by_hand(kept: "Collection", turns: int) -> None:
    """Have the person solve what is owed, saving after each."""
    from eval.collecting.collection import verdict
    from eval.collecting.person import solve

    def on_end(key: str) -> None:
        kept.end(key)
        kept.save()
        progress.print(f"{key}: {verdict(kept.rows[key])}\n")

    kept.read()
    solve(kept.owed, progress, turns=turns, on_end=on_end)


def by_model(
    kept: "Collection",
    block: "ModelBlock",
    student: "StudentBlock",
    ledgers: Path,
    max_cost: float | None,
    **options: int,
) -> dict[str, Any]:
    """Have the model solve all, saving after each turn. Returns the tokens and the cost."""
    from data_builders.asking.backends import Asking
    from data_builders.asking.calls import cost_of
    from eval.collecting.model import solve

    asking, used = Asking(block, ledgers, progress, max_cost), {}

    def on_turn() -> None:
        for way in ("input_tokens", "output_tokens"):
            counts = [row[way] for row in asking.rows]
            used[way] = None if None in counts else sum(counts)
        used["cost_usd"] = cost_of(asking.rows)
        kept.save(**used)

    with asking.shown():
        solve(kept.talks, student, asking, on_end=kept.end, on_turn=on_turn, **options)
    return used
