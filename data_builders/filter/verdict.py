"""Reads what a critique says of the solution as a whole."""

import re
from typing import Literal

from data_builders.arithmetic.markup import QUOTE

Verdict = Literal["correct", "incorrect"]

_WHOLE = (
    r"(?:solutions?|answers?|work|attempt|submission|response|reasoning|conclusion|everything|(?:student|candidate) is)"
)
_SURE = r"(?:indeed |entirely |completely |fully |absolutely |also |therefore |thus |clearly |perfectly |both |all )*"
_RIGHT = r"(?:correct|right|accurate|valid|acceptable|accepted)\b"
_WRONG = r"(?:incorrect|wrong|false|unfinished|incomplete|invalid|unacceptable|rejected)\b"
_NOT = r"(?:not|n't|n’t|cannot|can't|never|nowhere near|far from|neither)"
_HEDGE = re.compile(
    r"\b(?:if|whether|would|were|almost|nearly|partly|partially|half|part|since|because|not|no|never|cannot)\b|n't|n’t"
)
_EXPLICIT = re.compile(
    rf"\b(?:verdict|conclusion|judge?ment|grade|assessment|rating)\b\W{{0,6}}(?:the )?(?:solution |answer )?(?:is )?"
    rf"(?:(?P<no>{_NOT}) )?"
    rf"(?:(?P<right>{_RIGHT})|(?P<wrong>{_WRONG}))"
)
_WHOLE_RIGHT = re.compile(rf"\b{_WHOLE}\b(?P<between>[^.;!?]{{0,60}}?)\b(?:is|are|was|were)\s+{_SURE}{_RIGHT}")
_RESULT = r"(?:totals?|results?|values?|box(?:ed \w+)?|final \w+)"  # of which only "wrong" speaks for the whole
_WHOLE_WRONG = re.compile(
    rf"\b(?:{_WHOLE}|{_RESULT})\b[^.!?]{{0,90}}?(?:\b(?P<wrong>{_WRONG})|"
    rf"{_NOT} (?:be |called |quite |actually |the )*{_RIGHT})|"
    rf"\bincorrect (?:solution|answer|submission|attempt|work|response|result)|"
    rf"^\W*(?:a )?wrong (?:solution|answer|result)\b|\bnot an? (?:complete|{_RIGHT}) (?:solution|answer|one)\b|"
    rf"{_NOT} (?:a |the )?{_RIGHT} (?:solution|answer|result)\b"
)
_DENIED = re.compile(r"\b(?:nothing|not|never|no|nowhere|none|if|whether|neither|would)\b|n't|n’t")
_ANY_WRONG = re.compile(
    rf"(?P<no>\b(?:not|nothing|never|no)\s+(?:\w+\s+)?)?\bincorrect\b|\b\d[\d.,]* is (?:wrong|{_NOT} {_RIGHT})"
)
# A sentence that is a judgement and nothing else: "Correct.", "Yes, this is right.", "Elegant and correct."
_ALONE = re.compile(
    rf"^\W*(?:yes\W+|no\W+|so |then |hence |thus )?(?:(?:this|that|it|all|everything|all of it) (?:is|was|are) |"
    rf"an? (?:\w+ )?|(?:\w+ ){{0,2}}and )?{_SURE}(?:(?P<right>{_RIGHT})|(?P<wrong>{_WRONG}))"
    r"(?: (?:solution|answer|work|attempt|result))?\W*$"
)
_CALLED_RIGHT = re.compile(
    rf"\b(?:call|mark)(?:ing)? (?:this|the|it) ?(?:{_WHOLE})? ?{_SURE}{_RIGHT}|"
    r"^\W*right answer,? (?:and )?(?:right|good|correct|sound)\b|"
    r"^\W*(?:everything|all|it all|all of it|every step|each step) (?:checks? out|holds?(?: up)?|is in order|is fine)\b"
)
_ASKED = re.compile(rf"\bis (?:the|this) (?:answer|solution|work|result) (?:{_RIGHT})\?\W*(?P<reply>yes|no)\b")
_THIS_WRONG = re.compile(
    rf"^\W*(?:wrong|incorrect)[,:]|\b(?:this|it|which) is {_SURE}{_WRONG}|\ba wrong (?:answer|result|solution)\b"
)
_NO_MISTAKE = re.compile(
    r"\bnothing (?:is )?(?:wrong|false) |\b(?:no|without(?: an?y?)?|free of) (?:mistakes?|errors?|slips?|faults?)\b|"
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
    if question := _ASKED.search(text):
        return "correct" if question["reply"] == "yes" else "incorrect"
    sentences = re.findall(r"(?:[^.!?]|[.](?=\d))+[.!?]*", text)
    if any(_says_wrong(s) for s in sentences):
        return "incorrect"
    if any(_says_right(s) for s in sentences):
        return "correct"
    alone = [match for s in sentences if (match := _ALONE.search(s))]
    if alone:
        return "correct" if alone[-1]["right"] else "incorrect"
    if any(_CALLED_RIGHT.search(s) for s in sentences):
        return "correct"
    if any(not match["no"] for match in _ANY_WRONG.finditer(text)) or any(map(_calls_it_wrong, sentences)):
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


def _calls_it_wrong(sentence: str) -> bool:
    match = _THIS_WRONG.search(sentence)
    return match is not None and not sentence.rstrip().endswith("?") and not _DENIED.search(sentence[: match.start()])
