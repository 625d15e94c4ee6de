"""Reads what a critique says of the solution as a whole."""

import re
from collections.abc import Iterator
from typing import Literal

from data_builders.filter.sentences import sentences, simple

Verdict = Literal["correct", "incorrect"]

_NOT = r"(?:not|never|no longer|hardly|far from|nowhere near|neither|anything but)"
_PARTLY = r"(?:part\w*|nearly|most\w*|large\w*|hardly|scarcely|barely|formally|technically|numerically|arithmetically)"
_ADVERB = (
    rf"(?:(?!{_PARTLY}\b)\w+ly|indeed|also|therefore|thus|hence|then|so|still|just|quite|all|both|altogether|in fact|"
    r"of course|after all|as a whole|overall|too|in every respect|well)"
)
_SURE = rf"(?:{_ADVERB}[ ,]+){{0,3}}"
_RIGHT = r"(?:correct|right|accurate|valid|acceptable|accepted|flawless|faultless|✓)(?!\w)"
_WRONG = (
    r"(?:incorrect|wrong|false|unfinished|incomplete|invalid|unacceptable|rejected|erroneous|mistaken|flawed|"
    r"inaccurate|unsound|faulty|✗)(?!\w)"
)
_FINE = (
    r"(?:spot on|well done|nicely done|good|fine|sound|perfect|excellent|bravo|(?:a )?clean solution|full marks|"
    r"full credit|okay|ok|no errors|no mistakes)\b"
)
_POLE = rf"(?:(?P<right>{_RIGHT})|(?P<wrong>{_WRONG}))"
_POLE2 = rf"(?:(?P<right0>{_RIGHT})|(?P<wrong0>{_WRONG}))"
_NOUN = r"(?:solutions?|answers?|attempt|work|submission|response|result|conclusion|argument)"
_WHOSE = (
    r"(?:(?:this|that|the|your|their|his|her|my|its|student's|student’s|candidate's|final|boxed|submitted|given|whole|"
    r"entire|overall|resulting|claimed|proposed|stated|reported) ){0,4}"
)
_IS = r"(?:is|are|was|were|looks|seems|remains|must|has to|can|could)"
_ITS = r"(?!['’])(?P<between>[^.,;:!?()]{0,50}?)"  # "of 68 dollars" in "the answer of 68 dollars is wrong"
_WHOLE = rf"\b{_WHOSE}(?:{_NOUN}\b{_ITS}|(?:student|candidate|you|everything|whole thing)\b(?!['’]))"
_OPENING = (
    r"(?:[^\w…]|\b(?:yes|no|nope|yep|yeah|so|then|thus|hence|therefore|sorry|unfortunately|sadly|alas|well|okay|ok|hmm|"
    r"i am afraid|all in all|in short|in sum|in the end|overall|to conclude|finally|clearly|oh "
    r"dear|jolly|really|i would say|i say|i find|in my view|but)\b){0,20}"
)
_ENDS = (
    r"(?=\W*$|\s*[.,;:!(\[–—✓✗-]|\s+(?:because|since|as|and|so|throughout|here|indeed|after all|to "
    r"me|in (?:every|all|full)|for)\b)"
)
_FOLLOWS = re.compile(rf"(?: {_NOUN}\b)?{_ENDS}")
# What makes "right" speak of a part only: "the work is right up to here", "you are right that".
_PART = re.compile(
    r"\W*(?:that|to|about|up|until|till|as far|as long|so far|except|apart|there|when|if|only|though|although|but|yet|"
    r"however|with|enough|while|whereas|in (?!every|all|full|fact)|on|at|within|by|for the|or|than)\b"
)
_OPEN = re.compile(
    r"\b(?:if|whether|sure|check|verify|through|up to|unless|suppose|assuming|until|would|might|"
    r"may|should|almost|nearly|part\w*|half|"
    r"intermediate|step|line|claims?|thinks?|believes?|says|ask(?:s|ed)?|had|to be)\b"
)

_LABELS = (
    r"(?:verdict|conclusion|judge?ment|grade|assessment|rating|evaluation|decision|ruling|overall|"
    r"status|summary|mark|result)"
)
_LABEL = re.compile(
    rf"^\W*(?:(?:my|the|final|overall|short|in) )*{_LABELS}\b(?: first| on it)? *(?:is\b|[:=.→–—-])[^\w✓✗]{{0,4}}"
    rf"(?:(?:the|this|it|student's|{_NOUN}|is|was|submitted|boxed|final|marked|judged|a|an|as) ){{0,6}}"
    rf"(?:[✓✗] )?(?:(?P<no>{_NOT}) )?{_SURE}{_POLE}{_ENDS[:-1]}|\s+{_NOUN}(?!\W*[\d:])|\s+in\b)"
)
_SUBJECT = re.compile(
    rf"(?:{_WHOLE} ?\b{_IS}|\band the {_NOUN}) {_SURE}(?:(?P<no>{_NOT}) )?(?:be |called |quite |"
    rf"the |a |an ){{0,3}}{_SURE}{_POLE}"
)
_CALLED = re.compile(
    rf"(?:\b(?P<no>{_NOT}) (?:\w+ ){{0,2}})?\b(?:call|mark|reject|judg|grad|rat|consider|deem|"
    rf"find|declar|rul|count|regard|accept)"
    rf"(?:e|es|ed|s|ing)? (?:(?:this|that|the|it|your|student's|final|as|to be|a|an|candidate's|overall|whole|be|"
    rf"{_NOUN}|completely|fully|simply) ){{0,8}}{_POLE}"
)
_ALONE = re.compile(
    rf"^{_OPENING}(?:(?:this|that|it|all|everything|all of it|which) (?:is|was|are|looks|seems) |"
    rf"looks |seems |a (?!few)(?:\w+ )?|(?:\w+ ){{0,2}}and )?"
    rf"{_SURE}(?:(?P<no>{_NOT}) )?(?:a |an |the )?{_SURE}(?:{_POLE}|(?P<fine>{_FINE}))(?: (?:{_NOUN}|one)(?!:))?{_ENDS}"
)
_HEADS = re.compile(rf"\W*(?:the )?(?:{_RIGHT}(?: {_NOUN})?|{_FINE})$")  # "Correct answer: 66", "20 × 4 = 80. Good."
_NO = re.compile(r"\W*(?:no|nope|not quite|not really|not yet|not so)(?:[,.!:;–—]|\s[–—-])")
_LABEL_ALONE = re.compile(rf"\W*(?:(?:my|the|final|overall) )*{_LABELS}\W*")
_KIND = re.compile(
    rf"\b(?:this|that|it|which) is (?:(?P<no>{_NOT}) )?(?:an? |the )?{_SURE}{_POLE} {_NOUN}\b|"
    rf"^\W*(?:a |an )?(?P<wrong2>{_WRONG}) {_NOUN}\b"
)
_HOLDS = re.compile(
    rf"(?:{_WHOLE}|^{_OPENING}(?:it|this|everything|all of it)|(?<!as )\bit) ?"
    rf"(?:\b(?P<wrong>(?:does|do|can|could|will) not (?:hold|stand|work|pass|follow|be (?:accepted|right|correct)|"
    rf"check out|answer the question)|fails|falls (?:apart|short)|breaks down|collapses|(?:is|be) rejected|misses the|"
    rf"(?:gets?|got) (?:this|it) wrong|is not(?=\W*$))\b|{_SURE}"
    rf"(?P<right>stands|holds(?: up)?|checks out|works(?: out)?|passes|(?:deserves|earns|gets) full|can be accepted|"
    rf"(?:gets?|got) (?:this|it) right|is in order)(?=\W*$|[,.;:!]| (?:up|credit|marks|and|as "
    rf"it)\b)|(?:have |has |was )?"
    rf"(?:(?P<no>{_NOT}|does not) )?(?:has|have|gets?|got|gives?|finds?|found|reach(?:es)?|arrives? at|obtains?) "
    rf"(?:the|a) {_POLE2} (?:answer|result|solution|value|number|total)|"
    rf"(?:have |has )?solved (?:the|this) (?:problem|task|question|exercise) "
    rf"(?:(?P<right4>correctly|properly)|(?P<wrong5>"
    rf"incorrectly|wrongly)))|"
    rf"\b(?:i|we) (?:would |can |will )?(?P<no2>{_NOT} |dis)?(?:gladly |happily |fully )?(?P<right2>accept|agree with) "
    rf"(?:this|the|it|your)(?= (?:{_NOUN}|student|candidate|one)|\W*$)|"
    rf"^{_OPENING}(?:(?P<right3>full (?:marks|credit|points))|(?P<wrong3>(?:no|zero) (?:marks|credit|points)))\b|"
    rf"\b(?P<wrong4>marked wrong|answer \S+ rejected|deserves (?:no|zero)|no credit|i (?:must |"
    rf"have to )?reject (?:it|this|the))\b"
)
_RETRACTED = re.compile(
    r"\bi (?:take|took) (?:that|it|this|everything|my \w+|what i said) back\b|\bscratch that\b|\bi stand corrected\b|"
    r"\bi withdraw\b|\bi (?:was|am) (?:wrong|mistaken)\b|\bon (?:second|further|reflection)\b|\bafter all\b"
)
_ASKED = re.compile(rf"(?:\bis (?:(?:the|this|your) {_NOUN}|it|this|that) |^\W*){_RIGHT}\W*\?$")

# What speaks of the whole less surely, where nothing surer is said.
_RESULT = r"(?:totals?|results?|values?|box(?:ed \w+)?|final \w+|claim)"
_ANY_WHOLE = rf"(?:{_NOUN}|reasoning|everything|(?:student|candidate) is)"
_WHOLE_RIGHT = re.compile(rf"\b{_ANY_WHOLE}\b(?P<between>[^.;!?]{{0,60}}?)\b(?:is|are|was|were)\s+{_SURE}{_RIGHT}")
_WHOLE_WRONG = re.compile(
    rf"\b(?:{_ANY_WHOLE}|{_RESULT})\b[^.!?]{{0,90}}?(?:\b(?P<wrong>{_WRONG})|{_NOT} (?:be |called "
    rf"|quite |actually |the )*"
    rf"{_RIGHT})|\bincorrect {_NOUN}|^\W*(?:a )?wrong {_NOUN}\b|\b{_NOT} an? (?:complete|{_RIGHT}) (?:{_NOUN}|one)\b|"
    rf"{_NOT} (?:a |the )?{_RIGHT} {_NOUN}\b"
)
_DENIED = re.compile(r"\b(?:nothing|not|never|no|nowhere|none|if|whether|neither|would|without|free of)\b")
_CALLED_RIGHT = re.compile(
    r"^\W*right answer,? (?:and )?(?:right|good|correct|sound)\b|"
    r"^\W*(?:everything|all|it all|all of it|every step|each step) (?:checks? out|holds?(?: up)?|is in order|is fine)\b"
)
_NO_MISTAKE = re.compile(
    r"\b(?:nothing|not anything) (?:is )?(?:wrong|false|to (?:fix|correct|object|grumble))\b|"
    r"\b(?:no|not a single|not one|not any|without(?: an?y?)?|free of) (?:mistakes?|errors?|"
    r"slips?|faults?|complaints?|flaws?|objections?)\b|"
    r"\b(?:every|each) step is (?:correct|right)|\ball (?:the |of the )?steps are (?:correct|right)"
)

_FAULT = re.compile(
    r"\b(?:forg[oe]t\w*|overlook\w*|misread\w*|mist[oa]k\w*|misappl\w+|confus\w+|mix(?:es|ed) up|flip\w*|swapp\w+|"
    r"interchang\w+|neglect\w*|ignor\w+|omit\w*|miss(?:es|ed|ing)|dropp\w+|lost|errors?|slips?|flaws?|trap|off by|"
    r"too (?:large|small|high|low|big|many|much)|fails?|failed|wrong\w*|false\w*|incorrect\w*|should (?:have|be|read)|"
    r"instead of|rather than|treat(?:s|ed)|reject\w*|is not it|no basis|absurd|impossible|invalid)\b|[✗]|"
    rf"\b{_NOT} (?:be |quite |the |a )*{_RIGHT}|\b(?:answer|result|total) is not [\d$]|^\W*sorry,? but no\b"
)
_PRAISE = re.compile(
    rf"\b(?:is|are|was|were|has (?:this|it)|have) {_SURE}(?:right|correct|true|sound)\b(?! {_NOUN})|\bholds up\b|"
    r"^\W*(?:sound|true|right|correct)\b(?=\s*[.,;!–—]|\W*$)|"
    r"\bas the student (?:says|has|found|does)\b|\bnothing to add\b|\bwell done\b"
)


def find_verdict(text: str) -> Verdict | None:
    """The critique's judgement of the whole solution; None where it gives none.

    The last clear statement on the solution or its answer counts ("Verdict: ...", "the answer is wrong", "Not correct."
    alone), then what is said of it in passing, then any "incorrect" at all, then a fault that is named. Quoted words
    are the student's.
    """
    plainly = _plain_sentences(text)
    if sure := list(_sure(plainly)):
        return sure[-1]
    if any(_says_wrong(s) for s in plainly):
        return "incorrect"
    if any(_says_right(s) for s in plainly):
        return "correct"
    if alone := [match for s in plainly if (match := _ALONE.search(s)) and _closed(match)]:
        return _pole(alone[-1])
    if any(_CALLED_RIGHT.search(s) for s in plainly):
        return "correct"
    return _implied(plainly)


def _implied(plainly: list[str]) -> Verdict | None:
    """What a critique implies that gives no judgement: it names a fault, or calls what was done right."""
    for pattern, verdict in ((_FAULT, "incorrect"), (_NO_MISTAKE, "correct"), (_PRAISE, "correct")):
        for sentence in plainly:
            for match in pattern.finditer(sentence):
                clause = re.split(r"[,;:–—(]|\bbut\b", sentence[: match.start()])[-1]
                if not (sentence.endswith("?") or "avoid" in sentence or _DENIED.search(clause)):
                    return verdict
    return None


def takes_back(text: str) -> bool:
    """Whether a critique judges the solution in both ways: "The solution is wrong. ... So it is correct." """
    return len(set(_sure(_plain_sentences(text)))) > 1


def _plain_sentences(text: str) -> list[str]:
    """The sentences in plain wording, without those that only number a list or hold the box."""
    return [s for s in map(simple, sentences(text)) if re.search(r"[a-z✓✗]|\d\D+\d", s)]


def _sure(plainly: list[str]) -> Iterator[Verdict]:
    """The clear judgements of the whole, sentence by sentence."""
    for i, sentence in enumerate(plainly):
        if _ASKED.search(sentence) and (reply := re.match(r"\W*(yes|no)\b", "".join(plainly[i + 1 : i + 2]))):
            yield "correct" if reply[1] == "yes" else "incorrect"
        if sentence.endswith("?"):
            continue
        if i and _LABEL_ALONE.fullmatch(plainly[i - 1]):
            sentence = f"verdict: {sentence}"
        if label := _LABEL.search(sentence):
            yield _pole(label)
            continue
        if i == 0 and _NO.match(sentence):
            yield "incorrect"
        if i == 0 or i == len(plainly) - 1 or _RETRACTED.search(sentence):
            alone = _ALONE.search(sentence)
            if alone and not _PART.match(sentence, alone.end()) and (i == 0 or not _HEADS.match(alone[0])):
                yield _pole(alone)
        for pattern in (_SUBJECT, _CALLED, _KIND, _HOLDS):
            for match in pattern.finditer(sentence):
                if _is_of_the_whole(match, sentence):
                    yield _pole(match)


def _is_of_the_whole(match: re.Match, sentence: str) -> bool:
    groups = match.groupdict()
    before = re.split(r"[;:&]|, (?:but|and|so|hence|which|i)\b", sentence[: match.start()])[-1]
    before = re.sub(r"\bi would\b", "", before)
    between = groups.get("between") or ""
    if _OPEN.search(between) or _OPEN.search(before[-60:]):
        return bool(
            match.re is not _SUBJECT and (groups.get("no") or groups.get("no2"))
        )  # "I would not call this correct"
    if _pole(match) == "incorrect":
        return not (groups.get("wrong") and _DENIED.search(f"{before[-30:]} {between}"))
    goes_on = match.re is not _HOLDS and not _FOLLOWS.match(sentence, match.end())
    partly = goes_on or _PART.match(sentence, match.end())
    return not partly and not re.search(r"\b(?:not|no|never|nothing|since|because)\b", between)


def _pole(match: re.Match) -> Verdict:
    groups = match.groupdict()
    right = any(value for key, value in groups.items() if key.startswith(("right", "fine")))
    return "correct" if right != bool(groups.get("no") or groups.get("no2")) else "incorrect"


def _says_right(sentence: str) -> bool:
    for match in _WHOLE_RIGHT.finditer(sentence):
        before = sentence[max(0, match.start() - 20) : match.start()]
        if not (_hedged(before) or _hedged(match["between"]) or sentence.endswith("?")):
            return True
    return False


def _hedged(words: str) -> bool:
    return bool(_OPEN.search(words) or re.search(r"\b(?:were|since|because|not|no|never)\b", words))


def _says_wrong(sentence: str) -> bool:
    """Whether a sentence calls the whole wrong, and not "nothing in it is wrong" or "is it wrong?"."""
    if sentence.endswith("?"):
        return False
    for match in _WHOLE_WRONG.finditer(sentence):
        until = match.end("wrong") if match["wrong"] else match.start()
        clause = re.split(r"[,;:–—(]", sentence[:until])[-1]
        if not _DENIED.search(clause):
            return True
    return False


def _closed(match: re.Match) -> bool:
    """Whether a judgement is a sentence of its own, and more than a "Good." or the head of an answer."""
    rest = match.string[match.end() :].strip()
    return not match["fine"] and re.fullmatch(r"[^\w:]*", rest) is not None
