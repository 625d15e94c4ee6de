"""Merges an adapter into its base in 16 bits, and shows that what was written answers as the adapter does."""

import gc
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from cft.errors import RunError
from cft.export.folder import TOKENIZER, bytes_in, check_disk, make_folder
from cft.export.trained import Trained
from cft.files import let_others_read, sha256_file
from cft.models.fetch import quiet
from cft.models.load import load_model, load_tokenizer
from cft.recipe.blocks import ModelBlock
from cft.runs import CARD
from cft.terminal import Terminal, Text
from cft.weights.adapter import attach, check_tokenizer
from cft.weights.compare import check_texts, difference, in_words, is_same_model, logits_of
from cft.weights.merge import merge_into_base
from cft.words import shell_line, size

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}
BESIDES = 1.5e9  # bytes beside the weights: libraries, compared logits, the largest layer's sum


def export_merged(trained: Trained, folder: Path, console: Terminal) -> dict:
    """Write `folder`: a model that needs no PEFT. Returns what `cft.export.export.export` says of it."""
    if trained.full:
        return make_folder(trained, folder, "merged", lambda beside: copy_full(trained, beside, console))
    return make_folder(trained, folder, "merged", lambda beside: merge(trained, beside, folder, console))


def say(console: Terminal, line: str, warning: str = "") -> None:
    """Print a line as it is, behind a `warning`."""
    console.print(Text.assemble((warning, "yellow"), line), soft_wrap=True)


def copy_full(trained: Trained, folder: Path, console: Terminal) -> dict:
    """After full fine-tuning there is nothing to merge: the model as it was trained, with what it needs to answer.

    Returns {"merged": False, "copied": {file of weights: its sha256, which is that of the run's}}.
    """
    from transformers import AutoConfig, GenerationConfig

    check_disk(folder, bytes_in(trained.folder))
    for path in trained.folder.iterdir():
        if path.is_file() and path.name not in (CARD, "training_args.bin"):
            shutil.copyfile(path, folder / path.name)
    weights = {name: sha256 for name, sha256 in trained.identity["trained"].items() if name.endswith(".safetensors")}
    for name, sha256 in weights.items():
        if sha256_file(folder / name) != sha256:
            raise RunError(f"{trained.folder / name}: its copy is another file. Look at the disk, and try again.")
    say(console, f"copied {len(weights)} file(s) of weights; the sha256 of each is that of the run's")
    tokenizer = load_tokenizer(trained.block)
    tokenizer.save_pretrained(folder)
    config = AutoConfig.from_pretrained(folder, trust_remote_code=trained.block.trust_remote_code)
    greedy_ending(GenerationConfig.from_model_config(config), tokenizer).save_pretrained(folder)
    return {"merged": False, "copied": weights}


def merge(trained: Trained, folder: Path, final: Path, console: Terminal) -> dict:
    """Merge, write to `folder`, which is going to stand at `final`, read again, compare.

    Returns {"merged", "effect_kl", "check", "share"?, "share_rounded_to_nearest"?, "against_4_bit"?}.
    """
    block = trained.block
    weights = (trained.base.parameters or 0) * BYTES[block.dtype]
    check_disk(folder, weights + TOKENIZER)
    device = device_for(weights, console)
    tokenizer = load_tokenizer(block)
    check_tokenizer(trained.folder, tokenizer)
    texts = check_texts(trained.run, tokenizer, completions=trained.has_completions)
    say(console, f"merging {trained.name} into {trained.base.public_name}, {block.dtype}, on {device}")
    with console.status("loading the base"):
        model = load_model(block, device=device)
    with console.status("base and adapter on texts of the run"):
        base = logits_of(model, texts)  # before the adapter is on it: some change the base's own weights
        model = attach(model, trained.folder, trained.recipe.model.id, "adapter")
        adapter = logits_of(model, texts)
        effect = difference(adapter, base)["mean_kl"]
    with console.status("merging and writing"):
        model, shares = merge_into_base(model, trained.recipe.seed)
        greedy_ending(model.generation_config, tokenizer)
        model.config.get_text_config().eos_token_id = tokenizer.eos_token_id
        with quiet():
            model.save_pretrained(folder, max_shard_size="5GB")
            let_others_read(folder)
        tokenizer.save_pretrained(folder)
    del model
    gc.collect()
    with console.status("reading it again"):
        check = difference(adapter, logits_of(reloaded(folder, block, device), texts))
    if not is_same_model(check, shares.get("share")):
        raise RunError(
            f"{trained.folder}: the merged model does not answer as the adapter does: {in_words(check)}; "
            f"{shares.get('share', 1):.0%} of the adapter's update arrived. It was not kept. Serve the adapter itself: "
            "--to adapter."
        )
    say(console, f"merged against the adapter: {in_words(check)}")
    say(console, f"  adapter against base: mean KL {effect:.2g} nats")
    if shares:
        arrived = f"  of the adapter's update {shares['share']:.0%} is in the merged weights"
        say(console, f"{arrived} (rounding to the nearest would leave {shares['share_rounded_to_nearest']:.0%})")
    facts = {"merged": True, "effect_kl": effect, "check": check, **shares}
    gc.collect()
    if trained.quantized:
        facts["against_4_bit"] = against_4_bit(trained, texts, folder, final, device, console)
    return facts


def against_4_bit(
    trained: Trained, texts: list, written: Path, folder: Path, device: str, console: Terminal
) -> dict | None:
    """How far the merged model is from the adapter on the 4-bit base it was trained on. That is real, and no fault."""
    block = trained.block.model_copy(update={"quantization": "nf4"})
    with console.status("the 4-bit base that it was trained on"):
        model = attach(load_model(block), trained.folder, trained.recipe.model.id, "adapter")
        quantized = logits_of(model, texts)
        del model
        gc.collect()
        check = difference(quantized, logits_of(reloaded(written, trained.block, device), texts))
    about = f" merged against the adapter on those: {in_words(check)}."
    say(console, about, "trained on 4-bit weights:")
    say(console, "  The merged model has the base's 16-bit weights, which the adapter never saw. Score it:")
    command = ["cft", "eval", str(trained.run.recipe), f"model.id={folder}"]
    say(console, "  " + shell_line(*command, "model.quantization=none", "eval.arms=[base]"))
    return check


def device_for(weights: float, console: Terminal) -> str:
    """Where to merge: a GPU with room for the whole model, else the CPU. Raises RunError if that has too little."""
    import torch

    needed = weights + BESIDES
    if torch.cuda.is_available() and torch.cuda.mem_get_info()[0] > 1.2 * needed:
        return "cuda"
    memory = psutil.virtual_memory()
    say(console, f"needs {size(needed)} of memory; {size(memory.available)} are free")
    if needed > memory.total:
        raise RunError(
            f"merging needs {size(needed)} of memory, this machine has {size(memory.total)}. Merge on a larger one, or "
            "serve the adapter itself (--to adapter)."
        )
    if needed > memory.available:
        say(console, "", "more than is free: close other programs, or it may be killed")
    return "cpu"


def reloaded(folder: Path, block: ModelBlock, device: str) -> "PreTrainedModel":
    """The model that was written, loaded as any user would."""
    return load_model(block.model_copy(update={"id": str(folder.absolute()), "revision": None}), device=device)


def greedy_ending(generation, tokenizer: "PreTrainedTokenizerBase"):
    """The generation config with the token that ends a turn first among its eos, and no sampling or penalty.

    Servers take a model's own generation config as the default of every request, and scores here are without any
    penalty and, unless the recipe says so, greedy.
    """
    named = generation.eos_token_id
    others = named if isinstance(named, list) else [named]
    ends = list(dict.fromkeys(i for i in [tokenizer.eos_token_id, *others] if i is not None))
    unset = ("temperature", "top_k", "top_p", "min_p", "typical_p", "repetition_penalty")
    generation.update(
        eos_token_id=ends if len(ends) > 1 else ends[0],
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        do_sample=False,
        **dict.fromkeys([*unset, "max_length", "max_new_tokens"]),
    )
    return generation
