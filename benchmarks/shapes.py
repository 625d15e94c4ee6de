"""Models of a given shape with random weights: what a recipe takes of a card is measured without its download."""

import shutil
from pathlib import Path

from cft.errors import ModelError
from cft.files import check_space, content_id
from cft.models.architecture import Architecture

LENGTH = 4096  # tokens that such a model reads


def make_shape(sizes: Architecture, tokenizer: Path, folder: Path, device: str) -> Path:
    """The model folder for `sizes` in `folder`, with bfloat16 weights and the tokenizer of another model's folder.

    It is made on `device` if it is not there, or on the CPU where that has too little memory for it. Only one is kept,
    because a 7B model takes 15 GB. A vocabulary that is smaller than the tokenizer's becomes as large.

    Raises:
        ModelError: the disk is too small.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    words = AutoTokenizer.from_pretrained(tokenizer)
    place = folder / content_id(vars(sizes), str(tokenizer))
    if (place / "config.json").is_file():
        return place
    shutil.rmtree(folder, ignore_errors=True)
    check_space(folder, 2.2 * sizes.parameters, "a model with random weights", "give --out elsewhere", ModelError)
    if device == "cuda" and torch.cuda.mem_get_info()[0] < 2.2 * sizes.parameters:
        device = "cpu"
    torch.manual_seed(0)
    config = configuration(sizes, len(words))
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    beside = place.with_name(f".{place.name}.tmp")
    model.save_pretrained(beside)
    words.save_pretrained(beside)
    beside.rename(place)
    return place


def configuration(sizes: Architecture, vocabulary: int):
    """transformers' configuration of these sizes, of the family of Llama, Qwen2 or Qwen3."""
    from transformers import LlamaConfig, Qwen2Config, Qwen3Config

    family = Qwen3Config if sizes.qk_norm else Qwen2Config if sizes.attention_bias else LlamaConfig
    given = {key: value for key, value in vars(sizes).items() if key not in ("attention_bias", "qk_norm", "norms")}
    given |= {"head_dim": sizes.head, "vocab_size": max(sizes.vocab_size, vocabulary)}
    return family(**given, max_position_embeddings=LENGTH, bos_token_id=None, eos_token_id=None)
