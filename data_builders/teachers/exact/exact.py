"""The programmatic teacher: critiques arithmetic solutions of problems whose solution is given in checked steps.

It never guesses. Where it cannot show what is wrong, it says that the answer does not follow and works it out.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from cft.errors import DataError
from cft.files import content_id
from data_builders.problems import Problem
from data_builders.teachers.exact.diagnosis import diagnose
from data_builders.teachers.exact.phrasing import Words
from data_builders.teachers.exact.styles import STYLES, confirm

if TYPE_CHECKING:
    from cft.recipe.blocks import Teacher


def critique(
    problem: Problem, solution: str, *, style: str, outcome: str, answer: str | None, seed: str
) -> tuple[str, str]:
    """`(text, style used)` of a critique of `solution`, of a problem with steps; the text ends in its answer in a box.

    Args:
        style: a name in STYLES. "re-derivation" is used instead where no fault of a wrong solution can be shown.
        outcome: the solution's grade by `eval.grading`, with its `answer`.
        seed: chooses between wordings; the same seed gives the same text.

    """
    found = diagnose(problem, solution, outcome=outcome, answer=answer)
    words = Words(problem, found, seed)
    if outcome == "correct":
        return confirm(words, style), style
    if not (found.first or found.ending or found.absent):
        style = "re-derivation"
    return STYLES[style](words), style


def exact_critiques(
    teachers: Iterable["Teacher"], problems: dict[str, Problem], candidates: list[dict], seed: int
) -> list[dict]:
    """One critique a style of every candidate whose problem has steps.

    Raises:
        DataError: if no problem has steps.
    """
    styles = [style for teacher in teachers if teacher.kind == "exact" for style in teacher.styles]
    bare = sorted({row["problem"] for row in candidates if not problems[row["problem"]].steps})
    if styles and bare and not any(problems[row["problem"]].steps for row in candidates):
        raise DataError(
            f"teacher exact: problem {', '.join(bare)} has no `steps:`. Write them, or use another teacher."
        )
    written = []
    for row in candidates:
        for style in styles if problems[row["problem"]].steps else []:
            graded = {key: row[key] for key in ("outcome", "answer")}
            wordings = content_id(seed, row["id"], style)
            text, used = critique(problems[row["problem"]], row["text"], style=style, seed=wordings, **graded)
            written.append({"candidate": row["id"], "teacher": "exact", "style": used, "text": text})
    return written
