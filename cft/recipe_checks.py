"""What must hold between the blocks of a recipe, and between the keys of one block."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cft.recipe_faults import Fault, nearest

if TYPE_CHECKING:
    from cft.recipe_blocks import CritiquesData, DemonstrationsData, EvalBlock, NoData, TrainBlock

BUILDERS = {
    "cft": ["critiques"],
    "sft": ["critiques", "demonstrations"],
    "none": ["none"],
}  # that each method trains on


def cross_faults(
    data: "CritiquesData | DemonstrationsData | NoData | None", train: "TrainBlock | None", scored: "EvalBlock | None"
) -> Iterator[Fault]:
    """The faults between blocks. A block that could not be read is None, and what concerns it is not checked."""
    if data and train:
        yield from _method_faults(data, train)
    if train and scored and train.method == "none" and "adapter" in scored.arms:
        mend = "Set eval.arms to [base], or train with method cft or sft"
        yield Fault(("eval", "arms"), "train.method is none, so there is no adapter to score", mend, scored.arms)
    if scored:
        for task in scored.data:
            if task not in scored.tasks:
                near = nearest(task, scored.tasks)
                mend = f"Did you mean {near}?" if near else "Add it to eval.tasks, or remove it here"
                yield Fault(("eval", "data", task), "is not a task of this recipe", mend, scored.data[task])
    if data and data.builder == "critiques":
        yield from _critiques_faults(data)


def _method_faults(data: "CritiquesData | DemonstrationsData | NoData", train: "TrainBlock") -> Iterator[Fault]:
    if train.method == "grpo":
        known = ", ".join(BUILDERS)
        yield Fault(("train", "method"), "is not trained by this version", f"Choose one of: {known}", train.method)
    elif data.builder not in BUILDERS[train.method]:
        fault = f"train.method {train.method} needs the builder {' or '.join(BUILDERS[train.method])}"
        fitting = [method for method, builders in BUILDERS.items() if data.builder in builders]
        yield Fault(("data", "builder"), fault, f"Set it, or set train.method to {' or '.join(fitting)}", data.builder)


def _critiques_faults(data: "CritiquesData") -> Iterator[Fault]:
    student, kinds = data.student, {teacher.kind for teacher in data.teachers}
    if kinds == {"exact"} and student is None:
        mend = "Add {samples: 48}, or a teacher {kind: file, path: ...}, which brings its own"
        yield Fault(("data", "student"), "without samples an exact teacher has nothing to criticise", mend, None)
    if kinds == {"exact"} and student and student.samples == 0:
        mend = "Ask for samples, or add a teacher {kind: file, path: ...}, which brings its own"
        yield Fault(("data", "student", "samples"), "leaves an exact teacher nothing to criticise", mend, 0)
    if student and student.samples and not data.problems:
        yield Fault(
            ("data", "problems"), "is empty, but data.student needs a problem to solve", "Name at least one", []
        )
    if student and student.samples > 1 and student.temperature == 0:
        fault = f"greedy decoding writes the same solution {student.samples} times"
        mend = "Set a temperature above 0, or samples to 1"
        yield Fault(("data", "student", "temperature"), fault, mend, student.temperature)
