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
    try:
        _Estimate(given).group(0, 0)
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

    def group(self, braces: int, parentheses: int) -> float:
        """Digits of what stands up to the next closing bracket."""
        if braces > MAX_BRACES or parentheses > MAX_PARENTHESES:
            raise _BeyondError
        whole, last, functions = 0.0, 0.0, 0
        while self.place < len(self.given) and self.given[self.place] not in _CLOSING:
            token = self.given[self.place]
            functions = functions + 1 if token in _FUNCTIONS else functions if token == " " else 0
            if token in ("^", "!"):
                self.place += 1
                exponent = self._argument(braces, parentheses, 0) if token == "^" else last
                power = self._bounded(max(last, 0.3 if token == "^" else 0.0) * 10 ** min(exponent, 300))
                whole, last = whole - last + power, power
            elif token == "_":
                self.place += 1
                self._argument(braces, parentheses, 0)
            elif token in (r"\sum", r"\prod"):
                last = self._repeated(braces, parentheses)
                whole += last
            elif token != " ":
                last = self._item(braces, parentheses)
                whole += last
            else:
                self.place += 1
            if functions > MAX_CHAIN // 2:
                raise _BeyondError
        return self._bounded(whole)

    def _item(self, braces: int, parentheses: int) -> float:
        """Digits of one number, letter, bracket or command with its arguments."""
        token = self.given[self.place]
        self.place += 1
        if token in _OPENING:
            curly = token == "{"
            digits = self.group(braces + curly, parentheses + (not curly))
            self.place += 1
            return digits
        if token.isdecimal():
            run = token
            while self.place < len(self.given) and self.given[self.place].isdecimal():
                run += self.given[self.place]
                self.place += 1
            return _digits(run)
        if token in (r"\frac", r"\binom"):
            parentheses += token == r"\binom"
            above, below = self._argument(braces, parentheses, 0), self._argument(braces, parentheses, 0)
            if token == r"\frac":
                return above + below
            return self._bounded(min(10 ** min(above, 300) * 0.31, above * 10 ** min(below, 300)))
        if token in _CONSTANTS:
            return _CONSTANTS[token]
        return self.letter if token.isalpha() else _LETTER if token.startswith("\\") else 0.0

    def _argument(self, braces: int, parentheses: int, chain: int) -> float:
        """Digits of an argument; in `2^3^4` that of the first power is `3^4`."""
        while self.given[self.place : self.place + 1] and self.given[self.place] in (" ", "-", "+"):
            self.place += 1
        if chain > MAX_CHAIN:
            raise _BeyondError
        if self.place >= len(self.given) or self.given[self.place] in _CLOSING:
            return 0.0
        digits = self._item(braces, parentheses)
        while self.place < len(self.given) and self.given[self.place] in ("^", "!"):
            self.place += 1
            exponent = self._argument(braces, parentheses, chain + 1) if self.given[self.place - 1] == "^" else digits
            digits = self._bounded(max(digits, 0.3) * 10 ** min(exponent, 300))
        return digits

    def _repeated(self, braces: int, parentheses: int) -> float:
        """Digits of all terms of a sum or product together."""
        self.place += 1
        most = 0.0
        while self.place < len(self.given) and self.given[self.place] in ("_", "^"):
            self.place += 1
            most = max(most, self._argument(braces, parentheses, 0))
        return self._bounded(10 ** min(most, 300) * (1 + self.group(braces, parentheses)))

    def _bounded(self, digits: float) -> float:
        if digits > self.most:
            raise _BeyondError
        return digits


def _digits(run: str) -> float:
    return math.log10(max(int(run), 1.1)) if len(run) < 300 else float(len(run))
