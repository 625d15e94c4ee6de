r"""One thing in two notations: vectors in i, j, k, congruences, letters that may have any name.

Such letters are parameters that a text declares (`x=k\pi,\ k\in\mathbb{Z}`), arguments of functions and sequences
(`f(x)=2x`, `a_n=2n`) and constants of integration.
"""

import itertools
import re
from collections.abc import Iterator

from eval.grading.structure import closed, split, tokens

_LEAD = r"(?:(?:where|for|any|all|every|each|some|with|an|arbitrary|\\forall)(?![A-Za-z])|\s)*"
_SET = r"\\in ?(?:\\mathbb\{)?(?P<set>[ZNQRC])\}?"
_NAMES = r"(?P<names>(?P<first>[A-Za-z])(?:[,;](?!(?P=first))[A-Za-z])*)"
_INTEGER = r"(?:(?:is|are|be|an|any|arbitrary) )*integers?"
_DECLARED = re.compile(
    rf"(?P<rest>.+?)[\s;,:(]*{_LEAD}(?<![A-Za-z\\])"
    rf"(?:{_NAMES} ?(?:{_SET}|{_INTEGER})|integers? ?(?<![A-Za-z])(?P<last>[A-Za-z]))[\s)]*"
)
_NOT_DECLARED = re.compile(r"(?<![A-Za-z\\])[A-Za-z]{3}|\\in(?![A-Za-z])")  # words, another declaration
_ARGUMENT = re.compile(r"([A-Za-z]'*(?:\^\{-1\})?)(?:\(([a-z])\)|_\{([a-z])\})=(.+)")
_ADDED = re.compile(r"(.+)\+ ?(?:([CcKk](?:_\{\d\})?)|\\text\{(?:[Cc]|const(?:ant)?\.?)\})")
_CONGRUENCE = re.compile(
    r"(?:([A-Za-z]) ?\\equiv ?)?([-+\d;,\\pm ]+?) ?"
    r"\(?(?:\\(?:pmod|bmod|mod)|\\text\{,? ?\(?mod\}|mod) ?\{?(\d{1,9})\}?\)?"
)
_LINEAR = re.compile(r"(?:([A-Za-z])=)?(?:(\d{1,9})[knmtj]([+-]\d{1,9})?|([+-]?\d{1,9})[+-](\d{1,9})[knmtj])")
_UNIT_VECTOR = re.compile(r"\\(?:hat|vec|bar|text|overline) ?\{?\\?([ijk])(?:math)?\}?")
_MOST_PARAMETERS = 3


def renamings(gold: str, answer: str) -> list[tuple[str, str]] | None:
    """Pairs of texts of which one must be equal for these to be; None where no letter may be renamed."""
    return _declared(gold, answer) or _arguments(gold, answer) or _constants(gold, answer)


def _declared(gold: str, answer: str) -> list[tuple[str, str]] | None:
    held, given = declaration(gold), declaration(answer)
    if not held and not given:
        return None
    if held and given:
        (one, names, domain), (other, others, its_domain) = held, given
        if domain != its_domain or len(names) != len(others):
            return []
        return [(one, text) for text in _variants(other, others, names, whole=domain == "Z")]
    rest, names, domain = held or given
    other = answer if held else gold
    others = tuple(name for name in ("k", "n", "m") if name in tokens(other) and name not in names) or names
    if re.search(r"[<>]|\\[lg]e(?![A-Za-z])|\\ne", rest) or len(others) != len(names) or domain == "N":
        return None
    texts = list(_variants(other, others, names, whole=domain == "Z"))
    return [(rest, text) if held else (text, rest) for text in texts]


def declaration(text: str) -> tuple[str, tuple[str, ...], str] | None:
    r"""`x=k\pi`, (`k`,) and `Z` for `x=k\pi;k\in\mathbb{Z}` and the like; None where no letter of it is declared."""
    if r"\in" not in text and "integer" not in text:
        return None
    match = _DECLARED.fullmatch(re.sub(r"\\text\{([^{}]*)\}", r" \1 ", text))
    if not match or not closed(match["rest"]) or _NOT_DECLARED.search(match["rest"]):
        return None
    names = tuple(re.split("[,;]", match["names"])) if match["names"] else (match["last"],)
    rest = match["rest"].strip()
    return (rest, names, match["set"] or "Z") if set(names) <= set(tokens(rest)) else None


def _variants(text: str, names: tuple[str, ...], wanted: tuple[str, ...], *, whole: bool) -> Iterator[str]:
    """A text with its parameters named as wanted, in every order; one whole number also shifted and reversed."""
    if len(names) > _MOST_PARAMETERS or (set(wanted) - set(names)) & set(tokens(text)):
        return
    for order in itertools.permutations(wanted):
        yield _replace(text, dict(zip(names, order, strict=True)))
    solved = [piece.partition("=") for piece in split(text, ",;")]  # x=2k, but not n>3, n=3 or a_n=2n
    if whole and len(names) == 1 and all(equals and names[0] not in tokens(left) for left, equals, _ in solved):
        for value in ("{}+1", "{}-1", "-{}", "1-{}"):
            yield _replace(text, {names[0]: f"({value.format(wanted[0])})"})


def _replace(text: str, new: dict[str, str]) -> str:
    """A text with single letters, or letters with an index, replaced; not those of commands and words."""
    names = "|".join(map(re.escape, sorted(new, key=len, reverse=True)))
    pattern = rf"(\\text\{{[^{{}}]*\}}|\\[A-Za-z]+)|{names}"
    return re.sub(pattern, lambda match: match[1] or new[match[0]], text)


def _arguments(gold: str, answer: str) -> list[tuple[str, str]] | None:
    """`f(x)=2x` and `f(t)=2t`, or `f=2x`; `P(A)` and `P(B)` are two things."""
    held, given = _ARGUMENT.fullmatch(gold), _ARGUMENT.fullmatch(answer)
    if held and given:
        one, other = held[2] or held[3], given[2] or given[3]
        same = held[1] == given[1] and bool(held[2]) == bool(given[2]) and one != other
        if same and one in tokens(held[4]) and other in tokens(given[4]) and one not in tokens(given[4]):
            return [(held[4], _replace(given[4], {other: one}))]
        return None
    name, equals, body = (answer if held else gold).partition("=")
    named = held or given
    if named and named[2] and equals and name == named[1]:
        return [(held[4] if held else body, given[4] if given else body)]
    return None


def _constants(gold: str, answer: str) -> list[tuple[str, str]] | None:
    """`x^2+C` and `x^2+c`: what is added last and stands nowhere else."""
    added = [_ADDED.fullmatch(text) for text in (gold, answer)]
    if not all(added) or added[0][2] == added[1][2]:
        return None
    names = [(each[2] or "C")[0] for each in added]
    once = all(closed(each[1]) and name not in tokens(each[1]) for each, name in zip(added, names, strict=True))
    return [(f"{added[0][1]}+C", f"{added[1][1]}+C")] if once and "C" in names else None


def congruence(text: str) -> tuple[str, frozenset[int], int] | None:
    r"""Name or "", residues and modulus of `x\equiv-1\pmod 7` or `-1\pmod 7`; None for any other text."""
    match = _CONGRUENCE.fullmatch(text)
    if not match or not int(match[3]):
        return None
    values = [sign + value.removeprefix(r"\pm").strip() for value in re.split("[;,]", match[2])
              for sign in (("", "-") if value.startswith(r"\pm") else ("",))]  # fmt: skip
    if not all(re.fullmatch(r"[+-]?\d{1,18}", value) for value in values):
        return None
    return match[1] or "", frozenset(int(value) % int(match[3]) for value in values), int(match[3])


def linear(text: str) -> tuple[str, frozenset[int], int] | None:
    r"""`x=7k+3`, with or without `k\in\mathbb{Z}`, as `congruence` gives `x\equiv3\pmod7`."""
    declared = declaration(text)
    if declared and declared[2] != "Z":
        return None
    match = _LINEAR.fullmatch(declared[0] if declared else text)
    if not match or not int(modulus := match[2] or match[5]):
        return None
    return match[1] or "", frozenset([int(match[3] or match[4] or 0) % int(modulus)]), int(modulus)


def vector(text: str) -> dict[str, str] | None:
    r"""Components by unit vector of `3\hat{i}-4\hat{j}` or `3i-4j`; None for any other text, `3i` being a number."""
    text, marked = _UNIT_VECTOR.subn(r"\1", text)
    *pieces, rest = re.split("([ijk])", text)
    terms = list(zip(pieces[::2], pieces[1::2], strict=True))
    if (
        rest
        or not (marked or {"j", "k"}.intersection(pieces))
        or any(sign[:1] not in ("+", "-") for sign, _ in terms[1:])
    ):
        return None  # 3i and ij+k are none
    found = {letter: {"": "1", "+": "1", "-": "-1"}.get(sign, sign.removeprefix("+")) for sign, letter in terms}
    proper = all(closed(value) and len(split(value.lstrip("+-"), "+-,;=")) == 1 for value in found.values())
    return found if proper and len(found) == len(terms) and (len(terms) > 1 or marked) else None
