"""What people read: times, sizes, costs, a few of many, and texts without tricks."""

import re
import shlex
import unicodedata
from collections.abc import Sequence
from typing import TypeVar

Item = TypeVar("Item")
ODD = re.compile(r"[^\n\t\x20-\x7e]")  # what may need a closer look
HIDDEN = {"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"}  # categories of Unicode
INVISIBLE = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0\U000e0100-\U000e01ef]")  # of other categories

MOST_CHARACTERS = 200_000  # of a text that somebody wrote
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
# What JSON and YAML make of LaTeX whose backslashes are not doubled: "\times" is a tab and "imes", "\neq" a line that
# begins with "eq". Only what prose has nowhere; "\tan x" and "\to 0" are told from "an apple" by what comes next.
LOST_BACKSLASH = re.compile(
    r"""\t(?= (?: imes|heta|herefore|riangle\w*|binom|ilde|extstyle )(?![a-z]) | (?: ext|frac )\w*\s*[{\d]
             | (?: an|au )[ ]*(?: [-+\d({\\^_$)=,] | [A-Za-z]\b | $ ) | o[ ]*(?: [-+\d({\\^_$)] | [A-Za-z]\b ) )
    | \r(?= (?: ight\w*|ho|angle|ceil|floor|brace|brack|vert )(?![a-z]) )
    | (?: (?<![\s.,:;!?]) | (?<=[^\s.,:;!?][ ]) )\n(?= eq(?!\w|\s*[=.:])
             | (?: leq|geq|otin|abla|subseteq|ewline|ewcommand|oindent|onumber )(?![a-z_]) )
    | \u2028(?= eft|ambda|ong(?:left|right) ) | \u2029(?= (?:hi|si|i|r)(?![a-z]) )""",
    re.VERBOSE,
)
# A short answer has no tab before a word at all; a line of one letter stands in a matrix, behind \\, & or }
LOST_IN_A_GOLD = re.compile(r"[\t\r](?=[a-z])|(?:^|(?<=[^\s\\&}])|(?<=[^\s\\&}] ))\n(?=(?:e|u|i|ot|mid|exists)\b)")


def duration(seconds: float) -> str:
    """45 -> `45 s`, 200 -> `3 min 20 s`, 4000 -> `1 h 6 min`."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def roughly(seconds: float | None) -> str:
    """An estimate of time, so marked: 45 -> `~45 s`, 200 -> `~3 min`; None -> `unknown`."""
    if seconds is None:
        return "unknown"
    return f"~{seconds:.0f} s" if seconds < 90 else f"~{seconds / 60:.0f} min"


def dollars(cost: float | None) -> str:
    """An estimated cost, so marked: 1.5 -> `~$1.50`, 0 -> `$0`; None -> `unknown`."""
    if cost is None:
        return "unknown"
    return f"~${cost:.2f}" if cost else "$0"


def number_of(count: float, noun: str) -> str:
    """A count with its noun: 1 -> `1 row`, 3 -> `3 rows`, 0.5 -> `0.5 rows`."""
    shown = f"{count:,}" if isinstance(count, int) else f"{count:.3g}"
    return f"{shown} {noun}" if count == 1 else f"{shown} {noun}s"


def size(number: float) -> str:
    """Bytes: 2.5e9 -> `2.5 GB`, 40e6 -> `40 MB`."""
    return f"{number / 1e9:,.1f} GB" if number >= 1e9 else f"{number / 1e6:,.0f} MB"


def spread(items: Sequence[Item], count: int) -> list[Item]:
    """At most `count` of `items`, evenly spread from the first to the last."""
    if len(items) <= count:
        return list(items)
    return [items[round(i * (len(items) - 1) / (count - 1))] for i in range(count)]


def shell_line(*words: object) -> str:
    """A command as a shell takes it: paths with blanks are quoted."""
    return shlex.join(map(str, words))


def in_markdown(text: str) -> str:
    """`text` as running text of a Markdown page: no HTML, no picture and no link comes of it."""
    return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", tidy(text)).replace("](", "]\\(")


def tidy(text: str) -> str:
    """`text` as it may be shown: characters that hide, reorder or steer a terminal become U+FFFD."""
    if not ODD.search(text):
        return text
    return ODD.sub(lambda odd: "\ufffd" if _hidden(odd[0]) else odd[0], text.replace("\r\n", "\n"))


def _hidden(character: str) -> bool:
    return unicodedata.category(character) in HIDDEN or INVISIBLE.match(character) is not None


def damage(text: str, *, gold: bool = False, quoted: bool = True) -> str | None:
    r"""What a text of a problem, an answer or a critique cannot hold, in words; None if it is whole.

    Control characters, halves of a surrogate pair, and what is left of a LaTeX command that lost its backslash: in JSON
    `"\frac12"` is a form feed and `rac12`. `gold`: the text is a short answer, of which more can be told. `quoted`:
    some of the text is shown, which must not be a key.
    """
    if len(text) > MOST_CHARACTERS:
        return f"has {len(text):,} characters, more than any such text ({MOST_CHARACTERS:,}); shorten it"
    control, lost = CONTROL.search(text), LOST_BACKSLASH.search(text) or (gold and LOST_IN_A_GOLD.search(text))
    if not (control or lost):
        return None
    character, after = (control or lost)[0], tidy(text[(control or lost).end() :][:12])
    held = f"holds the character U+{ord(character):04X}" + (f" before {after!r}" if after and quoted else "")
    if not control or (character in "\a\b\f\v\x1b" and after[:1].isalpha()):
        return f"{held}, as a LaTeX command does that lost its backslash; write \\\\ for each backslash"
    return f"{held}; remove it"
