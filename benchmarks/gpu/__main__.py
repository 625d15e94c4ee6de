"""`python -m benchmarks.gpu`: what a card can do, in the time that there is; see benchmarks/README.md.

Steps in the order of their worth, each part of them a process of its own, whose result is kept at once. Given again the
same command measures what is still missing.
"""

import sys
import time
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TimeElapsedColumn

from benchmarks.common import model_folder
from benchmarks.gpu import card
from benchmarks.gpu.page import differences, page
from benchmarks.gpu.record import Record, Settings
from benchmarks.gpu.runner import run_step
from benchmarks.gpu.steps import STEPS, WORDS, is_here, task_of
from cft.cli.process import run_program
from cft.errors import CFTError
from cft.files import write_text
from cft.terminal import Terminal, text_column
from cft.words import duration, shell_line

console = Terminal(stderr=True)


def main(
    minutes: Annotated[float, typer.Option(min=0.1, help="Time for all steps together.")] = 9,
    out: Annotated[Path, typer.Option(help="Folder for page, results and runs; the same one goes on.")] = Path(
        "runs/gpu"
    ),
    device: Annotated[str | None, typer.Option(help="cuda, or cpu for a small form.")] = None,
    model: Annotated[str, typer.Option(help="A name of `cft models`, or a folder.")] = "qwen2.5-coder-0.5b",
    data: Annotated[Path | None, typer.Option(help="Folder with MATH-500 as math500.jsonl or .parquet.")] = None,
    large: Annotated[str, typer.Option(help="The model of the last step, if it is here.")] = "qwen2.5-coder-1.5b",
    items: Annotated[int | None, typer.Option(min=1, help="Questions to score; by default all.")] = None,
    tokens: Annotated[int | None, typer.Option(min=1, help="Most tokens of an answer; by default 1024.")] = None,
    seeds: Annotated[int | None, typer.Option(min=1, max=10, help="Trainings; by default 3.")] = None,
    vllm: Annotated[str | None, typer.Option(help="Address of a `vllm serve` of the same model, to race it.")] = None,
    unsloth: Annotated[Path | None, typer.Option(help="A Python that has unsloth, to race it.")] = None,
    only: Annotated[list[str] | None, typer.Option(help=f"Only these: {', '.join(s.name for s in STEPS)}.")] = None,
) -> None:
    """Measure a card, what matters most first; OUT/gpu.md is the page."""
    names = [step.name for step in STEPS]
    if unknown := [name for name in only or [] if name not in names]:
        raise CFTError(f"--only {unknown[0]}: is no step. Steps: {', '.join(names)}.")
    if data and not data.is_dir():
        raise CFTError(f"--data {data}: is no folder. Name the folder that holds math500.jsonl.")
    device = card.choose_device(device)
    out = out.absolute()
    if not is_here(model):
        console.print(f"{model} is fetched; the minutes count from then on", soft_wrap=True)
    try:
        location = Path(model_folder(model, out / "work"))
    except SystemExit as failed:
        why = str(failed).rpartition("exit status")[0].strip().removeprefix("error: ")
        raise CFTError(f"--model {model}: {why}") from None
    end, on_gpu = time.monotonic() + 60 * minutes, device == "cuda"
    settings = Settings(
        device=device, model=model, location=location, data=data and data.absolute(), large=large, vllm=vllm, out=out,
        items=items or (None if on_gpu else 4), tokens=tokens or (1024 if on_gpu else 16), unsloth=unsloth,
        seeds=seeds or (3 if on_gpu else 1), of=card.identity(device, model, data),
    )  # fmt: skip
    records, notes = {}, card.notes(device)
    for name in names:
        records[name], other = Record.read(out / "steps" / f"{name}.json", settings.of)
        if other and name in (only or names):
            console.print(f"{name}: begins anew, was with {', '.join(differences(other, settings.of))}")
        elif other:
            records[name], _ = Record.read(out / "steps" / f"{name}.json", other)
    if task_of(settings)[0] == WORDS:
        where = f"in {data}" if data else "named with --data, and the hub is not asked or does not answer"
        notes.append(f"MATH-500 is not {where}: generated word problems ({WORDS}) are answered instead.")
    for note in notes:
        console.print(note, soft_wrap=True)
    command = shell_line("python", "-m", "benchmarks.gpu", *sys.argv[1:])
    measure(settings, records, only or names, end, lambda: page(records, settings.of, notes, command))
    failed = [name for name in only or names if records[name].status == "failed"]
    console.print(f"{'failed: ' + ', '.join(failed) + '; ' if failed else ''}page: {out / 'gpu.md'}", soft_wrap=True)
    raise typer.Exit(1 if failed else 0)


def measure(settings: Settings, records: dict[str, Record], names: list[str], end: float, page_text) -> None:
    """Run the named steps, each with its share of what time is left; the page is written after each part."""
    shares = {step.name: step.share if settings.on_gpu else step.small for step in STEPS}
    owed = [s for s in STEPS if s.name in names and records[s.name].status != "done" and not s.absent(settings)]
    columns = [text_column("{task.description}"), BarColumn(), text_column("{task.fields[left]}"), TimeElapsedColumn()]
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("", total=end - time.monotonic(), left="")
        begun = time.monotonic()
        for step in (step for step in STEPS if step.name in names):
            record, left = records[step.name], end - time.monotonic()
            ahead = sum(shares[one.name] for one in owed if STEPS.index(one) >= STEPS.index(step))
            until = time.monotonic() + left * (shares[step.name] / ahead if step in owed else 1)

            def show(part: str, kept: dict[str, Any] | None, name: str = step.name) -> None:
                time_left = f"{duration(max(0, end - time.monotonic()))} left"
                progress.update(bar, description=f"{name} {part}", completed=time.monotonic() - begun, left=time_left)
                if kept:
                    write_text(settings.out / "gpu.md", page_text())
                    told = filter(None, (f"{name}, {part}", kept["status"], kept["why"].rpartition("\n")[2]))
                    console.print(": ".join(told), soft_wrap=True)

            run_step(step, settings, record, lambda until=until: until - time.monotonic(), show)
            write_text(settings.out / "gpu.md", page_text())


if __name__ == "__main__":
    run_program(partial(typer.run, main), computing=False)
