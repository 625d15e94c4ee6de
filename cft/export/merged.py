"""Merges an adapter into its base in 16 bits, and shows that what was written answers as the adapter does."""

import gc
import shlex
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from rich.console import Console

from cft.devices import pick_device
from cft.errors import RunError
from cft.export.card import write_card
from cft.export.trained import Trained, check_disk, made_before, placed, told, write_record
from cft.files import sha256_file
from cft.models.fetch import quiet
from cft.models.load import load_model, load_tokenizer
from cft.weights.compare import check_texts, difference, in_words, is_same_model, logits_of
from cft.weights.merge import merge_into_base

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

PLAIN = {"highlight": False, "soft_wrap": True}  # a line as it is
BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}
BESIDES = 1.5e9  # bytes beside the weights: libraries, compared logits, the largest layer's sum
TOKENIZER = 40e6  # bytes that a tokenizer and its files may take


def export_merged(trained: Trained, folder: Path, console: Console) -> dict:
    """Write `folder`: a model that needs no PEFT. Returns {"path", "bytes", "made", "check"?, "against_4_bit"?}.

    Raises:
        RunError: memory or disk is too small, or the merged model answers differently from the adapter; then `folder`
            is left as it was.
        EvalError: the adapter belongs to another base or tokenizer.
        ModelError: the base cannot be had.
    """
    identity = {"kind": "merged", **trained.identity}
    if record := made_before(folder, identity):
        return told(folder, record, made=False)
    with placed(folder) as beside:
        facts = copy_full(trained, beside, console) if trained.full else merge(trained, beside, folder, console)
        write_card(trained, beside, "merged", facts)
        record = write_record(beside, identity, facts)
    return told(folder, record, made=True)


def copy_full(trained: Trained, folder: Path, console: Console) -> dict:
    """After full fine-tuning there is nothing to merge: the model as it was trained, with what it needs to answer.

    Returns:
        {"merged": False, "copied": {file of weights: its sha256, which is that of the run's}}.

    Raises:
        RunError: the disk is too small, or a copy is not what was copied.
    """
    check_disk(folder, sum(p.stat().st_size for p in trained.folder.iterdir() if p.is_file()))
    for path in trained.folder.iterdir():
        if path.is_file() and path.name not in ("README.md", "training_args.bin"):
            shutil.copyfile(path, folder / path.name)
    weights = {name: sha256 for name, sha256 in trained.identity["trained"].items() if name.endswith(".safetensors")}
    for name, sha256 in weights.items():
        if sha256_file(folder / name) != sha256:
            raise RunError(f"{trained.folder / name}: its copy is another file. Look at the disk, and try again.")
    console.print(f"copied {len(weights)} file(s) of weights; the sha256 of each is that of the run's", **PLAIN)
    tokenizer = load_tokenizer(trained.block)
    tokenizer.save_pretrained(folder)
    from transformers import AutoConfig, GenerationConfig

    config = AutoConfig.from_pretrained(folder)
    greedy_ending(GenerationConfig.from_model_config(config), tokenizer).save_pretrained(folder)
    return {"merged": False, "copied": weights}


def merge(trained: Trained, folder: Path, final: Path, console: Console) -> dict:
    """Merge, write, read again, compare. Returns {"merged", "effect_kl", "check", "share"?, "against_4_bit"?}.

    Args:
        folder: where to write; final: where it is going to stand.
    """
    from cft.weights.adapter import attach, check_tokenizer

    block = trained.block
    weights = (trained.base.parameters or 0) * BYTES[block.dtype]
    check_disk(folder, weights + TOKENIZER)
    device = device_for(weights, console)
    tokenizer = load_tokenizer(block)
    check_tokenizer(trained.folder, tokenizer)
    texts = check_texts(trained.run, tokenizer)
    console.print(
        f"merging {trained.name} into {trained.base.public_name}, {block.dtype}, on {device}",
        highlight=False,
        soft_wrap=True,
    )
    with console.status("loading the base"), damage_told(trained):
        model = attach(load_model(block, device=device), trained.folder, trained.recipe.model.id, "adapter")
    with console.status("adapter and base on texts of the run"):
        adapter = logits_of(model, texts)
        with model.disable_adapter():
            effect = difference(adapter, logits_of(model, texts))["mean_kl"]
    with console.status("merging and writing"):
        model, shares = merge_into_base(model, trained.recipe.seed)
        greedy_ending(model.generation_config, tokenizer)
        model.config.get_text_config().eos_token_id = tokenizer.eos_token_id
        with quiet():
            model.save_pretrained(folder, max_shard_size="5GB")
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
    console.print(f"merged against the adapter: {in_words(check)}", **PLAIN)
    console.print(f"  adapter against base: mean KL {effect:.2g} nats", **PLAIN)
    if shares:
        console.print(
            "  of the adapter's update {share:.0%} is in the merged weights (rounding to the nearest would leave "
            "{share_rounded_to_nearest:.0%})".format(**shares),
            highlight=False,
            soft_wrap=True,
        )
    facts = {"merged": True, "effect_kl": effect, "check": check, **shares}
    gc.collect()
    if trained.quantized:
        facts["against_4_bit"] = against_4_bit(trained, texts, folder, final, device, console)
    return facts


def against_4_bit(
    trained: Trained, texts: list, written: Path, folder: Path, device: str, console: Console
) -> dict | None:
    """How far the merged model is from the adapter on the 4-bit base it was trained on. That is real, and no fault."""
    from cft.weights.adapter import attach

    block = trained.block.model_copy(update={"quantization": "nf4"})
    with console.status("the 4-bit base that it was trained on"):
        model = attach(load_model(block, device=pick_device()), trained.folder, trained.recipe.model.id, "adapter")
        quantized = logits_of(model, texts)
        del model
        gc.collect()
        found = difference(quantized, logits_of(reloaded(written, trained.block, device), texts))
    console.print(
        f"[yellow]trained on 4-bit weights:[/] merged against the adapter on those: {in_words(found)}.\n"
        "  The merged model has the base's 16-bit weights, which the adapter never saw. Score it:",
        **PLAIN,
    )
    console.print("  " + scoring_command(trained, folder), markup=False, **PLAIN)
    return found


def scoring_command(trained: Trained, folder: Path) -> str:
    """What scores a merged model as the run scored its own; to be pasted into a shell."""
    block = ["model.quantization=none", "eval.arms=[base]"]
    recipe = trained.run.path / "recipe.yaml"  # its name may be another recipe's, or that of a file
    return shlex.join(["cft", "eval", str(recipe), f"model.id={folder}", *block])


def device_for(weights: float, console: Console) -> str:
    """Where to merge: a GPU that has room for the whole model, else the CPU. Says what it takes.

    Raises:
        RunError: the machine has too little memory.
    """
    import torch

    needed = weights + BESIDES
    if torch.cuda.is_available() and torch.cuda.mem_get_info()[0] > 1.2 * needed:
        return "cuda"
    memory = psutil.virtual_memory()
    console.print(
        f"needs {needed / 1e9:.1f} GB of memory; {memory.available / 1e9:.1f} GB are free",
        highlight=False,
        soft_wrap=True,
    )
    if needed > memory.total:
        raise RunError(
            f"merging needs {needed / 1e9:.1f} GB of memory, this machine has {memory.total / 1e9:.1f} GB. Merge on a "
            "larger one, or serve the adapter itself (--to adapter)."
        )
    if needed > memory.available:
        console.print("[yellow]more than is free: close other programs, or it may be killed[/]", **PLAIN)
    return "cpu"


@contextmanager
def damage_told(trained: Trained):
    """torch.OutOfMemoryError as ours."""
    import torch

    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise RunError(f"{trained.base.name}: does not fit into memory. Close other programs.") from error


def reloaded(folder: Path, block, device: str) -> "PreTrainedModel":
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
    kept = {"eos_token_id": ends if len(ends) > 1 else ends[0], "pad_token_id": tokenizer.pad_token_id}
    kept["bos_token_id"] = tokenizer.bos_token_id
    generation.update(
        **kept, do_sample=False, temperature=None, top_k=None, top_p=None, min_p=None, typical_p=None,
        repetition_penalty=None, max_length=None, max_new_tokens=None,
    )  # fmt: skip
    return generation
