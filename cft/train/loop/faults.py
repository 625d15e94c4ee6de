"""What can be wrong with a training's settings, memory or disk, in words that say how to fix it."""

import contextlib
import errno
import importlib.util
import re
import shutil
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from transformers import TrainingArguments
from trl import SFTConfig

import cft
from cft.devices import is_out_of_memory, pick_device
from cft.errors import LIBRARY_ERRORS, CFTError, TrainError
from cft.recipe.faults import cut
from cft.train.loop.fallback import Setting, next_safer


def training_arguments(
    args: dict[str, Any], seed: int, output_dir: Path, config: type[TrainingArguments] = SFTConfig
) -> TrainingArguments:
    """A `config` of the recipe's `train.args`, already checked by `cft.recipe.load`, with our defaults filled in.

    Raises:
        TrainError: with what the class says of settings that do not go together.
    """
    with judged({"args": args}):
        config = config(output_dir=str(output_dir), seed=seed, data_seed=seed, **args)
    config._n_gpu = min(config.n_gpu, 1)  # of several GPUs a lone process takes the first; TRL refuses DataParallel
    return config


@contextlib.contextmanager
def judged(
    settings: dict[str, dict[str, Any]], applies: Callable[[Exception], bool] = lambda error: True
) -> Iterator[None]:
    """Within this, what a library raises over the settings that it was given is the recipe's fault, and said as such.

    Many settings are looked at only where they are used: the optimizer, the schedule, the first batch. CFTErrors and
    too little memory pass.

    Args:
        settings: the recipe's `lora` and `args`, by their names in `train`.
        applies: whether an error can be about settings at all.

    Raises:
        TrainError: with the library's words, and the keys that they speak of, or else all that the recipe sets.
    """
    try:
        yield
    except LIBRARY_ERRORS as error:
        if isinstance(error, CFTError) or is_out_of_memory(error) or not applies(error):
            raise
        said = cut(" ".join(str(error).split()).rstrip(".") or type(error).__name__, 400)
        given = {f"train.{block}.{key}": value for block, keys in settings.items() for key, value in keys.items()}
        named = {name: value for name, value in given.items() if speaks_of(said, name.rpartition(".")[2], value)}
        shown = cut(", ".join(f"{name}={value}" for name, value in (named or given).items()), 400)
        raise TrainError(
            f"training cannot begin with these settings: {shown}\n{type(error).__name__}: {said}.\n"
            "Correct or leave out what it speaks of. TRL 1.16 and PEFT document the keys of train.args and train.lora."
        ) from error


def speaks_of(said: str, key: str, value: Any) -> bool:
    """Whether a library's words name a setting, or a word of its value where that is text."""
    names = [key, *(re.findall(r"[a-z0-9]{4,}", value.lower()) if isinstance(value, str) else ())]
    return any(re.search(rf"(?<![a-z0-9_]){re.escape(name)}(?![a-z0-9])", said.lower()) for name in names)


def is_ours(error: BaseException) -> bool:
    """Whether code of this project raised it, and no library."""
    frames, root = traceback.extract_tb(error.__traceback__), Path(cft.__file__).parents[1]
    ours = [root / package for package in ("cft", "eval", "data_builders")]
    return bool(frames) and any(map(Path(frames[-1].filename).is_relative_to, ours))


def safer_setting(error: BaseException, setting: Setting, full: bool) -> Setting | None:
    """The setting to try after `error`, which then holds no memory of the failed attempt. None: nothing is left."""
    link: BaseException | None = error
    while link is not None:  # the frames hold the model, its activations and the optimizer
        traceback.clear_frames(link.__traceback__)
        link = link.__cause__ or link.__context__
    may_quantize = pick_device() == "cuda" and not full and importlib.util.find_spec("bitsandbytes") is not None
    return next_safer(setting, may_quantize=may_quantize)


def out_of_memory(tried: list[Setting], longest: int, by_hand: Setting | None = None) -> TrainError:
    """The error when no setting fits.

    Args:
        longest: tokens of the longest row.
        by_hand: the next setting, where several processes train: one that fails cannot take the others back with it.
    """
    on_card = pick_device() == "cuda"
    device = "the GPU" if on_card else "this machine"
    fixes = ["a smaller model, or shorter rows (train.args.max_length says at most how long they may be)"]
    if on_card and tried[-1].quantization == "none":
        fixes.insert(0, "model.quantization=nf4, for which bitsandbytes must be installed: pip install bitsandbytes")
    if by_hand:
        fixes.insert(0, f"what several processes do not try by themselves: {' '.join(by_hand.overrides(tried[-1]))}")
    lines = "\n  ".join(map(str, tried))
    return TrainError(
        f"out of memory on {device}, with rows of up to {longest} tokens. Tried, in this order:\n  {lines}\n"
        f"What is left: {'; or '.join(fixes)}. `cft plan` says what each part takes."
    )


def explain(error: Exception, folder: Path) -> TrainError | None:
    """The TrainError for a disk that is full; None for any other error, which is a bug."""
    text = str(error)
    # torch.save and safetensors report a write that failed in words only
    full = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
    words = ("No space left", "quota exceeded", "File too large", "PytorchStreamWriter failed", "inline_container")
    if getattr(error, "errno", None) in full or any(word in text for word in words):
        free = shutil.disk_usage(folder).free / 1e6
        return TrainError(
            f"{folder}: cannot be written, {free:.0f} MB are free there ({text.splitlines()[0]}). Make room, or choose "
            "another folder with --runs; the same command then goes on from the last complete checkpoint."
        )
    return None
