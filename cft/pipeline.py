"""The four stages of a run, in order: data -> train -> eval -> report."""

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from cft.devices import decoder_for, pick_device, slow_dtype
from cft.errors import LIBRARY_ERRORS, DataError, ModelError
from cft.files import content_id, sha256_file, sha256_folder
from cft.foreign import user_path
from cft.gpus import idle_gpu
from cft.models.generate import render
from cft.models.load import load_tokenizer
from cft.models.source import resolve
from cft.models.template import check_tools
from cft.recipe.blocks import METHODS, Recipe, named_files
from cft.runs import ANSWERS, ARM, EVAL, MANIFEST, STAGES, TRAIN, Run, Stage, open_run, versions
from cft.terminal import Terminal, Text
from cft.train.launch.start import Launch, check_launch, launch_training
from cft.train.loop.trackers import check_tracker
from cft.train.rollouts.rewards import reward_functions
from cft.weights.adapter import CONFIG, changes_base, files_left, is_whole, read_config
from data_builders.asking.backends import Asking, local_identities
from data_builders.build import build
from data_builders.problems import find_problem
from data_builders.teachers.file import find_critiques
from data_builders.teachers.templates import find_template
from data_builders.trajectories.build import find_trajectories, trajectory_files
from data_builders.trajectories.read import REPORTED
from eval.grading import grader_identity
from eval.prompts import is_chat
from eval.tasks.lm_tasks import find_task, task_files

ADAPTER_FILES = ("**/*model*.safetensors", "**/adapter_config.json")
LOOK_UP: dict[str, Callable[[str], Path]] = {  # kind of `cft.recipe.blocks.File` -> the file of such a name
    "problem": find_problem,
    "critiques": find_critiques,
    "template": find_template,
    "trajectories": find_trajectories,
    "pool": user_path,
    "file": Path,
    "chat template": user_path,
}


def file_hashes(recipe: Recipe, *blocks: str) -> dict[str, str]:
    """sha256 of all files that these blocks of the recipe name, or that it names at all; models have an identity.

    Raises:
        DataError: if one cannot be read.
    """
    hashes = {}
    for key, kind, name in named_files(recipe):
        label = f"{kind} {name}" if kind in ("problem", "critiques", "template") else key
        label = label.removeprefix("eval.data.").removeprefix("eval.")
        if kind == "model" or (kind, name) == ("chat template", "plain"):
            continue
        if blocks and key.partition(".")[0] not in blocks and key not in blocks:
            continue
        try:
            if kind == "items":
                hashes[label] = items_hash(Path(name))
            elif kind == "tasks":
                hashes[label] = content_id(*map(sha256_file, task_files(recipe)), length=64)
            elif kind in LOOK_UP:
                path = LOOK_UP[kind](name)
                if kind == "trajectories" and path.is_dir():
                    named = [[one.relative_to(path).as_posix(), sha256_file(one)] for one in trajectory_files(path)]
                    hashes[label] = content_id(named, length=64)
                else:
                    hashes[label] = sha256_file(path)
            elif re.search(r"[./\\]", name) and os.path.isfile(name):  # a library's option, which may name a file
                hashes[label] = sha256_file(Path(name))
        except OSError as error:
            raise DataError(f"{key}: {name} cannot be read ({error.strerror}). Check the path in the recipe.") from None
    return hashes


def items_hash(folder: Path) -> str:
    """Identity of all files of items in a folder (`eval.data_dir`)."""
    if not folder.is_dir():
        raise DataError(f"{folder}: is no folder. Correct eval.data_dir (or --data), which names the folder of items.")
    return content_id([sha256_folder(folder, pattern) for pattern in ("*.jsonl", "*.json", "*.parquet")])


def run_stages(
    recipe: Recipe,
    root: Path,
    console: Terminal,
    stages: Sequence[str] = STAGES,
    *,
    max_cost: float | None = None,
    tracker: str = "none",
    launch: str | None = None,
    processes: int | None = None,
) -> Run:
    """Bring the named stages of the recipe's run to their end and return the run.

    Args:
        max_cost: USD that the answers of all models may cost, kept ones included: making data and scoring together.
        tracker: what training is reported to (`cft.train.loop.trackers`).
        launch, processes: how the train stage starts several processes (`cft.train.launch.start`).

    Raises:
        CFTError: for whatever the user can fix; what is already done stays in the run folder.
    """
    check_tracker(tracker)
    training = {"tracker": tracker, "launch": check_launch(launch, processes, recipe)}
    options = {"data": {"max_cost": max_cost}, "train": training, "eval": {"max_cost": max_cost}}
    if EVAL in stages:
        check_prompts(recipe)
    run = open_run(recipe, file_hashes(recipe), root)
    if TRAIN in stages and recipe.train.method == "grpo":
        reward_functions(recipe.train.rewards, recipe.seed)  # says what is wrong with a user's file before data is made
    device = pick_device()
    for told in filter(None, [idle_gpu() if device == "cpu" else None, slow_dtype(recipe.model, device)]):
        console.print(Text.assemble(("warning:", "yellow"), f" {told}"))
    with run.lock():
        for name in STAGES:
            if name in stages:
                STAGE_FUNCTIONS[name](recipe, run, console, **options.get(name, {}))
    return run


def check_prompts(recipe: Recipe) -> None:
    """Raise ModelError before anything runs if the chat template does not know the roles of an arm's prompt.

    A chat prompt beside a task's own has a system message; a task with tools has tools, calls and results.
    """
    tasks = [find_task(name, recipe.eval) for name in recipe.eval.tasks]
    for task in [task for task in tasks if task.environment]:
        check_tools(load_tokenizer(recipe.model), task.environment.schemas, task.name)
    with_system = [arm.name for arm in recipe.eval.arms if arm.prompt and is_chat(arm.prompt)]
    if not with_system or recipe.eval.endpoint:
        return
    try:
        messages = [{"role": "system", "content": "Answer."}, {"role": "user", "content": "1+1?"}]
        render(load_tokenizer(recipe.model), messages)
    except ModelError as error:
        raise ModelError(
            f"eval.arms: {', '.join(with_system)} cannot be asked, with a system message. {error}"
        ) from error


def data_stage(recipe: Recipe, run: Run, console: Terminal, max_cost: float | None = None) -> None:
    """Problem -> candidates -> critiques -> examples."""
    inputs = {"data": recipe.data.model_dump(mode="json"), "seed": recipe.seed}
    inputs["files"] = file_hashes(recipe, "data")
    if models := local_identities(recipe):
        inputs["models"] = models
        inputs["files"] |= file_hashes(recipe, "model")
    if items := scored_questions(recipe) if recipe.data.builder == "curated" else {}:
        inputs["items"] = {task: None if isinstance(of, str) else content_id(of) for task, of in items.items()}
    for task, why in [(task, of) for task, of in items.items() if isinstance(of, str)]:
        told = f" no question is compared with the items of {task}, which cannot be read: {why}"
        console.print(Text.assemble(("warning:", "yellow"), told))
    stage = run.stage("data", inputs)
    if _skip(stage, console, [run.examples] if recipe.train.method != "none" else []):
        return
    asking = Asking(recipe.model, run.calls, console, max_cost)
    asking.check(recipe.data)
    with asking.shown():
        where = {"folder": stage.path, "title": recipe.name, "items": items}
        counts = build(recipe.data, seed=recipe.seed, asking=asking, **where)
    for model in counts.get("ignores_temperature", []):
        alike = (
            f" {model} gave the same text for all samples of a prompt: its server ignores the temperature. "
            "`transformers serve` does so for models whose generation config does not sample."
        )
        console.print(Text.assemble(("warning:", "yellow"), alike))
    cost = counts.get("cost_usd", 0.0)
    stage.finish(seed=recipe.seed, counts=counts, cost_usd=cost)
    shown = ("candidates", "outcomes", "set_aside", "critiques", "accepted", "dropped", "over_max_examples", "changed")
    told = ", ".join(f"{key.replace('_', ' ')} {counts[key]}" for key in (*shown, "examples") if counts.get(key))
    told = told.translate(str.maketrans("", "", "{}'"))
    paid = "cost unknown (no price)" if cost is None else f"cost ${cost:.4f}" if cost else ""
    paid += f" (estimated for {counts['estimated']} answers)" if paid and counts.get("estimated") else ""
    console.print(f"data: {told}{', ' + paid if paid else ''}")
    where = counts.get("where", {})  # of trajectories
    for kind, number, what in [(k, n, w) for k in where and REPORTED for w, n in counts.get(k, {}).items()]:
        console.out(f"  {kind} {number}: {what}{f' ({where[what]})' if what in where else ''}")


def scored_questions(recipe: Recipe) -> dict[str, list[str] | str]:
    """Task -> the questions of all its items, or why they cannot be read; those that choose a checkpoint too."""
    asked, select, found = [(name, "eval.tasks", None) for name in recipe.eval.tasks], recipe.train.select, {}
    for name, key, file in [*asked, *([(select.task, "train.select.task", select.data)] if select else [])]:
        task = find_task(name, recipe.eval, key=key, file=file)
        try:
            loaded = task.load()[1]
            found[name] = [doc.get("question") or loaded.doc_to_text(doc) for doc in loaded.eval_docs]
        except (OSError, *LIBRARY_ERRORS) as error:  # CFTErrors among them
            if file or recipe.eval.data_dir or name in recipe.eval.data:  # else the hub's, which may be out of reach
                raise
            found[name] = str(error).partition("\n")[0]
    return found


def train_stage(
    recipe: Recipe, run: Run, console: Terminal, tracker: str = "none", launch: Launch | None = None
) -> None:
    """Examples -> adapter."""
    if recipe.train.method == "none":
        return
    run.need("data", run.examples)
    inputs = {
        "examples": sha256_file(run.examples),
        "model": resolve(recipe.model).identity,
        "settings": recipe.model.model_dump(mode="json"),
        "train": recipe.train.model_dump(mode="json"),
        "seed": recipe.seed,
    }
    blocks = ["model", "train"]
    if recipe.train.select:  # which asks its items as the evaluation would
        blocks += ["eval.data_dir", "eval.task_dir"]
        inputs["asked"] = {key: getattr(recipe.eval, key) for key in ("max_new_tokens", "batch_size")}
        decoder = decoder_for(recipe.eval.decoder, pick_device())
        inputs["asked"] |= {"decoder": decoder} if decoder != "steps" else {}
    if files := file_hashes(recipe, *blocks):
        inputs["files"] = files
    stage = run.stage("train", inputs)
    steps = stage.manifest["counts"]["steps"] if stage.manifest else 0
    if _skip(stage, console, files_left(run.train, recipe.train.keep_steps, steps)):
        return
    if launch:
        counts = launch_training(recipe, run.examples, stage.path, launch, console=console, tracker=tracker)
    else:
        train = METHODS[recipe.train.method].load()
        counts = train(recipe, run.examples, stage.path, console=console, tracker=tracker)
    stage.finish(seed=recipe.seed, counts=counts)


def eval_stage(recipe: Recipe, run: Run, console: Terminal, max_cost: float | None = None) -> None:
    """Arms -> graded answers to each item."""
    scores_adapter = recipe.eval.models != {"base"} and recipe.eval.endpoint is None
    if scores_adapter:
        run.need("train", run.adapter)
    files = file_hashes(recipe, "model", "eval")
    inputs = {
        "adapter": [sha256_folder(run.train, name) for name in ADAPTER_FILES] if scores_adapter else None,
        "model": resolve(recipe.model).identity,
        "settings": recipe.model.model_dump(mode="json"),
        "eval": recipe.eval.model_dump(mode="json"),
        "data_dir": files.pop("data_dir", None),
        "files": files,
    }
    if scores_adapter and not is_whole(run.adapter) and (own := changes_base(read_config(run.adapter / CONFIG))):
        inputs["own_base"] = own  # before it had one, its base arm was not the base
    if code := {name: code for name in recipe.eval.tasks if (code := find_task(name, recipe.eval).code)}:
        inputs["tools"] = code
    stage = run.stage("eval", inputs)
    arms = [stage.path / task / arm.name for task in recipe.eval.tasks for arm in recipe.eval.arms]
    if _graded_as_now(stage) and _skip(stage, console, [arm / name for arm in arms for name in (ANSWERS, ARM)]):
        return
    from eval.answering.run import evaluate

    where = {"adapter": run.adapter if scores_adapter else None, "folder": stage.path, "others": run.same_arms}
    made = (run.manifest("data") or {}).get("cost_usd") or 0.0
    left = None if max_cost is None else max(0.0, max_cost - made)
    counts = evaluate(recipe, console=console, max_cost=left, **where)
    stage.finish(seed=recipe.seed, counts=counts)


def report_stage(recipe: Recipe, run: Run, console: Terminal) -> None:
    """Answers -> tables and plot. Cheap, so it is made every time."""
    from cft.train.card import add_scores
    from eval.report.report import print_table, write_report

    run.need("eval", run.eval)
    model = resolve(recipe.model).identity
    environment = {"versions": versions(), "model": model, "run": run.path.name, "seed": recipe.seed}
    names = {"arms": recipe.eval.arm_names, "tasks": recipe.eval.tasks}
    report = write_report(recipe.name, run.eval, run.report, environment=environment, **names)
    if run.adapter.is_dir() and recipe.eval.models != {"base"}:
        add_scores(run.adapter, report)
    print_table(report, console)


def _graded_as_now(stage: Stage) -> bool:
    """Whether the grader is still the one that graded a finished eval stage."""
    tasks = stage.manifest["counts"] if stage.manifest else {}
    return all(arm.get("grader") == grader_identity() for arms in tasks.values() for arm in arms.values())


def _skip(stage: Stage, console: Terminal, products: Sequence[Path] = ()) -> bool:
    """Whether a stage is finished and left as it is. Where somebody has deleted what it made, it is made again."""
    if stage.manifest and (gone := [path for path in products if not path.is_file()]):
        console.out(f"{stage.name}: {gone[0]} is gone, so it is made again")
        (stage.path / MANIFEST).unlink()
    if stage.manifest:
        console.print(Text(f"{stage.name}: done before, not run again ({stage.path})", style="dim"))
    return stage.manifest is not None


STAGE_FUNCTIONS = {"data": data_stage, "train": train_stage, "eval": eval_stage, "report": report_stage}
