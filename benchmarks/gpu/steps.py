"""The steps of the benchmark, in the order of their worth, each a sequence of parts.

Every function here yields the parts of its step; what it needs of an earlier part it reads from the record, which holds
it by then. Small forms are for a CPU, where they show that everything runs.
"""

import json
import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.answer import decoders
from benchmarks.common import CORES, REPOSITORY
from benchmarks.gpu import results
from benchmarks.gpu.record import Part, Record, Settings
from benchmarks.memory import MODELS, OWN
from benchmarks.memory import SETTINGS as MEMORY_SETTINGS
from cft.devices import MEMORY_READ
from cft.errors import EvalError
from cft.models.catalogue import cached_record, load_entries
from cft.models.fetch import hub_reachable
from cft.recipe.blocks import EvalBlock
from cft.recipe.load import load_recipe
from eval.tasks.lm_tasks import find_task

Left = Callable[[], float]  # seconds left to the step
START = 15  # seconds in which a process loads the libraries and a small model; an estimate
MATH, WORDS = "cft_math500", "cft_wordproblems"
LAST = ("test_attention", "test_memory", "test_resume")  # they compile or start processes: if time is short, they lose
# Recipes for cards of so many GB, measured on random weights of their models' sizes, those of the greatest doubt first
PROMISES = [
    (12, "qwen2.5_math_1.5b_lora"),
    (12, "qwen2.5_7b_qlora"),
    (24, "qwen2.5_math_7b_lora"),
    (16, "qwen3_4b_base_lora"),
    (16, "llama_3.2_3b_lora"),
    (24, "qwen2.5_14b_qlora"),
]
# More than 12 GB hold, so that training must go on with less
TOO_MUCH = ["train.args.per_device_train_batch_size=32", "train.args.gradient_accumulation_steps=1"]
TOO_MUCH += ["train.args.gradient_checkpointing=false"]


@dataclass(frozen=True)
class Step:
    """A question, and how it is answered."""

    name: str
    share: float  # of the time
    small: float  # the same for the small form
    question: str
    parts: Callable[[Settings, Record, Left], Iterator[Part]]
    absent: Callable[[Settings], str] = lambda settings: ""  # why none of it can be tried


def module(name: str, *arguments: object) -> list[str]:
    """The command of a Python module."""
    return [sys.executable, "-m", name, *map(str, arguments)]


def cft(*arguments: object) -> list[str]:
    """A `cft` command that answers in JSON."""
    return module("cft.cli.main", *arguments, "--json")


def words(overrides: dict[str, object]) -> list[str]:
    """Overrides as they stand on a command line."""
    return [f"{key}={value}" for key, value in overrides.items()]


def machine(settings: Settings, record: Record, left: Left) -> Iterator[Part]:
    out = settings.place("machine", "machine") / "result.json"
    yield Part("machine", module("benchmarks.gpu.machine", out), results.from_file)


def tests(settings: Settings, record: Record, left: Left) -> Iterator[Part]:
    files = sorted((REPOSITORY / "tests/gpu").glob("test_*.py"), key=lambda file: file.stem in LAST)
    options = ["-m", "gpu", "-vv", "--tb=short", "-rfEs", "-p", "no:cacheprovider"]
    options += [f"tests/gpu/{file.name}" for file in files]
    environment = {"CFT_TEST_DEVICE": settings.device}
    options += [] if settings.on_gpu else ["-k", "loss_and_gradients or greedy_answers"]
    codes = (0, 1, 2, 4, 5)  # what pytest says of its tests, or that it found none
    yield Part("tests", module("pytest", *options), results.of_tests, codes=codes, environment=environment, partly=True)


def quickstart(settings: Settings, record: Record, left: Left) -> Iterator[Part]:
    yield from one_problem(settings, record, left, settings.model)


def large(settings: Settings, record: Record, left: Left) -> Iterator[Part]:
    yield from one_problem(settings, record, left, settings.large)


def no_large(settings: Settings) -> str:
    """Why the larger model is not tried."""
    if settings.large == settings.model:
        return "it is the model of the quickstart step"
    if not settings.on_gpu:
        return "needs a GPU"
    if is_here(settings.large):
        return ""
    return f"the weights of {settings.large} are not here: {shlex.join(['cft', 'models', 'path', settings.large])}"


def one_problem(settings: Settings, record: Record, left: Left, model: str) -> Iterator[Part]:
    """One-problem CFT of a model, seed after seed, base and adapter on the same items."""
    task, data = task_of(settings)
    items = settings.items or find_task(task, EvalBlock(tasks=[task], data_dir=data)).size
    where = ["--runs", settings.work / "runs", *(["--data", data] if data else [])]
    asked = {"model.id": json.dumps(model), "eval.tasks": f"[{task}]", "eval.limit": items}
    asked |= {"eval.max_new_tokens": settings.tokens, "eval.batch_size": min(items, 512)}
    if not settings.on_gpu:
        asked |= {"data.max_examples": 2, "train.args.max_steps": 2, "train.args.max_length": 4096}
        asked["train.args.gradient_accumulation_steps"] = 1
    yield Part("plan", cft("plan", "quickstart", *words(asked), *where), results.of_plan)
    plan = record.result("plan")
    if plan is None:
        return
    asked |= plan["turn"]
    # Kept in the record: another limit, when the command is given again with other time left, would be another run
    plan.setdefault("limit", items_in_time(items, int(asked["eval.batch_size"]), settings, left()))
    asked["eval.limit"] = plan["limit"]
    for seed in range(settings.seeds if model == settings.model else 1):
        needs = {"gb": plan["gb"] if settings.on_gpu else 0, "seconds": START, "skip": plan["lacks"]}
        command = cft("run", "quickstart", *words(asked | {"seed": seed}), *where)
        yield Part(f"seed {seed}", command, results.of_run, **needs)
    runs = [found["run"] for seed in range(settings.seeds) if (found := record.result(f"seed {seed}"))]
    if len(runs) > 1:
        out = settings.place(record.step, "seeds") / "compare"
        compared = cft("compare", *runs, "--out", out, "--runs", settings.work / "runs")
        yield Part("seeds", compared, results.of_comparison)


def task_of(settings: Settings) -> tuple[str, str | None]:
    """The task that is answered and the folder of its items: MATH-500 where it is to be had, else word problems."""
    if settings.data:
        try:
            found = find_task(MATH, EvalBlock(tasks=[MATH], data_dir=str(settings.data))).size
            return (MATH, str(settings.data)) if found else (WORDS, None)
        except EvalError:
            return WORDS, None
    return (MATH if settings.on_gpu and hub_reachable() else WORDS), None


def items_in_time(items: int, batch: int, settings: Settings, seconds: float) -> int:
    """As many items as base and adapter answer in so many seconds, by the plan's estimate of a decoding step.

    At least those that are answered at a time: fewer take as long.
    """
    batches = (seconds - 3 * START) / (2 * settings.tokens * MEMORY_READ)
    return min(items, batch * max(1, int(batches))) if settings.on_gpu else items


def memory(settings: Settings, record: Record, left: Left) -> Iterator[Part]:
    """The promise of the smallest recipe and a training that must fall back, the model at hand, then all else."""
    if not settings.on_gpu:
        for gb, name in PROMISES:
            yield from promise(settings, gb, name)
        small = ["data.max_examples=1", "train.args.gradient_accumulation_steps=1", "train.args.max_length=4096"]
        yield from planned(settings, settings.model, ["1 row"], *small)
        return
    first, *others = PROMISES
    yield from promise(settings, *first)
    yield from promise(settings, *first, ", 32 rows at once", *TOO_MUCH)
    yield from planned(settings, settings.model, list(MEMORY_SETTINGS))
    for gb, name in others:
        yield from promise(settings, gb, name)
    for model in MODELS:
        if model != settings.model and is_here(model):
            yield from planned(settings, model, list(MEMORY_SETTINGS))


def promise(settings: Settings, gb: int, name: str, how: str = "", *overrides: str) -> Iterator[Part]:
    """A recipe on a card of so many GB, with random weights of its model's sizes."""
    title, recipe = f"{name}{how}, on {gb} GB", f"one_problem_cft/{name}"
    asked = ["--model", settings.location, "--setting", OWN, "--shape", "--recipe", recipe, "--card", gb, "--steps", 2]
    asked += ["--runs", settings.work / "memory", "--json", settings.place("memory", title) / "result.json"]
    weights = 2 * load_entries()[load_recipe(recipe).model.id].parameters / 1e9
    needs = {"gb": gb, "seconds": START + 3 * weights, "skip": "" if settings.on_gpu else "needs a GPU"}
    yield Part(title, module("benchmarks.memory", *asked, "train.select=null", *overrides), results.of_memory, **needs)


def planned(settings: Settings, model: str, names: list[str], *overrides: str) -> Iterator[Part]:
    """Plan against measured for one model and some settings of benchmarks.memory."""
    for name in names:
        title = f"{Path(model).name}, {name}"
        asked = ["--model", model, "--setting", name, "--steps", 3 if settings.on_gpu else 1]
        asked += ["--runs", settings.work / "memory", "--json", settings.place("memory", title) / "result.json"]
        yield Part(title, module("benchmarks.memory", *asked, *overrides), results.of_memory, seconds=START)


def is_here(model: str) -> bool:
    """Whether the weights of a model need not be fetched."""
    return Path(model).is_dir() or cached_record(model) is not None


def training(settings: Settings, record: Record, left: Left) -> Iterator[Part]:
    out = settings.place("training", "race") / "result.json"
    rows, steps, each = (16, 6, 8) if settings.on_gpu or settings.unsloth else (2, 1, 2)
    asked = ["--model", settings.location, "--rows", rows, "--steps", steps, "--rows-a-step", each]
    asked += ["--repeats", 1, "--threads", CORES]
    asked += ["--max-length", 4096, *(["--unsloth", settings.unsloth] if settings.unsloth else []), "--json", out]
    seconds = 3 * START if settings.on_gpu else START
    yield Part("race", module("benchmarks.training", *asked), results.of_training, seconds=seconds)


def evaluation(settings: Settings, record: Record, left: Left) -> Iterator[Part]:
    """The same prompts on each side, half of them at a time. lm_eval takes one at a time: a few tell its speed."""
    items, few, tokens = (128, 3, 256) if settings.on_gpu else (4, 2, 16)
    sides = [(name, items, "") for name in decoders()]
    sides.insert(2, ("lm_eval", few, ""))  # before transformers' own, which no recipe can choose
    sides += [("vllm", items, "" if settings.vllm else "no server is named with --vllm")]
    first, *_ = files = [settings.place("evaluation", side) / "result.json" for side, *_ in sides]
    for (side, limit, skip), file in zip(sides, files, strict=True):
        asked = [side, settings.location, limit, tokens, items // 2, file]
        asked += [settings.vllm] if side == "vllm" and settings.vllm else []
        read = partial(results.of_answers, first)
        yield Part(side, module("benchmarks.answer", *asked), read, skip=skip, seconds=START)


STEPS = [
    Step("machine", 0.05, 0.07, "What is this machine, and what can it do?", machine),
    Step("tests", 0.12, 0.13, "Does the code do on this device what it does on a CPU?", tests),
    Step("quickstart", 0.34, 0.2, "What does one problem bring, and what does it take?", quickstart),
    Step("memory", 0.13, 0.12, "Does `cft plan` say what training takes, and do the recipes fit their cards?", memory),
    Step("training", 0.16, 0.26, "How fast is training, beside `trl sft`?", training),
    Step("evaluation", 0.15, 0.22, "Which way of answering is the fastest here?", evaluation),
    Step("large", 0.2, 0, "The same with a larger model.", large, no_large),
]
