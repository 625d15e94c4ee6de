"""Steps of a solution that a critique calls wrong although they are right, as far as that can be shown.

It is shown by the critique itself, which takes the same step in its own working, by the steps of the problem, by an
equation that does follow from the one before, or by a calculation that the solution never makes.
"""

import re
from collections.abc import Iterable, Iterator
from fractions import Fraction

from data_builders.arithmetic.claims import claims, numbers
from data_builders.arithmetic.equations import Equation, equations
from data_builders.arithmetic.expressions import Node, leaves
from data_builders.arithmetic.identities import difference, follows, same_value, value, variables
from data_builders.arithmetic.markup import QUOTE
from data_builders.arithmetic.wordings import worded
from data_builders.filter.falsehoods import false_calculations
from data_builders.filter.sentences import sentences, simple

_FAULT = r"(?:mistakes?|errors?|slips?|faults?|flaws?|faulty step|wrong step|false step|problem)"
_BLAME = re.compile(
    rf"\b{_FAULT} (?:is|was|lies|sits|comes|occurs|happens|appears|begins|starts)\b|\b(?:goes|"
    rf"went|going) wrong (?:in|at|with|when)\b|"
    r"\b(?:miscalculat|miscomput)\w+"
)
_BLAMED_AFTER = re.compile(
    r"[\s\"”$\\).,;]{0,4}(?:which |that |this |it )?(?:is|was|are) (?:wrong|false|incorrect|not "
    r"(?:right|correct|true)|miscalculated|"
    r"(?:the|an?) (?:first |real )?(?:mistake|error|slip)\b)"
)
_ELSEWHERE = re.compile(
    r"\b(?:after|before|until|up to|following|beyond|not in|not at|rather than|instead|no|not|"
    r"stops?|leaves?|us(?:es?|ed|ing)|tak(?:es?|ing)|"
    r"call\w*|treat\w*|reading|label\w*|although|though|answer\w*|forg\w+|miss\w+|mean\w*|should|counts?|box\w*|question)\b"
)
_FROM_TO = re.compile(r"\bfrom\b(?P<first>[^.;:\n]{3,60}?)\bto\b(?P<second>[^.;:\n]{3,60})")
_BADLY = r"(?:incorrectly|wrongly|badly|falsely)"
_WRONG = re.compile(rf"\b(?:wrong\w*|false\w*|faulty|incorrect\w*|invalid|{_FAULT}|not (?:allowed|follow|valid))\b")
_WHO = r"(?:student|you|solution|candidate|they|he|she)(?: has| have)?"
_DID = re.compile(
    rf"\b{_WHO} (?P<did>multipli|add|subtract|divid)(?:ed|es|s|e)?\b[^.;]{{0,50}}?"
    r"\b(?:instead of|rather than|should (?:have|be)|ought to|where|when)\b|"
    rf"\b{_FAULT} (?:is|was) that (?:the )?{_WHO} (?P<did2>multipli|add|subtract|divid)(?:ed|es|s|e)\b"
)
_DID_WITH = re.compile(rf"\b{_WHO} (?:multipli|add|subtract|divid)(?:ed|es|s)(?: by)? (?P<number>\d+(?:\.\d+)?)\b")
_COMPUTED = re.compile(
    rf"[\s\"”$\\).,;]{{0,4}}(?:is|was) (?:{_BADLY} )?(?:comput|calculat|evaluat|work)ed(?: out)? {_BADLY}|miscalc"
)
_SLIPPED = re.compile(
    rf"\b(?P<did>multipli|add|subtract|divid|comput|calculat)(?:ed|es|s|e)? (?:\w+ ){{0,5}}?{_BADLY}\b|"
    rf"\b(?:an?|the) (?P<kind>arithmetic|calculation|computation|multipli|addi|subtract|divi)\w* "
    rf"(?:error|slip|mistake)\b|"
    rf"\b{_FAULT} (?:is|lies|sits) in (?:the|his|her|their) (?P<kind2>multipli|addi|subtract|divi)\w*on\b|"
    rf"\b(?:the|student's) (?P<kind3>multipli|addi|subtract|divi)\w*on\b[^.;:,]{{0,30}}? (?:is|was) "
    rf"(?:wrong|incorrect|{_BADLY})"
)
_OPS = {"multipli": "*", "add": "+", "addi": "+", "subtract": "-", "divid": "/", "divi": "/"}
_SIGNS = {
    "multipli": r"[×*·⋅^²³!%]|\\cdot|\dx\d|\d\(|\)\(|\d[a-z]|times|multipl|product|twice|double|frac|binom|sqrt",
    "add": r"\+|sum|add|plus|total|together|more|\band\b|average|mean",
    "subtract": r"[-−–]|minus|subtract|less|differ|left|tak|remain|rest",
    "divid": r"[/÷:%]|\\div|frac|divid|half|halv|ratio|per|third|quarter|share|average|mean|split|each",
}
_NOUN_WRONG = re.compile(
    rf"\b(?:got|gets|computed|calculated|found|has) the (?P<noun>[a-z]{{4,}}(?: [a-z]{{4,}})?) (?:wrong|{_BADLY})\b|"
    rf"\bthe (?P<noun2>[a-z]{{4,}}) (?:is|was) (?:miscalculated|computed {_BADLY}|calculated "
    rf"{_BADLY}|{_BADLY} (?:computed|calculated))\b"
)


def wrong_blame(text: str, candidate: str, steps: Iterable[tuple[Node, Fraction]] = ()) -> str | None:
    """The words that blame a step which is right; None where none can be shown.

    Args:
        steps: expression and value of each step of the problem, where it has some.
    """
    plain = [(piece, simple(piece)) for piece in sentences(text)]
    return next(
        (
            piece.strip()
            for piece, words in plain
            if any(_COMPUTED.match(piece, e.end) and _holds(e) for e in equations(piece))
            or _blames_own_step(piece, words, text, steps)
            or _blames_what_follows(piece, words)
            or _blames_what_is_not_there(words, candidate)
            or _blames_what_it_finds_too(words, text, candidate)
        ),
        None,
    )


def _key(expression: Node, result: Fraction) -> tuple:
    numbers_of = sorted(str(leaf) for leaf in leaves(expression))
    return tuple(numbers_of), getattr(expression, "op", ""), result


def _blames_own_step(piece: str, words: str, text: str, steps: Iterable[tuple[Node, Fraction]]) -> bool:
    """Whether a true calculation is called the mistake that the critique, or the problem's solution, makes as well."""
    blamed = [claim for claim in claims(piece) if not claim.slip and claim.value is not None]
    if len(blamed) != 1:
        return False
    claim = blamed[0]
    before = re.split(r"[,;:]", piece[: claim.start].casefold())[-1]
    named = _BLAME.search(words) and not _ELSEWHERE.search(words)
    called = _BLAMED_AFTER.match(piece, claim.end) and not _ELSEWHERE.search(before)
    if not (named or called):
        return False
    rest = QUOTE.sub(" … ", text.replace(piece, " "))
    own = {_key(c.expression, c.value) for c in claims(rest) if not c.slip}
    own |= {_key(expression, result) for expression, result in steps}
    return _key(claim.expression, claim.value) in own


def _blames_what_follows(piece: str, words: str) -> bool:
    """Whether "from 2x = 10 to x = 5" is called a mistake, where the second does follow."""
    match = _FROM_TO.search(piece)
    if not match or not _WRONG.search(words):
        return False
    pair = [equations(worded(match[name])) for name in ("first", "second")]
    if not all(pair):
        return False
    first, second = (difference(found[-1].left, found[-1].right) for found in pair)
    return bool(first and second) and follows(second, [first]) and follows(first, [second])


def _blames_what_is_not_there(words: str, candidate: str) -> bool:
    """Whether the student is said to have used an operation that the solution holds no sign of, or to have slipped in
    one although all its calculations are true."""
    if (match := _DID.search(words)) and not re.search(_SIGNS[match["did"] or match["did2"]], candidate.casefold()):
        return True
    if (match := _DID_WITH.search(words)) and Fraction(match["number"]) not in numbers(candidate):
        return True
    if not (match := _SLIPPED.search(words)) or re.search(r"\b(?:no|not|never|nothing|without)\b", words):
        return False
    op = _OPS.get(next(filter(None, match.groups())), "")
    made = [(str(claim.expression), not claim.slip) for claim in claims(candidate)]
    made += [(f"{e.left} {e.right}", _holds(e)) for e in equations(worded(candidate)) if _numeric(e)]
    made = [true for calculation, true in made if f"op={op!r}" in calculation or not op]
    return bool(made) and all(made) and (bool(op) or not false_calculations(candidate, ""))


def _numeric(equation: Equation) -> bool:
    return not variables(equation.left) and not variables(equation.right)


def _holds(equation: Equation) -> bool:
    """Whether an equation of numbers is true; a side that is not known makes it false."""
    sides = value(equation.left), value(equation.right)
    return None not in sides and same_value(*sides)


def _blames_what_it_finds_too(words: str, text: str, candidate: str) -> bool:
    """Whether "the hypotenuse" is called wrong, and comes out the same in critique and solution."""
    match = _NOUN_WRONG.search(words)
    noun = match and (match["noun"] or match["noun2"])
    if not noun or noun in ("answer", "solution", "result", "final answer", "total", "problem", "question"):
        return False
    own, theirs = (set(_ends(noun, source)) for source in (text, candidate))
    return bool(own & theirs)


def _ends(noun: str, text: str) -> Iterator[Fraction]:
    """The last number of each stretch of a text that speaks of `noun`."""
    for match in re.finditer(rf"\b{re.escape(noun)}\b[^.;,\n]{{0,80}}", text.casefold()):
        found = [e for e in equations(worded(match[0])) if not variables(e.right)]
        if found and isinstance(worth := value(found[-1].right), Fraction):
            yield worth
        elif len(only := numbers(match[0])) == 1:
            yield only.pop()
