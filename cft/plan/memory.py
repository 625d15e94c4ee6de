"""Whether a run fits into memory, and the first thing to turn if it does not. Loads no model."""

from dataclasses import replace
from typing import Any

from cft.devices import Card, decoder_for, device_memory
from cft.models.architecture import Architecture
from cft.plan.footprint import CUDA_CONTEXT, LIBRARIES, NF4, RESERVE, Footprint, footprint
from cft.plan.rollouts import Rollouts
from cft.recipe.blocks import Recipe
from cft.train.loop.defaults import adapter_settings, may_quantize, our_defaults, rollout_defaults
from cft.train.loop.fallback import Setting, ladder
from eval.answering.dialogue import MOST_TOKENS
from eval.tasks.lm_tasks import PROMPT_TOKENS, find_task

LONGEST_PROMPT = 800  # tokens of the longest question of a task with its template, a guess; a static cache has its room
SCORING_LIBRARIES = 0.65e9  # bytes that lm-eval and decoding add on a CPU (measured)


def plan_memory(
    recipe: Recipe,
    model: Architecture,
    rows: list[tuple[float, float]],
    card: Card | None,
    device: str,
    rollouts: Rollouts | None = None,
) -> dict[str, Any]:
    """Peak memory of training, of its rollouts and of evaluation, and whether they fit.

    Args:
        rows: (prompt, completion) tokens of each training row; none without training.
        card: the GPU asked about; None: this machine, on `device`, cuda, mps or cpu.
        rollouts: of a training on the model's own completions.

    Returns:
        {"training": {part: GB}, "training_gb", "rollouts_gb", "evaluation_gb", "peak_gb", "room": {"name", "gb"},
        "spare_gb", "fits", "knob", "knob_gb"}; "knob" is what to override so that it fits, None if nothing does.
    """
    on_gpu = device != "cpu"
    name, room = room_of(card, device)
    asked = recipe.train.args
    full = recipe.train.full
    planned = our_defaults(device, recipe.model.dtype, asked, recipe.model.attn_implementation, full=full)
    if rollouts:
        planned = rollout_defaults(device, recipe.model.dtype, asked)
    setting = Setting.of(planned | asked, recipe.model.quantization)

    lora = adapter_settings(recipe.train.lora) if rows and not full else None
    optimizer = str(asked.get("optim", "adamw_torch"))
    settings = {"dtype": recipe.model.dtype, "attention": recipe.model.attn_implementation, "on_gpu": on_gpu}

    def training(one: Setting) -> Footprint:
        batch = rollouts.micro_batch(one) if rollouts else rows
        found = footprint(model, one, rows=batch, lora=lora, optimizer=optimizer, **settings)
        both = rollouts.logits(model, one.rows, 4 if recipe.model.dtype == "float32" else 2) if rollouts else 0
        return replace(found, logits=max(found.logits, both))

    def sampling(one: Setting) -> float:
        """Bytes while completions are sampled: as in scoring, beside what is trained."""
        if not rollouts:
            return 0.0
        batch, tokens = rollouts.batches.completions, rollouts.longest + rollouts.most
        kept = training(one)
        return decoding(model, recipe, batch, one.quantization, device, tokens) + kept.adapter + kept.optimizer

    def scoring(batch: int, quantization: str) -> float:
        return 0.0 if recipe.eval.endpoint else evaluation(model, recipe, batch, quantization, device)

    batch = recipe.eval.batch_size
    trained, scored = training(setting) if rows else None, scoring(batch, setting.quantization)
    sampled = sampling(setting) if rows else 0
    peak = max(trained.total if trained else 0, sampled, scored)
    knob, knob_bytes = None, None
    if peak > room:
        batches = [batch // 2**i for i in range(batch.bit_length())]
        for one in ladder(setting, may_quantize=device == "cuda" and may_quantize(recipe.train)):
            training_bytes = max(training(one).total, sampling(one)) if rows else 0
            fitting = next((n for n in batches if scoring(n, one.quantization) <= room), None)
            if training_bytes <= room and fitting:
                knob = one.overrides(setting) + [f"eval.batch_size={fitting}"] * (fitting != batch)
                if "steps_per_generation" in asked and one.rows != setting.rows:
                    knob.append(f"train.args.steps_per_generation={rollouts.batches.completions // one.rows}")
                knob_bytes = max(training_bytes, scoring(fitting, one.quantization))
                break
    return {
        "training": trained.parts() if trained else None,
        "training_gb": round(trained.total / 1e9, 1) if trained else None,
        "rollouts_gb": round(sampled / 1e9, 1) if rollouts else None,
        "evaluation_gb": round(scored / 1e9, 1),
        "peak_gb": round(peak / 1e9, 1),
        "room": {"name": name, "gb": round(room / 1e9, 1)},
        "spare_gb": round((room - peak) / 1e9, 1),
        "fits": peak <= room,
        "knob": knob,
        "knob_gb": round(knob_bytes / 1e9, 1) if knob_bytes else None,
    }


def room_of(card: Card | None, device: str) -> tuple[str, float]:
    """The name of what must hold the run, and the bytes of it that can be used."""
    if card:
        return card.name, card.bytes * (1 - RESERVE)
    free, total = device_memory(device)
    if device == "cpu":
        return "free memory here", free
    if device == "mps":
        return "the Apple GPU, from the machine's free memory,", free * (1 - RESERVE)
    import torch

    busy = f", {(total - free) / 1e9:.1f} GB of it in use" if free < 0.9 * total else ""
    return f"{torch.cuda.get_device_name()}{busy}", free * (1 - RESERVE)


def evaluation(model: Architecture, recipe: Recipe, batch: int, quantization: str, device: str) -> float:
    """Bytes at the peak of scoring, where conversations of tasks with tools are as long as they can be."""
    tasks = [find_task(name, recipe.eval) for name in recipe.eval.tasks]
    read = max(MOST_TOKENS if task.environment else task.prompt_tokens for task in tasks)
    return decoding(model, recipe, batch, quantization, device, read + recipe.eval.max_new_tokens)


def decoding(model: Architecture, recipe: Recipe, batch: int, quantization: str, device: str, tokens: float) -> float:
    """Bytes at the peak of decoding, an estimate: weights, the KV cache, and logits of a batch of so many tokens.

    The cache counts twice while ended rows leave it. That of `cft.models.graphs` is static, with room for the longest
    prompt in each row, and a quarter as many prompts are read ahead. A CPU packs its weights a second time
    (`cft/models/packed.py`).
    """
    number = 4 if recipe.model.dtype == "float32" else 2
    weights = number * model.parameters
    if quantization == "nf4":
        weights = NF4 * model.linear_parameters + number * (model.parameters - model.linear_parameters)
    keys = 2 * number * model.num_hidden_layers * model.num_key_value_heads * model.head  # bytes a token
    cache = 2 * batch * tokens * keys
    if decoder_for(recipe.eval.decoder, device) == "graphs":
        cache = batch * (tokens - PROMPT_TOKENS + 1.25 * LONGEST_PROMPT) * keys
    packed = number * (model.linear_parameters + model.embedding_parameters)
    here = weights + cache + 12 * batch * model.vocab_size
    if device != "cpu":
        return here + CUDA_CONTEXT
    return here + LIBRARIES + SCORING_LIBRARIES + packed * (recipe.model.dtype == "bfloat16")


def memory_lines(memory: dict[str, Any]) -> list[str]:
    """What `cft plan` says of it."""
    training = ""
    if memory["training"]:
        parts = ", ".join(f"{name} {size:g}" for name, size in memory["training"].items() if size >= 0.01)
        training = f"training ~{memory['training_gb']} GB ({parts}), "
    if memory["rollouts_gb"]:
        training += f"rollouts ~{memory['rollouts_gb']} GB, "
    head = f"memory: {training}evaluation ~{memory['evaluation_gb']} GB"
    where = f"{memory['room']['name']} ({memory['room']['gb']} GB to use)"
    if memory["fits"]:
        return [head, f"  fits {where} with ~{memory['spare_gb']} GB to spare"]
    lacks = f"  does not fit {where}: ~{-memory['spare_gb']} GB too much"
    if memory["knob"]:
        return [head, f"{lacks}. First turn, for ~{memory['knob_gb']} GB:", "    " + " ".join(memory["knob"])]
    return [head, f"{lacks}, whatever is turned. Take a smaller model."]
