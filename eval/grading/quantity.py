r"""Exact numbers and their units (`1,000`, `3\frac18`, `\$5`, `30^\circ`), read from normalised text."""

import itertools
import re
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

from eval.grading.structure import closed
from eval.grading.units import NO_UNIT, Unit, measure, read_unit

_WHOLE = r"(?:\d{1,3}(?:,\d{3})+|\d{1,3}(?: \d{3})+|\d+)"
_PLAIN = rf"(?:{_WHOLE}(?:\.\d*)?|\.\d+)"
_DECIMAL = re.compile(
    rf"([+-]?)({_PLAIN})(?:(?:\\times ?|\\cdot ?|\*)10\^(?:\{{([+-]?\d{{1,3}})\}}|(\d))|[eE]([+-]?\d{{1,3}}))?"
)
_FRACTION = re.compile(r"([+-]?)(?:(\d+) ?)?\\frac ?(?:\{([^{}]*)\}|(\d)) ?(?:\{([^{}]*)\}|(\d))")
_POWER = re.compile(r"([+-]?)(\d{1,9})\^(?:\{([+-]?\d{1,6})\}|(\d))")
_TOWER = re.compile(r"(\d+)\^\{([^,;=\\]+)\}")
_SLASH = re.compile(rf"([+-]?)(?:(\d+) )?(?:\(([+-]?{_PLAIN})\)|({_PLAIN}))/(?:\(([+-]?{_PLAIN})\)|({_PLAIN}))")
_REPEATING = re.compile(
    r"([+-]?)(\d*)\.(?:(\d*)(?:\\(?:overline|bar) ?\{?(\d+)\}?|\((\d+)\))"
    r"|(\d{0,6}?)(\d{1,6}?)\7{2,9}(?:\\[lc]?dots ?|\.\.\.))"  # 0.1666...
)
_BASED = re.compile(
    r"(-?)(?:\(|\\text\{)?(\d[0-9A-Za-z]*|[0-9A-F]{2,}|[0-9a-f]{2,})[)}]?_\{?(?:\(?(\d+)\)?|\\text\{([a-z]+)\})\}?"
)
_BASES = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
          "twelve": 12, "sixteen": 16}  # fmt: skip


_SIGNS = {r"\%": "percent", r"^\circ": "degrees", r"\$": "dollars", "$": "dollars", "€": "euros",
          "£": "gbp", "₹": "rupees", "¥": "yen", "₩": "krw", "¢": "cents"}  # fmt: skip
_MONEY = re.compile(
    r"([+-]?)(?:\\text\{ ?((?:US ?)?\\?\$|[€£₹¥₩]|Rs\.?|EUR|GBP|INR|USD) ?\}"
    r"|((?:US)?\\\$|[$€£₹¥₩])|(?:Rs\.? ?)(?=\d))(.+)",
    re.DOTALL,
)
_TEXT = r"\\text\{[^{}]*\}"
_EXPONENT = r"\^(?:\{-?\d\}|-?\d)"
_TEXTS = rf"(?:(?:\\cdot ?|/| )?{_TEXT}(?:{_EXPONENT})?)+"
_TRAILING = re.compile(
    rf"(?P<body>.+?)(?P<phrase>(?:\^\{{{_TEXT}\}}"
    rf"|/?(?:\\cdot ?|\\mu ?)?{_TEXT}(?:{_EXPONENT})?|\\frac\{{{_TEXTS}\}}\{{{_TEXTS}\}}"
    rf"|\^\\circ ?(?:[CF](?![A-Za-z]))?|\\%(?: ?[A-Za-z][A-Za-z ]+)?|\\\$|[$€£₹¥₩¢]| )+)",
    re.DOTALL,
)
_AMOUNT = rf"(?:{_PLAIN}|{_FRACTION.pattern})"
_PIECE = (
    rf"(\\\$ ?{_PLAIN}|{_AMOUNT}(?= ?[\\A-Za-z])) ?"
    r"((?<=\d)(?![\\A-Za-z\d.,])|\\text\{[^{}]*\}|[A-Za-z]+\.?)[ ;,]*"
)
_COMPOUND = re.compile(rf"(?:{_PIECE}){{2,4}}")
_RATIO = re.compile(r"(\d{1,18}):(\d{1,18})")
_TIME = r"(\d{1,2}):(\d\d)"
_ANGLE_OF = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![A-Za-z])|\^\\circ")
_TRAILING_WORDS = re.compile(
    rf"(?P<body>{_SLASH.pattern}|{_FRACTION.pattern}|{_DECIMAL.pattern}|{_TIME})"
    rf"(?P<phrase> ?[^\W\d_](?:[^\W\d_]|[ ./-]|{_EXPONENT})*)"
)

MAX_DIGITS = 500_000  # of a power that is worked out


def number(text: str) -> Fraction | None:
    r"""The exact value of a plain number: whole, decimal, with thousands, a fraction, a mixed number, `a\times10^b`."""
    if match := _DECIMAL.fullmatch(text):
        sign, digits, *exponents = match.groups()
        exponent = int(next((e for e in exponents if e), "0"))
        value = Fraction("0" + re.sub("[, ]", "", digits).rstrip(".")) * Fraction(10) ** exponent
        return -value if sign == "-" else value
    if match := _REPEATING.fullmatch(text):
        sign, whole, *digits = match.groups()
        once, again = digits[0] or digits[3] or "", digits[1] or digits[2] or digits[4]
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
    match = _BASED.fullmatch(re.sub(r"\\text\{([0-9A-Fa-f]+)\}", r"\1", text))
    if not match or (match[4] and match[4] not in _BASES):
        return None
    return match[1], match[2].upper().lstrip("0"), match[3] or str(_BASES[match[4]])


def tower(text: str) -> tuple[int, str] | None:
    """Base and exponent of a whole number's power, `(9, "9^{9}")` for `9^{9^{9}}`; None for any other text."""
    match = _TOWER.fullmatch(text)
    return (int(match[1]), match[2]) if match and int(match[1]) > 1 and closed(match[2]) else None


@dataclass(frozen=True)
class Quantity:
    """A text without its unit.

    Attributes:
        scale: 1000 for "thousand", and so on.
    """

    body: str
    unit: Unit = NO_UNIT
    scale: int = 1

    @cached_property
    def value(self) -> Fraction | None:
        """The exact number, where the body is a plain one."""
        value = number(self.body)
        return None if value is None else value * self.scale

    def same_amount(self, other: "Quantity") -> bool:
        """Whether the values of two quantities that have one, and what they are values of, are equal."""
        if not self.unit.agrees(other.unit, convert=True):
            return False
        convert = bool(self.unit.measures and other.unit.measures)
        one, two = ((q.value * q.unit.factor if convert else q.value) for q in (self, other))
        return one == two


def ratio(text: str) -> Fraction | None:
    """3/5 for `3:5`."""
    match = _RATIO.fullmatch(text)
    return Fraction(int(match[1]), int(match[2])) if match and int(match[2]) else None


def times_of_day(quantity: Quantity) -> set[tuple[int, int]] | None:
    """Hour and minute of `3:30 PM` or `15:30`, the two that `3:30` may be; None for any other quantity."""
    half = "".join(name for name, _ in quantity.unit.measures)
    match = re.fullmatch(rf"{_TIME}|(\d\d?)", quantity.body)
    if not match or half not in ("am", "pm", "") or (match[3] and not half):
        return None
    hour, minute = int(match[1] or match[3]), int(match[2] or 0)
    if half:
        return {(hour % 12 + 12 * (half == "pm"), minute)}
    return {(hour, minute), ((hour + 12) % 24, minute)} if 0 < hour <= 12 else {(hour, minute)}


def in_radians(one: Quantity, other: Quantity) -> tuple[str, str] | None:
    """Both angles without their units, where one is in degrees and the other says that it is in radians."""
    sizes = {Unit((("degree", 1),)): r"({})\frac{{\pi}}{{180}}", Unit((("radian", 1),)): "{}"}
    if one.unit == other.unit or not {one.unit, other.unit} <= set(sizes):
        return None
    return sizes[one.unit].format(one.body), sizes[other.unit].format(other.body)


def _compound(text: str) -> Quantity | None:
    """`5 ft 6 in` and `1 hour and 30 minutes` in the first of their units; a comma may also separate two lengths."""
    if not _COMPOUND.fullmatch(text):
        return None
    parts = []
    for match in re.finditer(_PIECE, text):
        word = re.sub(r"\\text\{ ?|,?(?: ?and)? ?\}", "", match[0][len(match[1]) :]).strip(" ;,.")
        parts.append(quantity(rf"{match[1]}\text{{{word}}}" if word else match[1]))
    dimension = parts[0].unit.measures
    plain = all(part.value is not None and part.unit == Unit(dimension, part.unit.factor) for part in parts)
    if not plain or [power for _, power in dimension] != [1]:
        return None
    for large, small in itertools.pairwise(parts):  # 30 min; 2 h are two answers
        step = large.unit.factor / small.unit.factor
        metric = set(str(step)) <= set("10") and dimension[0][0] != "dollar"
        if step <= 1 or small.value >= step or large.value.denominator != 1 or (metric and re.search("[;,]", text)):
            return None
    total = sum(part.value * part.unit.factor for part in parts) / parts[0].unit.factor
    return Quantity(str(total), parts[0].unit)


def quantity(text: str) -> Quantity:
    r"""Take a currency sign, `\%`, `^\circ`, a unit in `\text{}`, or bare words after a number, off a text."""
    if compound := _compound(text):
        return compound
    body, phrase = text, ""
    if money := _MONEY.fullmatch(body):
        sign = (money[2] or money[3] or "₹").removesuffix(".")
        phrase, body = " " + _SIGNS.get(sign, "dollars" if "$" in sign else sign), money[1] + money[4]
    if match := _TRAILING.fullmatch(body):
        angle = r"^\circ" in match["phrase"] and _ANGLE_OF.search(
            match["body"]
        )  # in \sin 30^\circ or 30^\circ+90^\circ
        if not angle and r"\text" not in match["body"] and closed(match["body"]):
            body, phrase = match["body"], match["phrase"] + phrase
    elif (match := _TRAILING_WORDS.fullmatch(body)) and _looks_like_unit(match["body"], match["phrase"]):
        body, phrase = match["body"], match["phrase"] + phrase
    for sign, word in _SIGNS.items():
        phrase = phrase.replace(sign, f" {word} ")
    body = body.strip()
    found = read_unit(phrase, body) if phrase.strip() else None
    return Quantity(body, *found) if found else Quantity(text)


def _looks_like_unit(body: str, phrase: str) -> bool:
    """Whether bare letters after a number are a word and no product of variables: 5 cm, 5 eggs, not 5x or 5ab."""
    word = phrase.split()[0] if phrase.split() else ""
    if not word.isascii():
        return True
    apart = phrase.startswith(" ") or body.endswith("}")
    parts = word.split("/")  # m/s
    known = len(word) > 1 and all(measure(re.sub(r"\^.*", "", part)) for part in parts)
    clock = re.fullmatch(r"[ap]\.?m\.?", word, re.IGNORECASE) is not None or word[:2].lower() in ("a.", "p.")
    return (
        clock
        or (known and (apart or len(parts) == 1))
        or (apart and len(word) > 2 and bool(re.search("[aeiou]", word.lower())))
    )
