"""The programmatic teacher: critiques arithmetic solutions of problems whose solution is given in checked steps.

It never guesses. Where it cannot show what is wrong, it says that the answer does not follow and works it out.
"""

from data_builders.problems import Problem
from data_builders.teachers.diagnosis import diagnose
from data_builders.teachers.phrasing import Words
from data_builders.teachers.styles import STYLES, confirm

__all__ = ["STYLES", "critique"]


def critique(
    problem: Problem, solution: str, *, style: str, outcome: str, answer: str | None, seed: str
) -> tuple[str, str]:
    """`(text, style used)` of a critique of `solution`; the text ends in the true answer in a box.

    Args:
        style: a name in STYLES. "re-derivation" is used instead where no fault of a wrong solution can be shown.
        outcome: the solution's grade by `eval.grading`, with its `answer`.
        seed: chooses between wordings; the same seed gives the same text.

    Raises:
        ValueError: if the problem has no steps or the style is not known.
    """
    if not problem.steps or style not in STYLES:
        raise ValueError(
            f"problem {problem.id} has {len(problem.steps)} steps; style {style!r}, known: {', '.join(STYLES)}"
        )
    found = diagnose(problem, solution, outcome=outcome, answer=answer)
    words = Words(problem, found, seed)
    if outcome == "correct":
        return confirm(words, style), style
    if not (found.first or found.ending or found.absent):
        style = "re-derivation"
    return STYLES[style](words), style
