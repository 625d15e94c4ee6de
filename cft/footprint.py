"""How much memory a training takes, part by part, from the model's configuration. No torch: nothing is loaded.

Sizes of weights, adapter and optimizer are exact. Activations are those that PyTorch keeps for the backward pass of a
decoder layer of the Llama family (Qwen, Llama, Gemma, SmolLM), counted with saved-tensor hooks. What is fitted to
measurement says so; `benchmarks/memory.py` compares with the peak of real trainings on a CPU. GPUs were not measured.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

from cft.errors import ModelError
from cft.train.defaults import LENGTHS_ON_CPU
from cft.train.fallback import Setting

HEAD_CHUNK = 256  # positions whose logits exist at a time, as in cft/train/head.py
LIBRARIES = 0.55e9  # bytes: Python with torch, transformers, TRL and PEFT (measured)
CUDA_CONTEXT = 0.6e9  # bytes of a GPU before the first tensor; not measured
NF4 = 4.127 / 8  # bytes a weight: 4 bits, and double-quantised scales for each 64 (QLoRA, arXiv 2305.14314, section 3)
RESERVE = 0.06  # share of a card that the driver, a screen and a fragmented allocator take
OPTIMIZERS = {
    "adamw": 2,
    "adam": 2,
    "sgd": 0,
    "adafactor": 0.02,
    "lion": 1,
    "rmsprop": 1,
    "adagrad": 1,
}  # states a weight

# Fitted to trainings on two CPU cores: glibc's heap keeps more than is alive, unless freed memory is given back
# (`cft.memory.freed_memory_given_back`), as it is where activations are recomputed.
CPU_KEPT, CPU_RESIDUAL = 1.23, 12  # of the activations; bytes a token for each number of the residual stream
CPU_FLOAT32 = 1.3  # times both, in float32


@dataclass(frozen=True)
class Architecture:
    """What of a decoder's configuration decides its memory; names as in transformers' configurations."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    vocab_size: int
    head_dim: int = 0  # 0: hidden_size / num_attention_heads
    tie_word_embeddings: bool = True
    attention_bias: bool = False
    qk_norm: bool = False  # Qwen3, Gemma 3: queries and keys are normalised
    norms: int = 2  # RMSNorms of a layer, queries' and keys' aside

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Architecture | None":
        """From a config.json; None if it is of another kind of model."""
        config = config.get("text_config") or config
        kind = str(config.get("model_type", ""))
        if not re.match(r"qwen2$|qwen3$|llama$|mistral$|gemma3?(_text)?$|gemma2$|smollm3$", kind):
            return None
        known = {field.name for field in fields(cls)}
        try:
            given = {key: value for key, value in config.items() if key in known and value is not None}
            given.setdefault("num_key_value_heads", config.get("num_attention_heads"))
            if kind == "qwen2":
                given["attention_bias"] = True
            if kind in ("qwen3", "gemma3", "gemma3_text"):
                given["qk_norm"] = True
            if kind.startswith(("gemma2", "gemma3")):
                given["norms"] = 4
            return cls(**given)
        except TypeError:
            return None

    @property
    def head(self) -> int:
        return self.head_dim or self.hidden_size // self.num_attention_heads

    @property
    def linears(self) -> dict[str, tuple[int, int]]:
        """Linear layers of a decoder layer: name -> (inputs, outputs)."""
        d, ff = self.hidden_size, self.intermediate_size
        queries, keys = self.num_attention_heads * self.head, self.num_key_value_heads * self.head
        attention = {"q_proj": (d, queries), "k_proj": (d, keys), "v_proj": (d, keys), "o_proj": (queries, d)}
        return attention | {"gate_proj": (d, ff), "up_proj": (d, ff), "down_proj": (ff, d)}

    @property
    def linear_parameters(self) -> int:
        """Weights of all decoder layers that are matrices: what 4-bit quantisation shrinks, and what takes the time."""
        return self.num_hidden_layers * sum(i * o for i, o in self.linears.values())

    @property
    def embedding_parameters(self) -> int:
        return self.vocab_size * self.hidden_size

    @property
    def parameters(self) -> int:
        """All of the model's; a tied output layer counts once."""
        biases = sum(o for name, (_, o) in self.linears.items() if name[0] in "qkv") if self.attention_bias else 0
        norms = self.norms * self.hidden_size + (2 * self.head if self.qk_norm else 0)
        head = 0 if self.tie_word_embeddings else self.embedding_parameters
        small = self.num_hidden_layers * (biases + norms) + self.hidden_size
        return self.linear_parameters + small + self.embedding_parameters + head

    def lora_parameters(self, r: int, targets: Any = "all-linear") -> int:
        """Weights of a LoRA adapter of rank `r` on the named linear layers of every decoder layer."""
        wanted = self.linears if targets in (None, "all-linear") else [targets] if isinstance(targets, str) else targets
        return self.num_hidden_layers * sum(r * sum(self.linears[name]) for name in wanted if name in self.linears)

    def kept_bytes(self, number: int, attention: str, longest: int) -> int:
        """Bytes a token that one layer keeps for its backward pass.

        Args:
            number: bytes of a number in matrix multiplications.
            longest: tokens of a row; with eager attention each token keeps its weights on all of them.
        """
        d, queries, keys = self.hidden_size, self.num_attention_heads * self.head, self.num_key_value_heads * self.head
        mlp = 4 * self.intermediate_size * number  # gate, its activation, up, and their product
        norms = 4 * self.norms * d + (4 * (queries + keys) if self.qk_norm else 0)  # in float32
        inputs = 2 * d * number  # of the linear layers
        attended = 2 * (queries + keys) * number + (2 * self.num_attention_heads * longest * number) * (
            attention == "eager"
        )
        return mlp + norms + inputs + attended

    def flops(self, prompt: float, completion: float, *, full: bool, recomputes: bool) -> float:
        """Floating-point operations of training on a row: forward, and backward to activations (and weights, if full).

        The output layer counts where there is loss. Causal attention counts half of the square.
        """
        tokens = prompt + completion
        forward = 2 * self.linear_parameters * tokens + 2 * self.embedding_parameters * completion
        attention = 2 * self.num_hidden_layers * self.num_attention_heads * self.head * tokens**2
        passes = (3 if full else 2) + recomputes
        return passes * forward + (3 + recomputes) * attention


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
        return sum(getattr(self, field.name) for field in fields(self))

    def parts(self) -> dict[str, float]:
        """GB by part."""
        return {field.name: round(getattr(self, field.name) / 1e9, 2) for field in fields(self)}


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
    """Peak memory of training on a micro-batch of the longest row.

    Args:
        rows: (prompt, completion) tokens of each.
        lora: keys of peft.LoraConfig; None where all weights are trained.
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
        trained = model.lora_parameters(int(lora.get("r", 8)), lora.get("target_modules"))
        bytes_each = 4 if setting.quantization == "none" else 2  # TRL trains the adapter of a 4-bit base in bfloat16
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


# Cards by name: memory in GB, and dense bfloat16 TFLOP/s with float32 accumulation, as their makers publish them.
CARDS = {
    "rtx 3060": (12, 51),
    "rtx 4060 ti": (16, 88),
    "rtx 4070": (12, 117),
    "rtx 4080": (16, 195),
    "rtx 3090": (24, 71),
    "rtx 4090": (24, 165),
    "a10g": (24, 70),
    "l4": (24, 121),
    "a100": (80, 312),
    "h100": (80, 989),
}
MFU = 0.35  # share of the peak that training is assumed to reach on a card; not measured


@dataclass(frozen=True)
class Card:
    """A GPU that is asked about."""

    name: str
    bytes: float
    flops: float | None  # peak, dense bfloat16


def find_card(asked: str) -> Card:
    """The card of `--gpu`: a number of GB, or a name.

    Raises:
        ModelError: it is neither.
    """
    text = " ".join(asked.lower().replace("nvidia", "").replace("geforce", "").split())
    number = re.fullmatch(r"(\d+(?:\.\d+)?) ?(?:gb|g)?", text)
    if number and 1 <= float(number[1]) <= 2000:
        return Card(f"{float(number[1]):g} GB card", float(number[1]) * 1e9, None)
    if text in CARDS:
        memory, tera = CARDS[text]
        return Card(asked.strip(), memory * 1e9, tera * 1e12)
    from cft.recipe_faults import did_you_mean

    raise ModelError(
        f"--gpu {asked}: is neither GB of memory (12, 16, 24 ...) nor a known card. {did_you_mean(text, CARDS)}."
    )
