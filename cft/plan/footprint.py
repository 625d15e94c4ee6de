"""How much memory a training takes, part by part, from the model's configuration. No torch: nothing is loaded.

Sizes of weights, adapter and optimizer are exact. Activations are those that PyTorch keeps for the backward pass of a
decoder layer of the Llama family (Qwen, Llama, Gemma, SmolLM), counted with saved-tensor hooks. What is fitted to
measurement says so; `benchmarks/memory.py` compares with the peak of real trainings on a CPU. GPUs were not measured.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from cft.models.architecture import Architecture
from cft.train.loop.defaults import LENGTHS_ON_CPU
from cft.train.loop.fallback import Setting

HEAD_CHUNK = 256  # positions whose logits exist at a time, as in cft/train/loop/head.py
LIBRARIES = 0.55e9  # bytes: Python with torch, transformers, TRL and PEFT (measured)
CUDA_CONTEXT = 0.6e9  # bytes of a GPU before the first tensor; not measured
NF4 = 4.127 / 8  # bytes a weight: 4 bits, and double-quantised scales for each 64 (QLoRA, arXiv 2305.14314, section 3)
RESERVE = 0.06  # share of a card that the driver, a screen and a fragmented allocator take
RANKS = {"TINYLORA": 2, "BEFT": 1}  # of adapters that name none; LoRA's is PEFT's 8
# States a weight.
OPTIMIZERS = {"adamw": 2, "adam": 2, "sgd": 0, "adafactor": 0.02, "lion": 1, "rmsprop": 1, "adagrad": 1}

# Fitted to trainings on two CPU cores: glibc's heap keeps more than is alive, unless freed memory is given back
# (`cft.memory.freed_memory_given_back`), as it is where activations are recomputed.
CPU_KEPT, CPU_RESIDUAL = 1.23, 12  # of the activations; bytes a token for each number of the residual stream
CPU_FLOAT32 = 1.3  # times both, in float32


@dataclass(frozen=True)
class Footprint:
    """Bytes at the peak of a training."""

    weights: float
    adapter: float  # the trained weights themselves; 0 where all weights are trained
    optimizer: float  # gradients and the optimizer's state
    activations: float
    logits: float
    rest: float  # libraries on a CPU, the context of a GPU

    @property
    def total(self) -> float:
        return sum(vars(self).values())

    def parts(self) -> dict[str, float]:
        """GB by part."""
        return {name: round(size / 1e9, 2) for name, size in vars(self).items()}


def footprint(
    model: Architecture,
    setting: Setting,
    *,
    rows: Iterable[tuple[float, float]],
    dtype: str,
    lora: dict[str, Any] | None,
    optimizer: str = "adamw_torch",
    attention: str = "sdpa",
    on_gpu: bool,
) -> Footprint:
    """Peak memory of training on a micro-batch of the longest of `rows`, (prompt, completion) tokens of each.

    `lora` has the keys of train.lora; None where all weights are trained. An adapter of another kind than LoRA counts
    as one of its rank, which is at most more than it has.
    """
    longest, completion = max(((p + c, c) for p, c in rows), default=(0, 0))
    padded = longest if on_gpu else math.ceil(longest / LENGTHS_ON_CPU) * LENGTHS_ON_CPU
    tokens, number = setting.rows * padded, 4 if dtype == "float32" else 2
    d, layers = model.hidden_size, model.num_hidden_layers
    embedding = model.embedding_parameters
    other = model.parameters - model.linear_parameters
    full = number * model.parameters
    if lora is None:
        weights, trained, bytes_each = 4.0 * model.parameters, model.parameters, 4
    else:
        weights = full if setting.quantization == "none" else NF4 * model.linear_parameters + number * other
        rank = RANKS.get(lora.get("peft_type", "LORA"), 8)
        trained = model.lora_parameters(int(lora.get("r", rank)), lora.get("target_modules"))
        # TRL trains the adapter of a 4-bit base in bfloat16; in float16 it is float32 (`cft.train.loop.trainer`)
        bytes_each = 4 if setting.quantization == "none" or dtype == "float16" else 2
    if not on_gpu and setting.quantization == "none" and not model.tie_word_embeddings and dtype == "bfloat16":
        weights -= number * embedding  # mapped from a file of this type; only the rows of used tokens are read
    if not on_gpu and setting.quantization == "nf4":
        weights += 0.25 * full  # fitted: what loading and quantising leave on the heap
    states = next((n for name, n in OPTIMIZERS.items() if name in optimizer), 2)
    state_bytes = 1 if "8bit" in optimizer else bytes_each
    kept = model.kept_bytes(number, attention, longest)
    residual = layers * d  # numbers of the residual stream, a token
    if setting.checkpointing != "none":  # each layer's input, and what is alive while one layer is computed again
        a_token = 1.5 * kept + number * residual
        if setting.checkpointing == "selective":  # what attention gives is kept
            a_token += number * layers * model.num_attention_heads * model.head
    elif on_gpu:
        a_token = layers * kept + 2 * number * d
    else:
        a_token = (CPU_KEPT * layers * kept + CPU_RESIDUAL * residual) * (CPU_FLOAT32 if dtype == "float32" else 1)
    chunk = min(HEAD_CHUNK, setting.rows * completion) if lora is not None else setting.rows * completion
    logits = 8 * chunk * model.vocab_size  # float32, and what their softmax or their copy in the weights' type takes
    if not on_gpu and dtype == "bfloat16":
        logits += number * embedding  # oneDNN brings the output layer into its own layout
    return Footprint(
        weights=weights,
        adapter=bytes_each * trained if lora is not None else 0,
        optimizer=trained * (bytes_each + states * state_bytes),
        activations=tokens * a_token,
        logits=logits,
        rest=CUDA_CONTEXT if on_gpu else LIBRARIES,
    )
