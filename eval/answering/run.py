"""Scores every arm on the same items with the same limits and batches, through lm-eval."""

import contextlib
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn, TimeRemainingColumn

from cft.errors import EvalError
from cft.files import content_id, write_json, write_jsonl
from cft.models.generate import Completion
from cft.recipe.blocks import Arm, Recipe
from cft.runs import ANSWERS, ARM, adopt, read_known, read_rows, versions
from cft.terminal import Terminal, Text, text_column
from cft.weights.adapter import adapter_identity
from eval.answering.answerers import Answerer, Local, Served
from eval.answering.arms import Models, adapter_of
from eval.answering.dialogue import LIMITS
from eval.answering.scoring import graded_rows, score_with_lm_eval
from eval.grading import grader_identity
from eval.tasks.lm_tasks import Items, find_task

OtherArms = Callable[[str, str], Iterable[Path]]


def evaluate(
    recipe: Recipe,
    *,
    adapter: Path | None,
    folder: Path,
    console: Terminal,
    others: OtherArms = lambda task, arm: (),
    max_cost: float | None = None,
) -> dict[str, dict[str, Any]]:
    """Answer and grade every task with every arm, into `folder/<task>/<arm>/`.

    An arm folder holds `answers.jsonl` (one graded answer a line), `arm.json` (time, memory, settings; written last,
    it marks the arm as done) and lm-eval's own `results_*.json` and `samples_*.jsonl`. A finished arm of the same
    fingerprint is not run again, an interrupted one goes on from its last finished batch.

    Args:
        others: `(task, arm)` -> folders of other runs whose answers are taken if their fingerprint is the same: a base
            is scored once for all the adapters that are tried on it.
        max_cost: USD that the answers of an endpoint may cost.

    Returns:
        `{task: {arm: what arm.json holds}}`.

    Raises:
        EvalError: an unknown task, unusable items, an adapter of another base, or a context that is too short.
    """
    block = recipe.eval
    trained = sorted(block.models - {"base"}) if block.endpoint is None else []
    if trained and adapter is None:
        raise EvalError(f"eval.arms names the {', '.join(trained)}, but there is none: train first, or score the base.")
    models = Models(recipe.model, {name: adapter_of(name, adapter) for name in trained}, recipe.seed)
    identities = {name: adapter_identity(path) for name, path in models.adapters.items()}
    answerer = (
        Served(block, recipe.seed, max_cost, console.print)
        if block.endpoint
        else Local(block, recipe.seed, models, console.print)
    )
    answerer.check()
    tasks = [find_task(name, block) for name in block.tasks]
    # All prompts before the first answer: a template may not know the roles of the last arm's
    asked = [(task, arm, task.items(arm.prompt, answerer.render, block.limit)) for task in tasks for arm in block.arms]
    results: dict[str, dict[str, Any]] = {task.name: {} for task in tasks}
    for task, arm, items in asked:
        settings = answerer.settings(arm) | {"task": task.name, "prompt": arm.prompt}
        settings["adapter"] = identities.get(arm.model)
        if items.environment:
            settings["tools"] = LIMITS | {"rows": content_id([doc["row"] for doc in items.docs]), "code": task.code}
        kept, beside = others(task.name, arm.name), folder / task.name / arm.name
        results[task.name][arm.name] = evaluate_arm(arm, answerer, items, settings, beside, kept, console)
    return results


def evaluate_arm(
    arm: Arm,
    answerer: Answerer,
    items: Items,
    settings: dict[str, Any],
    folder: Path,
    others: Iterable[Path],
    console: Terminal,
) -> dict[str, Any]:
    """Bring one arm of one task to its end and return what its `arm.json` holds."""
    fingerprint = content_id(settings, items.prompts, items.golds)
    done = read_known(folder / ARM)
    if (done is None or done["fingerprint"] != fingerprint) and adopt(folder, others, ARM, fingerprint):
        done = read_known(folder / ARM)
    if done and done["fingerprint"] == fingerprint and (folder / ANSWERS).is_file():
        about = "done before, not run again"
        if done.get("grader") != grader_identity():
            about = "answered before, graded again: the grader has changed"
            done = grade_again(folder, done, arm, answerer, items)
        console.print(Text(f"eval: {settings['task']}, {arm.name}: {about}", style="dim"))
        return done
    log = folder / f"progress-{fingerprint}.jsonl"
    for stale in [p for p in folder.glob("*") if p != log]:  # of other settings, or of a run that died at the end
        shutil.rmtree(stale) if stale.is_dir() else stale.unlink()

    with arm_progress(f"{settings['task']}, {arm.name}", len(items.prompts) * answerer.block.samples, console) as tick:
        answered = answerer.answer(arm, items, log, tick)
    rows = graded_rows(settings["task"], arm.name, items, answered.completions)
    metrics = score_with_lm_eval(answerer, items, rows, settings, folder)
    write_jsonl(folder / ANSWERS, rows)
    summary = {
        "task": settings["task"],
        "arm": arm.name,
        "n": len(rows),
        "metrics": metrics,
        "seconds": round(answered.seconds, 3),
        "tokens": sum(row["tokens"] for row in rows),
        "peak_memory_mb": answered.peak_memory_mb,
        "fingerprint": fingerprint,
        "grader": grader_identity(),
        "settings": settings | answered.where,
        "versions": versions(),
    }
    write_json(folder / ARM, summary)
    for path in folder.glob("*progress-*"):  # the log, and the lock of an endpoint's
        path.unlink()
    return summary


def grade_again(folder: Path, done: dict[str, Any], arm: Arm, answerer: Answerer, items: Items) -> dict[str, Any]:
    """Grade the answers of a finished arm with the grader as it is now; what its `arm.json` then holds."""
    kept = read_rows(folder / ANSWERS)
    completions = [Completion(r["response"], r["tokens"], r["finish_reason"], r.get("trajectory")) for r in kept]
    rows = graded_rows(done["task"], arm.name, items, completions)
    for old in [*folder.glob("results_*"), *folder.glob("samples_*")]:
        old.unlink()
    metrics = score_with_lm_eval(answerer, items, rows, done["settings"], folder)
    write_jsonl(folder / ANSWERS, rows)
    done = done | {"metrics": metrics, "grader": grader_identity()}
    write_json(folder / ARM, done)
    return done


@contextlib.contextmanager
def arm_progress(label: str, items: int, console: Terminal) -> Iterator[Any]:
    """A progress line: answers done, tokens/s, time left. Yields the function that moves it."""
    columns = [text_column("eval: {task.description}"), BarColumn(), MofNCompleteColumn()]
    columns += [text_column("{task.fields[rate]}"), TimeElapsedColumn(), text_column("left"), TimeRemainingColumn()]
    tokens = 0
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task(label, total=items, rate="")

        def tick(done: int, new_tokens: int) -> None:
            nonlocal tokens
            tokens += new_tokens
            elapsed = progress.tasks[bar].elapsed or 0
            rate = f"{tokens / elapsed:.0f} tokens/s" if tokens and elapsed else ""
            progress.update(bar, completed=done, rate=rate)
            if not console.is_terminal and not new_tokens and done < items:  # a log file: one line a batch
                console.print(f"eval: {label} {done}/{items}")

        yield tick
