"""Loads base models and tokenizers: the only place that does."""

import importlib.util
import re
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, NotRequired

from cft.devices import device_memory, is_out_of_memory, pick_device
from cft.errors import ModelError
from cft.files import read_json
from cft.foreign import read_text, user_path
from cft.models.fetch import quiet
from cft.models.source import resolve
from cft.models.template import ANSWERED, try_template, words

if TYPE_CHECKING:
    import torch
    from transformers import BitsAndBytesConfig, PreTrainedModel, PreTrainedTokenizerBase

    from cft.recipe.blocks import ModelBlock


NOW = re.compile(r"""strftime_now\(\s*(["'])(.*?)\1\s*\)""")
DATE = date(2024, 7, 26)
PLAIN_TEMPLATE = Path(__file__).with_name("plain.jinja")
MOST_BYTES = 1 << 20  # of a template
GENERATION = {"eos_token_id": NotRequired[int | list[int] | None]}
MEDIA = re.compile("image|vision|video|audio", re.IGNORECASE)


def load_model(block: "ModelBlock", *, device: str | None = None) -> "PreTrainedModel":
    """The base model in eval mode, in `block.dtype`, on `device` (by default `pick_device()`).

    "auto" attention is sdpa here; training chooses for itself (`cft.train.loop.speed`).
    `name_or_path` of model and config is the public name, because PEFT writes it into adapters as their base
    (`LoraConfig(revision=resolve(block).hub_revision)` adds the revision).

    Raises:
        ModelError: the files are damaged or do not fit together, a library is missing, or memory is too small.
    """
    import torch
    from transformers import AutoModelForCausalLM

    source = resolve(block)
    read_json(Path(source.location) / "generation_config.json", GENERATION, ModelError)
    device = device or pick_device()
    attention = "sdpa" if block.attn_implementation == "auto" else block.attn_implementation
    options = {"dtype": getattr(torch, block.dtype), "attn_implementation": attention}
    if block.quantization == "nf4":
        options["quantization_config"] = nf4_config(options["dtype"])
    if device != "cpu":
        options["device_map"] = device
    if device == "cuda":
        # Which torch prefers on an H100 or B200. With a mask its gradients may be no numbers (pytorch issue 196678) and
        # its answers wrong (193893), and it builds a plan for every length that it meets
        torch.backends.cuda.enable_cudnn_sdp(False)
    try:
        with quiet():
            model, info = AutoModelForCausalLM.from_pretrained(
                source.location,
                trust_remote_code=block.trust_remote_code,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are refused below, with their names
                **options,
            )
    except Exception as error:  # the library raises whatever it meets in a damaged file
        if is_out_of_memory(error):
            free, total = (size / 1e9 for size in device_memory(device))
            busy = " Other programs hold the rest: see nvidia-smi, rocm-smi or top." if free < 0.8 * total else ""
            fix = "Take" if device == "cpu" else "Set model.quantization=nf4, or take"
            raise ModelError(
                f"{block.id}: does not fit into the memory of {device}, where {free:.1f} of {total:.1f} GB were free."
                f"{busy} {fix} a smaller model; `cft plan RECIPE` says what each takes."
            ) from error
        raise ModelError(f"{block.id}: cannot be loaded from {source.location}. {words(error)}") from error
    if info["missing_keys"]:
        names = sorted(info["missing_keys"])
        raise ModelError(f"{source.location}: lacks {len(names)} weights of its model, first {names[0]}.")
    if info["mismatched_keys"]:
        name, stored, wanted = min(info["mismatched_keys"])
        raise ModelError(
            f"{source.location}: {name} is {tuple(stored)}, but config.json says {tuple(wanted)}. Get the folder again."
        )
    model.name_or_path = model.config._name_or_path = source.public_name
    return model.eval()


def nf4_config(compute_dtype: "torch.dtype") -> "BitsAndBytesConfig":
    """The 4-bit NormalFloat set-up of QLoRA, with double quantisation."""
    from transformers import BitsAndBytesConfig

    if importlib.util.find_spec("bitsandbytes") is None:
        raise ModelError(
            "model.quantization is 'nf4', but bitsandbytes is not installed: pip install 'one-problem-cft[gpu]', "
            "or set model.quantization=none."
        )
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute_dtype,
    )


def load_tokenizer(block: "ModelBlock") -> "PreTrainedTokenizerBase":
    """The tokenizer: left padding, a pad token that is not eos, the chat template of the block.

    Its eos is the token that ends an assistant's turn in the chat template: some base models ship a template whose
    turns end in another token than their eos, and would never stop after training on it.

    Raises:
        ModelError: the tokenizer or template cannot be loaded, or has no eos or nothing to pad with.
    """
    from transformers import AutoTokenizer

    source = resolve(block)
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(
                source.location, trust_remote_code=block.trust_remote_code, padding_side="left"
            )
            tokenizer(["a", "b"], padding=tokenizer.pad_token is not None)
    except Exception as error:  # the library raises whatever it meets in a damaged file
        raise ModelError(
            f"{block.id}: its tokenizer cannot be loaded from {source.location}. {words(error)}"
        ) from error
    tokenizer.name_or_path = source.public_name
    if tokenizer.eos_token is None:
        raise ModelError(f"{block.id}: its tokenizer has no eos token, so no answer could end. Take another model.")
    if block.chat_template is not None:
        set_chat_template(tokenizer, block.chat_template)
    if isinstance(tokenizer.chat_template, str):
        tokenizer.chat_template = without_clock(tokenizer.chat_template)
    if tokenizer.chat_template is not None:
        answered = try_template(tokenizer, block.chat_template or f"The chat template of {source.location}")
        tokenizer.eos_token = end_of_turn(tokenizer, answered) or tokenizer.eos_token
    if tokenizer.pad_token in (None, tokenizer.eos_token):
        tokenizer.pad_token = choose_pad(tokenizer)
    if tokenizer.pad_token is None:
        raise ModelError(
            f"{block.id}: its tokenizer has nothing to pad with but eos ({tokenizer.eos_token!r}), which would be "
            "masked out of training. Add a pad token to tokenizer_config.json, or take another model."
        )
    return tokenizer


def without_clock(template: str) -> str:
    """The chat template with a fixed date wherever it asks for today's, so that a prompt is the same on every day.

    Llama 3's templates write "Today Date: ..." into the system prompt; the date is the one they fall back to.
    """
    return NOW.sub(lambda found: f'"{DATE.strftime(found[2])}"', template)


def set_chat_template(tokenizer: "PreTrainedTokenizerBase", template: str) -> None:
    """Give the tokenizer the "plain" template, or that of a file. ModelError if it cannot be read."""
    text = read_text(PLAIN_TEMPLATE if template == "plain" else user_path(template, ModelError), ModelError, MOST_BYTES)
    if template == "plain" and starts_with_bos(tokenizer):
        text = "{{- bos_token -}}\n" + text
    tokenizer.chat_template = text


def starts_with_bos(tokenizer: "PreTrainedTokenizerBase") -> bool:
    """Whether the model is used to a bos token before every text (Gemma, Llama), so that templates must write it."""
    return tokenizer.bos_token_id is not None and tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id


def end_of_turn(tokenizer: "PreTrainedTokenizerBase", answered: str) -> str | None:
    """The special token that the chat template writes after an assistant's answer, as in `answered`; None if none."""
    after = tokenizer(answered.rpartition(ANSWERED[-1]["content"])[2], add_special_tokens=False)["input_ids"]
    special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    return next((tokenizer.convert_ids_to_tokens(i) for i in after if i in special), None)


def choose_pad(tokenizer: "PreTrainedTokenizerBase") -> str | None:
    """A token to pad with that no text holds: one made for padding, a reserved one, or unk; None if there is none."""
    special = [token.content for _, token in sorted(tokenizer.added_tokens_decoder.items()) if token.special]
    # Padding tokens of images or sound would make a multimodal model look for an image there.
    free = [t for t in special if t not in (tokenizer.eos_token, tokenizer.bos_token) and not MEDIA.search(t)]
    made = [t for word in ("pad", "reserved", "unused") for t in free if word in t.lower()]
    unk = [tokenizer.unk_token] if tokenizer.unk_token not in (None, tokenizer.eos_token, tokenizer.bos_token) else []
    return next(iter([*made, *unk]), None)
