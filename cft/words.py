"""What people read: times, sizes, costs, a few of many, and texts without tricks."""

import re
import unicodedata
from collections.abc import Sequence
from typing import TypeVar

Item = TypeVar("Item")
ODD = re.compile(r"[^\n\t\x20-\x7e]")


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


def size(number: float) -> str:
    """Bytes: 2.5e9 -> `2.5 GB`, 40e6 -> `40 MB`."""
    return f"{number / 1e9:,.1f} GB" if number >= 1e9 else f"{number / 1e6:,.0f} MB"


def spread(items: Sequence[Item], count: int) -> list[Item]:
    """At most `count` of `items`, evenly spread from the first to the last."""
    if len(items) <= count:
        return list(items)
    return [items[round(i * (len(items) - 1) / (count - 1))] for i in range(count)]


def tidy(text: str) -> str:
    """`text` as it may be shown: characters that hide, reorder or steer a terminal become U+FFFD."""
    if not ODD.search(text):
        return text
    text = text.replace("\r\n", "\n")
    return "".join("\ufffd" if unicodedata.category(c)[0] == "C" and c not in "\n\t" else c for c in text)
