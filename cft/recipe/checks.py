"""What must hold between the blocks of a recipe, and between the keys of one block."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cft.recipe.blocks.train import METHODS, RolloutTrain
from cft.recipe.faults import Fault, KeyPath
from cft.recipe.reward_checks import reward_faults
from cft.recipe.rl_checks import rollout_faults
from cft.suggest import nearest

if TYPE_CHECKING:
    from cft.recipe.blocks import (
        CritiquesData,
        CuratedData,
        DataBlock,
        EndpointBlock,
        EvalBlock,
        ModelBlock,
        TrainBlock,
    )

MOST_SOLUTIONS = 100_000  # of one student; more are taken for a slip


def cross_faults(
    data: "DataBlock | None",
    train: "TrainBlock | None",
    scored: "EvalBlock | None",
    model: "ModelBlock | None",
) -> Iterator[Fault]:
    """The faults between blocks. A block that could not be read is None, and what concerns it is not checked."""
    if data and train:
        yield from _method_faults(data, train)
    if train and train.method == "grpo":
        yield from reward_faults(data, train)
    if train and train.full:
        if train.lora:
            fix = "Leave it out, or train.full"
            yield Fault(("train", "lora"), "is not used when all weights are trained", fix, train.lora)
        if model and model.quantization != "none":
            fix = "Set it to none, or train a LoRA adapter"
            yield Fault(("model", "quantization"), "4-bit weights cannot be trained", fix, model.quantization)
        if scored and "merged" in scored.models:
            fix = "Name adapter, which is the trained model"
            yield Fault(("eval", "arms"), "with train.full there is nothing to merge", fix, scored.arms)
    if train and model and model.quantization != "none" and getattr(train, "lora", {}).get("peft_type") == "TINYLORA":
        fix = "Set it to none, or train LoRA"
        yield Fault(("model", "quantization"), "TinyLoRA is made from 16-bit weights", fix, model.quantization)
    if train and scored:
        if train.method == "none" and scored.models != {"base"}:
            fix = "Set eval.arms to [base], or choose another train.method"
            yield Fault(("eval", "arms"), "train.method is none, so there is no adapter to score", fix, scored.arms)
        elif missing := sorted(scored.models - {"base", "adapter", "merged"} - {f"step-{n}" for n in train.keep_steps}):
            steps = sorted({*train.keep_steps, *(int(name.removeprefix("step-")) for name in missing)})
            fault = f"{', '.join(missing)} is not kept by the training"
            yield Fault(("eval", "arms"), fault, f"Set train.keep_steps to {steps}", scored.arms)
    if isinstance(train, RolloutTrain):
        yield from rollout_faults(train, model)
    if train and train.select:
        yield from _select_faults(train, scored)
    if scored:
        yield from _eval_faults(scored)
        for task in scored.data:
            if task not in scored.tasks:
                near = nearest(task, scored.tasks)
                fix = f"Did you mean {near}?" if near else "Add it to eval.tasks, or remove it here"
                yield Fault(("eval", "data", task), "is not a task of this recipe", fix, scored.data[task])
    if data and data.builder == "critiques":
        yield from _critiques_faults(data)
    if data and data.builder == "curated":
        yield from _curated_faults(data)
    if data and hasattr(data, "students"):
        yield from _asking_faults(data)


def _eval_faults(scored: "EvalBlock") -> Iterator[Fault]:
    if scored.samples > 1 and not scored.temperature:
        fault = f"greedy decoding gives the same answer {scored.samples} times"
        yield Fault(("eval", "samples"), fault, "Set eval.temperature above 0 (0.6 is usual)", scored.samples)
    if scored.endpoint and any(arm.elicitor for arm in scored.arms):
        fix = "Leave eval.endpoint out, or score arms without an elicitor"
        yield Fault(("eval", "arms"), "has an elicitor, which decodes here and not at an endpoint", fix, scored.arms)
    if scored.endpoint and scored.endpoint.batch:
        yield Fault(("eval", "endpoint", "batch"), "is not offered for scoring", "Leave it out", True)
    if scored.endpoint:
        yield from _extra_faults(scored.endpoint, ("eval", "endpoint", "extra_body"))
        for model in sorted(scored.models - set(scored.served)):
            fix = f"Write served: {{{model}: NAME}}, the name that the server has for it"
            yield Fault(("eval", "served"), f"does not name {model!r}, which eval.arms asks for", fix, scored.served)
    elif scored.served:
        fault = "names models of an endpoint, but there is none"
        yield Fault(("eval", "served"), fault, "Set eval.endpoint", scored.served)


def _method_faults(data: "DataBlock", train: "TrainBlock") -> Iterator[Fault]:
    if data.builder not in METHODS[train.method].builders:
        fault = f"train.method {train.method} needs the builder {' or '.join(METHODS[train.method].builders)}"
        fitting = [name for name, method in METHODS.items() if data.builder in method.builders]
        yield Fault(("data", "builder"), fault, f"Set it, or set train.method to {' or '.join(fitting)}", data.builder)


def _select_faults(train: "TrainBlock", scored: "EvalBlock | None") -> Iterator[Fault]:
    block, key = train.select, ("train", "select")
    if bool(block.steps) == (block.every is not None):
        given = "has both steps and every" if block.steps else "has neither steps nor every"
        yield Fault(key, f"{given}, so it is not said when to ask", "Give one of them, such as every: 4", block.task)
    tested = scored.tasks if scored else []
    if block.task in tested:
        fix = "Choose the step on other items: cft_wordproblems_validation, or cft_math_validation"
        fault = "is in eval.tasks, so the test items would choose the step that they then score"
        yield Fault((*key, "task"), fault, fix, block.task)


def _critiques_faults(data: "CritiquesData") -> Iterator[Fault]:
    kinds = {teacher.kind for teacher in data.teachers}
    if "file" not in kinds and not data.students:
        fix = "Add {samples: 48}, or a teacher {kind: file, path: ...}, which brings its own"
        yield Fault(("data", "students"), "is empty, so there is nothing to criticise", fix, [])
    if data.students and not data.problems:
        fault = "is empty, but data.students need a problem to solve"
        yield Fault(("data", "problems"), fault, "Name at least one", [])
    if data.change == "shuffled" and data.prompt == "solve":
        fault = "puts critiques beside other candidates, which data.prompt solve does not show"
        yield Fault(("data", "change"), fault, "Set data.prompt to critique, or leave data.change out", data.change)


def _curated_faults(data: "CuratedData") -> Iterator[Fault]:
    if not data.path and not data.hub:
        yield Fault(("data", "path"), "is missing, and so is data.hub", "Name a file, or a data set on the hub", None)
    if data.hub and not re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", data.hub):
        yield Fault(("data", "hub"), "is no OWNER/NAME on the hub", "Correct it, or name a file in data.path", data.hub)
    if data.hub and not data.revision:
        fix = f"Write the commit of {data.hub} that is meant"
        yield Fault(("data", "revision"), "is missing, so another pool may be read next time", fix, None)
    if data.most_words and data.most_words < data.least_words:
        fault = f"is below data.least_words ({data.least_words}), so no solution fits"
        yield Fault(("data", "most_words"), fault, "Correct one of them", data.most_words)


def _asking_faults(data: "DataBlock") -> Iterator[Fault]:
    """Faults of the students and teachers, by whichever builder they are asked."""
    for i, student in enumerate(data.students):
        if student.samples > 1 and 0 in student.temperatures:
            fault = f"greedy decoding writes the same solution {student.samples} times"
            fix = "Set temperatures above 0, or samples to 1"
            yield Fault(("data", "students", i, "temperatures"), fault, fix, student.temperatures)
        questions = data.limit or 1 if data.builder == "curated" else len(data.problems)
        asked = student.samples * len(student.temperatures) * questions
        if asked > MOST_SOLUTIONS:
            fault = f"makes {asked:,} solutions with these temperatures and problems, more than {MOST_SOLUTIONS:,}"
            yield Fault(("data", "students", i, "samples"), fault, "Sample fewer", student.samples)
    for key, blocks in (("students", data.students), ("teachers", getattr(data, "teachers", []))):
        for i, block in enumerate(blocks):
            if not (endpoint := getattr(block, "endpoint", None)):
                continue
            if block.model is None:
                yield Fault(("data", key, i, "model"), "is missing, but an endpoint must be told one", "Name it", None)
            yield from _extra_faults(endpoint, ("data", key, i, "endpoint", "extra_body"))


def _extra_faults(endpoint: "EndpointBlock", path: KeyPath) -> Iterator[Fault]:
    for name in sorted(TAKEN & endpoint.extra_body.keys()):
        fix = f"Set {name} where the recipe has it, not in extra_body"
        yield Fault((*path, name), "has a key of its own", fix, endpoint.extra_body[name])


TAKEN = {
    *("model", "messages", "temperature", "top_p", "max_tokens", "max_completion_tokens", "stream", "stream_options"),
    *("seed", "n", "best_of"),
}
