"""`cft export`: what a run trained, in the form that other programs take.

    RUN/export/merged/    base and adapter in one: safetensors, tokenizer, chat template, generation config
    RUN/export/gguf/      the same for llama.cpp, and for Ollama with its Modelfile
    RUN/export/adapter/   the PEFT folder with tokenizer and card, for `vllm serve --lora-modules`

Each is written beside, checked against the adapter, and renamed into place. export.json in it says what it was made
from: what is there already is not made again.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from cft.errors import RunError
from cft.export.folder import check_ours
from cft.export.gguf import OUTTYPES, export_gguf, find_converter
from cft.export.merged import export_merged
from cft.export.ollama import export_ollama
from cft.export.trained import Trained
from cft.export.vllm import export_adapter
from cft.suggest import did_you_mean
from cft.terminal import Terminal

TARGETS = ("merged", "gguf", "ollama", "adapter")


def export(
    trained: Trained,
    targets: Sequence[str],
    out: Path | None,
    console: Terminal,
    *,
    outtype: str = "bf16",
    llama_cpp: Path | None = None,
) -> dict[str, dict]:
    """Make the exports and return what is known of each: {target: {"path", "bytes", "made", "check", ...}}.

    Args:
        targets: names of TARGETS; gguf and ollama are made from merged.
        out: folder for the exports; None: RUN/export, and RUN/export/step-N for a step.
        outtype: type of the weights in the GGUF file, one of OUTTYPES.
        llama_cpp: checkout of llama.cpp; None: LLAMA_CPP or PATH says where.

    Raises:
        CFTError: there is no such target or converter, a folder is not ours, memory or disk is too small, the base
            cannot be had or is another one, or an export does not answer as the adapter does.
    """
    if unknown := [name for name in targets if name not in TARGETS]:
        raise RunError(f"--to {unknown[0]}: is not known. {did_you_mean(unknown[0], TARGETS)}")
    if outtype not in OUTTYPES:
        raise RunError(f"--outtype {outtype}: is not known. Give {', '.join(OUTTYPES)}.")
    if trained.full and "adapter" in targets:
        raise RunError(f"{trained.run.path}: trained the whole model, so it has no adapter. Give --to merged.")
    converter = find_converter(llama_cpp) if "gguf" in targets else None
    out = out or trained.run.export(trained.step)
    for name in targets:
        check_ours(out / ("gguf" if name == "ollama" else name))
    try:
        out.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=out).close()
    except OSError as error:
        raise RunError(f"{out}: cannot be written ({error.strerror}). Name a folder with --out.") from None
    done = {}
    if set(targets) != {"adapter"}:
        done["merged"] = export_merged(trained, out / "merged", console)
    if converter:
        done["gguf"] = export_gguf(trained, out, converter, outtype, console)
    if "ollama" in targets:
        done["ollama"] = export_ollama(trained, out)
    if "adapter" in targets:
        done["adapter"] = export_adapter(trained, out / "adapter")
    return done
