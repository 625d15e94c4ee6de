"""Every critique is checked against the truth before it may train."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from data_builders.arithmetic.markup import QUOTE, bounded, fold
from data_builders.arithmetic.wordings import worded
from data_builders.filter.falsehoods import false_calculations
from data_builders.filter.sentences import sentences
from data_builders.filter.verdict import Verdict, find_verdict, takes_back
from data_builders.filter.wording import ends_properly, foreign, leak, repeats
from eval.grading import last_box, same_answer

MIN_WORDS, MAX_CHARACTERS = 12, 20_000
_CALCULATION = re.compile(r"[=≠≈≡<>+×÷]|\d\s*[-−*/·^]\s*\d|\\[a-z]")
_REJECTED = re.compile(r",? (?:and )?(?:not|instead of|rather than|as)\b")
_SHOWN = re.compile(r"\$[^$\n]+\$|\\\([^\n]+?\\\)|[-−]?\d[\d,]*(?:\.\d+)?(?:[/:]\d+)?")  # a formula, a number
_ASCRIBED = re.compile(
    r"\b(?:you|your|student\w*|candidate\w*|solutions?|attempt|problem|question|text|work|writes?|wrote|written|says?|said|states?|"
    r"stated|claims?|claimed|reads?|explains?|argues?|concludes?|begins?|ends?|lines?|steps?|sentences?|words?|wording|phrase|"
    r"statement|remark|part|row|he|she|they)\b",
    re.IGNORECASE,
)


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
    if len(text) > MAX_CHARACTERS:
        return Check(None, None, "too long")
    text, candidate, question = bounded(text), bounded(candidate), bounded(question)
    answer = last_box(text) or _stated(text, gold)
    right = answer is not None and same_answer(gold, answer) is True
    verdict = find_verdict(text, _implied(answer, right, candidate, outcome))
    tests = {  # the first that holds is the reason
        "too short": lambda: len(text.split()) < MIN_WORDS,
        "no verdict": lambda: verdict is None,
        "verdict disagrees": lambda: (verdict == "correct") != (outcome == "correct"),
        "verdict taken back": lambda: takes_back(text),
        "no boxed answer": lambda: answer is None,
        "boxed answer wrong": lambda: not right,
        "quote not in candidate": lambda: strange_quotes(text, candidate, question),
        "leaked instructions": lambda: leak(text),
        "repeats itself": lambda: repeats(text),
        "does not end properly": lambda: not ends_properly(text),
        "another language": lambda: foreign(text),
        "false calculation": lambda: false_calculations(text, candidate, question),
    }
    return Check(verdict, answer, next((reason for reason, holds in tests.items() if holds()), None))


def _implied(answer: str | None, right: bool, candidate: str, outcome: str) -> Verdict | None:
    """What a critique's own answer says of the candidate: "correct" where it is the candidate's."""
    if answer is None:
        return None
    given = last_box(candidate)
    same = outcome == "correct" if right else given is not None and same_answer(given, answer) is True
    return "correct" if same else "incorrect"


def _stated(text: str, gold: str) -> str | None:
    """The true answer, where the last sentence of a text without a box ends in it: "The area is 84 cm²."."""
    last = _REJECTED.split(worded((sentences(text) or [""])[-1]))[0].strip(" \n*_.!#")
    shown = list(_SHOWN.finditer(last))
    ends = [shown[-1][0], re.split(r"[=:]", shown[-1][0])[-1], last[shown[-1].start() :]] if shown else []
    ends += re.split(r"[=:]|\b(?:is|are|costs?|needs?|makes?|get)\b", last)[-1:]
    return next((end for end in (e.strip(" $") for e in ends) if end and same_answer(gold, end) is True), None)


def strange_quotes(text: str, candidate: str, question: str) -> list[str]:
    """The quotations in double quotes that are neither in the candidate nor in the question, marks and spaces apart.

    Words in quotes that hold no calculation and are ascribed to nobody are a way of speaking.
    """
    sources, written = (fold(candidate), fold(question)), " ".join(candidate.split())
    strange = []
    for match, around in _quoted(text):
        quote = match[1] or match[2]
        pieces = [fold(piece).strip(".,;:!?") for piece in re.split(r"\.\.\.|…", quote)]
        verbatim = " ".join(quote.split()) in written  # a piece of a \\frac cannot be folded
        known = verbatim or all(any(piece in source for source in sources) for piece in pieces)
        known = known or _shortened(quote, candidate)
        strange_numbers = set(re.findall(r"\d+", quote)) - set(re.findall(r"\d+", f"{candidate} {question}"))
        loose = not _CALCULATION.search(quote) and not strange_numbers
        loose = loose and (" " not in quote or not _ASCRIBED.search(around))
        if not known and not loose:
            strange.append(quote)
    return strange


def _quoted(text: str) -> Iterator[tuple[re.Match, str]]:
    """Each quotation with its sentence, itself left out."""
    for match in QUOTE.finditer(text):
        before = re.split(r"\n|[.!?]\s", text[max(0, match.start() - 300) : match.start()])[-1]
        yield match, before + re.split(r"\n|[.!?]\s", text[match.end() : match.end() + 300])[0]


def _shortened(quote: str, candidate: str) -> bool:
    """Whether the words and signs of a quote stand in the candidate in this order, with a few others between them."""
    words, written = (re.findall(r"\w+|[^\w\s$.,;:]", text.casefold()) for text in (quote, candidate))
    for start in (i for i, word in enumerate(written) if words and word == words[0]):
        at = start
        for word in words[1:]:
            at = next((k for k in range(at + 1, min(at + 5, len(written))) if written[k] == word), -1)
            if at < 0:
                break
        else:
            return len(words) > 3
    return False
