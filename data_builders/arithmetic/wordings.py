"""Rewrites what a text says in words as signs: "one third is about 36 %" becomes `1/3 ≈ 36 %`."""

import re

from data_builders.arithmetic.markup import braced
from data_builders.arithmetic.units import UNITS

_SMALL = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
_SMALL = (_SMALL + " eighteen nineteen").split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_VALUES = {word: i for i, word in enumerate(_SMALL)} | {word: 10 * i for i, word in enumerate(_TENS, 2)}
_PARTS = {"half": 2, "halves": 2, "quarter": 4, "third": 3, "fifth": 5, "eighth": 8, "ninth": 9, "twelfth": 12}
_PARTS |= {f"{word}th": n for word, n in _VALUES.items() if n in (4, 6, 7, 10, 11, *range(13, 20))}
_PARTS |= {f"{word[:-1]}ieth": n for word, n in _VALUES.items() if word in _TENS}
_ORDINALS = {"first": 1, "second": 2} | {word: n for word, n in _PARTS.items() if 2 < n < 10 and word != "quarter"}
_TEN = "|".join(_TENS)
_ONE = "|".join(_SMALL[1:10])
_COUNT = rf"(?:(?:{_TEN})(?:[- ](?:{_ONE}))?|{'|'.join(_SMALL[1:])})"
_PART = rf"(?:(?:{_TEN})-(?:{'|'.join(_ORDINALS)})|{'|'.join(sorted(_PARTS, key=len, reverse=True))})s?"
_UNIT = rf"(?:(?:square|cubic)\s+)?(?:{'|'.join(sorted(UNITS, key=len, reverse=True))}|[mghslL])(?:²|³|\^\{{?[23]\}}?)?(?![\w'’])"
_NUMBER = r"\\?\$?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?"
_END = r"(?<=[\w%)}²³$/])"  # a value ends here
_VALUE = r"(?=\\?\$?[\d√(]|\\(?:frac|sqrt|pi)|π|[½⅓⅔¼¾])"  # and one begins
_ABOUT = r"(?:about|roughly|approximately|around|nearly|almost|approx\.|circa|just (?:over|under))"
_STEPS = (
    (re.compile(r"\\(?:text|mathrm|mbox|operatorname)\s*\{([^{}]*)\}"), r" \1 "),
    (re.compile(r"\\(min|ell)(?![a-zA-Z])"), lambda m: " min " if m[1] == "min" else " L "),
    (re.compile(rf"\b({_COUNT}|an?)[ -]({_PART})(?![\w-])", re.IGNORECASE), lambda m: _fraction(m[1], m[2])),
    (re.compile(rf"\bhalf (?=an? {_UNIT}|{_UNIT})|\b(?:a )?half (?=(?:of )?(?:the )?{_NUMBER})"), "1/2 "),
    (re.compile(rf"\b({_COUNT}) hundred(?: and)? ({_COUNT})\b", re.IGNORECASE), lambda m: str(_hundreds(m[1], m[2]))),
    (re.compile(rf"\b({_COUNT}|an?) (hundred|thousand)\b", re.IGNORECASE), lambda m: str(_times(m[1], m[2]))),
    (re.compile(rf"\b({_COUNT}) and a half\b", re.IGNORECASE), lambda m: f"{_count(m[1])}.5"),
    (re.compile(rf"\b(?!one\b)({_COUNT})\b(?! (?:of|more|cases?)\b)", re.IGNORECASE), lambda m: str(_count(m[1]))),
    (re.compile(rf"\b(?:twice|double) (?=(?:the )?{_NUMBER})"), "2 · "),
    (re.compile(r"(?<=\d)\s*(?:percent|per cent)\b"), " %"),
    (re.compile(rf"(?<=\d) of an? (?={_UNIT})"), " "),
    (re.compile(rf"(?<=1/2) (?:an? )?(?={_UNIT})"), " "),
    (re.compile(rf"\b(?:an?|one|one full) (?={_UNIT}[\s,]+(?:has|have|is|are|equals?|contains?|holds?|lasts?|makes?|=|\d))", re.IGNORECASE), "1 "),
    (re.compile(rf"({_NUMBER} ?{_UNIT}),? (?:in|to|make|make up|per) (?:an?|one|the|each|every|1) ({_UNIT})"), r"\1 = 1 \2 "),
    (re.compile(rf"\b(square|cubic)\s+({'|'.join(UNITS)})\b"), lambda m: f"{m[2]}{'²' if m[1] == 'square' else '³'}"),
    (re.compile(rf"(?<![\d.])({_NUMBER} ?{_UNIT}) (?:and )?(?={_NUMBER} ?{_UNIT})"), r"\1 + "),
    (
        re.compile(
            rf"(?:(?<=%) of|(?<=/\d) of|(?<=/\d\d) of|(?<=1/2)|(?<=2) ·)(?: the)? ({_NUMBER})(?: (?!is|are)[a-z]+)?(?:,[^.,;\n]{{0,60}},)?"
            rf" (?:is|are|was|would be|makes|gives|equals|comes to) (?:only )?(?={_NUMBER})"
        ),
        r" · \1 = ",
    ),
    (re.compile(rf"(?<=[\d%]) of (?:the )?(?={_NUMBER})"), " · "),
    (re.compile(r"(?<=\d) times (?=\\?\$?\d)"), " × "),
    (re.compile(r"(?<=\d) divided by (?=\\?\$?\d)"), " ÷ "),
    (
        re.compile(rf"{_END},?[ ]?\(?(?:is|are|or|which is|that is|equals|i\.e\.,?|that's)?,? ?(?:only |just )?{_ABOUT} {_VALUE}"),
        " ≈ ",
    ),
    (
        re.compile(
            rf"(\d ?%|\d ?{_UNIT}|\d/\d+)\$?(?:,? (?:which is|that is|that's|that’s|i\.e\.,?|is the same as)|, or|"
            rf"(?=\s\([\d.]+ ?(?:%|{_UNIT})\))|\s(?:is|are|has|have|contains?|holds?|lasts?|equals?|makes?))\s\(?(?:only |just |exactly )?"
            rf"(?={_NUMBER} ?(?:%|{_UNIT})|\d+/\d+ ?{_UNIT})"
        ),
        r"\1 = ",
    ),
)


def worded(text: str) -> str:
    """The text with values, shares, relations and units in words rewritten as signs."""
    text = braced(text)
    for pattern, signs in _STEPS:
        text = pattern.sub(signs, text)
    return text


def _count(words: str) -> int:
    return sum(_VALUES[word] for word in re.split(r"[- ]", words.lower()))


def _times(count: str, unit: str) -> int:
    return (1 if count.lower() in ("a", "an") else _count(count)) * (100 if unit.lower() == "hundred" else 1000)


def _hundreds(hundreds: str, rest: str) -> int:
    return 100 * _count(hundreds) + _count(rest)


def _fraction(count: str, part: str) -> str:
    tens, _, ones = part.lower().rpartition("-")
    ones = ones if ones in _PARTS or ones in _ORDINALS else ones.removesuffix("s")
    below = _VALUES.get(tens, 0) + (_ORDINALS.get(ones) if tens else _PARTS.get(ones, 0))
    return f"{1 if count.lower() in ('a', 'an') else _count(count)}/{below}"
