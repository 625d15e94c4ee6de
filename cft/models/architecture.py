"""The sizes of a decoder of the Llama family, from its configuration: parameters, operations, kept activations."""

import re
from dataclasses import dataclass
from typing import Annotated, Any, NotRequired, get_type_hints

from pydantic import Field

from cft.foreign import check_shape

Size = Annotated[int, Field(gt=0, le=10**7)]


@dataclass(frozen=True)
class Architecture:
    """What of a decoder's configuration decides its memory; names as in transformers' configurations."""

    hidden_size: Size
    intermediate_size: Size
    num_hidden_layers: Size
    num_attention_heads: Size
    num_key_value_heads: Size
    vocab_size: Size
    head_dim: Annotated[int, Field(ge=0, le=10**7)] = 0  # 0: hidden_size / num_attention_heads
    tie_word_embeddings: bool = True
    attention_bias: bool = False
    qk_norm: bool = False  # Qwen3, Gemma 3: queries and keys are normalised
    norms: int = 2  # RMSNorms of a layer, queries' and keys' aside

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Architecture | None":
        """From a config.json; None if it is of another kind of model. ValueError, in words, for impossible sizes."""
        check_shape(config, {"text_config": NotRequired[dict | None]})
        config = config.get("text_config") or config
        kind = str(config.get("model_type", ""))
        if not re.match(r"qwen2$|qwen3$|llama$|mistral$|gemma3?(_text)?$|gemma2$|smollm3$", kind):
            return None
        known = get_type_hints(cls, include_extras=True)
        check_shape(config, {name: NotRequired[hint | None] for name, hint in known.items()})
        given = {key: value for key, value in config.items() if key in known and value is not None}
        given = {"num_key_value_heads": config.get("num_attention_heads")} | given
        given |= {"attention_bias": True} if kind == "qwen2" else {}
        given |= {"qk_norm": True} if kind.startswith(("qwen3", "gemma3")) else {}
        given |= {"norms": 4} if kind.startswith("gemma") else {}
        try:
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
        """Bytes a token that one layer keeps for its backward pass; `number` is the bytes of a number in products.

        With eager attention each token keeps its weights on all of the `longest` row.
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
        products, attention = self._forward(prompt, completion)
        passes = (3 if full else 2) + recomputes
        return passes * products + (3 + recomputes) * attention

    def forward_flops(self, prompt: float, completion: float) -> float:
        """Floating-point operations of reading a row, with the output layer on its completion."""
        return sum(self._forward(prompt, completion))

    def _forward(self, prompt: float, completion: float) -> tuple[float, float]:
        tokens = prompt + completion
        products = 2 * self.linear_parameters * tokens + 2 * self.embedding_parameters * completion
        return products, 2 * self.num_hidden_layers * self.num_attention_heads * self.head * tokens**2
