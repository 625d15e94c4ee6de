"""Scores every arm on the same items with the same limits and batches, through lm-eval."""

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
from cft.files import content_id, read_json, read_own_jsonl, write_json, write_jsonl
from cft.generation import Completion
from cft.recipe import Recipe
from cft.recipe_blocks import PROMPTS
from cft.runs import adopt, versions
from eval.answerers import Answerer, Local, Served
from eval.arms import Arm, Models, adapter_identity
from eval.grading import grade, grader_identity, last_box, same_answer_groups
from eval.lm import AnsweredLM

if TYPE_CHECKING:
    from lm_eval.api.task import Task
    from lm_eval.tasks import TaskManager

OtherArms = Callable[[str, str], Iterable[Path]]
TASKS_FOLDER = Path(__file__).parent / "tasks"


@dataclass
class Items:
    """The items of one task with one prompt, in doc order."""

    manager: "TaskManager"
    task: "Task"
    docs: list[dict[str, Any]]  # question, and subject and level where the source has them
    golds: list[str]
    prompts: list[str]
    chat: bool  # whether a chat template wrote the prompts
    stop_strings: tuple[str, ...]


def evaluate(
    recipe: Recipe,
    *,
    adapter: Path | None,
    folder: Path,
    console: Console,
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
    block, arms = recipe.eval, [Arm.named(name) for name in recipe.eval.arms]
    trained = {arm.model: arm for arm in arms if arm.model != "base"} if block.endpoint is None else {}
    if trained and adapter is None:
        raise EvalError(f"eval.arms names the {', '.join(trained)}, but there is none: train first, or score the base.")
    models = Models(recipe.model, {name: arm.folder(adapter) for name, arm in trained.items()})
    identities = {name: adapter_identity(path) for name, path in models.adapters.items()}
    answerer = Served(block, recipe.seed, max_cost) if block.endpoint else Local(block, recipe.seed, models)
    answerer.check()
    metadata = block.data | ({"data_dir": block.data_dir} if block.data_dir else {})
    manager = task_manager(block.tasks, metadata)
    results: dict[str, dict[str, Any]] = {}
    for name in block.tasks:
        results[name] = {}
        for arm in arms:
            items = load_items(manager, arm.task(name), answerer.render, arm.is_chat, block.limit)
            settings = answerer.settings(arm) | {"task": name, "prompt": arm.prompt}
            settings["adapter"] = identities.get(arm.model)
            kept = others(name, arm.name)
            results[name][arm.name] = evaluate_arm(
                arm, answerer, items, settings, folder / name / arm.name, kept, console
            )
    return results


def task_manager(names: Sequence[str], metadata: dict[str, str]) -> "TaskManager":
    """lm-eval's manager of our tasks.

    Args:
        metadata: task -> local JSONL file, for the tasks that can read one; `data_dir` -> a folder for all.

    Raises:
        EvalError: a name is unknown; the message has the nearest known ones.
    """
    with quiet():
        from lm_eval.tasks import TaskManager

        manager = TaskManager(include_path=str(TASKS_FOLDER), include_defaults=False, metadata=dict(metadata))
    variants = tuple(f"_{prompt}" for prompt in (*PROMPTS, "sampled"))
    known = [name for name in manager.all_tasks if not name.endswith(variants)]
    for name in [*names, *(name for name in metadata if name != "data_dir")]:
        if name not in known:
            task, _, variant = name.rpartition("_")
            if name in manager.all_tasks:
                mend = "set eval.samples" if variant == "sampled" else f"name the arm base@{variant}"
                raise EvalError(f"{name!r} is {task!r} with other settings: set eval.tasks to [{task}] and {mend}.")
            near = difflib.get_close_matches(name, known, n=2, cutoff=0.5) or known
            raise EvalError(f"Unknown task {name!r} in the recipe's eval block. Did you mean {' or '.join(near)}?")
    return manager


def load_items(
    manager: "TaskManager", name: str, render: Callable[[list[dict]], str], chat: bool, limit: int | None
) -> Items:
    """The first `limit` items of a task, with the prompts that the model will read: those of plain lm_eval.

    Args:
        render: messages -> prompt; used if `chat`.

    Raises:
        EvalError: the items cannot be loaded, or cannot be used.
    """
    with quiet():
        task = manager.load([name])["tasks"][name]
        docs = list(task.eval_docs)[:limit]
        task.build_all_requests(
            limit=len(docs), apply_chat_template=chat, fewshot_as_multiturn=chat,
            chat_template=lambda messages, **_: render(messages), tokenizer_name="",
        )  # fmt: skip
    return Items(
        manager=manager,
        task=task,
        docs=docs,
        golds=[task.doc_to_target(doc) for doc in docs],
        prompts=[instance.args[0] for instance in task.instances],
        chat=chat,
        stop_strings=tuple(task.config.generation_kwargs.get("until") or ()),
    )


def evaluate_arm(
    arm: Arm,
    answerer: Answerer,
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
        about = "done before, not run again"
        if done.get("grader") != grader_identity():
            about = "answered before, graded again: the grader has changed"
            done = grade_again(folder, done, arm, answerer, items)
        console.print(f"[dim]eval: {settings['task']}, {arm.name}: {about}[/]", highlight=False)
        return done
    log = folder / f"progress-{fingerprint}.jsonl"
    for stale in [p for p in folder.glob("*") if p != log]:  # of other settings, or of a run that died at the end
        shutil.rmtree(stale) if stale.is_dir() else stale.unlink()

    with arm_progress(f"{settings['task']}, {arm.name}", len(items.prompts) * answerer.samples, console) as tick:
        answered = answerer.answer(arm, items, log, tick)
    rows = graded_rows(settings["task"], arm.name, items, answered.completions)
    metrics = score_with_lm_eval(answerer, items, rows, settings, folder)
    write_jsonl(folder / "answers.jsonl", rows)
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
    write_json(folder / "arm.json", summary)
    for path in folder.glob("*progress-*"):  # the log, and the lock of an endpoint's
        path.unlink()
    return summary


def grade_again(folder: Path, done: dict[str, Any], arm: Arm, answerer: Answerer, items: Items) -> dict[str, Any]:
    """Grade the answers of a finished arm with the grader as it is now; what its `arm.json` then holds."""
    kept = read_own_jsonl(folder / "answers.jsonl")
    completions = [Completion(row["response"], row["tokens"], row["finish_reason"]) for row in kept]
    rows = graded_rows(done["task"], arm.name, items, completions)
    for old in [*folder.glob("results_*"), *folder.glob("samples_*")]:
        old.unlink()
    metrics = score_with_lm_eval(answerer, items, rows, done["settings"], folder)
    write_jsonl(folder / "answers.jsonl", rows)
    done = done | {"metrics": metrics, "grader": grader_identity()}
    write_json(folder / "arm.json", done)
    return done


def graded_rows(task: str, arm: str, items: Items, completions: list[Completion]) -> list[dict[str, Any]]:
    """The rows of `answers.jsonl`: the samples of the first item, of the second ...

    An answer that hit the limit behind a complete box is graded by that box, as plain lm_eval grades it; without a
    box it is `truncated`. `same_as` is the first sample of the item with an equal answer: the votes of maj@k.
    """
    rows = []
    samples = len(completions) // len(items.docs)
    for doc_id, (doc, gold, prompt) in enumerate(zip(items.docs, items.golds, items.prompts, strict=True)):
        given = completions[doc_id * samples : (doc_id + 1) * samples]
        grades = [grade(gold, completion.text, truncated=was_cut(completion)) for completion in given]
        groups = same_answer_groups([grading.answer for grading in grades])
        for sample, (completion, grading, group) in enumerate(zip(given, grades, groups, strict=True)):
            rows.append(
                {
                    "task": task,
                    "arm": arm,
                    "doc_id": doc_id,
                    "sample": sample,
                    "question": doc["question"],
                    "gold": gold,
                    "prompt_sha256": hashlib.sha256(prompt.encode()).hexdigest(),
                    "response": completion.text,
                    "tokens": completion.tokens,
                    "finish_reason": completion.finish_reason,
                    "outcome": grading.outcome,
                    "answer": grading.answer,
                    "same_as": group,
                }
                | {key: doc[key] for key in ("subject", "level") if doc.get(key)}
            )
    return rows


def was_cut(completion: Completion) -> bool:
    """Whether an answer hit the token limit without a complete box."""
    return completion.finish_reason == "length" and last_box(completion.text) is None


def score_with_lm_eval(
    answerer: Answerer, items: Items, rows: list[dict[str, Any]], settings: dict[str, Any], folder: Path
) -> dict[str, float]:
    """Let lm-eval score the answers and write its own files into `folder`; the metrics it found.

    Its samples get three keys more, lists with one entry an answer: `tokens`, `finish_reason` and `outcome`.

    Raises:
        EvalError: lm-eval could not write its files.
        AssertionError: lm-eval's scores are not ours.
    """
    import lm_eval
    from lm_eval.loggers import EvaluationTracker

    name, samples = items.task.config.task, answerer.samples
    by_item = [rows[i : i + samples] for i in range(0, len(rows), samples)]
    lm = AnsweredLM(
        items.prompts, [[row["response"] for row in item] for item in by_item], answerer.render, answerer.template,
        settings["model"],
    )  # fmt: skip
    items.task.set_config("repeats", samples)
    items.task.set_config("generation_kwargs", answerer.generation_kwargs(items), update=True)
    beside = folder / ".lm_eval"
    tracker = EvaluationTracker(output_path=str(beside / "results.json"))  # a .json path: no folder named by the model
    with quiet():
        results = lm_eval.simple_evaluate(
            lm, model_args={"pretrained": settings["model"], "arm": rows[0]["arm"]}, tasks=[items.task],
            task_manager=items.manager, limit=len(by_item), apply_chat_template=items.chat,
            batch_size=answerer.block.batch_size, log_samples=True, evaluation_tracker=tracker,
        )  # fmt: skip
        logged = results.pop("samples")
        for sample in logged[name]:
            item = by_item[sample["doc_id"]]
            ours = sum(row["outcome"] == "correct" for row in item) / samples
            assert sample["exact_match"] == ours, f"{name}: lm-eval's exact_match and our outcomes differ"
            sample |= {key: [row[key] for row in item] for key in ("tokens", "finish_reason", "outcome")}
        tracker.save_results_aggregated(results=results, samples=logged)
        tracker.save_results_samples(task_name=name, samples=logged[name])
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
