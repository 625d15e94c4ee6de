"""`cft export`: what a run trained, in the form that other programs take.

    RUN/export/merged/    base and adapter in one: safetensors, tokenizer, chat template, generation config
    RUN/export/gguf/      the same for llama.cpp, and for Ollama with its Modelfile
    RUN/export/adapter/   the PEFT folder with tokenizer and card, for `vllm serve --lora-modules`

Each is written beside, checked against the adapter, and renamed into place. export.json in it says what it was made
from: what is there already is not made again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from cft.errors import RunError
from cft.export.trained import OUTTYPES, TARGETS, Trained, check_ours
from cft.suggest import nearest


@dataclass(frozen=True)
class Options:
    """How to export."""

    outtype: str = "bf16"
    llama_cpp: Path | None = None


def check_targets(targets: Sequence[str]) -> list[str]:
    """The targets in the order of making, each once.

    Raises:
        RunError: one of them is not known.
    """
    if unknown := [name for name in targets if name not in TARGETS]:
        near = nearest(unknown[0], TARGETS)
        meant = f" Did you mean {near}?" if near else ""
        raise RunError(f"--to {unknown[0]}: is not known.{meant} Give {', '.join(TARGETS)}.")
    return [name for name in TARGETS if name in targets]


def export(
    trained: Trained, targets: Sequence[str], out: Path | None, console: Console, options: Options | None = None
) -> dict[str, dict]:
    """Make the exports and return what is known of each: {target: {"path", "bytes", "made", "check", ...}}.

    Args:
        targets: names of TARGETS.
        out: folder for the exports; None: RUN/export, and RUN/export/step-N for a step.

    Raises:
        CFTError: there is no such target or converter, a folder is not ours, memory or disk is too small, the base
            cannot be had or is another one, or an export does not answer as the adapter does.
    """
    from cft.export.gguf import export_gguf, find_converter
    from cft.export.merged import export_merged
    from cft.export.ollama import export_ollama
    from cft.export.vllm import export_adapter

    targets, options = check_targets(targets), options or Options()
    if options.outtype not in OUTTYPES:
        raise RunError(f"--outtype {options.outtype}: is not known. Give {', '.join(OUTTYPES)}.")
    if trained.full and "adapter" in targets:
        raise RunError(f"{trained.run.path}: trained the whole model, so it has no adapter. Give --to merged.")
    out = out or trained.run.path / "export" / ("" if trained.step is None else f"step-{trained.step}")
    for name in targets:
        check_ours(out / ("gguf" if name == "ollama" else name))
    converter = find_converter(options.llama_cpp) if "gguf" in targets else None  # told before the long work
    done = {}
    try:
        if {"merged", "gguf", "ollama"} & set(targets):
            done["merged"] = export_merged(trained, out / "merged", console)
        if converter:
            done["gguf"] = export_gguf(trained, out, converter, options.outtype, console)
        if "ollama" in targets:
            done["ollama"] = export_ollama(trained, out, console)
        if "adapter" in targets:
            done["adapter"] = export_adapter(trained, out / "adapter")
    except (PermissionError, FileNotFoundError, NotADirectoryError) as error:
        if isinstance(error, FileNotFoundError) and out.exists():
            raise  # some other file is missing, which is a bug
        raise RunError(
            f"{error.filename or out}: cannot be written ({error.strerror}). Name a folder with --out."
        ) from None
    return done
