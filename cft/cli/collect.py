"""`cft collect TASK`: trajectories of one's own, by a model or a person, for `data.builder: trajectories`."""

from pathlib import Path
from typing import Annotated

import typer

from cft.cli.common import RUNS, ApiKeyEnv, AsJson, BaseUrl, MaxCost, Runs, answer, progress, students_of
from cft.errors import CFTError

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
    split: Annotated[str, typer.Option(help="Which rows; none that a task scores.")] = "train",
    samples: Annotated[int, typer.Option(min=1, max=1000, help="Trajectories of each, above temperature 0.")] = 1,
    temperature: Annotated[float, typer.Option(min=0, help="Sampling temperature; 0 is greedy.")] = 0.7,
    turns: Annotated[int, typer.Option(min=1, max=100, help="Most messages of a trajectory; eval allows 8.")] = 8,
    max_new_tokens: Annotated[int, typer.Option(min=16, help="Most tokens of a message.")] = 512,
    batch_size: Annotated[int, typer.Option(min=1, help="Messages written at a time, without a server.")] = 24,
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
    about = {"task": task, "by": model or "a person", "split": split, "skip": skip, "tasks": tasks}
    about |= {"turns": turns, "code": found.code}
    talks = begun(found, split, skip, tasks, samples, task_dir)
    if person:
        from eval.collecting.person import solve as solve_by_hand

        kept = Collection(out, about, talks)
        solve_by_hand(kept, progress, turns=turns)
    else:
        from data_builders.asking.backends import Asking
        from eval.collecting.model import solve

        settings = {"samples": samples, "max_new_tokens": max_new_tokens, "batch_size": batch_size}
        settings["temperatures"] = [temperature]
        first, (student,) = students_of("cft collect", [model], base_url, api_key_env, **settings)
        about |= {"samples": samples, "temperature": temperature, "max_new_tokens": max_new_tokens, "seed": seed}
        asking = Asking(first, runs / "calls", progress, max_cost)
        about["answers"] = getattr(asking.backend(student), "ledger", model)  # a loaded model's have its weights in it
        kept = Collection(out, about | {"host": student.endpoint and student.endpoint.host}, talks)
        with asking.shown():
            solve(kept, student, asking, turns=turns, seed=seed)
    summary = kept.summary | {"folder": str(kept.folder)}
    answer(summary, as_json, "\n".join(f"{key}: {value}" for key, value in summary.items()))
