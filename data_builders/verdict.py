"""Reads what a critique says of the solution as a whole."""

import re
from typing import Literal

from data_builders.markup import QUOTE

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
_RESULT = r"(?:totals?|results?|values?|box(?:ed \w+)?|final \w+)"  # of which only "wrong" speaks for the whole
_WHOLE_WRONG = re.compile(
    rf"\b(?:{_WHOLE}|{_RESULT})\b[^.!?]{{0,90}}?(?:\b(?P<wrong>{_WRONG})|{_NOT} (?:be |quite |actually )*{_RIGHT})|"
    rf"\bincorrect (?:solution|answer|submission|attempt|work|response|result)|"
    rf"^\W*(?:a )?wrong (?:solution|answer|result)\b"
)
_DENIED = re.compile(r"\b(?:nothing|not|never|no|nowhere|none|if|whether|neither)\b|n't|n’t")
_ANY_WRONG = re.compile(
    rf"(?P<no>\b(?:not|nothing|never|no)\s+(?:\w+\s+)?)?\bincorrect\b|\b\d[\d.,]* is (?:wrong|{_NOT} {_RIGHT})"
)
_NO_MISTAKE = re.compile(
    r"\b(?:no|without(?: an?y?)?|free of) (?:mistakes?|errors?|slips?|faults?)\b|"
    r"\b(?:every|each) step is (?:correct|right)|\ball (?:the |of the )?steps are (?:correct|right)"
)


def find_verdict(text: str) -> Verdict | None:
    """The critique's judgement of the whole solution; None where it gives none.

    A line "Verdict: ..." counts first, then what is said of the solution or its answer, then any "incorrect" at all.
    Quoted words are the student's and are left out.
    """
    text = " ".join(QUOTE.sub(" ", text.replace("**", "")).casefold().split())
    explicit = list(_EXPLICIT.finditer(text))
    if explicit:
        last = explicit[-1]
        return "correct" if bool(last["right"]) != bool(last["no"]) else "incorrect"
    sentences = re.findall(r"(?:[^.!?]|[.](?=\d))+[.!?]*", text)
    if any(_says_wrong(s) for s in sentences):
        return "incorrect"
    if any(_says_right(s) for s in sentences):
        return "correct"
    if any(not match["no"] for match in _ANY_WRONG.finditer(text)):
        return "incorrect"
    return "correct" if _NO_MISTAKE.search(text) else None


def _says_right(sentence: str) -> bool:
    for match in _WHOLE_RIGHT.finditer(sentence):
        before = sentence[max(0, match.start() - 20) : match.start()]
        if not (_HEDGE.search(before) or _HEDGE.search(match["between"]) or sentence.rstrip().endswith("?")):
            return True
    return False


def _says_wrong(sentence: str) -> bool:
    """Whether a sentence calls the whole wrong, and not "nothing in it is wrong" or "is it wrong?"."""
    if sentence.rstrip().endswith("?"):
        return False
    for match in _WHOLE_WRONG.finditer(sentence):
        until = match.end("wrong") if match["wrong"] else match.start()
        clause = re.split(r"[,;:–—(]", sentence[:until])[-1]
        if not _DENIED.search(clause):
            return True
    return False
