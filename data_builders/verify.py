"""Every critique is checked against the truth before it may train."""

import re
from dataclasses import dataclass
from typing import Literal

from data_builders.arithmetic import show
from data_builders.markup import fold
from data_builders.statements import claims
from data_builders.wording import ends_properly, foreign, leak, repeats
from eval.grading import last_box, same_answer

MIN_WORDS = 12

Verdict = Literal["correct", "incorrect"]

_WHOLE = (
    r"(?:solutions?|answers?|work|attempt|submission|response|reasoning|conclusion|everything|(?:student|candidate) is)"
)
_SURE = r"(?:indeed |entirely |completely |fully |absolutely |also |therefore |thus |clearly |perfectly |both |all )*"
_RIGHT, _WRONG = r"(?:correct|right|accurate|valid)\b", r"(?:incorrect|wrong|false|unfinished|incomplete|invalid)\b"
_NOT = r"(?:not|n't|n’t|cannot|can't|never|nowhere near|far from|neither)"
_HEDGE = re.compile(
    r"\b(?:if|whether|would|were|almost|nearly|partly|partially|half|part|since|because|not|no|never|cannot)\b|n't|n’t"
)
_EXPLICIT = re.compile(
    rf"\b(?:verdict|conclusion|judge?ment)\b\W{{0,6}}(?:the )?(?:solution |answer )?(?:is )?(?:(?P<no>{_NOT}) )?"
    rf"(?:(?P<right>{_RIGHT})|(?P<wrong>{_WRONG}))"
)
_WHOLE_RIGHT = re.compile(rf"\b{_WHOLE}\b(?P<between>[^.;!?]{{0,60}}?)\b(?:is|are|was|were)\s+{_SURE}{_RIGHT}")
_WHOLE_WRONG = re.compile(
    rf"\b{_WHOLE}\b[^.!?]{{0,90}}?(?:\b{_WRONG}|{_NOT} (?:be |quite |actually )*{_RIGHT})|"
    rf"\bincorrect (?:solution|answer|submission|attempt|work|response|result)"
)
_ANY_WRONG = re.compile(
    rf"(?P<no>\b(?:not|nothing|never|no)\s+(?:\w+\s+)?)?\bincorrect\b|\b\d[\d.,]* is (?:wrong|{_NOT} {_RIGHT})"
)
_NO_MISTAKE = re.compile(
    r"\b(?:no|without(?: an?y?)?|free of) (?:mistakes?|errors?|slips?|faults?)\b|"
    r"\b(?:every|each) step is (?:correct|right)|\ball (?:the |of the )?steps are (?:correct|right)"
)
_QUOTE = re.compile(r'"([^"\n]+)"|“([^”\n]+)”')


@dataclass(frozen=True)
class Check:
    """What a critique says, and why it may not train (None: it may)."""

    verdict: Verdict | None
    answer: str | None
    reason: str | None


def check(text: str, *, question: str, gold: str, candidate: str, outcome: str) -> Check:
    """Hold a critique of `candidate` against the truth.

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


def find_verdict(text: str) -> Verdict | None:
    """The critique's judgement of the whole solution; None where it gives none.

    A line "Verdict: ..." counts first, then what is said of the solution or its answer, then any "incorrect" at all.
    Quoted words are the student's and are left out.
    """
    text = " ".join(_QUOTE.sub(" ", text.replace("**", "")).casefold().split())
    explicit = list(_EXPLICIT.finditer(text))
    if explicit:
        last = explicit[-1]
        return "correct" if bool(last["right"]) != bool(last["no"]) else "incorrect"
    sentences = re.findall(r"(?:[^.!?]|[.](?=\d))+[.!?]*", text)
    if any(_WHOLE_WRONG.search(s) and not _negated_wrong(s) for s in sentences):
        return "incorrect"
    if any(_says_right(s) for s in sentences):
        return "correct"
    if any(not match["no"] for match in _ANY_WRONG.finditer(text)):
        return "incorrect"
    return "correct" if _NO_MISTAKE.search(text) else None


def strange_quotes(text: str, candidate: str, question: str) -> list[str]:
    """The quotations in double quotes that are neither in the candidate nor in the question, marks and spaces apart."""
    sources = fold(candidate), fold(question)
    strange = []
    for match in _QUOTE.finditer(text):
        quote = match[1] or match[2]
        pieces = [fold(piece).strip(".,;:!?") for piece in re.split(r"\.\.\.|…", quote)]
        if not all(any(piece in source for source in sources) for piece in pieces):
            strange.append(quote)
    return strange


def false_calculations(text: str, candidate: str) -> list[str]:
    """The false calculations that a critique makes itself: not in quotes, and not those of the candidate."""
    theirs = {(show(claim.expression), claim.value) for claim in claims(candidate)}
    written, unquoted = fold(candidate), _QUOTE.sub(" … ", text)
    return [
        unquoted[claim.start : claim.end]
        for claim in claims(unquoted)
        if claim.slip
        and (show(claim.expression), claim.value) not in theirs
        and fold(unquoted[claim.start : claim.end]) not in written
    ]


def _says_right(sentence: str) -> bool:
    for match in _WHOLE_RIGHT.finditer(sentence):
        before = sentence[max(0, match.start() - 20) : match.start()]
        if not (_HEDGE.search(before) or _HEDGE.search(match["between"]) or sentence.rstrip().endswith("?")):
            return True
    return False


def _negated_wrong(sentence: str) -> bool:
    """Whether "wrong" or "incorrect" itself is denied ("nothing in the solution is wrong"), asked, or supposed."""
    denied = rf"\b(?:nothing|not|never|no \w+)\b[^,;]{{0,40}}\b{_WRONG}|\bif\b|\bwhether\b|\?\s*$"
    return bool(re.search(denied, sentence))
