r"""The words that `eval.grading.units` knows."""

from fractions import Fraction

_PREFIXES = {
    "": ("", 0), "k": ("kilo", 3), "M": ("mega", 6), "G": ("giga", 9), "T": ("tera", 12), "m": ("milli", -3),
    "µ": ("micro", -6), "μ": ("micro", -6), "u": ("micro", -6), "n": ("nano", -9), "p": ("pico", -12),
    "f": ("femto", -15), "c": ("centi", -2), "d": ("deci", -1), "h": ("hecto", 2),
}  # fmt: skip
# Units that take prefixes: the dimension, its symbols, its words.
_PREFIXED = """
metre: m, metre meter; gram: g, gram gramme; second: s, second; litre: L l, litre liter; ampere: A, ampere amp;
volt: V, volt; watt: W, watt; watt-hour: Wh; joule: J, joule; newton: N, newton; pascal: Pa, pascal; hertz: Hz, hertz;
kelvin: K, kelvin; mole: mol, mole; ohm: Ω, ohm; farad: F, farad; coulomb: C, coulomb; tesla: T, tesla;
electronvolt: eV, electronvolt; calorie: cal, calorie; byte: B, byte; bit: , bit; parsec: pc, parsec
"""
# All others: the dimension, and how much of it each group of words is.
_OTHERS = """
second: 1 sec secs 秒, 60 minute minutes min mins 分钟, 3600 hour hours hr hrs h 小时, 86400 day days 天, 604800
week weeks wk; month: 1 month months, 12 year years yr yrs, 120 decade decades, 1200 century centuries;
metre: 1/1000000 micron microns, 254/10000 inch inches in, 3048/10000 foot feet ft, 9144/10000 yard yards
yd yds, 1609344/1000 mile miles mi, 1 米, 1/100 厘米, 1000 公里 千米; gram: 1000 kilo kilos 千克 公斤, 1 克 gm gms;
pound: 1 pound pounds; sterling: 1 £ gbp; lb: 1 lb lbs, 1/16 ounce ounces oz; ton: 1 ton tons; tonne: 1
tonne tonnes; cup: 1 cup cups, 1/48 teaspoon teaspoons tsp, 1/16 tablespoon tablespoons tbsp, 2 pint pints
pt, 4 quart quarts qt, 16 gallon gallons gal; acre: 1 acre acres; hectare: 1 hectare hectares ha; degree: 1
degree degrees deg; radian: 1 radian radians rad; percent: 1 percent percentage; dollar: 1 dollar dollars
usd, 1/100 cent cents ¢; euro: 1 euro euros eur €; rupee: 1 rupee rupees rs inr ₹; yuan: 1 yuan rmb cny 元;
yen: 1 yen jpy 円 ¥; won: 1 krw ₩; peso: 1 peso pesos; am: 1 am; pm: 1 pm; ordinal: 1 st nd rd th; unit: 1
unit units; decibel: 1 dB decibel decibels; knot: 1 knot knots
"""


def _conversions() -> dict[str, tuple[str, Fraction]]:
    """Every unit's dimension, and what one of it is in the base unit of that dimension."""
    found = {}
    for dimension in _PREFIXED.split(";"):
        name, spellings = dimension.split(":")
        symbols, _, words = spellings.partition(",")
        for prefix, (spoken, exponent) in _PREFIXES.items():
            unit = name.strip(), Fraction(10) ** exponent
            found |= {prefix + symbol: unit for symbol in symbols.split()}
            found |= {spoken + word + end: unit for word in words.split() for end in ("", "s")}
    for dimension in _OTHERS.split(";"):
        name, groups = dimension.split(":")
        for size, *words in map(str.split, groups.split(",")):
            found |= dict.fromkeys(words, (name.strip(), Fraction(size)))
    return found


CONVERSIONS = _conversions()
MONEY = {"dollar", "euro", "pound", "sterling", "rupee", "yuan", "yen", "won", "peso"}
POWERS_BEFORE = {"square": 2, "sq": 2, "cubic": 3, "cu": 3, "平方": 2, "立方": 3}
POWERS_AFTER = {"squared": 2, "cubed": 3}
SCALES = {"dozen": 12, "dozens": 12, "hundred": 100, "thousand": 10**3, "lakh": 10**5, "lakhs": 10**5, "million": 10**6,
          "crore": 10**7, "crores": 10**7, "billion": 10**9, "trillion": 10**12, "万": 10**4, "亿": 10**8}  # fmt: skip
SCALES |= {word + "s": SCALES[word] for word in ("million", "billion", "trillion")}
# Words that say nothing of the number.
_FILLERS = """
of the in total altogether all whole each apiece us different distinct possible remaining exactly only real away
"""
_ASPECTS = "long wide tall high deep thick old"  # of what a measure is one
# Things that are counted and whose names do not end in s.
_COUNTED = """
people children men women fish sheep mice geese teeth dice deer cattle oxen pieces ways candy money fruit rice
个 人 岁 只 本 种 次 件 张 块 支 颗 头 条
"""
# Words that change what a number says, though they look like things.
_MARKS = """
losses debts decreases increases drops rises pairs scores gross grosses lefts rights backwards forwards upwards
downwards towards sideways besides always others negatives shorts unders afterwards minors majors k bn mn pluses
above below under beneath behind ahead before after ago early earlier late later short off down up north south east west
loss profit gain debt deficit surplus lost owed older younger increase decrease discount markup clockwise
counterclockwise anticlockwise quadrillion quintillion zillion
"""
# No unit: the number says something else when one of these words follows.
_NOT_UNITS = """
and or to plus minus times over mod if with without remainder than not no less fewer more about nearly approximately
between but is are was squared cubed factorial choose root tenths hundredths thousandths half halves third
thirds fourth fourths quarter quarters fifth fifths sixth sixths eighth eighths first negative base undefined wrong
tens hundreds thousands pi tau theta alpha beta phi infinity infty inf sqrt sin cos tan cot csc log ln exp
true false one two three four five six seven eight nine ten hundred thousand million billion trillion dozen
"""
FILLERS, ASPECTS, COUNTED, MARKS, NOT_UNITS = (
    set(words.split()) for words in (_FILLERS, _ASPECTS, _COUNTED, _MARKS, _NOT_UNITS)
)
