"""The false calculations that a critique makes itself: what must never train, however right its verdict and its box.

Beyond plain equations (`data_builders.arithmetic.claims`) these are read: "26 times 4 is 106", "half of 85 is 43.5",
"10% of 60 is 8", "2401 = 5 · 460 + 1", estimates with ≈, and true equations that are denied ("7 × 7 is not 49"). Words
in quotes are the student's, and so is a false calculation that stands in the candidate.
"""

import re
from collections.abc import Iterator
from fractions import Fraction

from data_builders.arithmetic.claims import Claim, claims
from data_builders.arithmetic.expressions import show
from data_builders.arithmetic.markup import QUOTE, fold

CLOSE_ENOUGH = Fraction(2, 100)  # of an estimate with ≈; exact statements may be off by a hundredth of this
_NUMBER = r"\\?\$?(\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?)(?![\d/^]|\.\d)"
_IS = r"\s+(?:is|are|was|would be|makes|gives|equals|comes to|=)\s+"
_SHARES = {
    "half": "1/2",
    "a third": "1/3",
    "one third": "1/3",
    "two thirds": "2/3",
    "a quarter": "1/4",
    "one quarter": "1/4",
    "three quarters": "3/4",
    "a fifth": "1/5",
    "a tenth": "1/10",
    "twice": "2",
    "double": "2",
}
# "half of the 14 boxes is 14 / 2" goes on
_ENDS = r"(?!\s*(?:[/×*+·÷−–-]|\\times|\\cdot|\\div|\\?%|percent))"
_ASIDE = r"(?:,[^.,;\n]{0,60},)?"
_PART = re.compile(
    rf"\b({'|'.join(_SHARES)}) (?:of )?(?:the )?{_NUMBER}(?: [a-z]+)?{_ASIDE}{_IS}(?:only )?{_NUMBER}{_ENDS}",
    re.IGNORECASE,
)
_PERCENT = re.compile(
    rf"(\d+(?:\.\d+)?)\s*(?:\\?%|percent|per cent) of (?:the )?{_NUMBER}(?: [a-z]+)?{_ASIDE}{_IS}"
    rf"(?:only )?{_NUMBER}{_ENDS}"
)
_DENIAL = re.compile(r"\s(?:is not|isn't|isn’t|does not equal|is never)\s|\s*(?:≠|\\neq?(?![a-z]))\s*")
_CALLED_FALSE = re.compile(
    r"[\s,;.)$\\]{0,4}but (?:that|this|it) is (?:not (?:what|true|so|right|correct)|wrong|false|incorrect)\b"
)
_ABOUT = re.compile(r"\s*(?:≈|\\approx(?![a-z]))\s*")


def false_calculations(text: str, candidate: str) -> list[str]:
    """The excerpts of a critique that calculate falsely, word forms written as signs."""
    unquoted, written = QUOTE.sub(" … ", text), fold(candidate)
    theirs = {_what(claim) for claim in claims(_signs(candidate), both_ways=True)}
    theirs |= {what for _, what in _false_parts(candidate)}
    false = [*_false_equations(unquoted), *_false_parts(unquoted)]
    own = [excerpt for excerpt, what in false if what not in theirs and fold(excerpt) not in written]
    return own + list(_false_denials(unquoted))


def _what(claim: Claim) -> tuple[str, Fraction]:
    return show(claim.expression), claim.value


def _signs(text: str) -> str:
    for words, sign in (("times", "×"), ("divided by", "÷")):
        text = re.sub(rf"(?<=\d) {words} (?=\\?\$?\d)", f" {sign} ", text)
    return text


def _false_equations(text: str) -> Iterator[tuple[str, tuple[str, Fraction]]]:
    signs = _signs(text)
    for claim in claims(signs, both_ways=True):
        if claim.slip:
            yield signs[claim.start : claim.end], _what(claim)
    about = _ABOUT.sub(" = ", signs)
    for claim in claims(about):
        excerpt, true = about[claim.start : claim.end], claim.true
        if claim.slip and excerpt not in signs and abs(true - claim.value) > CLOSE_ENOUGH * abs(true):
            yield excerpt, _what(claim)


def _false_parts(text: str) -> Iterator[tuple[str, tuple[str, Fraction]]]:
    for pattern in (_PART, _PERCENT):
        for match in pattern.finditer(text):
            first, of, claimed = match.groups()
            share = Fraction(_SHARES[first.lower()]) if pattern is _PART else Fraction(first) / 100
            true, stated = share * _value(of), _value(claimed)
            if abs(true - stated) > CLOSE_ENOUGH / 100 * abs(true):
                yield match[0], (f"{share} of {of}", stated)


def _false_denials(text: str) -> Iterator[str]:
    """True equations of which the text says that they do not hold."""
    signs = _signs(text)
    for claim in claims(signs):
        if not claim.slip and _CALLED_FALSE.match(signs, claim.end):
            yield f"{signs[claim.start : claim.end]} is called false"
    for match in _DENIAL.finditer(signs):
        before = re.split(r"[.;!?\n]\s", signs[: match.start()])[-1]
        equation = f"{before} = {signs[match.end() : match.end() + 30]}"
        for claim in claims(equation):
            if claim.start < len(before) < claim.end and not claim.slip:
                yield f"{before[claim.start :]} is not {claim.value}"


def _value(number: str) -> Fraction:
    return Fraction(number.replace(",", ""))
