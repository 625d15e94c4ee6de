"""Reads the equations that a text writes in signs, with letters or without: `(a + b)² = a² + 2ab + b²`, `1/6 ≈ 16.7 %`.

A side is read whole or not at all. Trees are those of `expressions`, with ^, roots and functions beside + - * /.
"""

import re
from dataclasses import dataclass
from fractions import Fraction

from data_builders.arithmetic.expressions import MAX_DIGITS, Name, Node, Number, Operation
from data_builders.arithmetic.units import UNITS

MAX_TOKENS = 60  # of a side
_VULGAR = {"½": "1/2", "⅓": "1/3", "⅔": "2/3", "¼": "1/4", "¾": "3/4", "⅕": "1/5", "⅙": "1/6", "⅛": "1/8"}
_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻ⁿ", "0123456789-n")
_WORDS = r"\\(?:text|mathrm|mbox|textbf|operatorname|mathbf)\s*\{[^{}]*\}"
_TOKEN = re.compile(
    rf"""(?P<bad>(?<=\d)(?:\s+:\s*|:)(?=\d)|\d+\.(?=\\)|\.\.\.|…|[A-Za-z]\w*_\w{{2,}}|[A-Za-z]['′’](?!\w)|\b[A-Z]{{2,4}}\b)
    |(?P<skip>\\[,;:!\ ]|\\(?:left|right|displaystyle|boxed|q?quad)(?![a-zA-Z])|&|~
        |\\\\\s*(?=(?:&|\\q?quad|\s)*[=+])|[ \t]+|\\\$
        |\n[ \t]*(?=[=≈+&]|\\approx)|(?<=[=≈+&])[ \t]*\n)
    |(?P<number>\d{{1,3}}(?:,\d{{3}})+(?:\.\d+)?(?!\d)|\d+(?:\.\d+)?|\.\d+|[½⅓⅔¼¾⅕⅙⅛])
    |(?P<percent>\\?%) |(?P<degree>\^\s*(?:\{{\s*\\circ\s*\}}|\\circ(?![a-z]))|°)
    |(?P<raised>[⁰¹²³⁴⁵⁶⁷⁸⁹⁻ⁿ]+) |(?P<power>\^)
    |(?P<times>\\times(?![a-z])|\\cdot(?![a-z])|[×*·⋅]) |(?P<over>\\div(?![a-z])|[÷/]) |(?P<plus>\+) |(?P<minus>[-−–])
    |(?P<fraction>\\[dt]?frac(?=\s*\{{)) |(?P<binomial>\\[dt]?binom(?=\s*\{{))
    |(?P<function>
        \\(?:sqrt(?=\s*\{{)|log_(?:\d|\{{\d{{1,2}}\}})|(?:sin|cos|tan|log|ln|exp)(?![a-z_]))|√
        |\b(?:sqrt|sin|cos|tan|log(?:_\d)?|ln)(?=\(|[ ][a-z\d]\b|[²³]))
    |(?P<pi>\\pi(?![a-z])|π)
    |(?P<factorial>(?<=[\d)])!(?=\s*(?:[)=/*·}}+−-]|\\)))
    |(?P<about>≈|\\approx(?![a-z])) |(?P<equals>=(?![=>]))
    |(?P<word>{_WORDS}|[A-Za-z]{{2,}}(?:['’][A-Za-z]+|-[A-Za-z]{{2,}})*|\bI\b)
    |(?P<letter>[A-Za-z](?:_(?:\d|[a-z]|\{{\w\}}))?|\\(?:alpha|beta|gamma|theta|lambda|mu|phi|varphi|omega)(?![a-z]))
    |(?P<open>[(\[{{]) |(?P<close>[)\]}}])
    |(?P<end>\\[()\[\]]|\\(?:Rightarrow|implies|to|iff|equiv|neq?|leq?|geq?)(?![a-z])|\\\\
        |[$.,;:?!\n|"“”→⇒⟹⟺≡≠<>≤≥✓✗✔✅❌✘•])
    |(?P<other>\\[A-Za-z]*|.)""",
    re.VERBOSE,
)
_CALLS = {("open", "number", "close"), ("open", "letter", "close")}
_FUNCTION_NAMES = frozenset("fgFGPCE")
_SHORT_UNITS = frozenset("mghslL")
# Words that make a number beside them part of something else: "= 4 times 3", "= 20 more than".
_GUARD_WORDS = """
times plus minus of half twice double triple per over divided squared cubed dozen hundred thousand million
percent remainder factorial choose gcd lcm max min det lim floor more less fewer short too away apart off below above
longer shorter larger smaller greater bigger later earlier late early faster slower point
"""
_SHORT_WORDS = """
in is it if of to so we as at or by on no be an am do go he me my up us ie eg cm km mm kg ml dl cl ft lb oz hr min sec
mod the and for are but not one two six ten all any how let now our out too use was yes you has had his her can get
got per off via set sum max gcd lcm
"""
_GUARD = frozenset(_GUARD_WORDS.split())
_NOT_LETTERS = frozenset(_SHORT_WORDS.split())
_ASIDE = ["equals"], ["about"], ["word"]  # what begins a remark in parentheses


@dataclass(frozen=True)
class Equation:
    """`left = right`, or with ≈, in text[start:end]; equations of one chain a = b = c have one number."""

    left: Node
    right: Node
    about: bool
    start: int
    end: int
    chain: int


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    start: int
    end: int


def equations(text: str) -> list[Equation]:
    """The equations of a text of which both sides can be read; sides that hold words are left out."""
    found = []
    for chain, (run, guarded, cut) in enumerate(_runs(_tokens(text))):
        sides, signs = [[]], []
        for token in run:
            if token.kind in ("equals", "about"):
                signs.append(token)
                sides.append([])
            else:
                sides[-1].append(token)
        nodes = [_Parser(side).whole() if side else None for side in sides]
        if guarded:
            nodes[0] = None
        if cut:
            nodes[-1] = None
        for i, sign in enumerate(signs):
            left, right = nodes[i], nodes[i + 1]
            if left is not None and right is not None:
                span = sides[i][0].start, sides[i + 1][-1].end
                found.append(Equation(left, right, sign.kind == "about", *span, chain))
    return found


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    singles = set(re.findall(r"(?<![A-Za-z\\])[A-Za-z](?![A-Za-z])", text))
    for match in _TOKEN.finditer(text):
        kind, piece = match.lastgroup, match.group()
        if kind == "skip":
            continue
        if kind == "word" and piece.lower() in UNITS:
            kind, piece = "unit", UNITS[piece.lower()]
        short = kind == "word" and len(piece) <= 3 and piece.islower() and piece not in _NOT_LETTERS
        if short and set(piece) <= singles:  # ab is a times b where a and b are letters of the text
            for at, letter in enumerate(piece, match.start()):
                tokens.append(_Token("letter", letter, at, at + 1))
        else:
            tokens.append(_Token(kind, piece, *match.span()))
    return tokens


def _runs(tokens: list[_Token]) -> list[tuple[list[_Token], bool, bool]]:
    """The stretches of signs that hold an = or ≈, and whether the words before and after belong to the calculation."""
    unmatched, open_ = set(), []
    for i, token in enumerate(tokens):
        if token.kind == "open":
            open_.append(i)
        elif token.kind == "close":
            start = open_.pop() if open_ else None
            if start is None or any(
                t.kind in ("equals", "about", "word", "end") for t in tokens[start + 1 : i][:MAX_TOKENS]
            ):
                unmatched.update({i} if start is None else {start, i})
        elif token.kind == "end" and token.text in "$\n;":
            unmatched.update(open_)
            open_ = []
    unmatched.update(open_)
    runs, start = [], 0
    for i in range(len(tokens) + 1):
        if i < len(tokens) and tokens[i].kind not in ("word", "end") and i not in unmatched:
            continue
        run = tokens[start:i]
        if any(token.kind in ("equals", "about") for token in run):
            before, after = tokens[start - 1 : start], tokens[i : i + 1]
            next_kinds = [token.kind for token in tokens[i + 1 : i + 2]]
            goes_on = i in unmatched and tokens[i].kind == "open" and next_kinds not in _ASIDE
            torn = start - 1 in unmatched and tokens[start - 1].kind == "close"
            runs.append((run, torn or any(map(_guards, before)), goes_on or any(map(_guards, after))))
        start = i + 1
    return runs


def _guards(token: _Token) -> bool:
    return token.kind == "word" and (token.text.lower() in _GUARD or token.text.startswith("arc"))


class _Parser:
    """Reads one side. What it cannot read makes the whole side None."""

    def __init__(self, tokens: list[_Token]) -> None:
        self.tokens, self.at = tokens, 0

    def whole(self) -> Node | None:
        if len(self.tokens) > MAX_TOKENS:
            return None
        try:
            node = self._sum()
        except _UnreadableError:
            return None
        return node if self.at == len(self.tokens) else None

    def _kind(self, ahead: int = 0) -> str:
        return self.tokens[self.at + ahead].kind if self.at + ahead < len(self.tokens) else ""

    def _kinds_ahead(self) -> tuple[str, ...]:
        return tuple(self._kind(ahead) for ahead in range(3))

    def _next(self) -> _Token:
        if self.at >= len(self.tokens):
            raise _UnreadableError
        self.at += 1
        return self.tokens[self.at - 1]

    def _sum(self) -> Node:
        node = self._product()
        while self._kind() in ("plus", "minus"):
            op = "+" if self._next().kind == "plus" else "-"
            right = self._product()
            if _is_percent(right) and not _is_percent(node):
                right = Operation("*", node, right)  # 80 − 20 % takes off 20 % of the 80
            node = Operation(op, node, right)
        return node

    def _product(self) -> Node:
        node, divided = self._factor(), False
        while kind := self._kind():
            if kind == "over" and divided:
                raise _UnreadableError
            if kind in ("times", "over"):
                op = "*" if self._next().kind == "times" else "/"
                node, divided = Operation(op, node, self._factor()), op == "/"
            elif kind == "unit" and self.tokens[self.at - 1].kind in ("pi", "close"):
                node = Operation("*", node, self._unit())
            elif kind in ("letter", "open", "function", "fraction", "binomial", "pi"):
                if divided:
                    raise _UnreadableError  # 1/2x may be read in two ways
                node = Operation("*", node, self._factor())
            else:
                return node
        return node

    def _factor(self) -> Node:
        if self._kind() in ("plus", "minus"):
            minus = self._next().kind == "minus"
            node = self._factor()
            if minus and isinstance(node, Number):
                return Number(-node.value)
            return Operation("-", Number(Fraction(0)), node) if minus else node
        node = self._base()
        while self._kind() in ("power", "raised", "percent", "degree", "factorial"):
            token = self._next()
            if token.kind == "power":
                node = Operation("^", node, self._exponent())
            elif token.kind == "raised":
                exponent = token.text.translate(_RAISED)
                if not re.fullmatch(r"-?\d{1,3}|n", exponent):
                    raise _UnreadableError
                node = Operation("^", node, Name("n") if exponent == "n" else Number(Fraction(exponent)))
            elif token.kind == "percent":
                node = Operation("%", node, Number(Fraction(100)))
            elif token.kind == "degree":
                node = Operation("*", node, Name("°"))
            else:
                node = Operation("!", node, node)
        return node

    def _exponent(self) -> Node:
        if self._kind() == "minus":
            self._next()
            return Operation("-", Number(Fraction(0)), self._exponent())
        return _plain(self._next()) if self._kind() == "number" else self._base()

    def _base(self) -> Node:
        token = self._next()
        match token.kind:
            case "number":
                return self._number(token)
            case "letter":
                if self._kinds_ahead() in _CALLS or (self._kind() == "open" and token.text in _FUNCTION_NAMES):
                    raise _UnreadableError  # f(x), P(2) is no product
                return Name(re.sub(r"[{}\\]", "", token.text))
            case "pi":
                return Name("π")
            case "open":
                node = self._sum()
                if self._next().kind != "close":
                    raise _UnreadableError
                return node
            case "unit":
                if self.at < 2 or self.tokens[self.at - 2].kind != "open":
                    raise _UnreadableError  # a unit without a number, and no \\frac{km}{h}
                return Name(token.text)
            case "fraction" | "binomial":
                op = "/" if token.kind == "fraction" else "binomial"
                return Operation(op, self._base(), self._base())
            case "function":
                return self._call(token.text.strip("\\").replace("√", "sqrt"))
        raise _UnreadableError

    def _call(self, name: str) -> Node:
        """A function of what stands in parentheses, or of a product of numbers and letters: sin² 2x, log_2 x."""
        name, _, base = name.partition("_")
        exponent = None
        if name != "sqrt" and self._kind() in ("power", "raised"):
            token = self._next()
            exponent = self._exponent() if token.kind == "power" else Number(Fraction(token.text.translate(_RAISED)))
        bare = self._kind() != "open"
        argument = self._base()
        while bare and name != "sqrt" and self._kind() in ("letter", "pi"):
            argument = Operation("*", argument, self._base())
        if bare and name != "sqrt" and self._kind() in ("fraction", "power", "raised", "degree"):
            raise _UnreadableError  # sin x²
        node = Operation("ln" if base else name, argument, argument)
        if base:
            of = Number(Fraction(base.strip("{}")))
            node = Operation("/", node, Operation("ln", of, of))
        return node if exponent is None else Operation("^", node, exponent)

    def _number(self, token: _Token) -> Node:
        """A number, mixed numbers (2 1/3, 2½, 2\\frac13) and quantities (3/4 h, 100 km/h) included."""
        node = _plain(token)
        whole = node.value.denominator == 1 and token.text not in _VULGAR
        if self._kind() == "number":
            vulgar = self.tokens[self.at].text in _VULGAR
            if not whole or not (vulgar or (self._kind(1) == "over" and self._kind(2) == "number")):
                raise _UnreadableError
            part = _plain(self._next())
            node = Operation("+", node, part if vulgar else self._over(part))
        elif whole and self._kind() == "fraction":
            part = self._base()
            bare = isinstance(part.left, Number) and isinstance(part.right, Number)
            node = Operation("+" if bare else "*", node, part)
        elif self._kind() == "over" and self._kind(1) == "number" and self._is_unit(2):
            node = self._over(node)
        if self._is_unit():
            node = Operation("*", node, self._unit())
            while self._kind() == "over" and self._is_unit(1):
                self._next()
                node = Operation("/", node, self._unit())
        return node

    def _over(self, above: Node) -> Node:
        self._next()
        return Operation("/", above, _plain(self._next()))

    def _is_unit(self, ahead: int = 0) -> bool:
        if self._kind(ahead) == "letter" and self.at and self.tokens[self.at - 1].kind == "number":
            return self.tokens[self.at + ahead].text in _SHORT_UNITS
        return self._kind(ahead) == "unit"

    def _unit(self) -> Node:
        node: Node = Name(self._next().text)
        if self._kind() == "raised":
            return Operation("^", node, Number(Fraction(self._next().text.translate(_RAISED))))
        if self._kind() == "power":
            self._next()
            return Operation("^", node, self._base())
        return node


def _plain(token: _Token) -> Number:
    if token.kind != "number" or len(token.text) > MAX_DIGITS:
        raise _UnreadableError
    return Number(Fraction(_VULGAR.get(token.text, token.text.replace(",", ""))))


class _UnreadableError(Exception):
    pass


def _is_percent(node: Node) -> bool:
    return isinstance(node, Operation) and node.op == "%"
