"""Units of measure: their names, and what a quantity in one is worth in another of its kind."""

import math
from collections.abc import Mapping
from fractions import Fraction

from data_builders.arithmetic.expressions import Node
from data_builders.arithmetic.identities import value, variables

# name: (worth, kind, power of the kind); the worths of one kind are in one base unit
_TABLE = {
    "s": (1, "time", 1), "min": (60, "time", 1), "h": (3600, "time", 1), "day": (86400, "time", 1),
    "week": (604800, "time", 1), "month": (1, "calendar", 1), "year": (12, "calendar", 1), "decade": (120, "calendar", 1),
    "century": (1200, "calendar", 1), "mm": ("1/1000", "length", 1), "cm": ("1/100", "length", 1),
    "dm": ("1/10", "length", 1), "m": (1, "length", 1), "km": (1000, "length", 1), "inch": ("0.0254", "length", 1),
    "ft": ("0.3048", "length", 1), "yard": ("0.9144", "length", 1), "mile": ("1609.344", "length", 1),
    "mg": ("1/1000", "mass", 1), "g": (1, "mass", 1), "kg": (1000, "mass", 1), "tonne": (1000000, "mass", 1),
    "oz": ("28.349523125", "mass", 1), "lb": ("453.59237", "mass", 1), "ml": ("1/1000000", "length", 3),
    "cl": ("1/100000", "length", 3), "dl": ("1/10000", "length", 3), "l": ("1/1000", "length", 3),
    "L": ("1/1000", "length", 3), "hectare": (10000, "length", 2), "cent": (1, "money", 1), "dollar": (100, "money", 1),
    "°": (1, "angle", 1), "rad": (180 / math.pi, "angle", 1), "turn": (360, "angle", 1),
}  # fmt: skip
_SPELLED = {
    "s": "second seconds sec secs", "min": "minute minutes mins", "h": "hour hours hr hrs", "day": "days",
    "week": "weeks", "month": "months", "year": "years", "decade": "decades", "century": "centuries",
    "mm": "millimetre millimetres millimeter millimeters", "cm": "centimetre centimetres centimeter centimeters",
    "dm": "decimetre decimetres decimeter decimeters", "m": "metre metres meter meters",
    "km": "kilometre kilometres kilometer kilometers", "inch": "inches", "ft": "foot feet", "yard": "yards",
    "mile": "miles", "mg": "milligram milligrams", "g": "gram grams gramme grammes", "kg": "kilogram kilograms kilos kilo",
    "tonne": "tonnes", "oz": "ounce ounces", "lb": "lbs pound pounds", "ml": "millilitre millilitres milliliter milliliters",
    "cl": "centilitre centilitres", "dl": "decilitre decilitres", "l": "litre litres liter liters", "hectare": "hectares ha",
    "cent": "cents", "dollar": "dollars", "°": "degree degrees", "rad": "radian radians",
    "turn": "turns revolution revolutions",
}  # fmt: skip
UNITS = {name: name for name in _TABLE if len(name) > 1} | {
    w: n for n, words in _SPELLED.items() for w in words.split()
}
SCALES = ({}, {"time": 7, "length": 3, "mass": 5, "money": 11, "angle": 13, "calendar": 17})


def is_part(smaller: str, unit: str) -> bool:
    """Whether one unit measures the same kind as another, and less of it."""
    worths = [_TABLE.get(name, (0, name, 1)) for name in (smaller, unit)]
    return worths[0][1:] == worths[1][1:] and Fraction(worths[0][0]) < Fraction(worths[1][0])


def in_units(names: set[str]) -> bool:
    """Whether all letters of an expression may be units."""
    return bool(names) and names <= _TABLE.keys()


def conversion(left: Node, right: Node) -> tuple[Fraction | float, Fraction | float] | None:
    """The worth of both sides in one unit; None where they are no quantities of one kind.

    Each kind is measured in two ways: where that changes the ratio, the kinds are not the same.
    """
    names = variables(left), variables(right)
    if names[1] == set() and names[0] <= {"°"} and "π" in str(right):
        scaled = [(value(left, _worths({})), value(right) * _TABLE["rad"][0])]
    elif not (in_units(names[0]) and in_units(names[1])):
        return None
    else:
        scaled = [(value(left, _worths(scale)), value(right, _worths(scale))) for scale in SCALES]
    if any(None in pair or not all(pair) for pair in scaled):
        return None
    ratios = [float(a / b) for a, b in scaled]
    return scaled[0] if math.isclose(ratios[0], ratios[-1], rel_tol=1e-9) else None


def _worths(scale: Mapping[str, int]) -> dict[str, Fraction | float]:
    worths = {}
    for name, (worth, kind, power) in _TABLE.items():
        worths[name] = (Fraction(worth) if not isinstance(worth, float) else worth) * scale.get(kind, 1) ** power
    return worths
