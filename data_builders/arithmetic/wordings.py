"""Rewrites what a text says in words as signs: "one third is about 36 %" becomes `1/3 ≈ 36 %`."""

import re

from data_builders.arithmetic.markup import braced
from data_builders.arithmetic.units import UNITS, is_part
from eval.grading.number_words import CARDINALS, SMALL, TENS

_PARTS = {"half": 2, "halves": 2, "quarter": 4, "third": 3, "fifth": 5, "eighth": 8, "ninth": 9, "twelfth": 12}
_PARTS |= {f"{word}th": n for word, n in CARDINALS.items() if n in (4, 6, 7, 10, 11, *range(13, 20))}
_PARTS |= {f"{word[:-1]}ieth": n for word, n in CARDINALS.items() if word in TENS}
_ORDINALS = {"first": 1, "second": 2} | {word: n for word, n in _PARTS.items() if 2 < n < 10 and word != "quarter"}
_TEN = "|".join(TENS)
_ONE = "|".join(SMALL[1:10])
_COUNT = rf"(?:(?:{_TEN})(?:[- ](?:{_ONE}))?|{'|'.join(SMALL[1:])})"
_PART = rf"(?:(?:{_TEN})-(?:{'|'.join(_ORDINALS)})|{'|'.join(sorted(_PARTS, key=len, reverse=True))})s?"
_NAMES = "|".join(sorted(UNITS, key=len, reverse=True))
_ONE_UNIT = rf"(?:(?:square|cubic)\s+)?(?:{_NAMES}|[mghslL])(?:²|³|\^\{{?[23]\}}?)?(?![\w'’])"
_UNIT = rf"{_ONE_UNIT}(?:/{_ONE_UNIT})?"
_NUMBER = r"\\?\$?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?"
_VALUE = r"(?=\\?\$?[\d√(]|\\(?:frac|sqrt|pi)|π|[½⅓⅔¼¾])"  # and one begins
_ABOUT = r"(?:about|roughly|approximately|around|nearly|almost|approx\.|circa|just (?:over|under))"
_SAME = (
    r"(?:which|that|this|it|or|in other words|in short|i\.e\.|namely|equivalently|the same(?: thing)? as|equal to|"
    r"equivalent to|equals?|is|are|has|have|makes?|contains?|holds?|lasts?|means|amounts? to|comes? to|"
    r"corresponds? to|"
    r"that's|that’s|only|just|exactly|also)"
)
_OF = {"sum": " + ", "total": " + ", "product": " × ", "difference": " - ", "average": " + ", "mean": " + "}
_SIGNS = {"plus": "+", "minus": "-", "times": "×", "divided by": "÷", "equals": "=", "is equal to": "="}
_DONE = {"dividing": "{0} ÷ {1}", "multiplying": "{0} × {1}", "subtracting": "{1} - {0}", "adding": "{0} + {1}"}
_STEPS = (
    (r"\\(?:text|mathrm|mbox|operatorname)\s*\{([^{}]*)\}", r" \1 "),
    (r"\\(min|ell)(?![a-zA-Z])", lambda m: " min " if m[1] == "min" else " L "),
    (r"\\[pb]?mod\s*(?:\{(\d+)\}|(\d+))", lambda m: f" (mod {m[1] or m[2]})"),
    (r"(?:≡|\\equiv(?![a-z]))(?=[^\n.;]*\bmod(?:ulo)?\s\d)", " = "),
    # numbers and shares
    (rf"\b({_COUNT}) and a half\b", lambda m: f"{_count(m[1])}.5"),
    (rf"\b({_COUNT}|an?)[ -]({_PART})(?![\w-])", lambda m: _fraction(m[1], m[2])),
    (rf"\bhalf (?=an? {_UNIT}|{_UNIT})|\b(?:a )?half (?=(?:of )?(?:the )?{_NUMBER})", "1/2 "),
    (rf"\b({_COUNT}) hundred(?: and)? ({_COUNT})\b", lambda m: str(100 * _count(m[1]) + _count(m[2]))),
    (rf"\b({_COUNT}|an?) (hundred|thousand|dozen)\b", lambda m: str(_times(m[1], m[2]))),
    (rf"\b(?!one\b)({_COUNT})\b(?! (?:of|more|cases?)\b)", lambda m: str(_count(m[1]))),
    (rf"\b(?:twice|double) (?=(?:the )?{_NUMBER})", "2 · "),
    (r"(?<=\d)\s*(?:percent|per cent)\b", " %"),
    (r"\bC\((\d+), ?(\d+)\)", r"\\binom{\1}{\2}"),
    (r"(?<=\d) squared\b", "²"),
    (r"(?<=\d) cubed\b", "³"),
    (
        rf"\b(\w+ing) ({_NUMBER}) (?:by|from|to|and) ({_NUMBER}),? (?:one gets|we get|gives|makes|"
        rf"yields) (?={_NUMBER})",
        lambda m: _done(*m.groups()),
    ),
    (
        r"(?<=\d) (times|divided by|(?:equals|is equal to)(?= \d+(?:\.\d+)?(?!\.?\d)(?:[.,;)]|$))) (?=\\?\$?\d)",
        lambda m: f" {_SIGNS[m[1].lower()]} ",
    ),
    (
        rf"(?<![\d.])({_NUMBER}) (plus|minus) ({_NUMBER}) (?:is|=|makes|gives) (?={_NUMBER})",
        lambda m: f"{m[1]} {_SIGNS[m[2].lower()]} {m[3]} = ",
    ),
    (rf"(?<=[²³]) (?:is|makes|gives) (?={_NUMBER})", " = "),
    # calculations
    (
        rf"\bthe ({'|'.join(_OF)}) (?:of|between) ({_NUMBER}(?:(?:,| and|, and) {_NUMBER})+)(?![.\d]*\s*[-+×*/=%^])",
        lambda m: _of(*m.groups()),
    ),
    (rf"({_NUMBER}) less than ({_NUMBER}) (?=(?:is|makes|gives|equals) {_NUMBER})", r"(\2 - \1) "),
    (rf"({_NUMBER}) more than ({_NUMBER}) (?=(?:is|makes|gives|equals) {_NUMBER})", r"(\2 + \1) "),
    (
        rf"({_NUMBER}(?:(?:,| and|, and) {_NUMBER})+) (?:add up|sum|come) to (?={_NUMBER})",
        lambda m: _of("sum", m[1]) + " = ",
    ),
    (rf"\b({_NUMBER}),? (?:taken|multiplied) ({_NUMBER}) times\b", r"\1 × \2"),
    (
        rf"(?<![\d.])(?<![-+×*/=÷−–^·] )({_NUMBER}) (?:is|are|equals) "
        rf"({_NUMBER} [×÷+-] {_NUMBER})(?![\d.]*\s*[-+×*/=÷%^(])",
        r"\2 = \1",
    ),
    (rf"\bsquare root of (?={_NUMBER})", "√"),
    (rf"\b(square|cube) of ({_NUMBER})", lambda m: m[2] + ("²" if m[1].lower() == "square" else "³")),
    (rf"({_NUMBER}) out of (?:the )?({_NUMBER}) (?=(?:is|are|makes?|gives?) {_NUMBER} ?\\?%)", r"\1/\2 "),
    (rf"(?<=√)({_NUMBER}) (?:is|makes|gives) (?={_NUMBER})", r"\1 = "),
)
_UNITS_AND_RELATIONS = (
    (rf"(?<=\d) of an? (?={_UNIT})|(?<=1/2) (?:an? )?(?={_UNIT})", " "),
    (rf"\b({_ONE_UNIT}) per ({_ONE_UNIT})", r"\1/\2"),
    (rf"\b(?:an?|one|one full) (?={_UNIT}[\s,]+(?:has|have|is|are|equals?|contains?|holds?|lasts?|makes?|=|\d))", "1 "),
    (rf"({_NUMBER} ?{_UNIT}),? (?:in|to|make|make up|per) (?:an?|one|the|each|every|1) ({_UNIT})", r"\1 = 1 \2 "),
    (rf"\b(square|cubic)\s+({_NAMES})\b", lambda m: f"{m[2]}{'²' if m[1].lower() == 'square' else '³'}"),
    (rf"(?<![\d.])({_NUMBER} ?)({_UNIT}) (?:and )?(?={_NUMBER} ?({_UNIT}))", lambda m: _compound(*m.groups())),
    # relations
    (
        rf"(?:(?<=%) of|(?<=/\d) of|(?<=/\d\d) of|(?<=1/2)|(?<=2) ·)(?: the)? ({_NUMBER})(?: (?!is|are)[a-z]+)?"
        rf"(?:,[^.,;\n]{{0,60}},)? (?:is|are|was|would be|makes|gives|equals|comes to) (?:only )?(?={_NUMBER})",
        r" · \1 = ",
    ),
    (rf"(?<=\d) (?:is|are|was) (?={_NUMBER} ?\\?% of (?:the )?{_NUMBER})", " = "),
    (rf"(?<=[\d%]) of (?:the )?(?={_NUMBER})", " · "),
    (
        rf"(?<=[\w%)}}²³/])\$?,?(?:[.;]?\s(?:that|this|which|it))?[ ]?\(?(?:is|are|or|which is|that is|equals|"
        rf"i\.e\.,?|that's)?,? "
        rf"?(?:only |just )?{_ABOUT} \$?{_VALUE}",
        " ≈ ",
    ),
    (
        rf"(\d ?\\?%|\d ?{_UNIT}|\d°)\$?(?: of [a-z]+)?[,;]?\s(?=\(|[a-z])\(?((?:{_SAME}[,:]?\s){{0,6}})\$?"
        rf"(?=(?P<right>{_NUMBER} ?(?P<unit>{_UNIT})|{_NUMBER} ?\\?%|\d+/\d+ ?{_UNIT}|\d*π ?(?:rad)?))",
        lambda m: _same(m),
    ),
    (rf"(\d/\d+|\d\}})\$?[,;]?\s\(?(?:{_SAME}[,:]?\s){{1,6}}\$?(?={_NUMBER} ?\\?%)", r"\1 = "),
    (rf"(?<=\d),? (?:i\.e\.,?|that is,?|which is) (?={_NUMBER}(?![\d.]*\s*[-+×*/=·÷−–^]))", " = "),
)
_CALCULATIONS, _RELATIONS = (
    [(re.compile(pattern, re.IGNORECASE), signs) for pattern, signs in steps]
    for steps in (_STEPS, _UNITS_AND_RELATIONS)
)


def counted(text: str) -> str:
    """The text with numbers, shares and calculations in words rewritten as signs."""
    return _rewritten(braced(text), _CALCULATIONS)


def worded(text: str) -> str:
    """The text with relations and units in words rewritten as signs, too."""
    return _rewritten(counted(text), _RELATIONS)


def _rewritten(text: str, rules: list) -> str:
    for pattern, signs in rules:
        text = pattern.sub(signs, text)
    return text


def _count(words: str) -> int:
    return sum(CARDINALS[word] for word in re.split(r"[- ]", words.lower()))


def _times(count: str, unit: str) -> int:
    return (1 if count.lower() in ("a", "an") else _count(count)) * {"hundred": 100, "dozen": 12}.get(
        unit.lower(), 1000
    )


def _done(what: str, first: str, second: str) -> str:
    sides = _DONE.get(what.lower())
    return f"{sides.format(first, second)} = " if sides else f"{what} {first}, {second}; "


def _of(what: str, listed: str) -> str:
    """`(4 + 6 + 11)/3` for the mean of 4, 6 and 11."""
    numbers = re.findall(_NUMBER, listed)
    if what.lower() == "difference":
        numbers.sort(key=lambda n: -float(n.replace(",", "").strip("\\$")))
    inner = f"({_OF[what.lower()].join(numbers)})"
    return f"{inner}/{len(numbers)}" if what.lower() in ("average", "mean") else inner


def _same(match: re.Match) -> str:
    """`1.5 hours = ` of 1.5 hours or 90 minutes; unchanged where an "or" may stand between two choices."""
    numbers = match["right"] or "", re.search(r"[\d.]*\Z", match.string[: match.start() + 1])[0]
    units = [re.search(r"[^\d\s]*\Z", match[1])[0], match["unit"] or ""]
    names = [UNITS.get(unit.lower(), unit) for unit in units]
    choice = match[2].split() == ["or"] and match[0].endswith(" or ") and not re.search(r"[,(] ?or ", match[0])
    if choice and not (is_part(*reversed(names)) or any("." in number for number in numbers)):
        return match[0]
    return f"{match[1]} = "


def _compound(number: str, unit: str, smaller: str) -> str:
    """`1 h ` as the first part of 1 h 45 min; unchanged where the second unit is none of its parts."""
    names = [UNITS.get(name.lower(), name) for name in (unit, smaller)]
    return f"{number}{unit} + " if is_part(*reversed(names)) else f"{number}{unit} , "


def _fraction(count: str, part: str) -> str:
    tens, _, ones = part.lower().rpartition("-")
    ones = ones if ones in _PARTS or ones in _ORDINALS else ones.removesuffix("s")
    below = CARDINALS.get(tens, 0) + (_ORDINALS.get(ones) if tens else _PARTS.get(ones, 0))
    return f"{1 if count.lower() in ('a', 'an') else _count(count)}/{below}"
