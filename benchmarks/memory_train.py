"""One row of memory.py, in a process of its own: plans a training, trains, and writes what each says of memory.

    python -m benchmarks.memory_train '{"recipe": NAME, "overrides": {}, "runs": FOLDER, "card": 12, "shape": null}' OUT

`card`: GB of a smaller card, whose memory is all that this process may take, or null. `shape`: a folder; a model of the
recipe's sizes with random weights gets its tokenizer, and is trained instead.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from benchmarks.common import console, visible_card
from benchmarks.shapes import make_shape
from cft.devices import find_card, pick_device, share_cores
from cft.errors import CFTError, ModelError
from cft.files import read_json, write_json
from cft.memory import clear_memory, reuse_freed_memory
from cft.models.catalogue import load_entries
from cft.models.source import architecture_of, resolve
from cft.pipeline import run_stages
from cft.plan.footprint import CUDA_CONTEXT
from cft.plan.memory import plan_memory
from cft.plan.plan import row_tokens
from cft.recipe.load import load_recipe
from cft.runs import METRICS, read_rows
from cft.terminal import Terminal


def main(asked: dict[str, Any], out: Path) -> None:
    """Plan and train; `planned` and `measured` are bytes."""
    import torch

    device, runs, terminal = pick_device(), Path(asked["runs"]), Terminal(stderr=True)
    context = Context() if device == "cuda" else None
    overrides = asked["overrides"]
    if asked["shape"]:
        name = load_recipe(asked["recipe"], words_of(overrides)).model.id
        sizes = load_entries()[name].architecture if name in load_entries() else None
        if sizes is None:
            raise ModelError(f"{name}: models.yaml has no architecture of it. Name a recipe whose model has one.")
        folder = make_shape(sizes, Path(asked["shape"]), runs.parent / "shapes", device)
        overrides |= {"model.id": json.dumps(str(folder))}
    recipe = load_recipe(asked["recipe"], words_of(overrides), libraries=True)
    run = run_stages(recipe, runs, terminal, ("data",))
    rows = row_tokens(recipe, read_rows(run.examples), 0, True)
    card = find_card(f"{asked['card']:g}") if asked["card"] else None
    plan = plan_memory(recipe, architecture_of(resolve(recipe.model)), rows, card, device)
    room = card.bytes if card else torch.cuda.get_device_properties(0).total_memory if context else None
    row = {"planned": 1e9 * plan["training_gb"], "room": room}
    row["fits"] = plan["training_gb"] <= plan["room"]["gb"]
    if context:
        context.cap(card.bytes if card else None)
    shutil.rmtree(run.train, ignore_errors=True)  # a training that was done before would take no memory
    try:
        run_stages(recipe, runs, terminal, ("train",))
        summary = read_json(run.train / METRICS)["summary"]
        row |= {key: summary.get(key) for key in ("fell_back_to", "steps", "longest_tokens", "tokens_per_second")}
    except CFTError as error:
        row["error"] = str(error)
    if context:
        row |= context.measured()
    write_json(out, row)


def words_of(overrides: dict[str, str]) -> list[str]:
    """Overrides as they stand on a command line."""
    return [f"{key}={value}" for key, value in overrides.items()]


class Context:
    """What CUDA and its libraries hold of the card beside tensors, and the cap of a process."""

    def __init__(self) -> None:
        card = visible_card()[1]
        self.before = card.used if card else None  # by other programs

    def size(self) -> float:
        """Bytes of this process that are no tensors'; the plan's figure where nvidia-smi says nothing."""
        import torch

        free, total = torch.cuda.mem_get_info()
        if self.before is None:
            return CUDA_CONTEXT
        return max(0, total - free - torch.cuda.memory_reserved() - self.before)

    def cap(self, card: float | None) -> None:
        """Let tensors have what a card of `card` bytes leaves beside the context; begin to measure."""
        import torch

        clear_memory()
        if card is not None:
            left = card - max(self.size(), CUDA_CONTEXT)
            torch.cuda.set_per_process_memory_fraction(left / torch.cuda.get_device_properties(0).total_memory)

    def measured(self) -> dict[str, float]:
        """Bytes: the highest of tensors with the context, the same with what the allocator kept, and the context."""
        import torch

        context = self.size()
        taken = {"measured": torch.cuda.max_memory_allocated(), "reserved": torch.cuda.max_memory_reserved()}
        return {key: context + value for key, value in taken.items()} | {"context": context}


if __name__ == "__main__":
    reuse_freed_memory()
    share_cores()
    try:
        main(json.loads(sys.argv[1]), Path(sys.argv[2]))
    except CFTError as error:
        console.print(f"error: {error}", highlight=False)
        sys.exit(2)
