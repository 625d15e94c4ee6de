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
    tests = {  # the first that holds is the reason
        "too short": lambda: len(text.split()) < MIN_WORDS,
        "no verdict": lambda: verdict is None,
        "verdict disagrees": lambda: (verdict == "correct") != (outcome == "correct"),
        "no boxed answer": lambda: answer is None,
        "boxed answer wrong": lambda: same_answer(gold, answer) is not True,
        "quote not in candidate": lambda: strange_quotes(text, candidate, question),
        "leaked instructions": lambda: leak(text),
        "repeats itself": lambda: repeats(text),
        "does not end properly": lambda: not ends_properly(text),
        "another language": lambda: foreign(text),
        "false calculation": lambda: false_calculations(text, candidate),
    }
    return Check(verdict, answer, next((reason for reason, holds in tests.items() if holds()), None))


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
