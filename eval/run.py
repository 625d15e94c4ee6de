"""Scores base and adapter on the same items with the same prompt, limits and batches, through lm-eval."""

import contextlib
import difflib
import hashlib
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from cft.errors import EvalError
from cft.files import content_id, read_json, write_json, write_jsonl
from cft.generation import Completion, render
from cft.models import resolve
from cft.recipe import Recipe
from cft.runs import adopt, versions
from data_builders.prompts import messages
from eval.arms import Models, adapter_identity
from eval.grading import grade, last_box

if TYPE_CHECKING:
    from lm_eval.api.task import Task
    from lm_eval.tasks import TaskManager
    from transformers import PreTrainedTokenizerBase

    from eval.lm import LoggedLM

OtherArms = Callable[[str, str], Iterable[Path]]
TASKS_FOLDER = Path(__file__).parent / "tasks"


@dataclass
class Items:
    """The items of one task: prompt and gold of each, in doc order."""

    manager: "TaskManager"
    task: "Task"
    questions: list[str]
    golds: list[str]
    prompts: list[str]


def evaluate(
    recipe: Recipe, *, adapter: Path | None, folder: Path, console: Console, others: OtherArms = lambda task, arm: ()
) -> dict[str, dict[str, Any]]:
    """Answer and grade every task with every arm, into `folder/<task>/<arm>/`.

    An arm folder holds `answers.jsonl` (one graded answer a line), `arm.json` (time, memory, settings; written last,
    it marks the arm as done) and lm-eval's own `results_*.json` and `samples_*.jsonl`. A finished arm of the same
    fingerprint is not run again, an interrupted one goes on from its last finished batch.

    Args:
        others: `(task, arm)` -> folders of other runs whose answers are taken if their fingerprint is the same: a base
            is scored once for all the adapters that are tried on it.

    Returns:
        `{task: {arm: what arm.json holds}}`.

    Raises:
        EvalError: an unknown task, unusable items, an adapter of another base, or a context that is too short.
    """
    if "adapter" in recipe.eval.arms and adapter is None:
        raise EvalError("eval.arms names the adapter, but there is none: train one first, or set eval.arms=[base].")
    models = Models(recipe.model, adapter if "adapter" in recipe.eval.arms else None)
    adapters = {"base": None, "adapter": adapter_identity(models.adapter) if models.adapter else None}
    identity = {
        "model": resolve(recipe.model).identity,
        "block": recipe.model.model_dump(mode="json"),
        "max_new_tokens": recipe.eval.max_new_tokens,
        "batch_size": recipe.eval.batch_size,
    }
    manager = task_manager(recipe.eval.tasks, recipe.eval.data)
    results: dict[str, dict[str, Any]] = {}
    for name in recipe.eval.tasks:
        items = load_items(manager, name, models.tokenizer, recipe.eval.limit)
        results[name] = {}
        for arm in recipe.eval.arms:
            settings = identity | {"task": name, "adapter": adapters[arm]}
            kept = others(name, arm)
            results[name][arm] = evaluate_arm(arm, models, items, settings, folder / name / arm, kept, console)
    return results


def task_manager(names: Sequence[str], data: dict[str, str]) -> "TaskManager":
    """lm-eval's manager of our tasks.

    Args:
        data: task -> local JSONL file, for the tasks that can read one.

    Raises:
        EvalError: a name is unknown; the message has the nearest known ones.
    """
    with quiet():
        from lm_eval.tasks import TaskManager

        manager = TaskManager(include_path=str(TASKS_FOLDER), include_defaults=False, metadata=dict(data))
    for name in [*names, *data]:
        if name not in manager.all_tasks:
            near = difflib.get_close_matches(name, manager.all_tasks, n=2, cutoff=0.5) or manager.all_tasks
            raise EvalError(f"Unknown task {name!r} in the recipe's eval block. Did you mean {' or '.join(near)}?")
    return manager


def load_items(manager: "TaskManager", name: str, tokenizer: "PreTrainedTokenizerBase", limit: int | None) -> Items:
    """The first `limit` items of a task, with the prompts that the model will read.

    Raises:
        EvalError: the items cannot be loaded, or cannot be used.
    """
    with quiet():
        task = manager.load([name])["tasks"][name]
    docs = list(task.eval_docs)[:limit]
    return Items(
        manager=manager,
        task=task,
        questions=[doc["question"] for doc in docs],
        golds=[task.doc_to_target(doc) for doc in docs],
        prompts=[render(tokenizer, messages(task.doc_to_text(doc))) for doc in docs],
    )


def evaluate_arm(
    arm: str,
    models: Models,
    items: Items,
    settings: dict[str, Any],
    folder: Path,
    others: Iterable[Path],
    console: Console,
) -> dict[str, Any]:
    """Bring one arm of one task to its end and return what its `arm.json` holds."""
    fingerprint = content_id(settings, items.prompts, items.golds)
    done = read_json(folder / "arm.json")
    if (done is None or done["fingerprint"] != fingerprint) and adopt(folder, others, "arm.json", fingerprint):
        done = read_json(folder / "arm.json")
    if done and done["fingerprint"] == fingerprint and (folder / "answers.jsonl").is_file():
        console.print(f"[dim]eval: {settings['task']}, {arm}: done before, not run again[/]", highlight=False)
        return done
    log = folder / f"progress-{fingerprint}.jsonl"
    for stale in [p for p in folder.glob("*") if p != log]:  # of other settings, or of a run that died at the end
        shutil.rmtree(stale) if stale.is_dir() else stale.unlink()

    from eval.lm import LoggedLM

    with models.arm(arm) as model, arm_progress(f"{settings['task']}, {arm}", len(items.prompts), console) as tick:
        lm = LoggedLM(
            model, models.tokenizer, log=log, on_progress=tick,
            batch_size=settings["batch_size"], max_new_tokens=settings["max_new_tokens"],
        )  # fmt: skip
        completions = lm.answer(items.prompts)
    rows = graded_rows(settings["task"], arm, items, completions)
    metrics = score_with_lm_eval(lm, items, rows, settings, models.adapter if arm == "adapter" else None, folder)
    write_jsonl(folder / "answers.jsonl", rows)
    summary = {
        "task": settings["task"],
        "arm": arm,
        "n": len(rows),
        "metrics": metrics,
        "seconds": round(lm.seconds, 3),
        "tokens": sum(row["tokens"] for row in rows),
        "peak_memory_mb": lm.peak_memory_mb,
        "fingerprint": fingerprint,
        "settings": settings | {"device": str(model.device), "dtype": str(model.dtype)},
        "versions": versions(),
    }
    write_json(folder / "arm.json", summary)
    log.unlink()
    return summary


def graded_rows(task: str, arm: str, items: Items, completions: list[Completion]) -> list[dict[str, Any]]:
    """The rows of `answers.jsonl`.

    An answer that hit the limit behind a complete box is graded by that box, as plain lm_eval grades it; without a
    box it is `truncated`.
    """
    rows = []
    for doc_id, (question, gold, prompt, completion) in enumerate(
        zip(items.questions, items.golds, items.prompts, completions, strict=True)
    ):
        cut = completion.finish_reason == "length" and last_box(completion.text) is None
        grading = grade(gold, completion.text, truncated=cut)
        rows.append(
            {
                "task": task,
                "arm": arm,
                "doc_id": doc_id,
                "question": question,
                "gold": gold,
                "prompt_sha256": hashlib.sha256(prompt.encode()).hexdigest(),
                "response": completion.text,
                "tokens": completion.tokens,
                "finish_reason": completion.finish_reason,
                "outcome": grading.outcome,
                "answer": grading.answer,
            }
        )
    return rows


def score_with_lm_eval(
    lm: "LoggedLM",
    items: Items,
    rows: list[dict[str, Any]],
    settings: dict[str, Any],
    adapter: Path | None,
    folder: Path,
) -> dict[str, float]:
    """Let lm-eval score the logged answers and write its own files into `folder`; the metrics it found.

    Raises:
        EvalError: lm-eval could not write its files.
        AssertionError: lm-eval's scores are not ours.
    """
    import lm_eval
    from lm_eval.loggers import EvaluationTracker

    name = settings["task"]
    model_args = {"pretrained": settings["block"]["id"]} | ({"peft": str(adapter)} if adapter else {})
    beside = folder / ".lm_eval"
    tracker = EvaluationTracker(output_path=str(beside / "results.json"))  # a .json path: no folder named by the model
    with quiet():
        results = lm_eval.simple_evaluate(
            lm, model_args=model_args, tasks=[items.task], task_manager=items.manager, limit=len(rows),
            apply_chat_template=True, batch_size=lm.batch_size, log_samples=True, evaluation_tracker=tracker,
        )  # fmt: skip
        samples = results.pop("samples")
        theirs = {sample["doc_id"]: sample["exact_match"] for sample in samples[name]}
        ours = {row["doc_id"]: float(row["outcome"] == "correct") for row in rows}
        assert theirs == ours, f"{name}: lm-eval's exact_match and our outcomes differ for the same answers"
        tracker.save_results_aggregated(results=results, samples=samples)
        tracker.save_results_samples(task_name=name, samples=samples[name])
    written = sorted(beside.glob("*"))
    if len(written) != 2:  # the tracker only warns when it cannot write
        raise EvalError(f"{beside}: lm-eval could not write its results there. Is the disk full?")
    for path in written:
        path.replace(folder / path.name)
    beside.rmdir()
    return {metric: results["results"][name][f"{metric},none"] for metric in ("exact_match", "no_answer")}


@contextlib.contextmanager
def arm_progress(label: str, items: int, console: Console) -> Iterator[Any]:
    """A progress line: answers done, tokens/s, time left. Yields the function that moves it."""
    columns = (
        TextColumn("eval: {task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
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
                console.print(f"eval: {label} {done}/{items}", highlight=False)

        yield tick


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep lm-eval's log lines and progress bars, and the words of the `git` it starts, off the terminal."""
    logger = logging.getLogger("lm_eval")
    level, terminal = logger.level, os.dup(2)
    logger.setLevel(logging.ERROR)
    try:
        with open(os.devnull, "w") as nothing, contextlib.redirect_stderr(nothing):
            os.dup2(nothing.fileno(), 2)
            yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)
        logger.setLevel(level)
