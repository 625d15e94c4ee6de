"""The four stages of a run, in order: data -> train -> eval -> report."""

from collections.abc import Sequence
from pathlib import Path

import jinja2
from rich.console import Console

from cft.devices import pick_device, slow_dtype
from cft.errors import DataError, ModelError
from cft.files import content_id, sha256_file, sha256_folder
from cft.models.generate import render
from cft.models.load import load_tokenizer
from cft.models.source import resolve
from cft.recipe.blocks import METHODS, Recipe
from cft.runs import ANSWERS, ARM, EVAL, MANIFEST, STAGES, Run, Stage, open_run, versions
from cft.train.launch.start import Launch, check_launch, launch_training
from cft.train.loop.trackers import check_tracker
from cft.weights.adapter import CONFIG, changes_base, files_left, is_whole, read_config
from data_builders.asking.backends import Asking, local_identities
from data_builders.build import build, input_files
from eval.grading import grader_identity
from eval.prompts import is_chat


def file_hashes(recipe: Recipe) -> dict[str, str]:
    """sha256 of every file that the recipe names. Raises DataError if one cannot be read."""
    files = input_files(recipe.data) | {task: Path(path) for task, path in recipe.eval.data.items()}
    select = recipe.train.select
    files |= {"train.select": Path(select.data)} if select and select.data else {}
    folder, tasks = recipe.eval.data_dir, recipe.eval.task_dir
    if folder and not Path(folder).is_dir():
        raise DataError(f"{folder}: is no folder. Correct eval.data_dir (or --data), which names the folder of items.")
    try:
        hashes = {name: sha256_file(path) for name, path in files.items()}
        hashes |= {"data_dir": items_hash(Path(folder))} if folder else {}
        return hashes | ({"task_dir": sha256_folder(Path(tasks), "*.yaml")} if tasks else {})
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read ({error.strerror}). Check the path in the recipe.") from None


def items_hash(folder: Path) -> str:
    """Identity of all files of items in a folder (`eval.data_dir`)."""
    return content_id([sha256_folder(folder, pattern) for pattern in ("*.jsonl", "*.json", "*.parquet")])


def run_stages(
    recipe: Recipe,
    root: Path,
    console: Console,
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
    if slow := slow_dtype(recipe.model, pick_device()):
        console.print(f"[yellow]warning:[/] {slow}", highlight=False)
    with run.lock():
        for name in STAGES:
            if name in stages:
                STAGE_FUNCTIONS[name](recipe, run, console, **options.get(name, {}))
    return run


def check_prompts(recipe: Recipe) -> None:
    """Raise ModelError before anything runs if the chat template does not know the roles of an arm's prompt.

    A chat prompt beside a task's own has a system message.
    """
    with_system = [arm.name for arm in recipe.eval.arms if arm.prompt and is_chat(arm.prompt)]
    if not with_system or recipe.eval.endpoint:
        return
    try:
        messages = [{"role": "system", "content": "Answer."}, {"role": "user", "content": "1+1?"}]
        render(load_tokenizer(recipe.model), messages)
    except (ModelError, jinja2.TemplateError) as error:
        raise ModelError(
            f"eval.arms: {', '.join(with_system)} cannot be asked, with a system message. {error}"
        ) from error


def data_stage(recipe: Recipe, run: Run, console: Console, max_cost: float | None = None) -> None:
    """Problem -> candidates -> critiques -> examples."""
    inputs = {"data": recipe.data.model_dump(mode="json"), "seed": recipe.seed}
    inputs["files"] = {name: sha256_file(path) for name, path in input_files(recipe.data).items()}
    if models := local_identities(recipe):
        inputs["models"] = models
    stage = run.stage("data", inputs)
    if _skip(stage, console, [run.examples] if recipe.train.method != "none" else []):
        return
    asking = Asking(recipe.model, run.calls, console, max_cost)
    asking.check(recipe.data)
    with asking.shown():
        counts = build(recipe.data, folder=stage.path, seed=recipe.seed, asking=asking, title=recipe.name)
    for model in counts.get("ignores_temperature", []):
        console.print(
            f"[yellow]warning:[/] {model} gave the same text for all samples of a prompt: its server ignores the "
            "temperature. `transformers serve` does so for models whose generation config does not sample.",
            highlight=False,
        )
    cost = counts.get("cost_usd", 0.0)
    stage.finish(seed=recipe.seed, counts=counts, cost_usd=cost)
    shown = ("candidates", "outcomes", "set_aside", "critiques", "accepted", "dropped", "over_max_examples", "examples")
    told = ", ".join(f"{key.replace('_', ' ')} {counts[key]}" for key in shown if counts.get(key))
    told = told.translate(str.maketrans("", "", "{}'"))
    paid = "cost unknown (no price)" if cost is None else f"cost ${cost:.4f}" if cost else ""
    paid += f" (estimated for {counts['estimated']} answers)" if paid and counts.get("estimated") else ""
    console.print(f"data: {told}{', ' + paid if paid else ''}", highlight=False)


def train_stage(
    recipe: Recipe, run: Run, console: Console, tracker: str = "none", launch: Launch | None = None
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


def eval_stage(recipe: Recipe, run: Run, console: Console, max_cost: float | None = None) -> None:
    """Arms -> graded answers to each item."""
    scores_adapter = recipe.eval.models != {"base"} and recipe.eval.endpoint is None
    if scores_adapter:
        run.need("train", run.adapter)
    inputs = {
        "adapter": sha256_folder(run.adapter.parent, "**/*model*.safetensors") if scores_adapter else None,
        "model": resolve(recipe.model).identity,
        "settings": recipe.model.model_dump(mode="json"),
        "eval": recipe.eval.model_dump(mode="json"),
        "files": {task: sha256_file(Path(path)) for task, path in recipe.eval.data.items()},
        "data_dir": recipe.eval.data_dir and items_hash(Path(recipe.eval.data_dir)),
    }
    if scores_adapter and not is_whole(run.adapter) and (own := changes_base(read_config(run.adapter / CONFIG))):
        inputs["own_base"] = own  # before it had one, its base arm was not the base
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


def report_stage(recipe: Recipe, run: Run, console: Console) -> None:
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


def _skip(stage: Stage, console: Console, products: Sequence[Path] = ()) -> bool:
    """Whether a stage is finished and left as it is. Where somebody has deleted what it made, it is made again."""
    if stage.manifest and (gone := [path for path in products if not path.is_file()]):
        console.out(f"{stage.name}: {gone[0]} is gone, so it is made again", highlight=False)
        (stage.path / MANIFEST).unlink()
    if stage.manifest:
        console.print(f"[dim]{stage.name}: done before, not run again ({stage.path})[/]", highlight=False)
    return stage.manifest is not None


STAGE_FUNCTIONS = {"data": data_stage, "train": train_stage, "eval": eval_stage, "report": report_stage}
