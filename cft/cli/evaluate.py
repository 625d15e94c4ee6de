"""`cft try` and `cft compare`: ask a run's model yourself; put the scores of several runs on one page."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from cft.cli.common import RUNS, AsJson, RunName, Runs, answer, out, progress
from cft.errors import CFTError, DataError
from cft.terminal import Text

eval_app = typer.Typer()


@eval_app.command("try")
def try_run(
    run_name: RunName,
    question: Annotated[
        str | None,
        typer.Argument(help="What to ask; - reads it from standard input. None: one question a line, until the end."),
    ] = None,
    runs: Runs = RUNS,
    gold: Annotated[str | None, typer.Option(help="The right answer: both answers are graded by it.")] = None,
    temperature: Annotated[float, typer.Option(min=0, help="0 is greedy, as the evaluation is.")] = 0.0,
    seed: Annotated[int | None, typer.Option(min=0, max=2**32 - 1, help="Seed of sampling; the recipe's.")] = None,
    max_new_tokens: Annotated[int | None, typer.Option(min=1, help="Most tokens of an answer; the recipe's.")] = None,
    base_only: Annotated[bool, typer.Option("--base-only", help="Ask only the base model.")] = False,
    as_json: AsJson = False,
) -> None:
    """Ask the base and the adapter a question; their answers come side by side."""
    from cft.cli.try_arms import ask, open_trial
    from cft.runs import find_run

    sampling = {"temperature": temperature, "seed": seed, "max_new_tokens": max_new_tokens}
    trial = open_trial(find_run(run_name, runs), base_only=base_only, gold=gold, **sampling)
    by_hand = question is None and sys.stdin.isatty()
    try:
        for asked in questions(question, by_hand):
            try:
                with progress.status("loading the model"):
                    trial.prompt_ids(asked)  # the first one loads it
                told = ask(trial, asked, None if as_json else out)
            except CFTError as error:
                if not by_hand:
                    raise
                progress.print(str(error), style="red")
                continue
            if as_json:
                answer(told, True)
                sys.stdout.flush()
    except KeyboardInterrupt:
        raise typer.Exit(130) from None  # what was written is on the screen, and nothing else was under way


@eval_app.command()
def compare(
    run_names: Annotated[
        list[str], typer.Argument(metavar="RUN...", help="Run folders, or recipes for their newest runs.")
    ],
    runs: Runs = RUNS,
    task: Annotated[str | None, typer.Option(help="Only this task; by default all that the runs share.")] = None,
    to: Annotated[
        Path | None, typer.Option("--out", help="Folder to write the report into; by default RUNS/compare/NAMES.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Put the scores of several runs on one page: every arm against the base of its run, on the items they share."""
    from cft.runs import find_run
    from eval.compare.runs import compare_runs, print_comparison

    report = compare_runs([find_run(name, runs) for name in run_names], runs, task=task, out=to)
    answer(report, as_json, print_comparison)
    if not as_json:
        answer(None, False, f"report: {Path(report['out']) / 'report.md'}")


def questions(given: str | None, by_hand: bool) -> Iterator[str]:
    """The question given, or the whole of standard input for "-", or every line of it. Raises DataError for none."""
    if given not in (None, "-"):
        yield given
    elif by_hand:
        while True:
            try:
                line = progress.input(Text("question> ", style="bold"))
            except EOFError:
                progress.print()
                return
            if line.strip():
                yield line
    else:
        some = False
        for raw in [sys.stdin.buffer.read()] if given == "-" else sys.stdin.buffer:
            try:
                line = raw.decode().strip()
            except UnicodeDecodeError as error:
                raise DataError(f"standard input is not UTF-8 (byte {error.start}). Convert it first.") from None
            if line:
                some = True
                yield line
        if not some:
            raise DataError("standard input has no question. Write one a line, or give it as an argument.")
