"""Finds the arithmetic that a text claims: `14 boxes * $9/box = $126`, `\\(37 + 12 = 59\\)`, `37 times 2 is 74`.

Careful by design: what might be read in two ways (a sum with a word in it, a cut-off line) is left out.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial

from data_builders.arithmetic.expressions import MAX_DIGITS, Node, Number, Operation, evaluate, leaves, terms
from data_builders.arithmetic.markup import plain

MAX_OPERATIONS = 12
MAX_POWER = 6
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")
MAX_DEPTH = 5  # parentheses in parentheses


@dataclass(frozen=True)
class Claim:
    """`expression = value`, as a text claims it, right or wrong."""

    expression: Node
    value: Fraction
    start: int  # the claim stands in text[start:end]
    end: int
    slip: tuple[Node, Fraction] | None  # the smallest part that is false, as (expression, claimed value)
    goes_on: bool = False  # its expression is the right side of the claim before: a = b = c

    @property
    def true(self) -> Fraction:
        """What the expression is; a claim on a division by zero is never made."""
        return evaluate(self.expression)


@dataclass(frozen=True)
class _Token:
    kind: str  # number, fraction, power, op, equals, means (a verb), open, close, unit, word, gap
    text: str
    start: int
    end: int
    node: Node | None = None


@dataclass(frozen=True)
class _Side:
    node: Node
    start: int
    first_end: int  # end of its first token
    end: int
    partial: bool = False  # it was the right side of something that could not be read


# "total" and its kin name a new quantity: they never stand between a number and its sign.
_STOP = re.compile(
    r"""a|an|and|are|as|at|be|because|both|but|by|equals?|finally|first|for|from|gives|has|have|hence|how|i|if|in|into|
    is|its?|let|makes|means|next|not|now|of|on|or|our|plus|minus|times|second|since|so|sold|sum|than|that|the|then|there|
    therefore|these|they|this|thus|to|totals?|totalling|together|was|we|were|when|where|which|while|will|with|yields|you|
    revenue|earnings|costs?|price|income""",
    re.VERBOSE,
)
_GUARD = {"of", "half", "twice", "double", "triple", "times", "minus", "plus"}
# What may follow a number at once without being a factor: 5cm, 7x9; 2ab is a product.
_MEASURES = r"(?:[cdkm]?m|[km]?g|m?l|h|s|min|ft|in|lb|oz|is|of|to)\b|[xX](?=\s*(?:\\?\$\d|[\d(]))"
_FRACTION = r"\\[dt]?frac\s*\{(?P<above>(?:[^{}]|\{[^{}]*\})*)\}\s*\{(?P<below>(?:[^{}]|\{[^{}]*\})*)\}"
# Signs that are not calculated with: what stands beside them is not read.
_BEYOND = (
    r"[√|!∫∑π] | \d+\.(?=\\) | \\(?:sqrt|d?binom|log|ln|sin|cos|tan|lfloor|rfloor|lceil|rceil|"
    r"sum|prod|int|pm|pi|theta|overline|"
    r"choose|pmod|bmod|mod|cdots|ldots|dots)(?![a-z]) | (?:(?<=[}\])])|(?<=\\left)|(?<=[^A-Za-z][A-Za-z]))(?=\()"
)
_TOKEN = re.compile(
    rf"""(?P<fraction>{_FRACTION})
    | (?P<power>\^\s*(?:\{{[^{{}}]*\}}|-?\d+|\w)? | [⁰¹²³⁴⁵⁶⁷⁸⁹]+)
    | (?P<variable>(?:(?<=[\d)}}])|(?<=\}}[ ]))(?!{_MEASURES})[A-Za-z]{{1,3}}(?![A-Za-z]) | {_BEYOND})
    | (?P<gap>\n[ \t]*\n | \n[ \t]*(?:>|\#+) | (?:(?<=\n)|\A)[ \t]*(?:[-*•+][ \t]+)?(?:\(?\d+[.)][ \t]+|[-*•][ \t]+)
        | (?i:\b(?:step|part|check|day|question|problem)\s+\d+\b) | \*\*+ | // | [=!<>:+*/-]=|=[>=] | -> | \$\$
        | \\\\ | \\\[ | \\\] | [A-Za-z]\w*_\w+ | \d*[A-Za-z_]\w*\d\w*)
    | (?P<skip>\n | [^\S\n]+ | \\?\$ | \\[,;:!\ ] | \\[()] | \\(?:left|right)(?![a-zA-Z]) | & )
    | (?P<unit>/\s*(?:\\(?:text|mathrm)\s*\{{[^{{}}]*\}}|[A-Za-z]+) | \\(?:text|mathrm|mbox)\s*\{{[^{{}}]*\}})
    | (?P<number>\d{{1,3}}(?:,\d{{3}})+(?:\.\d+)?(?!\d|\s?\\?%) | \d+(?:\.\d+)?(?!\d|\s?\\?%) | \.\d+)
    | (?P<op>\\times(?![a-z]) | \\cdot(?![a-z]) | \\div(?![a-z]) | [×÷*·+/−–-] | (?<=[\d\s)])[xX](?=\s*[$\d(]))
    | (?P<equals>=)
    | (?P<open>\() | (?P<close>\))
    | (?P<word>[A-Za-z](?:[A-Za-z'’]|-(?=[A-Za-z]))*)
    | (?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
_OPS = {"\\times": "*", "\\cdot": "*", "×": "*", "*": "*", "·": "*", "x": "*", "X": "*"}
_OPS |= {"\\div": "/", "÷": "/", "/": "/", "+": "+", "-": "-", "−": "-", "–": "-"}
_MEANS = {"is", "equals", "gives", "makes"}


def claims(text: str, *, both_ways: bool = False) -> list[Claim]:
    """Every arithmetic claim of `text`, in order. A chain a = b = c makes one claim a side that holds an operation.

    Args:
        both_ways: read `93 = 68 + 25` too, as a claim on 68 + 25.
    """
    tokens, result, at = _tokens(text), [], 0
    while at < len(tokens):
        sides, after = _chain(tokens, at)
        if sides:
            result += _chain_claims(sides, both_ways)
            at = after
        else:
            at += 1
    return result


def numbers(text: str) -> set[Fraction]:
    """Every number that stands in the text in digits, list numbers included."""
    return {
        Fraction(n.replace(",", ""))
        for n in re.findall(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?", text)
        if len(n) <= MAX_DIGITS
    }


def words_before(text: str, start: int) -> str:
    """The words just before a claim: its sentence or line up to `start`, or "" where that is long or holds a quote."""
    before = re.sub(r"(?:\s|\\[\[(]|\$|`)+$", "", text[:start])
    piece = re.split(r"\n|[.;!?]\s", before)[-1]
    piece = plain(re.sub(r"^[\s\-*•#]*(?:\d+[.)]\s)?", "", piece)).strip(" .:=,")
    piece = re.sub(r"\b(?:is|are|equals|was)(?: calculated as follows| [\d $×*+/−-]+)?$", "", piece).strip(" .:=,")
    piece = re.sub(r"^(?:Therefore|So|Thus|Hence|Then|Now|Next),? ", "", piece)
    return piece if '"' not in piece and len(piece) <= 80 else ""


def _tokens(text: str) -> list[_Token]:
    tokens, newline = [], True
    for match in _TOKEN.finditer(text):
        kind, piece = match.lastgroup, match.group()
        if kind == "skip":
            newline = newline or "\n" in piece
            continue
        node = None
        if kind == "number" and len(piece) <= MAX_DIGITS:
            node = Number(Fraction(piece.replace(",", "")))
        elif kind in ("fraction", "above", "below"):
            above, below = (_whole(match.group(name)) for name in ("above", "below"))
            kind, node = "number", Operation("/", above, below) if above and below else None
        elif kind == "op":
            piece = _OPS[piece]
        elif kind in ("word", "unit"):
            kind = _kind_of_words(piece)
            if newline and kind != "gap":
                tokens.append(_Token("gap", "", match.start(), match.start()))
        elif kind == "variable":
            kind = "power"  # 2ab and 2^n alike end what can be computed
        if kind == "other" or (kind == "number" and not node):
            kind = "gap"
        tokens.append(_Token(kind, piece, match.start(), match.end(), node))
        newline = False
    return tokens


def _kind_of_words(piece: str) -> str:
    words = re.findall(r"[A-Za-z][A-Za-z'’-]*", re.sub(r"^\\[a-z]+", "", piece))
    if len(words) == 1 and words[0].lower() in _MEANS:
        return "means"
    return "word" if any(_STOP.fullmatch(w.lower()) or w[0].isupper() for w in words) else "unit"


def _whole(text: str) -> Node | None:
    """The expression that fills `text` from end to end, as in the two halves of a \\frac."""
    tokens = [t for t in _tokens(text) if t.kind != "gap" or t.text.strip()]
    node, after = _sum(tokens, 0)
    return node if node is not None and after == len(tokens) else None


def _chain(tokens: list[_Token], at: int) -> tuple[list[_Side], int]:
    """The sides of a chain of equations that starts at token `at`, and the token after it."""
    node, after = _sum(tokens, at)
    if node is None:
        return [], at
    sides = [_Side(node, tokens[at].start, tokens[at].end, tokens[after - 1].end)]
    before = tokens[at - 1] if at else tokens[at]
    cut = at > 0 and (before.kind in ("op", "number", "close", "power") or before.text.lower() in _GUARD)
    while after < len(tokens) and tokens[after].kind in ("equals", "means"):
        if tokens[after].kind == "means" and not isinstance(sides[-1].node, Operation):
            break
        node, end = _sum(tokens, after + 1)
        if node is None:
            break
        first = tokens[after + 1]
        sides.append(_Side(node, first.start, first.end, tokens[end - 1].end))
        after = end
    follows = [token.kind for token in tokens[after : after + 2]]
    if follows in (["open", "number"], ["unit", "number"]) or follows[:1] in (["op"], ["number"], ["power"]):
        sides = sides[:-1]  # the last side goes on in a way that was not understood
    if cut:
        sides = [replace(side, partial=True) for side in sides[1:2]] + sides[2:]
    return (sides, after) if len(sides) > 1 else ([], at)


def _sum(tokens: list[_Token], at: int, depth: int = 0, ops: str = "+-") -> tuple[Node | None, int]:
    """The sum (or product, where `ops` are its signs) that starts at token `at`, or None, and the token after it."""
    part = partial(_sum, ops="*/") if ops == "+-" else _operand
    node, at = part(tokens, at, depth)
    while node is not None and at < len(tokens) and tokens[at].kind == "op" and tokens[at].text in ops:
        right, after = part(tokens, at + 1, depth)
        if right is None or sum(1 for _ in leaves(node)) > MAX_OPERATIONS:
            break
        node, at = Operation(tokens[at].text, node, right), after
    return node, at


def _operand(tokens: list[_Token], at: int, depth: int) -> tuple[Node | None, int]:
    """A number with its unit words, a negative number, or a sum in parentheses."""
    if at >= len(tokens) or depth > MAX_DEPTH:
        return None, at
    token = tokens[at]
    if token.kind == "op" and token.text == "-" and at + 1 < len(tokens) and tokens[at + 1].kind == "number":
        if at and tokens[at - 1].kind not in ("equals", "means", "open", "gap"):
            return None, at
        node, after = _operand(tokens, at + 1, depth)
        return (Number(-node.value), after) if isinstance(node, Number) else (None, at)
    if token.kind == "number":
        return _raised(token.node, tokens, at + 1)
    if token.kind == "open":
        node, after = _sum(tokens, at + 1, depth + 1)
        if node is not None and after < len(tokens) and tokens[after].kind == "close":
            return _raised(node, tokens, after + 1)
    return None, at


def _raised(node: Node | None, tokens: list[_Token], at: int) -> tuple[Node | None, int]:
    """A factor with the small whole power that may follow it, and its unit words."""
    if node is None or at >= len(tokens) or tokens[at].kind != "power":
        return node, _after_unit(tokens, at)
    exponent = tokens[at].text.lstrip("^ ").strip("{} ").translate(_SUPERSCRIPTS)
    value = evaluate(node)
    if not (exponent.isascii() and exponent.isdigit() and 1 < int(exponent) <= MAX_POWER) or value is None:
        return None, at
    power = node
    for _ in range(int(exponent) - 1):
        power = Operation("*", power, node)
    return power, _after_unit(tokens, at + 1)


def _after_unit(tokens: list[_Token], at: int) -> int:
    """Skip up to four unit words, if a sign or the end of the expression comes after them."""
    after = at
    while after < len(tokens) and tokens[after].kind == "unit" and after - at < 4:
        after += 1
    if after == at or after >= len(tokens) or tokens[after].kind in ("op", "equals", "means", "close"):
        return after
    return at


def _chain_claims(sides: list[_Side], both_ways: bool) -> Iterator[Claim]:
    goes_on = False
    for i in range(len(sides) - 1):
        node, start, after, end = sides[i].node, sides[i].start, sides[i + 1].node, sides[i + 1].end
        reverse = both_ways and len(sides) == 2 and isinstance(after, Operation) and not sides[0].partial
        first = sides[0]  # one number without a unit? `20 min = 1/3 h` is no claim on 1/3
        if reverse and isinstance(first.node, Number) and first.end == first.first_end:
            node, after = after, node
        if not isinstance(node, Operation) or evaluate(node) is None or evaluate(after) is None:
            goes_on = False
            continue
        if isinstance(after, Operation) and i + 2 < len(sides) and evaluate(after) != evaluate(node):
            first, then = next(leaves(after)), evaluate(sides[i + 2].node)
            if first.value == evaluate(node) or (len(terms(after)) == 1 and evaluate(after) == then):
                end = sides[i + 1].first_end  # "37 + 12 = 49 x 2 = 98" runs on from 49
                yield Claim(node, first.value, start, end, _slip(node, first), goes_on)
                goes_on = False
                continue
        yield Claim(node, evaluate(after), start, end, _slip(node, after), goes_on)
        goes_on = True


def _slip(node: Node, after: Node) -> tuple[Node, Fraction] | None:
    """The smallest part of `node = after` that is false; None where it is true, or rounds properly."""
    true, claimed = evaluate(node), evaluate(after)
    if true == claimed or _rounds_to(true, claimed):
        return None
    left, right = terms(node), terms(after)
    if len(left) == len(right) > 1 and [s for s, _ in left] == [s for s, _ in right]:
        wrong = [(a, evaluate(b)) for (_, a), (_, b) in zip(left, right, strict=True) if evaluate(a) != evaluate(b)]
        if len(wrong) == 1 and isinstance(wrong[0][0], Operation) and wrong[0][1] is not None:
            return wrong[0]
    return node, claimed


def _rounds_to(true: Fraction, claimed: Fraction) -> bool:
    """Whether `claimed` is `true` cut or rounded at its last decimal: 33.33 for 100/3, but no whole numbers."""
    places = next((n for n in range(1, 7) if (claimed * 10**n).denominator == 1 and claimed.denominator != 1), None)
    short = (100 * true).denominator == 1  # 15/4 is 3.75 and needs no rounding
    return places is not None and abs(true - claimed) < Fraction(1, 10**places) and not short
