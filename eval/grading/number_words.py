"""Numbers that are written in words: `forty-two`, `three quarters`, `two and a half`, `third`."""

import re

_TO_SIXTEEN = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
SMALL, TENS = f"{_TO_SIXTEEN} seventeen eighteen nineteen".split(), _TENS.split()
CARDINALS = {word: n for n, word in enumerate(SMALL)} | {word: 10 * n for n, word in enumerate(TENS, 2)}
_SCALES = {"hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9}
_IRREGULAR = {"one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth",
              "twelve": "twelfth"}  # fmt: skip
_ORDINALS = {
    _IRREGULAR.get(word, re.sub("y$", "ie", word) + "th"): number for word, number in (CARDINALS | _SCALES).items()
}
_PARTS = {"half": 2, "halve": 2, "quarter": 4} | {word: n for word, n in _ORDINALS.items() if n > 2}
_NEGATIVE = ("negative", "minus")
_MOST_WORDS = 12


def number_in_words(text: str) -> str | None:
    r"""LaTeX of a number: `42`, `\frac{3}{4}`, `2\frac{1}{2}`, `3\text{rd}`; None for any other text."""
    words = re.sub(r"[\s-]+", " ", text.casefold()).split()
    if not 0 < len(words) <= _MOST_WORDS:
        return None
    if words[0] in _NEGATIVE:
        found = number_in_words(" ".join(words[1:])) if words[1:2] != words[:1] else None
        return f"-{found}" if found and "text" not in found else None
    value = _cardinal(words)
    if value is not None:
        return str(value)
    *before, last = words
    if len(before) > 1 and before[-2] == "and":  # two and a half
        whole, part = _cardinal(before[:-2]), _fraction(before[-1:], last)
        return f"{whole}{part}" if whole is not None and part else None
    if part := _fraction(before, last):
        return part
    if before and before[-1] in CARDINALS and CARDINALS[before[-1]] >= 20 and _ORDINALS.get(last, 10) < 10:
        before = [*before[:-1], str(CARDINALS[before[-1]])]
    leading = 0 if not before else int(before[-1]) if before[-1].isdecimal() and len(before) == 1 else None
    if leading is None or last not in _ORDINALS:
        return None
    value = leading + _ORDINALS[last]
    ending = "th" if value % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(value % 10, "th")
    return rf"{value}\text{{{ending}}}"


def _cardinal(words: list[str]) -> int | None:
    """`four hundred and five`, each word smaller than the one before it, or multiplying what stands before it."""
    total = group = 0
    last = 10**12  # value of the word before, or of what it multiplied
    for place, word in enumerate(words):
        if word == "and" and 0 < place < len(words) - 1 and words[place - 1] in _SCALES:
            continue
        if word == "a" and place == 0 and len(words) > 1 and words[1] in _SCALES:
            group, last = 1, 1
        elif word in CARDINALS:
            number = CARDINALS[word]
            if (number == 0 and len(words) > 1) or last < 20 or (last < 100 and number > 9):
                return None
            group, last = group + number, number
        elif word == "hundred" and 0 < group < 20:
            group, last = group * 100, 100
        elif word in _SCALES and word != "hundred" and group and (not total or total % (1000 * _SCALES[word]) == 0):
            total, group, last = total + group * _SCALES[word], 0, 1000
        else:
            return None
    return total + group if words else None


def _fraction(above: list[str], below: str) -> str | None:
    """`three quarters`, `a half`, `half`; an ordinal alone is none."""
    plural = below.endswith("s")
    part = _PARTS.get(below.removesuffix("s"))
    count = 1 if above in ([], ["a"], ["one"]) else _cardinal(above)
    if not part or not count or plural is (count == 1) or (not above and below not in ("half", "quarter")):
        return None
    if count >= 20 and not plural:
        return None  # twenty-third
    return rf"\frac{{{count}}}{{{part}}}"
