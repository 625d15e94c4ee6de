r"""Exact numbers and their units (`1,000`, `3\frac18`, `\$5`, `30^\circ`), read from normalised text."""

import re
from dataclasses import dataclass
from fractions import Fraction

from eval.grading.spelling import closed

_WHOLE = r"(?:\d{1,3}(?:,\d{3})+|\d{1,3}(?: \d{3})+|\d+)"
_PLAIN = rf"(?:{_WHOLE}(?:\.\d*)?|\.\d+)"
_DECIMAL = re.compile(
    rf"([+-]?)({_PLAIN})(?:(?:\\times ?|\\cdot ?|\*)10\^(?:\{{([+-]?\d{{1,3}})\}}|(\d))|[eE]([+-]?\d{{1,3}}))?"
)
_FRACTION = re.compile(r"([+-]?)(?:(\d+) ?)?\\frac ?(?:\{([^{}]*)\}|(\d)) ?(?:\{([^{}]*)\}|(\d))")
_POWER = re.compile(r"([+-]?)(\d{1,9})\^(?:\{([+-]?\d{1,6})\}|(\d))")
_TOWER = re.compile(r"(\d+)\^\{([^,;=\\]+)\}")
_NESTED_POWER = re.compile(r"\^\{?(\d+)\^\{?(\d+)(\}*\^)?")
_SLASH = re.compile(rf"([+-]?)(?:(\d+) )?(?:\(([+-]?{_PLAIN})\)|({_PLAIN}))/(?:\(([+-]?{_PLAIN})\)|({_PLAIN}))")
_REPEATING = re.compile(r"([+-]?)(\d*)\.(\d*)\\(?:overline|bar) ?\{?(\d+)\}?")
_BASED = re.compile(r"(-?)\(?(\d[0-9A-Za-z]*|[0-9A-F]{2,}|[0-9a-f]{2,})\)?_\{?(?:\(?(\d+)\)?|\\text\{([a-z]+)\})\}?")
_BASES = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
          "twelve": 12, "sixteen": 16}  # fmt: skip

_UNITS = {
    "dollar": "dollars dollar usd", "cent": "cents cent", "euro": "euros euro", "pound": "pounds pound lb lbs",
    "percent": "percent percentage", "degree": "degrees degree deg", "radian": "radians radian rad",
    "inch": "inches inch in", "foot": "feet foot ft", "yard": "yards yard yd yds", "mile": "miles mile mi mph",
    "millimetre": "mm millimeters millimeter millimetres millimetre",
    "centimetre": "cm centimeters centimeter centimetres centimetre", "metre": "m meters meter metres metre",
    "kilometre": "km kilometers kilometer kilometres kilometre kmh kph",
    "second": "seconds second sec secs s", "minute": "minutes minute min mins", "hour": "hours hour hr hrs h",
    "day": "days day", "week": "weeks week", "month": "months month", "year": "years year yr yrs",
    "gram": "grams gram g", "kilogram": "kg kilograms kilogram", "ounce": "ounces ounce oz", "ton": "tons ton",
    "litre": "l liters liter litres litre", "millilitre": "ml milliliters milliliter millilitres millilitre",
    "gallon": "gallons gallon gal",
}  # fmt: skip
_UNIT_OF = {word: unit for unit, names in _UNITS.items() for word in names.split()}
_POWERS_BEFORE = {"square": 2, "sq": 2, "cubic": 3}
_POWERS_AFTER = {"squared": 2, "cubed": 3}
_SIGNS = {r"\%": "percent", r"^\circ": "degree", r"\$": "dollar", "$": "dollar", "€": "euro", "£": "pound"}
_SCALES = {"dozen": 12, "hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
# No units: the number says something else when one of these words follows.
_NOT_UNITS = {
    "and", "or", "to", "plus", "minus", "times", "over", "mod", "if", "with", "without", "remainder", "than", "not",
    "no", "less", "fewer", "more", "about", "nearly", "approximately", "between", "but", "is", "are", "was",
    "squared", "cubed", "factorial", "choose", "root", "roots", "tenths", "hundredths", "thousandths", "half",
    "halves", "third", "thirds", "fourth", "fourths", "quarter", "quarters", "fifth", "fifths", "sixth", "sixths",
    "eighth", "eighths", "first", "negative", "base", "undefined", "wrong", "tens", "hundreds", "thousands",
    "millions", "billions", "pi", "tau", "theta", "alpha", "beta", "phi", "infinity", "infty", "inf", "sqrt", "sin",
    "cos", "tan", "cot", "csc", "log", "ln", "exp", "even", "odd", "true", "false", "one", "two", "three", "four",
    "five", "six", "seven", "eight", "nine", "ten", "hundred", "thousand", "million", "billion", "trillion", "dozen",
}  # fmt: skip
_MONEY = re.compile(r"([+-]?)(\\\$|\$|€|£)(.*)", re.DOTALL)
_EXPONENT = r"\^(?:\{-?\d\}|-?\d)"
_TRAILING_TEXT = re.compile(
    rf"(?P<body>.+?)(?P<phrase>(?:/?(?:\\cdot ?)?\\text\{{[^{{}}]*\}}(?:{_EXPONENT})?)+)", re.DOTALL
)
_ANGLE_OF = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![A-Za-z])")
_TRAILING_WORDS = re.compile(
    rf"(?P<body>{_SLASH.pattern}|{_FRACTION.pattern}|{_DECIMAL.pattern})"
    rf"(?P<phrase> ?[A-Za-z](?:[A-Za-z ./-]|{_EXPONENT})*)"
)
_TRAILING_SIGN = re.compile(r"(?P<body>.+?)(?P<sign>\\%|\^\\circ|\\\$|\$|€)", re.DOTALL)


MAX_DIGITS = 500_000  # of a power that is worked out
MAX_EXPONENT = 10**7  # of a power that sympy is asked about, and most of a factorial


def number(text: str) -> Fraction | None:
    r"""The exact value of a plain number: whole, decimal, with thousands, a fraction, a mixed number, `a\times10^b`."""
    if match := _DECIMAL.fullmatch(text):
        sign, digits, *exponents = match.groups()
        exponent = int(next((e for e in exponents if e), "0"))
        value = Fraction("0" + re.sub("[, ]", "", digits).rstrip(".")) * Fraction(10) ** exponent
        return -value if sign == "-" else value
    if match := _REPEATING.fullmatch(text):
        sign, whole, once, again = match.groups()
        value = Fraction(f"0{whole}.{once}0") + Fraction(int(again), 10 ** len(once) * (10 ** len(again) - 1))
        return -value if sign == "-" else value
    if match := _POWER.fullmatch(text):
        sign, base, *exponents = match.groups()
        exponent = int(next(e for e in exponents if e))
        if len(base) * abs(exponent) > MAX_DIGITS or (exponent < 0 and not int(base)):
            return None
        return (-1 if sign == "-" else 1) * Fraction(int(base)) ** exponent
    match = _FRACTION.fullmatch(text) or _SLASH.fullmatch(text)
    if not match:
        return None
    sign, whole, top, short_top, bottom, short_bottom = match.groups()
    parts = top or short_top or "", bottom or short_bottom or ""
    above, below = (number(part) if _DECIMAL.fullmatch(part) else None for part in parts)
    if above is None or not below:
        return None
    if whole and not (0 <= above < below and above.denominator == below.denominator == 1):
        return None  # 3\frac{7}{2} is a product or a slip, not a mixed number
    value = int(whole or 0) + above / below
    return -value if sign == "-" else value


def based(text: str) -> tuple[str, str, str] | None:
    """Sign, digits and base of a number that states its base (`2516_8`)."""
    match = _BASED.fullmatch(text)
    if not match or (match[4] and match[4] not in _BASES):
        return None
    return match[1], match[2].upper().lstrip("0"), match[3] or str(_BASES[match[4]])


def tower(text: str) -> tuple[int, str] | None:
    """Base and exponent of a whole number's power, `(9, "9^{9}")` for `9^{9^{9}}`; None for any other text."""
    match = _TOWER.fullmatch(text)
    return (int(match[1]), match[2]) if match and int(match[1]) > 1 and closed(match[2]) else None


def beyond_evaluation(text: str) -> bool:
    """Whether a text holds a power or factorial so large that nobody can work it out."""
    if any(int(n) > MAX_EXPONENT // 100 for n in re.findall(r"(\d+)\)?!", text)):
        return True
    nested = _NESTED_POWER.findall(text)
    return any(more or int(a) ** min(int(b), 30) > MAX_EXPONENT for a, b, more in nested) or any(
        int(n) > MAX_EXPONENT for n in re.findall(r"\^\{(\d+)\}", text)
    )


Unit = tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Quantity:
    """A text without its unit.

    Attributes:
        unit: common names of the measures and their powers (0: not given), `km/h^2` as kilometre 0, hour 2; empty
            where none is given, or one that is no measure (apples).
        scale: 1000 for "thousand", and so on.
    """

    body: str
    unit: Unit = ()
    scale: int = 1

    @property
    def value(self) -> Fraction | None:
        """The exact number, where the body is a plain one."""
        value = number(self.body)
        return None if value is None else value * self.scale


def quantity(text: str) -> Quantity:
    r"""Take a currency sign, `\%`, `^\circ`, a unit in `\text{}`, or bare words after a number, off a text."""
    unit, scale, body = (), 1, text
    if money := _MONEY.fullmatch(body):
        unit, body = ((_SIGNS[money[2]], 0),), money[1] + money[3]
    for _ in range(3):  # 30^\circ\text{C} carries two
        if match := _TRAILING_TEXT.fullmatch(body):
            found = None if r"\text" in match["body"] else _unit(match["phrase"])
        elif (match := _TRAILING_WORDS.fullmatch(body)) and _looks_like_unit(match["body"], match["phrase"]):
            found = _unit(match["phrase"])
        elif match := _TRAILING_SIGN.fullmatch(body):
            if match["sign"] == r"^\circ" and _ANGLE_OF.search(match["body"]):
                break  # \sin 30^\circ is no angle
            found = ((_SIGNS[match["sign"]], 0),), 1
        else:
            break
        if found is None:
            break
        body, unit, scale = match["body"].rstrip(), unit or found[0], scale * found[1]
    return Quantity(body, unit, scale)


def _unit(phrase: str) -> tuple[Unit, int] | None:
    """Measures (none for things that are counted) and scale of a unit phrase; None where it is no unit."""
    phrase = re.sub(r"\\text\{([^{}]*)\}", r" \1", phrase).replace(r"\cdot", " ").lower()
    phrase = re.sub(r"\^\{?(-?\d)\}?|(?<=m)([23])(?!\d)", r"^\1\2 ", phrase)
    if not re.fullmatch(r"(?:[a-z ./,'-]|(?<=[a-z ])\^-?\d )*", phrase):
        return None
    words, scale = re.findall(r"[a-z]+|\^-?\d", phrase), 1
    while words and words[0] in _SCALES:
        scale *= _SCALES[words.pop(0)]
    measures: list[tuple[str, int]] = []
    power, measured = 0, True
    for place, word in enumerate(words):
        if word in _POWERS_BEFORE:
            power = _POWERS_BEFORE[word]
        elif measures and (after := _POWERS_AFTER.get(word) or (abs(int(word[1:])) if word[0] == "^" else 0)):
            measures[-1] = measures[-1][0], after
        elif word in _NOT_UNITS or place > 6:
            return None
        elif measured and word in _UNIT_OF:
            measures.append((_UNIT_OF[word], power))
            power = 0
        elif word not in ("per", "a", "an", "us"):
            measured = False  # pieces in total: no inches
    return tuple(measures), scale


def _looks_like_unit(body: str, phrase: str) -> bool:
    """Whether bare letters after a number are a word and no product of variables: 5 cm, 5 eggs, not 5x or 5ab."""
    word = phrase.split()[0].lower() if phrase.split() else ""
    apart = phrase.startswith(" ") or body.endswith("}")
    parts = word.split("/")  # m/s
    known = len(word) > 1 and all(re.sub(r"\^.*", "", part) in _UNIT_OF for part in parts)
    return (known and (apart or len(parts) == 1)) or (apart and len(word) > 2 and bool(re.search("[aeiou]", word)))
