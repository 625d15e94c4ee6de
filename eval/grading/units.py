r"""What stands behind a number: measures (`km/h`, dollars, AM), things that are counted (apples), words that change it.

A measure or a counted thing may be left out on one side; two that differ are different, and a word of which nothing is
known (`below zero`, `in debt`, `north`) stands on both sides or makes the answers differ.
"""

import re
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction

from eval.grading.unit_words import (
    ASPECTS,
    CONVERSIONS,
    COUNTED,
    FILLERS,
    MARKS,
    MONEY,
    NOT_UNITS,
    POWERS_AFTER,
    POWERS_BEFORE,
    SCALES,
)

_TOKEN = re.compile(r"/|\^-?\d|[^\W\d_]+|\d")
_DENOMINATOR = re.compile(r"\\frac\{(.*)\}\{(.*)\}|/\(([^()]*)\)")
_CLOCK = re.compile(r"(?<![A-Za-z])([AaPp])\.?\s?[Mm]\.?(?![A-Za-z])")
_MOST_WORDS = 8


@dataclass(frozen=True)
class Unit:
    """What a number is a number of.

    Attributes:
        measures: names of the dimensions and their powers, in order of name: kilometres an hour are
            (("metre", 1), ("second", -1)).
        factor: what one of it is in its base unit: 1000 for a kilometre.
        kind: words before a measure, which make it another one (`light` years).
        things: what is counted, in the singular, the noun itself last: (green, apple).
        marks: all other words.
    """

    measures: tuple[tuple[str, int], ...] = ()
    factor: Fraction = Fraction(1)
    kind: frozenset[str] = frozenset()
    things: tuple[str, ...] = ()
    marks: frozenset[str] = frozenset()

    def agrees(self, other: "Unit", *, convert: bool) -> bool:
        """Whether both may be compared: the same (`convert`: but for its size), or one side has none and no marks."""
        if self.marks != other.marks:
            return False
        if not all(unit.measures or unit.kind or unit.things for unit in (self, other)):
            return True
        if self.kind != other.kind or not (convert or self.factor == other.factor) or not self._measures_as(other):
            return False
        one, two = set(self.things), set(other.things)
        return not (one and two) or (self.things[-1] == other.things[-1] and (one <= two or two <= one))

    def _measures_as(self, other: "Unit") -> bool:
        """Whether the dimensions are the same; pounds are money or a mass."""
        names = [name for unit in (self, other) for name, power in unit.measures if power == 1]
        return self.measures == other.measures or (
            len(self.measures) == len(other.measures) == 1 and sorted(names) in (["lb", "pound"], ["pound", "sterling"])
        )


NO_UNIT = Unit()


def read_unit(phrase: str, number: str) -> tuple[Unit, int] | None:
    """The unit that a phrase behind a number says, and its scale (a dozen: 12); None where it is no unit."""
    phrase = re.sub(r"\^\{(\\text\{[^{}]*\})\}", r"\1", phrase)  # 3^{\text{rd}}
    spelling = re.sub(r"\\text\{([^{}]*)\}|\\cdot(?![A-Za-z])|\\mu(?![A-Za-z]) ?", _spell, phrase)
    spelling = re.sub("(平方|立方)", r" \1 ", spelling)
    spelling = _CLOCK.sub(lambda m: f" {m[1].lower()}m ", _DENOMINATOR.sub(_divide, spelling))
    spelling = re.sub(r"\^\{?(-?\d)\}?|(?<=[A-Za-z])([23])(?![\dA-Za-z])", r" ^\1\2 ", spelling)
    tokens = _TOKEN.findall(spelling)
    if re.sub(r"[\s.,'’\-{}()~*]", "", spelling) != "".join(tokens).replace("-", "") or len(tokens) > 3 * _MOST_WORDS:
        return None
    return _Phrase(tokens, number).read()


def measure(word: str) -> tuple[str, Fraction] | None:
    """Dimension and size of a unit; `M` is no metre and `mM` no millimetre, but `KM` and `Km` are kilometres."""
    other_case = len(word) > 1 and (word.isupper() or word.istitle())
    return CONVERSIONS.get(word) or (CONVERSIONS.get(word.casefold()) if other_case else None)


def singular(word: str) -> str:
    """A rough stem, so that `boxes` and `box` are one thing."""
    return re.sub(r"(?<=..)(?:(?<=[sxz])es|(?<=[cs]h)es|s)$", "", re.sub("ies$", "ys", word))


class _Phrase:
    """Tokens of a phrase, read from left to right."""

    def __init__(self, tokens: list[str], number: str) -> None:
        self.tokens, self.number = tokens, number
        self.found: list[tuple[str, Fraction, int]] = []  # dimension, size, power
        self.words: list[tuple[str, str]] = []  # a word, and "before" or "after" the first measure, or "of"

    def read(self) -> tuple[Unit, int] | None:
        scale, sign, power, of = 1, 1, 1, False
        for place, token in enumerate(self.tokens):
            word = token.casefold()
            degrees = bool(self.found) and self.found[-1][0] == "degree"
            if token == "/" or (
                (word in ("per", "an", "every") or token == "a") and (self.found or self.words or word == "per")
            ):
                sign, of = -1, True
            elif token == "a" or word == "an" or self._says_nothing(place):
                of = of or word == "of"
            elif word in ASPECTS:
                self.words += [(word, "of")] if self.found else []
            elif word in SCALES and not self.found and not self.words:
                scale *= SCALES[word]
            elif word in POWERS_BEFORE:
                power = POWERS_BEFORE[word]
            elif self.found and (token[0] == "^" or word in POWERS_AFTER):
                name, size, before = self.found.pop()
                self.found.append((name, size, (1 if before > 0 else -1) * (POWERS_AFTER.get(word) or int(token[1:]))))
            elif word in NOT_UNITS or not token[0].isalpha():
                return None
            elif word in ("celsius", "fahrenheit") or (word in ("c", "f") and degrees):
                self.found = self.found or [("degree", Fraction(1), 1)]
                self.words.append((word[0], "of"))
            elif known := measure(token):
                if not (known[0] in MONEY and any(name == known[0] for name, *_ in self.found)):  # $5 dollars
                    self.found.append((*known, sign * power))
                sign, power, of = 1, 1, False
            else:
                self.words.append((word, "of" if of else "after" if self.found else "before"))
                sign, power, of = 1, 1, False
        return self._unit(), scale

    def _says_nothing(self, place: int) -> bool:
        """Whether a word is a filler: `in` and `us` are units, except in `in total` and `us dollars`."""
        word, after = (token.casefold() for token in (*self.tokens, "")[place : place + 2])
        if word not in FILLERS or not measure(word):
            return word in FILLERS
        return after in ("total", "all", "the", "each") or (measure(after) or [""])[0] in MONEY

    def _unit(self) -> Unit:
        powers: Counter[str] = Counter()
        factor = Fraction(1)
        for name, size, power in self.found:
            powers[name] += power
            factor *= size**power
        before, after, of = (
            [word for word, place in self.words if place == wanted] for wanted in ("before", "after", "of")
        )
        if self.found:
            kind, things, marks = before, of, after
        else:
            last = max((place for place, word in enumerate(before) if self._is_counted(word, before)), default=-1)
            kind, things, marks = [], (of if last >= 0 else []) + before[: last + 1], before[last + 1 :]
            marks += [] if last >= 0 else of
        marks = [word for word, _ in self.words if word in MARKS or word in marks]
        return Unit(
            tuple(sorted(powers.items())),
            factor,
            frozenset(set(kind) - set(marks)),
            tuple(singular(word) for word in things if word not in marks),
            frozenset(marks),
        )

    def _is_counted(self, word: str, words: list[str]) -> bool:
        if word in MARKS or word in SCALES:
            return False
        plural = len(word) > 3 and re.search("(?<![siu])(?<!th)(?<!illion)s$", word) is not None
        return word in COUNTED or plural or (self.number == "1" and words == [word] and len(word) > 2)


def _spell(match: re.Match[str]) -> str:
    return f" {match[1]} " if match[1] is not None else "µ" if match[0].startswith(r"\mu") else " "


def _divide(match: re.Match[str]) -> str:
    below = match[2] if match[2] is not None else match[3]
    return f"{match[1] or ''} / " + " / ".join(re.findall(r"\S+?(?:\s*\^\{?-?\d\}?)?(?=\s|$)", below))
