"""What vLLM will and will not serve of an adapter, said before the server is started.

vLLM reads adapter_config.json and the weights (`vllm/lora/peft_helper.py`, `vllm/config/lora.py`, 0.11 to 0.22):
--max-lora-rank is one of RANKS and at least the adapter's rank, which may itself be any number up to that.
"""

import re
import shutil
from pathlib import Path

from cft.export.folder import TOKENIZER, bytes_in, check_disk, make_folder
from cft.export.trained import Trained
from cft.models.load import load_tokenizer
from cft.weights.adapter import CONFIG, WEIGHTS, changes_base, read_config
from cft.words import shell_line

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
LORA_WEIGHT = re.compile(r"\.(lora_[AB]|lora_embedding_[AB])(\.weight)?$")
EMBEDDINGS = {"lm_head", "embed_tokens", "wte", "embed_in", "embed_out"}
ONE_RANK = "is set: one r and lora_alpha would be applied to all layers; leave it out"


def vllm_faults(adapter: Path) -> list[str]:
    """Everything of a PEFT folder that vLLM refuses or would compute wrongly, each with the key to change."""
    from safetensors import safe_open

    config = read_config(adapter / CONFIG)
    saved, start, rank = config.get("modules_to_save"), config.get("init_lora_weights"), config.get("r", 0)
    with safe_open(str(adapter / WEIGHTS), "pt") as file:
        names = list(file.keys())
    modules = {LORA_WEIGHT.sub("", name).rpartition(".")[2] for name in names if LORA_WEIGHT.search(name)}
    embeddings = ", ".join(sorted(modules & EMBEDDINGS))
    others = [name for name in names if not LORA_WEIGHT.search(name)]
    if saved or config.get("use_dora") or config.get("trainable_token_indices"):
        others = []  # they come from what is named anyway
    checks = [
        (config.get("peft_type") != "LORA", f"peft_type is {config.get('peft_type')}: only LoRA is served"),
        (rank > RANKS[-1], f"train.lora.r is {rank}: at most {RANKS[-1]} is served"),
        (saved, f"train.lora.modules_to_save is {saved}: leave it out"),
        (config.get("use_dora"), "train.lora.use_dora is true: DoRA is not served; leave it out"),
        (
            config.get("bias", "none") != "none" or config.get("lora_bias"),
            "train.lora.bias or lora_bias is set: leave both out",
        ),
        (config.get("trainable_token_indices"), "train.lora.trainable_token_indices is set: leave it out"),
        (config.get("rank_pattern"), f"train.lora.rank_pattern {ONE_RANK}"),
        (config.get("alpha_pattern"), f"train.lora.alpha_pattern {ONE_RANK}"),
        (
            "init_lora_weights" in changes_base(config),
            f"train.lora.init_lora_weights is {start}: it altered the base too; leave it out",
        ),
        (embeddings, f"train.lora.target_modules has {embeddings}: not served for every model; leave it out"),
        (others, f"holds {len(others)} weights that are no LoRA matrices, first {next(iter(others), None)}"),
    ]
    return [fault for is_so, fault in checks if is_so]


def vllm_rank(rank: int) -> int | None:
    """The smallest --max-lora-rank for an adapter of this rank; None: there is none."""
    return next((allowed for allowed in RANKS if allowed >= rank), None)


def serve_command(trained: Trained, folder: Path) -> str:
    """The command that serves base and adapter, for a PEFT folder that has its tokenizer."""
    config = read_config(folder / CONFIG)
    base = trained.base.public_name if trained.base.kind == "hub" else trained.base.location
    words = ["vllm", "serve", base]
    if trained.base.kind == "hub" and trained.base.hub_revision:
        words += ["--revision", trained.base.hub_revision]
    words += ["--tokenizer", str(folder), "--enable-lora", "--lora-modules", f"{trained.name}={folder}"]
    return shell_line(*words, "--max-lora-rank", vllm_rank(config["r"]))


def export_adapter(trained: Trained, folder: Path) -> dict:
    """The PEFT folder with tokenizer and card. Returns {"path", "bytes", "made", "vllm": {"faults", "command"}}.

    Its tokenizer has the chat template and the end-of-sequence token that it was trained with, which are not always the
    base's own; a server that is given it stops where the adapter stops.
    """

    def make(beside: Path) -> dict:
        check_disk(beside, bytes_in(trained.folder) + TOKENIZER)
        for path in trained.folder.iterdir():
            if path.is_file() and path.suffix != ".bin":
                shutil.copyfile(path, beside / path.name)
        load_tokenizer(trained.block).save_pretrained(beside)
        return {}

    done = make_folder(trained, folder, "adapter", make)
    faults = vllm_faults(folder)
    return done | {"vllm": {"faults": faults, "command": None if faults else serve_command(trained, folder)}}
