r"""A bound, from the text alone, on the work of evaluating it: `(10^{10000000})!` is refused before anybody tries.

The bound is on decimal digits: those of a product or a sum are at most those of its parts together, those of a power at
most those of its base times the value of its exponent. A sum or product to N counts N times.
"""

import math

from eval.grading.structure import tokens

MAX_DIGITS = 400_000  # of any part; more is beyond evaluation
MAX_DIGITS_OF_ARGUMENTS = 10_000  # where there is a function: its argument is worked out digit by digit
MAX_TOKENS = 600
MAX_BRACES = 12  # inside each other
MAX_PARENTHESES = 6  # inside each other: the time that math-verify's parser takes grows tenfold with each
MAX_CHAIN = 12  # powers of powers, quotients of quotients, functions of functions, without brackets
_OPENING = {"(", "[", "{", r"\{", r"\lfloor", r"\lceil"}
_CLOSING = {")", "]", "}", r"\}", r"\rfloor", r"\rceil"}
_NAMES = "sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh log ln exp int"
_FUNCTIONS = {rf"\{name}" for name in _NAMES.split()}
_CONSTANTS = {"e": 0.44, r"\pi": 0.5}
_LETTER = 0.01  # digits of a letter: its powers are not worked out


def beyond_evaluation(text: str) -> bool:
    """Whether a normalised text holds a number too large, or is nested too deeply, to be worked out."""
    given = tokens(text)
    if len(given) > MAX_TOKENS or text.count("/") > MAX_CHAIN or text.count("|") > 2 * MAX_CHAIN:
        return True
    estimate = _Estimate(given)
    try:
        while estimate.place < len(given):  # behind a closing bracket that nothing opened
            estimate.group(0, 0)
            estimate.place += 1
    except _BeyondError:
        return True
    return False


class _BeyondError(Exception):
    """The text is beyond evaluation."""


class _Estimate:
    def __init__(self, given: list[str]) -> None:
        self.given, self.place = given, 0
        self.letter = _LETTER
        self.most = MAX_DIGITS_OF_ARGUMENTS if _FUNCTIONS.intersection(given) else MAX_DIGITS
        if {r"\sum", r"\prod", r"\int"}.intersection(given):  # its index runs up to the largest number in sight
            runs = "".join(token if token.isdecimal() else " " for token in given).split()
            self.letter = max([_LETTER, *(_digits(run) for run in runs)])

    @property
    def next(self) -> str:
        """The token that is read next; "" at the end."""
        return self.given[self.place] if self.place < len(self.given) else ""

    def group(self, braces: int, parentheses: int) -> float:
        """Digits of what stands up to the next closing bracket."""
        if braces > MAX_BRACES or parentheses > MAX_PARENTHESES:
            raise _BeyondError
        digits, functions = 0.0, 0
        while self.next and self.next not in _CLOSING:
            functions = functions + 1 if self.next in _FUNCTIONS else functions if self.next == " " else 0
            if functions > MAX_CHAIN // 2:
                raise _BeyondError
            digits += self._raised(braces, parentheses)
        return self._bounded(digits)

    def _raised(self, braces: int, parentheses: int, chain: int = 0) -> float:
        """Digits of one item with its powers and factorials; in `2^3^4` the exponent is `3^4`."""
        if chain > MAX_CHAIN:
            raise _BeyondError
        digits = self._item(braces, parentheses)
        while self.next and self.next in "_^!":
            sign, exponent = self.next, digits
            self.place += 1
            if sign != "!":
                self._skip(" +-")
                whole = self.next == "{"  # 10^{6}! is the factorial of the power
                exponent = self._item(braces, parentheses) if whole else self._raised(braces, parentheses, chain + 1)
            if sign != "_":
                digits = self._bounded(max(digits, 0.3 if sign == "^" else 0.0) * 10 ** min(exponent, 300))
        return digits

    def _item(self, braces: int, parentheses: int) -> float:
        """Digits of one number, letter, bracket or command with its arguments."""
        token = self.next
        if not token or token in _CLOSING:
            return 0.0
        self.place += 1
        if token in _OPENING:
            digits = self.group(braces + (token == "{"), parentheses + (token != "{"))
            self.place += 1
            return digits
        if token.isdecimal():
            while self.next.isdecimal():
                token += self.next
                self.place += 1
            return _digits(token)
        if token in (r"\frac", r"\binom"):
            parentheses += token == r"\binom"
            above, below = self._item(braces, parentheses), self._item(braces, parentheses)
            choices = min(10 ** min(above, 300) * 0.6, above * 10 ** min(below, 300))
            return above + below if token == r"\frac" else self._bounded(choices)
        if token == r"\exp":
            self._skip(" ")
            return self._bounded(_CONSTANTS["e"] * 10 ** min(self._item(braces, parentheses), 300))
        if token in (r"\sum", r"\prod"):
            return self._repeated(braces, parentheses)
        return _CONSTANTS.get(token, self.letter if token.isalpha() else _LETTER if token[0] == "\\" else 0.0)

    def _repeated(self, braces: int, parentheses: int) -> float:
        """Digits of all terms of a sum or product together."""
        most = 0.0
        while self.next and self.next in "_^":
            self.place += 1
            most = max(most, self._item(braces, parentheses))
        return self._bounded(10 ** min(most, 300) * (1 + self.group(braces, parentheses)))

    def _skip(self, signs: str) -> None:
        while self.next and self.next in signs:
            self.place += 1

    def _bounded(self, digits: float) -> float:
        if digits > self.most:
            raise _BeyondError
        return digits


def _digits(run: str) -> float:
    return math.log10(max(int(run), 1.1)) if len(run) < 300 else float(len(run))
