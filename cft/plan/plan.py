"""What a run will do, take and cost, before it does anything. Downloads nothing and loads no model.

Rows come from counting files; tokens, time and memory are estimates and are marked as such. Time rests on a
short matrix multiplication on this machine and on the share of that speed which our stages reach (measured
on two CPU cores with a 0.5B model; see `recipes/README.md`).
"""

import contextlib
import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from cft.cache import remembered
from cft.devices import (
    DECODING_STEP,
    GROUP,
    MEMORY_READ,
    MFU,
    decoder_for,
    find_card,
    matmul_flops,
    pick_device,
    slow_dtype,
)
from cft.errors import CFTError, ModelError
from cft.foreign import user_path
from cft.models.load import load_tokenizer
from cft.models.source import architecture_of, resolve
from cft.pipeline import file_hashes
from cft.plan.memory import evaluation, plan_memory
from cft.plan.rollouts import Rollouts
from cft.recipe.blocks import ModelBlock, Recipe, RolloutTrain
from cft.recipe.rl_checks import rollout_warnings
from cft.rows import rows_of, tokenize_row
from cft.runs import Run, read_rows, run_of
from cft.train.loop.defaults import optimizer_steps, recomputes, rollout_defaults, training_epochs
from cft.train.select.choice import planned_answers
from cft.words import number_of
from data_builders.asking.prices import find_price
from data_builders.build import planned_characters
from data_builders.estimate import CHARACTERS_PER_TOKEN, TOKENS_PER_ANSWER, estimate_calls
from eval.statistics.power import forecast
from eval.tasks.lm_tasks import PROMPT_TOKENS, find_task

ENDPOINT_SPEED = 40  # tokens a second of one call to a server, a guess; calls in flight add up
ROW_TOKENS = PROMPT_TOKENS + 2.2 * TOKENS_PER_ANSWER  # of a training row that is yet to be sampled
TRAINED_SHARE = 0.5  # of a row's tokens
GENERATING, TRAINING = 0.6, 0.5  # shares of the matmul speed that are reached
Seconds = Callable[[float], float | None]  # of so many tokens that are read or written here
LOAD_SECONDS = 15  # importing the libraries and loading a small model, once a stage


def make_plan(recipe: Recipe, root: Path, gpu: str | None = None) -> dict:
    """Stages with rows, tokens, seconds, memory and money: {"recipe", "run", "model", "stages", "slow", "estimates"}.

    Every number under "estimates" is one; "rows" are counted. With arms to compare, the eval stage of a task estimates
    "power": which difference its items and samples can find (`eval.statistics.power.forecast`). The data stage has
    "calls", one row for each model that is asked (`data_builders.estimate`). "slow" is None, or says that this machine
    emulates model.dtype. "warnings" are lines. "memory" is what `cft.plan.memory.plan_memory` returns, None for a model
    of unknown sizes. `gpu` is a card to plan for instead of this machine (`cft.devices.find_card`).
    """
    run = run_of(recipe, file_hashes(recipe), root)
    model = resolve(recipe.model, fetch=False)
    parameters, architecture = model.parameters, architecture_of(model)
    card = find_card(gpu) if gpu else None
    device = "cuda" if card else pick_device()
    flops = matmul_flops(recipe.model.dtype) if parameters and not card else None

    decoder = decoder_for(recipe.eval.decoder, device)
    batch = recipe.eval.batch_size
    a_token = DECODING_STEP if card and card.flops else None  # seconds that a card takes for one more of each row
    if a_token and decoder in GROUP:
        needed = evaluation(architecture, recipe, batch, recipe.model.quantization, "cuda") if architecture else None
        a_token = MEMORY_READ * min(1.0, needed / card.bytes if needed else 1.0)

    def seconds(tokens: float, tails: int = 0) -> float | None:
        """Of reading and writing tokens; not known for so many GB of a card.

        Args:
            tails: how often the longest answers are the last ones to be written.
        """
        if a_token and decoder in GROUP:  # rows are refilled, so that all are in work until the last ones
            return round(LOAD_SECONDS + (tokens / batch + tails * recipe.eval.max_new_tokens) * a_token)
        if a_token:
            return round(LOAD_SECONDS + tokens / batch * a_token)
        return round(LOAD_SECONDS + 2 * parameters * tokens / (flops * GENERATING)) if flops else None

    def sampling_seconds(rollouts: Rollouts) -> float | None:
        if card:  # each generation goes on until the longest of its completions ends
            return a_token and round(LOAD_SECONDS + rollouts.generations * rollouts.most * a_token)
        return seconds(rollouts.tokens_sampled)

    def computing_seconds(total: Callable[[dict[str, bool]], float]) -> float | None:
        peak, share = (card.flops, MFU) if card else (flops, TRAINING)
        if not peak or not architecture:
            return None
        said = recomputes(recipe.train.args)
        work = {"full": recipe.train.full, "recomputes": device != "cpu" if said is None else bool(said)}
        return round(LOAD_SECONDS + total(work) / (peak * share))

    stages, pairs, costs, asked = [], [], [], []
    examples = read_rows(run.examples)
    if recipe.data.builder != "none":
        asked = estimate_calls(recipe.data, recipe.seed, recipe.model, run.calls)
        costs = [row["cost_usd"] for row in asked]
    expected = expected_rows(recipe.data, asked)
    if recipe.data.builder != "none":
        for row in asked:
            row["seconds"] = asking_seconds(recipe, row, seconds)
        tokens = sum(row["output_tokens"] for row in asked)
        times = [row["seconds"] for row in asked]
        given = len(planned_characters(recipe.data))
        calls = number_of(sum(row["calls"] for row in asked), "call")
        about = f"{calls} to models, {number_of(given, 'row')} from files"
        stages.append(_stage(run, "data", about, tokens, None if None in times else sum(times) or 1) | {"calls": asked})
    rollouts, steps = None, 0
    if recipe.train.method != "none":
        pairs = row_tokens(recipe, examples, expected, model.cached)
    if isinstance(recipe.train, RolloutTrain):
        args = rollout_defaults(device, recipe.model.dtype, recipe.train.args) | recipe.train.args
        rollouts = Rollouts.of(recipe, args, pairs, run)
        steps, (sampled, trained) = rollouts.steps, rollouts.about()
        took = sampling_seconds(rollouts)
        stages.append(_stage(run, "train", sampled, rollouts.tokens_sampled, took and took - LOAD_SECONDS))
        took = computing_seconds(lambda work: rollouts.flops(architecture, recomputes=work["recomputes"]))
        stages.append(_stage(run, "train", trained, rollouts.tokens_trained, took))
    elif recipe.train.method != "none":
        tokens = sum(map(sum, pairs))
        epochs = training_epochs(recipe.train.args, len(pairs))
        note = "" if examples else ", if all pass the filter"
        about = f"{number_of(len(pairs), 'example')}{note}, {number_of(epochs, 'time')}"
        took = computing_seconds(lambda work: epochs * sum(architecture.flops(*row, **work) for row in pairs))
        stages.append(_stage(run, "train", about, tokens * epochs, took))
        steps = optimizer_steps(recipe.train.args, len(pairs), epochs)
    if recipe.train.select:
        stages.append(choosing(run, recipe, steps, seconds))
    for name in recipe.eval.tasks:
        task = find_task(name, recipe.eval)
        items = task.count(recipe.eval.limit)
        samples = recipe.eval.samples
        answers = items * len(recipe.eval.arms) * samples
        limit = math.inf if task.environment else recipe.eval.max_new_tokens  # which is of one message of several
        written = answers * min(limit, task.answer_tokens)
        read = answers * task.prompt_tokens
        tokens = read + written
        tails = len(recipe.eval.arms) * math.ceil(items * samples / (GROUP.get(decoder, 1) * batch))
        each = f" x {samples} samples" if samples > 1 else ""
        arms = f"{number_of(len(recipe.eval.arms), 'arm')} ({', '.join(recipe.eval.arm_names)})"
        about = f"{name}: {number_of(items, 'item')}{each} x {arms}"
        about += f", decoder {decoder}" if decoder != "steps" and not recipe.eval.endpoint else ""
        took, cost = scoring(recipe, read, written, partial(seconds, tails=tails))
        costs.append(cost)
        stage = _stage(run, "eval", about, tokens, took) | {"task": name}
        if len(recipe.eval.arms) > 1:
            power = forecast(items, samples, sampled=recipe.eval.temperature > 0, available=task.size or items)
            stage["estimates"]["power"] = power
        stages.append(stage)
    times = [stage["estimates"]["seconds"] for stage in stages if not stage["done"]]
    memory = plan_memory(recipe, architecture, pairs, card, device, rollouts) if architecture else None
    about = {key: getattr(model, key) for key in ("kind", "licence", "cached", "download", "note")}
    return {
        "recipe": recipe.name,
        "run": str(run.path),
        "model": {"id": recipe.model.id} | about,
        "stages": stages,
        "slow": slow_dtype(recipe.model, device),
        "warnings": rollout_warnings(recipe.train),
        "memory": memory,
        "estimates": {
            "total_seconds": sum(times) if None not in times else None,
            "memory_gb": memory and memory["peak_gb"],
            "cost_usd": None if None in costs else round(sum(costs), 4),
        },
    }


def _stage(run: Run, name: str, rows: str, tokens: float, seconds: float | None) -> dict:
    done = run.manifest(name) is not None
    return {"stage": name, "done": done, "rows": rows, "estimates": {"tokens": round(tokens), "seconds": seconds}}


def asking_seconds(recipe: Recipe, row: dict, seconds: Seconds) -> float | None:
    """How long a model's answers may take; a model of this process is taken to be as big as the recipe's."""
    if row["calls"] == row["kept"]:
        return 0
    teachers = getattr(recipe.data, "teachers", [])
    blocks = [*recipe.data.students, *(t for t in teachers if t.kind == "model")]
    endpoint = next((b.endpoint for b in blocks if b.endpoint and b.model == row["model"]), None)
    if endpoint is None:
        return seconds(row["output_tokens"])
    return None if endpoint.batch else round(row["output_tokens"] / (ENDPOINT_SPEED * endpoint.concurrency))


def scoring(recipe: Recipe, read: float, written: float, seconds: Seconds) -> tuple[float | None, float | None]:
    """Seconds and USD of the answers to a task, of so many tokens read and written; None where they are not known."""
    endpoint = recipe.eval.endpoint
    if endpoint is None:
        return seconds(read + written), 0.0
    prices = [find_price(endpoint, model) for model in recipe.eval.served.values()]
    share = 1 / len(prices)  # each arm's model answers the same items
    cost = None if None in prices else sum(price.cost(share * read, share * written) for price in prices)
    return round(written / (ENDPOINT_SPEED * endpoint.concurrency)), cost


def expected_rows(data: Any, asked: list[dict]) -> int:
    """Training rows that will be made of what models write, if all of it can be used; rows of files not among them."""
    written = sum(row["calls"] for row in asked if row["role"] == "teacher")
    sampled = sum(row["calls"] for row in asked if row["role"] == "student")
    if data.builder in ("demonstrations", "verdicts"):
        return sampled * getattr(data, "repeat", 1)
    exact = sum(len(t.styles) for t in getattr(data, "teachers", []) if t.kind == "exact")
    return written + min(sampled, getattr(data, "max_candidates", None) or sampled) * exact


def choosing(run: Run, recipe: Recipe, steps: int, seconds: Seconds) -> dict:
    """The answers to validation items (`train.select`), as a part of the train stage; fewer if training stops early."""
    block = recipe.train.select
    task = find_task(block.task, recipe.eval, key="train.select.task", file=block.data)
    answers = planned_answers(recipe, steps, task.count(block.limit))
    limit = block.max_new_tokens or recipe.eval.max_new_tokens
    tokens = answers * (PROMPT_TOKENS + min(limit, task.answer_tokens))
    took = seconds(tokens)
    about = f"at most {answers} validation answers, of {block.task}"
    return _stage(run, "train", about, tokens, took and took - LOAD_SECONDS)


def _tokenized(model: ModelBlock, examples: list[dict]) -> list:
    """All that `count` depends on: the texts, and name, size and time of the files of tokenizer and template."""
    files = [path for path in sorted(Path(resolve(model).location).glob("*")) if path.is_file()]
    if model.chat_template not in (None, "plain"):
        files.append(user_path(model.chat_template, ModelError))
    stats = [(path.name, path.stat()) for path in files if path.exists()]
    texts = [[row.get(key) for key in ("prompt", "completion", "messages", "tools", "turns")] for row in examples]
    return [[[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats], model.model_dump(), texts]


def characters(row: dict) -> int:
    """Of a training row's messages, calls and tools, without what the chat template adds."""
    messages = row.get("messages") or [*row.get("prompt", []), *row.get("completion", [])]
    data = [row.get("tools") or [], [message.get("tool_calls") or [] for message in messages]]
    return sum(len(message["content"]) for message in messages) + sum(len(json.dumps(one)) for one in data if any(one))


def row_tokens(recipe: Recipe, examples: list[dict], expected: int, cached: bool) -> list[tuple[float, float]]:
    """(prompt, trained) tokens of each row: counted if it and the model are here, else estimated by characters."""

    examples = [one for row in examples for one in rows_of(row)]

    def count() -> list[tuple[int, int]]:
        tokenizer = load_tokenizer(recipe.model)
        return [tokenize_row(row, tokenizer).counts for row in examples]

    if cached and examples and ("completion" in examples[0] or "messages" in examples[0]):
        with contextlib.suppress(CFTError):  # what is wrong with a row or tokenizer is told by training
            return [tuple(pair) for pair in remembered("row_tokens", _tokenized(recipe.model, examples), count)]
    if examples:
        counts = [characters(row) / CHARACTERS_PER_TOKEN for row in examples]
    else:
        counts = [n / CHARACTERS_PER_TOKEN for n in planned_characters(recipe.data)] + [ROW_TOKENS] * expected
        counts = counts[: getattr(recipe.data, "max_examples", None)]
    return [((1 - TRAINED_SHARE) * n, TRAINED_SHARE * n) for n in counts]
