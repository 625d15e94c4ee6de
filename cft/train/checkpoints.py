"""Checkpoints that a kill cannot spoil: one is used only if it was finished and belongs to these rows and settings."""

import shutil
from pathlib import Path

from rich.console import Console
from transformers import Trainer, TrainerCallback

from cft.errors import TrainError
from cft.files import read_json, write_json
from cft.train import ranks

SETTINGS = "training.json"  # in the checkpoints folder: what they belong to
COMPLETE = "complete"  # in a checkpoint: the empty file that is written last


class MarkComplete(TrainerCallback):
    """Marks a checkpoint after all its files stand.

    The Trainer deletes the oldest checkpoint before this mark is set, so `save_total_limit` must be at least 2: then
    the one before is complete, and at every moment there is one to go on from.
    """

    def on_save(self, args, state, control, **kwargs):
        ranks.wait()  # each process has written its part
        (Path(args.output_dir) / f"checkpoint-{state.global_step}" / COMPLETE).touch()


class KeepAdapters(TrainerCallback):
    """Keeps the adapter as it is after each of `steps`, in folder/step-N, so that each can be scored."""

    def __init__(self, trainer: Trainer, steps: list[int], folder: Path) -> None:
        self.trainer, self.steps, self.folder = trainer, steps, folder

    def on_train_begin(self, args, state, control, **kwargs):
        if late := [step for step in self.steps if step > state.max_steps]:
            raise TrainError(
                f"train.keep_steps names step {late[0]}, but training has {state.max_steps} steps. "
                "Name earlier ones; the last one is the adapter itself."
            )

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step in self.steps:
            kept = self.folder / f"step-{state.global_step}"
            beside = self.folder / f".{kept.name}.tmp"
            for path in (beside, kept) if ranks.is_main() else ():
                shutil.rmtree(path, ignore_errors=True)
            self.trainer.save_model(str(beside))
            if ranks.is_main():
                beside.rename(kept)


def newest(folder: Path) -> Path | None:
    """The complete checkpoint of the latest step."""
    complete = [path.parent for path in folder.glob(f"checkpoint-*/{COMPLETE}")]
    return max(complete, key=step_of, default=None)


def step_of(checkpoint: Path) -> int:
    """Optimizer steps done at this checkpoint."""
    return int(checkpoint.name.removeprefix("checkpoint-"))


def claim(folder: Path, settings: dict, console: Console) -> Path | None:
    """The checkpoint to go on from, after deleting every other one; None to start from the beginning.

    Args:
        settings: what decides the adapter's weights, as JSON. Checkpoints of other settings are deleted.
    """
    if read_json(folder / SETTINGS) != settings:
        if newest(folder):
            console.print(f"[yellow]{folder}: belongs to other rows or settings, removed; training starts anew[/]")
        shutil.rmtree(folder, ignore_errors=True)
        write_json(folder / SETTINGS, settings)
    discard_unfinished(folder)
    return newest(folder)


def discard_unfinished(folder: Path) -> None:
    """Delete every checkpoint but the newest complete one."""
    keep = newest(folder)
    for path in folder.glob("checkpoint-*"):
        if path != keep:
            shutil.rmtree(path)
