"""Every critique is checked against the truth before it may train."""

import re
from dataclasses import dataclass

from data_builders.arithmetic.markup import QUOTE, fold
from data_builders.filter.falsehoods import false_calculations
from data_builders.filter.verdict import Verdict, find_verdict
from data_builders.filter.wording import ends_properly, foreign, leak, repeats
from eval.grading import last_box, same_answer

MIN_WORDS = 12


@dataclass(frozen=True)
class Check:
    """What a critique says, and why it may not train (None: it may)."""

    verdict: Verdict | None
    answer: str | None
    reason: str | None


def check(text: str, *, question: str, gold: str, candidate: str, outcome: str) -> Check:
    """Compare a critique of `candidate` with the true answer.

    Args:
        outcome: the candidate's grade by `eval.grading`. Anything but "correct" asks for the verdict "incorrect": a
            truncated candidate, or one without an answer, is not a right solution.
    """
    verdict, answer = find_verdict(text), last_box(text)
    if len(text.split()) < MIN_WORDS:
        reason = "too short"
    elif verdict is None:
        reason = "no verdict"
    elif (verdict == "correct") != (outcome == "correct"):
        reason = "verdict disagrees"
    elif answer is None:
        reason = "no boxed answer"
    elif same_answer(gold, answer) is not True:
        reason = "boxed answer wrong"
    elif strange_quotes(text, candidate, question):
        reason = "quote not in candidate"
    elif leak(text):
        reason = "leaked instructions"
    elif repeats(text):
        reason = "repeats itself"
    elif not ends_properly(text):
        reason = "does not end properly"
    elif foreign(text):
        reason = "another language"
    elif false_calculations(text, candidate):
        reason = "false calculation"
    else:
        reason = None
    return Check(verdict, answer, reason)


def strange_quotes(text: str, candidate: str, question: str) -> list[str]:
    """The quotations in double quotes that are neither in the candidate nor in the question, marks and spaces apart."""
    sources = fold(candidate), fold(question)
    strange = []
    for match in QUOTE.finditer(text):
        quote = match[1] or match[2]
        pieces = [fold(piece).strip(".,;:!?") for piece in re.split(r"\.\.\.|…", quote)]
        verbatim = " ".join(quote.split()) in " ".join(candidate.split())  # a piece of a \\frac cannot be folded
        if not verbatim and not all(any(piece in source for source in sources) for piece in pieces):
            strange.append(quote)
    return strange
