"""What training does where a recipe says nothing. No torch here, so that `cft plan` can read it."""

import math
from typing import Any

from cft.recipe.blocks import ROLLOUT_ARGS

ROWS_A_STEP = 8  # below 32: large batches hurt LoRA more than full fine-tuning
DEFAULT_MAX_LENGTH = 4096  # tokens
# On a CPU rows are padded to a multiple of so many tokens: oneDNN builds code for every length and keeps it, which
# took 45 MB a length of a 0.5B model, without end
LENGTHS_ON_CPU = 64

# Thinking Machines, "LoRA without regret": adapt all linear layers, alpha 32; a small data set fits in any rank.
LORA = {"r": 16, "lora_alpha": 32, "lora_dropout": 0.0, "target_modules": "all-linear"}


def adapter_settings(lora: dict[str, Any]) -> dict[str, Any]:
    """`train.lora` over our defaults of LoRA; other kinds of adapters have PEFT's own."""
    return LORA | lora if lora.get("peft_type", "LORA") == "LORA" else lora


def may_quantize(train: Any) -> bool:
    """Whether a train block's adapter can stand on 4-bit weights. TinyLoRA needs the singular values of the weights."""
    return not train.full and train.lora.get("peft_type") != "TINYLORA"


def our_defaults(
    device: str, dtype: str, asked: dict[str, Any], attention: str = "sdpa", *, full: bool = False
) -> dict[str, Any]:
    """Our SFTConfig where it differs from TRL's, or must not change when TRL's does. `train.args` goes over it.

    Args:
        asked: the recipe's `train.args`.
        attention: what training attends with (`cft.train.loop.speed.training_attention`).
        full: all weights are trained.
    """
    # One row fills the cores of a CPU, and never pads
    rows_a_batch = asked.get("per_device_train_batch_size") or (1 if device == "cpu" else 4)
    packing = asked.get("packing", False)
    padding_free = "flash" in attention and rows_a_batch > 1 and not packing
    end_to_end = packing or asked.get("padding_free", padding_free)
    return {
        "learning_rate": 1e-5 if full else 2e-4,  # LoRA wants about ten times the rate of full fine-tuning, or more
        "lr_scheduler_type": "cosine",
        "warmup_steps": 0.1,  # a share of all steps
        "optim": "adamw_torch_fused",  # transformers' own default, but below torch 2.8 that is another
        "num_train_epochs": 1,
        "per_device_train_batch_size": rows_a_batch,
        "gradient_accumulation_steps": max(1, ROWS_A_STEP // rows_a_batch),
        "max_length": DEFAULT_MAX_LENGTH,  # TRL's 1024 cuts rows; here a longer row is an error
        "completion_only_loss": True,
        "packing": False,  # it would change which rows, and how many, a step trains on
        # The rows of a micro-batch end to end instead of padded: the same loss, and free where attention knows lengths
        "padding_free": padding_free,
        "pad_to_multiple_of": LENGTHS_ON_CPU if device == "cpu" and not end_to_end else None,
        "bf16": dtype == "bfloat16",  # autocast: the base is bfloat16 anyway, LoRA's matmuls become it
        "fp16": dtype == "float16" and device != "cpu",
        "use_cpu": device == "cpu",
        # TRL's default; it buys memory for a third more time. Under the name that the recipe has, or it would win
        **({} if "gradient_checkpointing" in asked else {"activation_checkpointing": device != "cpu"}),
        "save_strategy": "steps",
        "save_steps": 0.05,  # a share of all steps: what a kill can cost
        "save_total_limit": 2,  # one complete, one being written
        "logging_steps": 1,
        "include_num_input_tokens_seen": "non_padding",
        "dataloader_num_workers": 0,  # the rows are tokenised already
        "dataloader_pin_memory": device == "cuda",
        "report_to": "none",
        "disable_tqdm": True,  # cft.train.loop.progress instead
    }


def rollout_defaults(device: str, dtype: str, asked: dict[str, Any]) -> dict[str, Any]:
    """What the configurations of GRPO and self-distillation share, ours as in `our_defaults`.

    Sizes are for a CPU and 0.5B parameters: 32 completions a generation, in groups of 16 for one prompt, trained on in
    micro-batches of 8.
    """
    kept = ("optim", "bf16", "fp16", "use_cpu", "activation_checkpointing", "save_strategy", "save_total_limit")
    kept += ("logging_steps", "dataloader_num_workers", "dataloader_pin_memory", "report_to", "disable_tqdm")
    ours = our_defaults(device, dtype, asked)
    return {key: ours[key] for key in kept if key in ours} | {
        "learning_rate": 1e-4,  # TRL's 1e-6 is one of full fine-tuning
        "lr_scheduler_type": "constant",
        **ROLLOUT_ARGS,
        "max_completion_length": 256,  # tokens
        "temperature": 1.0,
        "disable_dropout": True,  # rollouts are sampled without it
        "shuffle_dataset": False,  # `cft.train.rollouts.prompts` gives the order
    }


def recomputes(args: dict[str, Any]) -> bool | None:
    """Whether activations are computed again, under transformers' name of it or the older one; None: not said."""
    return args.get("activation_checkpointing", args.get("gradient_checkpointing"))


def rows_a_step(args: dict) -> int:
    """The effective batch of `train.args`, one row at a time where they name none."""
    a_batch = args.get("per_device_train_batch_size", 1)
    return a_batch * args.get("gradient_accumulation_steps", max(1, ROWS_A_STEP // a_batch))


def training_epochs(args: dict, rows: int) -> float:
    """How often training sees each of its rows: `num_train_epochs`, or what `max_steps` makes of it."""
    steps = args.get("max_steps", -1)
    return steps * rows_a_step(args) / max(rows, 1) if steps > 0 else float(args.get("num_train_epochs", 1))


def optimizer_steps(args: dict, rows: int, epochs: float) -> int:
    """The steps of a training that sees each of its rows `epochs` times."""
    steps = args.get("max_steps", -1)
    return steps if steps > 0 else math.ceil(math.ceil(rows / rows_a_step(args)) * epochs)
