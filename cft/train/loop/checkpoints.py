"""Checkpoints that a kill cannot spoil: one is used only if it was finished and belongs to these rows and settings."""

import shutil
from pathlib import Path

from transformers import Trainer, TrainerCallback

from cft.errors import TrainError
from cft.files import read_json, write_json
from cft.runs import step_name
from cft.terminal import Terminal, Text
from cft.train.loop import ranks
from cft.train.loop.delivery import save

SETTINGS = "training.json"  # in the checkpoints folder: what they belong to
LAUNCH = "launch.json"  # in the checkpoints folder: how the processes that write them share the weights
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
        if trainer.args.max_steps > 0:  # known before the base is sampled
            self._refuse_late(trainer.args.max_steps)

    def on_train_begin(self, args, state, control, **kwargs):
        self._refuse_late(state.max_steps)

    def _refuse_late(self, last: int) -> None:
        if late := [step for step in self.steps if step > last]:
            raise TrainError(
                f"train.keep_steps names step {late[0]}, but training has {last} steps. "
                "Name earlier ones; the last one is the adapter itself."
            )

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step in self.steps:
            kept = self.folder / step_name(state.global_step)
            beside = self.folder / f".{kept.name}.tmp"
            for path in (beside, kept) if ranks.is_main() else ():
                shutil.rmtree(path, ignore_errors=True)
            save(self.trainer, beside)
            if ranks.is_main():
                beside.rename(kept)


def newest(folder: Path) -> Path | None:
    """The complete checkpoint of the latest step."""
    complete = [path.parent for path in folder.glob(f"checkpoint-*/{COMPLETE}")]
    return max(complete, key=step_of, default=None)


def step_of(checkpoint: Path) -> int:
    """Optimizer steps done at this checkpoint."""
    return int(checkpoint.name.removeprefix("checkpoint-"))


def claim(folder: Path, settings: dict, console: Terminal) -> Path | None:
    """The checkpoint to go on from, after deleting every other one; None to start from the beginning.

    Args:
        settings: what decides the adapter's weights, as JSON. Checkpoints of other settings are deleted.

    Raises:
        TrainError: it is one of processes that shared the weights in a way that these do not. Nothing is deleted then.
    """
    last, begun = newest(folder), read_json(folder / LAUNCH) or {"sharding": None, "processes": 1}
    if last:
        refuse_other_launch(last, begun)
    if not same_training(read_json(folder / SETTINGS), settings, processes=begun["processes"]):
        if last:
            fault = f"{folder}: belongs to other rows or settings, removed; training starts again"
            console.print(Text(fault, style="yellow"))
        shutil.rmtree(folder, ignore_errors=True)
    write_json(folder / SETTINGS, settings)
    write_json(folder / LAUNCH, {"sharding": ranks.sharding(), "processes": ranks.count()})
    discard_unfinished(folder)
    return newest(folder)


def same_training(before: dict | None, now: dict, *, processes: int) -> bool:
    """Whether two trainings' settings decide the same weights, to rounding where their processes are not as many.

    Args:
        processes: of the training before.
    """
    if before is None or processes == ranks.count():
        return before == now
    return to_rounding(before) == to_rounding(now)


def to_rounding(settings: dict) -> dict:
    """The settings without what changes no more than rounding: layers are compiled in one process, not in several."""
    return settings | {"args": settings["args"] | {"torch_compile": None}}


def refuse_other_launch(checkpoint: Path, begun: dict) -> None:
    """Raise TrainError where the processes cannot read a checkpoint.

    FSDP and DeepSpeed keep weights and optimizer in files of their own: FSDP's are whole, for any number of processes,
    DeepSpeed's are one a process. Without them each process has all weights, and its checkpoints are those of one.

    Args:
        begun: what stands in LAUNCH.
    """
    before, now = begun["sharding"], ranks.sharding()
    if before != now:
        fix = f"with --launch {before}" if before else "without --launch, or with --launch ddp"
        today = f"--launch {now}" if now else "a training whose processes each have all weights"
    elif before == "zero3" and begun["processes"] != ranks.count():
        fix, today = f"with --processes {begun['processes']}", f"{ranks.count()} processes"
    else:
        return
    raise TrainError(
        f"{checkpoint}: {today} cannot go on from it, for it was begun otherwise. Go on {fix}; or delete "
        f"{checkpoint.parent} to start again."
    )


def discard_unfinished(folder: Path) -> None:
    """Delete every checkpoint but the newest complete one."""
    keep = newest(folder)
    for path in folder.glob("checkpoint-*"):
        if path != keep:
            shutil.rmtree(path)
