"""Units of measure: their names, and what a quantity in one is worth in another of its kind."""

import math
from collections.abc import Mapping
from fractions import Fraction

from data_builders.arithmetic.expressions import Node
from data_builders.arithmetic.identities import value, variables

# A unit: name, worth in the base unit of its kind, kind, power of the kind, other names
_ROWS = """
s 1 time 1 second seconds sec secs | min 60 time 1 minute minutes mins | h 3600 time 1 hour hours hr hrs
day 86400 time 1 days | week 604800 time 1 weeks
month 1 calendar 1 months | year 12 calendar 1 years | decade 120 calendar 1 decades | century 1200 calendar 1 centuries
mm 1/1000 length 1 millimetre millimetres millimeter millimeters
cm 1/100 length 1 centimetre centimetres centimeter centimeters
dm 1/10 length 1 decimetre decimetres | m 1 length 1 metre metres meter meters
km 1000 length 1 kilometre kilometres kilometer kilometers
inch 0.0254 length 1 inches | ft 0.3048 length 1 foot feet | yard 0.9144 length 1 yards | mile 1609.344 length 1 miles
mg 1/1000 mass 1 milligram milligrams | g 1 mass 1 gram grams gramme grammes
kg 1000 mass 1 kilogram kilograms kilo kilos | tonne 1000000 mass 1 tonnes
oz 28.349523125 mass 1 ounce ounces | lb 453.59237 mass 1 lbs pound pounds
ml 1/1000000 length 3 millilitre millilitres milliliter milliliters | cl 1/100000 length 3 centilitre centilitres
dl 1/10000 length 3 decilitre decilitres | l 1/1000 length 3 litre litres liter liters | L 1/1000 length 3
hectare 10000 length 2 hectares ha | cent 1 money 1 cents | dollar 100 money 1 dollars
teaspoon 1 kitchen 1 teaspoons tsp | tablespoon 3 kitchen 1 tablespoons tbsp | cup 48 kitchen 1 cups
pint 96 kitchen 1 pints | quart 192 kitchen 1 quarts | gallon 768 kitchen 1 gallons
° 1 angle 1 degree degrees | turn 360 angle 1 turns revolution revolutions | rad 1 angle 1 radian radians
"""
_READ = [row.split() for row in _ROWS.replace("\n", "|").split("|") if row.strip()]
_TABLE = {name: (Fraction(worth), kind, int(power)) for name, worth, kind, power, *_ in _READ}
_TABLE["rad"] = (180 / math.pi, "angle", 1)
UNITS = {name: name for name in _TABLE if len(name) > 1} | {word: row[0] for row in _READ for word in row[4:]}
SCALES = ({}, {"time": 7, "length": 3, "mass": 5, "money": 11, "angle": 13, "calendar": 17, "kitchen": 19})


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
        worths[name] = worth * scale.get(kind, 1) ** power
    return worths
