"""Reads what a critique says of the solution as a whole."""

import re
from collections.abc import Iterator
from typing import Literal

from data_builders.filter.sentences import places, simple

Verdict = Literal["correct", "incorrect"]

_NOUN = r"(?:solution|answer|attempt|work|submission|response|result|conclusion|candidate)s?"
_LABEL = (
    r"(?:verdict|conclusion|judge?ment|grade|assessment|rating|evaluation|decision|ruling|status|overall|mark|result)"
)
_RIGHT = (
    r"correct|right|accurate|valid|acceptable|accepted|accept|agree with|flawless|faultless|"
    r"beyond reproach|✓|(?<!as it )stands|"
    r"holds(?: up)?|checks out|works(?: out)?|passes|in order|full (?:marks?|credit|points)|"
    r"solved (?:the|this) (?:problem|task|question|exercise) (?:correctly|properly)"
)
_WRONG = (
    r"incorrect|wrong|false|unfinished|incomplete|invalid|unacceptable|rejected|reject|erroneous|mistaken|flawed|"
    r"inaccurate|unsound|faulty|✗|fails|disagree with|falls (?:apart|short)|breaks down|collapses|(?:no|"
    r"zero) (?:marks?|"
    r"credit|points)|solved (?:the|this) (?:problem|task|question|exercise) (?:incorrectly|wrongly)|"
    r"(?:does|do|can|will) "
    r"not (?:hold|stand|work|pass|check out)(?: up)?"
)
_FINE = (
    r"spot on|well done|well argued|nicely done|perfect|excellent|bravo|great work|"
    r"sound|fine|okay|no (?:errors?|mistakes?)"
)
_POLE = re.compile(rf"(?<![\w'’])(?:(?P<right>{_RIGHT}|(?P<fine>{_FINE}))|(?P<wrong>{_WRONG}))(?![\w'’-])")
_NOT = re.compile(r"\b(?:not|never|no|nothing|neither|nor|hardly|far from|nowhere near|anything but)\b")
# Before the judgement nothing may stand but the subject and words without content.
_PARTLY = r"(?:part|near|most|large|hard|scarce|bare|formal|technical|numerical|arithmetical)ly"
_SUBJECT = rf"(?:{_NOUN}|{_LABEL}|student|you|everything|whole thing)(?:['’]s)?"
_FILLER_WORDS = """
the a an this that these it its his her their your my i we he she they which all both me us student's candidate's
student’s candidate’s one final whole entire overall is are was were be been am has have had looks look seems seem
remains must may can will could do does did to as so too in of on at and then thus hence therefore still just quite
indeed also altogether fact course after end well here why not never no neither nor hardly far from anything but
nowhere near call mark judge grade rate consider deem find declare rule count regard say conclude admit think deserves
earns gets got get give gives finds reaches reach arrives obtains oh dear jolly sorry afraid yes yep yeah sum view short
now wait hmm okay ok every respect good however reason reasons such
"""
_FILLERS = frozenset(_FILLER_WORDS.split())
_ADVERB = re.compile(rf"(?!{_PARTLY})\w+ly|\w+ed")
_VALUE = re.compile(r"[^a-z]*|[^a-z]*\b[a-z]\b[^a-z]*|.*[\d\\^].*")  # "of 68 dollars", "$x=3$"
_BREAK = re.compile(
    r"[,;:()!?.…\[\]]|\s[–—-]\s|[–—]|\b(?:but|because|since|for|so|while|whereas|although|though|that)\b"
)
# After "right": what it is restricted to, or what is only named by it ("the right answer is 12").
_PART = re.compile(
    r"\W*(?:up to (?:here|there|this|that|the|line|step|now|then)|until|till|as far|as long|so far|except|"
    r"apart|when|if|"
    r"only|though|although|but|yet|however|while|whereas)\b|\s*(?:\d|in (?!every|all|full|fact)|"
    r"from (?!the |start|top)|(?!"
    r"because|since|as|and|so|throughout|here|indeed|after|up|in|from|too|for (?:me|all)|to me)[a-z]{2,})"
)
_NAMED = re.compile(rf" (?:\w+ )?{_NOUN}\b")
_SAYS = re.compile(r"\W*(?:[:\d$\\=]|is\b|was\b|would\b)")
_STUDENT = re.compile(rf"\b(?:student|you|candidate|{_NOUN}|he|she|they)\b")
_BACK = re.compile(
    r"\b(?:take|took) (?:that|it|this|everything|my \w+|what i said) back\b|\bscra(?:tch|p)\b|\bi stand corrected\b|"
    r"\bwithdraw\b|\bi (?:was|am) (?:wrong|mistaken)\b|\bon (?:second|further|reflection)(?: thoughts?|"
    r" reflection)?\b|\bthen again\b|\bafter all\b"
)
_LABELLED = re.compile(rf"^\W*((?:\w+ ){{0,3}}{_LABEL}\b(?: first| on it)?)(?: is\b)?\s*[:=.→–—-]+[^\w✓✗]*")
_ASKED = re.compile(
    rf"\W*(?:so |and )?(?:is|are|was) (?:it|this|that|all|everything|(?:\w+ )?{_NOUN}) (?:\w+ )?(?:{_RIGHT})\?"
)
_LABEL_ALONE = re.compile(rf"\W*(?:\w+ ){{0,3}}{_LABEL}\W*")
_NO = re.compile(r"\W*(?:no|nope|not quite|not really|not yet|not so)(?:[,.!:;–—]|\s[–—-]|\W*$)")
_YES = re.compile(r"\W*(?:yes|yep|yeah)\W*$")
_OBJECTION = re.compile(
    r"\b(?:mistakes?|errors?|slips?|flaws?|wrong(?:ly)?|incorrect(?:ly)?|false|invalid|reject\w*|"
    r"not (?:allowed|valid|right|"
    r"correct|justified|accepted|acceptable|accept|hold|follow)|unacceptable|unjustified|fails?|no credit)\b|✗"
)
_DENIED = re.compile(
    r"\b(?:no|not|never|nothing|none|nowhere|without|neither|free of|if|whether|some|many|often|avoid\w*)\b"
)


def find_verdict(text: str, implied: Verdict | None = None) -> Verdict | None:
    """The critique's judgement of the whole solution; None where it gives none.

    The last clear statement on the solution or its answer counts ("Verdict: ...", "the answer is wrong", "Not correct."
    alone). Where there is none, it is what the critique's own answer implies, unless that is "correct" and the text
    objects to something. Quoted words are the student's.

    Args:
        implied: "correct" if the critique ends in the candidate's answer, "incorrect" if it ends in another one.
    """
    plainly = [sentence for sentence, _, _ in _plain_sentences(text)]
    if sure := [verdict for _, verdict in _sure(plainly)]:
        return sure[-1]
    return "incorrect" if implied == "correct" and any(map(_objects, plainly)) else implied


def takes_back(text: str) -> bool:
    """Whether a critique judges the solution in both ways: "The solution is wrong. ... So it is correct." """
    plainly = [sentence for sentence, _, _ in _plain_sentences(text)]
    return len({verdict for _, verdict in _sure(plainly)}) > 1


def verdict_places(text: str, answer: str | None = None) -> list[tuple[int, int]]:
    """Where the sentences begin and end that judge the whole, in the order of the text.

    These are the clear ones, as for `find_verdict`, and all in which "wrong" or its like stands beside a word for the
    whole or beside the solution's `answer`: "two slips make the solution incorrect", "and so 312 is wrong".
    """
    plainly = _plain_sentences(text)
    judging = {i for i, _ in _sure([sentence for sentence, _, _ in plainly])}
    whole = rf"\b{_NOUN}\b" + (rf"|(?<![\d.]){re.escape(answer)}(?!\d)" if answer else "")
    for i, (sentence, _, _) in enumerate(plainly):
        poles = _POLE.finditer(sentence)
        if not sentence.endswith("?") and any(p["wrong"] for p in poles) and re.search(whole, sentence):
            judging.add(i)
    return [plainly[i][1:] for i in sorted(judging)]


def _plain_sentences(text: str) -> list[tuple[str, int, int]]:
    """The sentences in plain wording, with their places, without those that only number a list or introduce the box."""
    pieces = [(simple(piece), "\\boxed" in piece, place) for piece, *place in places(text)]
    told = [(s, *place) for s, boxed, place in pieces if not boxed or len(s.split()) > 5 or _POLE.search(s)]
    return [row for row in told if re.search(r"[a-z]", row[0])]


def _objects(sentence: str) -> bool:
    """Whether a sentence names a fault, and not "no mistake" or "is it wrong?"."""
    for match in _OBJECTION.finditer(sentence):
        clause = re.split(r"[,;:–—(]|\bbut\b", sentence[: match.start()])[-1]
        if not (sentence.endswith("?") or _DENIED.search(clause) or re.search(r"\b(?:if|would|were)\b", sentence)):
            return True
    return False


def _sure(plainly: list[str]) -> Iterator[tuple[int, Verdict]]:
    """The clear judgements of the whole, each with the number of its sentence."""
    for i, sentence in enumerate(plainly):
        if sentence.endswith("?"):
            continue
        if (i == 0 or _ASKED.match(plainly[i - 1])) and (reply := _NO.match(sentence) or _YES.match(sentence)):
            yield i, "incorrect" if reply.re is _NO else "correct"
        if i and _LABEL_ALONE.fullmatch(plainly[i - 1]):
            sentence = f"verdict: {sentence}"
        sentence = _LABELLED.sub(r"\1 is ", sentence)
        at_an_end = i == 0 or i == len(plainly) - 1 or bool(_BACK.search(sentence))
        sentence = _BACK.sub(" ", sentence)
        for match in _POLE.finditer(sentence):
            if i and re.match(r"\W*:", sentence[match.end() :]) and not sentence[: match.start()].strip():
                continue  # "Right: 3 · 5 = 15", the head of a calculation
            if verdict := _judgement(sentence, match, at_an_end):
                yield i, verdict


def _judgement(sentence: str, match: re.Match, at_an_end: bool) -> Verdict | None:
    """What one "right" or "wrong" says of the whole; None where it speaks of something else."""
    start = max([0, *(b.end() for b in _BREAK.finditer(sentence, 0, match.start()))])
    before, named = sentence[start : match.start()].replace("i would ", "i "), _NAMED.match(sentence, match.end())
    if (subject := _subject(before)) is None and " and " in before:
        before = before[before.rindex(" and ") + 5 :]
        subject = _subject(before)
    if subject is None or re.search(r"\b(?:has|have|had|got|get|gets) (?:this|that|it|these|all)\W*$", before):
        return None
    right = (match["right"] is not None) == (not _NOT.search(before))
    after, verb = match.end(), match[0] in ("accept", "agree with", "disagree with", "reject")
    if named:
        after, subject = named.end(), subject or verb
        if not before.strip() and _SAYS.match(sentence, after):
            return None  # "Correct answer: 66"
        if right and re.search(r"\bthe\W*$", before) and not _STUDENT.search(before):
            return None  # "this is the right answer" may speak of the critique's own
    of_answer = re.search(r"\banswer\b", before) and re.match(r"\W*(?:but|though|although|however)\b", sentence[after:])
    if right and not (verb and named) and _PART.match(sentence, after) and not (of_answer or "verdict is" in before):
        return None
    if not subject:
        begins = re.match(r"so|hence|thus|therefore", before.strip()) or _subject(sentence[:start]) is not None
        if not (at_an_end and (begins or not right)) or match[0] in ("✓", "✗", "sound", "fine", "okay"):
            return None
    return "correct" if right else "incorrect"


def _subject(before: str) -> bool | None:
    """Whether the words before a judgement name the whole as its subject; None if they name something else."""
    words, named, number = before.split(), False, False
    for word in words:
        bare = word.strip("*_\"'’“”,.:;!()–—-")
        if re.fullmatch(_SUBJECT, bare):
            named, number = named or not bare.endswith(("'s", "’s")), False
        elif not bare or bare in _FILLERS or _ADVERB.fullmatch(bare):
            number = False
        elif named and (number or _VALUE.fullmatch(bare)):
            number = not number
        else:
            return None
    return named
