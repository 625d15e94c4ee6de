"""What is wrong with a critique's wording, whatever it judges: leaked instructions, a torn end, another language."""

import re
import unicodedata
from collections import Counter

from data_builders.arithmetic.markup import plain

# Words that a critic uses only if it was told the answer, or speaks of its task or of itself.
_LEAKS = re.compile(
    r"""
    \b(?:reference|gold(?:en)?|ground[- ]truth|expected|official|model|provided|supplied)\ #
        (?:(?:final|correct|true|right)\ )?(?:answer|solution)s?\b
    | \b(?:match(?:es|ing)?|agrees?\ with|equals?|same\ as|contradicts?|differs?\ from)\ the\ (?:given|known|stated)\ #
        (?:(?:final|correct|true|right)\ )?(?:answer|solution|result)
    | \b(?:answer|solution|result)s?\ (?:that\ (?:is|was)\ |which\ (?:is|was)\ )?
        (?:given|provided|supplied|told)\ to\ (?:me|us)\b
    | (?<!no\ )(?<!no\ final\ )\b(?:correct|true|right|final)\ answer\ (?:is\ |was\ |has\ been\ |that\ (?:is|was)\ )
        (?:given|provided|supplied|known|expected)\b
    | \banswer\ (?:key|sheet)\b | \bground[- ]truth\b
    | \bi(?:['’]ve\ been|['’]d\ been|['’]m|\ (?:was|am|have\ been|had\ been))\ (?:also\ |only\ |not\ )?(?:told|
        asked|given|instructed|supplied|provided|handed|shown|informed|prompted|requested|required|supposed|allowed|briefed)\b
    | \bwe\ (?:were|are|have\ been)\ (?:given|told|provided|supplied)\b[^.]{0,30}\b(?:answer|solution|result)
    | \bwe\ (?:were|are|have\ been)\ (?:asked|instructed|told)\ not\ to\b | \bwe\ (?:were|have\ been)\ instructed\b
    | \b(?:answer|solution|result|value)s?\ (?:that\ |which\ )?(?:i|we)\ (?:have\ here|hold|was|were|have\ been)\b
    | \b(?:answer|solution|result)s?\ (?:(?:that|which)\ )?(?:is\ |was\ |were\ |came\ )?(?:supplied|provided|
        furnished|attached|along)\ (?:with|above|below|along)\b
    | \b(?:answer|solution|result)s?\ (?:on\ (?:file|record)|page|sheet|booklet|manual|key)\b
    | \b(?:known|target)\ (?:(?:final|correct|true|right)\ )?answer\b | \banswer\ is\ (?:already\ )?known\ to\ be\b
    | \b(?:mark(?:ing)?|grading)\ scheme\b | \brubric\b | \bback\ of\ the\ book\b | \bthe\ hint\b | \bword\ limit\b
    | \b(?:disclosed|revealed|told|shown|communicated|known|available|provided)\ to\ me\b
    | \bi\ (?:happen\ to\ )?know\ (?:from|that\ the\ answer)\b | \bmy\ (?:task|job|assignment|brief|role)\b
    | \bmy\ notes\b | \bthe\ key\ (?:says|gives|states|has|lists)\b | \bsample\ (?:answer|solution)\b
    | \baccess\ to\ the\ (?:answer|solution|key)\b
    | \bthe\ system\ (?:wants|says|asks|told|requires)\b
    | \bas\ (?:requested|instructed|required\ by\ the\ (?:prompt|instructions))\b
    | \bas\ per\ (?:the|your)\ (?:instruction|request|prompt)s?\b
    | \b(?:the|your|these|my|above)\ (?:system\ )?(?:instruction|prompt|guideline|message|template)s?\b
        (?!\ of\ the\ (?:story|problem|question|exercise|task))
    | \byou\ (?:asked|wanted|told|requested|instructed)\ (?:me|for|us)\b
    | \ban?\ (?:ai|artificial\ intelligence|(?:large\ )?language\ model)\b | \bmy\ training\b
    | \bi(?:'m|\ am)?\ (?:cannot|can't|can\ not|unable\ to|sorry)\b[^.]{0,40}\b(?:help|assist|comply|provide)\b
    | \b(?:sure|certainly|of\ course|absolutely)[,!]\ (?:here|i|let\ me|below)\b
    | \bhere(?:'s|\ is|’s)\ (?:the|a|my|your)\ (?:\w+\ ){0,3}(?:critique|evaluation|assessment|review|judge?ment)\b
    | \b(?:let\ me\ know|feel\ free\ to|hope\ (?:this|that)\ helps|happy\ to\ help)\b
    """,
    re.VERBOSE | re.IGNORECASE,
)
_MARKS = re.compile(
    r"<\|[^|>\n]{1,40}\|>|</?(?:think|thinking|reasoning|answer|s|user|assistant|system|im_start|im_end|eos|bos)>"
    r"|\[/?(?:INST|END|SYS|EOS|BOS|CRITIQUE|STUDENT|SOLUTION|ANSWER)\]|<</?SYS>>"
    r"|\{(?:question|solution|answer|problem|critique)\}"
    r"|^\s*(?:#+\s*)?\**(?:Human|User|Assistant|System|Instructions?|Student's solution|Reference(?: answer)?|"
    r"(?:The )?(?:Problem|Question)(?: \d+)?)\**\s*:",
    re.IGNORECASE | re.MULTILINE,
)
_BOX_END = re.compile(r"\\boxed\s*\{")
_ENDS = (".", "!", "?", "}", "$", ")", "]", "*", "`", '"', "”", "…", ":")
_LETTERS = re.compile(r"[^\W\d_]")
_ENGLISH_WORDS = """
the a an of to and in is it that this for on with as are was be by not at from or but so we have has its if then which
which's what where their they them there these those all each both after before only also because should would could can
cannot will does do did no than into one two when how student answer solution step
"""
_FOREIGN_WORDS = """
der das und ist nicht ein eine einer dem den des mit auf für von zu sich auch wird sind aber oder wenn wurde diese
dieser dieses lösung antwort also hier muss schritt richtig falsch
le la les et est une du dans pour pas que qui sur avec donc cette sont mais réponse étape erreur faux
el los las una es por para con pero como del se su lo más esta este solución respuesta paso correcta entonces
il che di per non della sono questo soluzione o os um uma não são da dos resposta passo
het een van niet zijn maar wordt jest nie się jak ale bu ve bir için değil yang dan tidak adalah ini untuk jawaban
"""
_ENGLISH = frozenset(_ENGLISH_WORDS.split())
_FOREIGN = frozenset(_FOREIGN_WORDS.split()) - _ENGLISH
_QUOTED = re.compile(r'"[^"\n]*"|“[^”\n]*”')
_SENTENCE = re.compile(r"[^.!?\n]+[.!?\n]*")


def leak(text: str) -> str | None:
    """The words that tell of instructions, of a given answer or of a chat's machinery; None if there are none."""
    match = _MARKS.search(text) or _LEAKS.search(_QUOTED.sub(" ", text))
    return match[0].strip() if match else None


def ends_properly(text: str, most_after: int = 240) -> bool:
    """Whether the text comes to an end: its last sentence is closed, and only a short remark follows the box."""
    text = text.rstrip()
    boxes = list(_BOX_END.finditer(text))
    if boxes:
        after = text[_closing(text, boxes[-1].end()) :]
        if len(after.strip()) > most_after:
            return False
        if not re.search(r"[A-Za-z]{2}", plain(after)):
            return True
    if text.count("```") % 2:
        return False
    if re.search(r"(?:^|\n)\s*(?:\d+[.)]|[-*•])\s*$", text):
        return False  # an item of a list that was never written
    last = re.sub(r"[*_`~]+$", "", text)
    if re.search(r"\b(?:verdict|conclusion)\W+\w+\W*$|\n[^\n.:]{2,40}: [^\n=:]*\d[^\n=:.]*$", last, re.IGNORECASE):
        return True
    return last.endswith(_ENDS) and not last.endswith((":", "(", "=", ","))


def repeats(text: str, times: int = 3) -> bool:
    """Whether a sentence of five words or more stands there `times` times: a model that went round in circles."""
    sentences = [" ".join(s.casefold().split()) for s in _SENTENCE.findall(text)]
    counted = Counter(s for s in sentences if len(s.split()) >= 5)
    return any(n >= times for n in counted.values())


def foreign(text: str) -> bool:
    """Whether an essential part is not in English: letters of another script, or sentences of another language."""
    letters = _LETTERS.findall(re.sub(r"\\[A-Za-z]+", " ", text))
    beyond = [unicodedata.name(c, "") for c in letters if ord(c) > 0x24F and c.isalpha()]
    if sum("GREEK" not in name and "MATHEMATICAL" not in name for name in beyond) >= 4:
        return True
    run = 0
    for sentence in _SENTENCE.findall(_QUOTED.sub(" ", plain(text))):
        words = re.findall(r"[^\W\d_]+(?:['’][^\W\d_]+)?", sentence)
        words = [word.casefold() for word in words if len(word) > 1 or word in "aoey"]
        other, english = sum(w in _FOREIGN for w in words), sum(w in _ENGLISH for w in words)
        if (len(words) >= 4 and other >= 2 and other > english) or (len(words) >= 5 and other and not english):
            run += len(words)
        if run >= 6:
            return True
    return False


def _closing(text: str, start: int) -> int:
    """Index behind the brace that closes the one before `start`; the text's length if none does."""
    depth = 1
    for i in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[i], 0)
        if depth == 0:
            return i + 1
    return len(text)
