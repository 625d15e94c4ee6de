"""GGUF for llama.cpp and Ollama, through llama.cpp's own converter, and read back to see that nothing was lost."""

import gc
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import psutil

from cft.errors import ModelError, RunError
from cft.export.folder import check_disk, make_folder
from cft.export.merged import reloaded, say
from cft.export.trained import Trained
from cft.models.fetch import one_line, read_gguf
from cft.models.load import load_tokenizer
from cft.terminal import Terminal
from cft.weights.compare import check_texts, difference, in_words, is_same_model, logits_of
from cft.words import shell_line

OUTTYPES = {"bf16": 2.0, "f16": 2.0, "f32": 4.0, "q8_0": 34 / 32}  # bytes a weight
SCRIPT = "convert_hf_to_gguf.py"
HINT = f"""\
llama.cpp's converter {SCRIPT} is not here. Get it, no compiling needed, and name its folder:
  git clone --depth 1 https://github.com/ggml-org/llama.cpp
  cft export RUN --to gguf --llama-cpp llama.cpp
or set LLAMA_CPP to the folder. For Llama, Mistral and Gemma models it also needs:
  pip install 'one-problem-cft[gguf]'"""


def find_converter(given: Path | None) -> Path:
    """The converter: --llama-cpp (folder or script), else $LLAMA_CPP, else on PATH; RunError says how to get it."""
    for what, value in (("--llama-cpp", given), ("LLAMA_CPP", os.environ.get("LLAMA_CPP"))):
        if value:
            path = Path(value).expanduser()
            path = path / SCRIPT if path.is_dir() else path
            if not path.is_file():
                raise RunError(f"{what} {value}: has no {SCRIPT}. Name a checkout of llama.cpp.\n{HINT}")
            return path.absolute()
    on_path = shutil.which(SCRIPT)
    if on_path is None:
        raise RunError(HINT)
    return Path(on_path).resolve()


def export_gguf(trained: Trained, out: Path, converter: Path, outtype: str, console: Terminal) -> dict:
    """Convert `out`/merged into `out`/gguf. Returns {"path", "bytes", "made", "file", "check", "tokenizer"}."""
    merged = out / "merged"

    def make(folder: Path) -> dict:
        weights = sum(path.stat().st_size for path in merged.glob("*.safetensors"))
        stored = 4 if trained.block.dtype == "float32" else 2
        check_disk(folder, weights / stored * OUTTYPES[outtype] + 20e6)
        file = folder / f"{trained.name}-{outtype}.gguf"
        with console.status(f"converting to {outtype}"):
            convert(converter, merged, file, outtype)
        facts = {"file": file.name, "outtype": outtype, "tokenizer": same_tokenizer(file, trained)}
        return facts | {"check": compare(trained, merged, file, outtype, console)}

    return make_folder(trained, out / "gguf", "gguf", make, outtype=outtype)


def convert(converter: Path, merged: Path, file: Path, outtype: str) -> None:
    """Run the converter with this Python, without the network. Raises RunError with its last lines if it fails."""
    command = [sys.executable, str(converter), str(merged), "--outfile", str(file), "--outtype", outtype]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONSAFEPATH": ""}  # it imports what lies beside it
    done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", env=environment)
    if done.returncode or not file.is_file():
        if missing := re.search(r"No module named '([\w.]+)'", done.stderr):
            pip = shell_line(sys.executable, "-m", "pip", "install")
            package = "'one-problem-cft[gguf]'" if missing[1] == "sentencepiece" else missing[1]
            raise RunError(f"{converter}: needs {missing[1]}. Install it: {pip} {package}")
        last = "\n  ".join((done.stderr or done.stdout).strip().splitlines()[-6:])
        raise RunError(
            f"{converter}: failed with exit code {done.returncode}. A newer llama.cpp may know this model.\n  {last}"
        )


def same_tokenizer(file: Path, trained: Trained) -> dict:
    """The file's tokenizer. Raises RunError if it would never stop, or see another form of prompt, than the model's."""
    from gguf import GGUFReader

    tokenizer = load_tokenizer(trained.block)
    reader = GGUFReader(file)

    def value(key: str):
        field = reader.get_field(key)
        return None if field is None else field.contents()

    facts = {
        "architecture": value("general.architecture"),
        "tokens": len(value("tokenizer.ggml.tokens") or []),
        "eos": value("tokenizer.ggml.eos_token_id"),
        "chat_template": value("tokenizer.chat_template") is not None,
    }
    if facts["eos"] != tokenizer.eos_token_id:
        raise RunError(f"{file.name}: ends answers with token {facts['eos']}, the model with {tokenizer.eos_token_id}.")
    if tokenizer.chat_template is not None and value("tokenizer.chat_template") != tokenizer.chat_template:
        raise RunError(f"{file.name}: has another chat template than the model. Get a newer llama.cpp.")
    return facts


def compare(trained: Trained, merged: Path, file: Path, outtype: str, console: Terminal) -> dict | None:
    """The file, read by transformers, against the merged model; None where transformers or memory cannot.

    Raises RunError if they differ by more than rounding in 16 or 32 bits. That of q8_0 is only printed.
    """
    parameters = trained.base.parameters or 0
    if 8 * parameters > psutil.virtual_memory().available:
        say(console, "", "too little memory to compare the file with the merged model")
        return None
    texts = check_texts(trained.run, load_tokenizer(trained.block), completions=trained.has_completions)
    with console.status("reading the file again"):
        reference = logits_of(reloaded(merged, trained.block, "cpu"), texts)
        gc.collect()
        try:
            model = read_gguf(file, trained.block.dtype)
        except ModelError as error:
            say(console, f" transformers cannot read this file ({one_line(error)})", "not compared:")
            return None
        check = difference(reference, logits_of(model.eval(), texts))
    say(console, f"{file.name} against the merged model: {in_words(check)}")
    if outtype != "q8_0" and not is_same_model(check):
        raise RunError(
            f"{file.name}: does not answer as the merged model does, so it was not kept. Get a newer llama.cpp."
        )
    return check
