"""Language models as teachers: each is asked for one critique of every candidate, in each style."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from data_builders.asking.calls import Call
from data_builders.problems import Problem
from data_builders.prompts import messages
from data_builders.students import sampling_of
from data_builders.teachers.templates import Template, load_template
from data_builders.thoughts import final_text

if TYPE_CHECKING:
    from cft.recipe.blocks import ModelTeacher


def plan_critiques(
    candidates: Iterable[dict], problems: dict[str, Problem], teacher: "ModelTeacher", seed: int
) -> list[tuple[Call, str, Template]]:
    """`(call, candidate's id, template)` of every critique that the teacher owes.

    Raises:
        DataError: for a template that is not there or cannot be used.
    """
    templates = [load_template(style) for style in teacher.styles]
    sampling = sampling_of(teacher, teacher.temperature)
    planned = []
    for row in candidates:
        problem = problems[row["problem"]]
        for template in templates:
            text = template.fill(question=problem.question, solution=row["text"], answer=problem.answer)
            for k in range(teacher.samples):
                call = Call(teacher.model, messages(text), sampling, template.version, k, seed)
                planned.append((call, row["id"], template))
    return planned


def critiques_of(planned: Sequence[tuple[Call, str, Template]], rows: Sequence[dict]) -> list[dict]:
    """What the teacher wrote, not yet verified; `status` says how the answer ended."""
    written = []
    for (call, candidate, template), row in zip(planned, rows, strict=True):
        source = {"candidate": candidate, "teacher": call.model, "style": template.name, "call": call.key}
        written.append(source | {"text": final_text(row["text"]), "status": row["status"]})
    return written
