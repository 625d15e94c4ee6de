"""Names of people and things for office tasks, split so that no two splits share one, and how tables are written."""

import json
from collections.abc import Iterable
from pathlib import Path
from random import Random
from typing import Any, Literal

Split = Literal["train", "validation", "test"]
SPLITS = ("train", "validation", "test")
POOLS: dict[str, list[str]] = json.loads(Path(__file__).with_name("names.json").read_text(encoding="utf-8"))
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday"]
MONTHS = ["January", "March", "May", "July", "September", "November"]
# files at the beginning, files that change, the answer, and the words of request and reasoning
Draw = tuple[dict[str, str], dict[str, str], str | None, dict[str, Any]]


class Names:
    """Names of one split, drawn without repetition."""

    def __init__(self, rng: Random, split: Split) -> None:
        self.pools = {what: rng.sample(pool[SPLITS.index(split) :: 3], len(pool) // 3) for what, pool in POOLS.items()}

    def take(self, what: str, n: int) -> list[str]:
        """`n` names of a pool of `names.json`, or people by first and last name; no part is drawn twice."""
        if what == "people":
            return [" ".join(pair) for pair in zip(self.take("first", n), self.take("last", n), strict=True)]
        return [self.pools[what].pop() for _ in range(n)]


def table(head: str, rows: Iterable[Iterable[Any]]) -> str:
    """A CSV file. No value here has a comma or a quotation mark."""
    return "\n".join([head, *(",".join(map(str, row)) for row in rows)]) + "\n"


def money(cents: int) -> str:
    """With two decimals, as price lists have it."""
    return f"{cents // 100}.{cents % 100:02d}"


def plain(cents: int) -> str:
    """As the tools write a number: without zeros behind the point."""
    return money(cents).rstrip("0").rstrip(".")


def plural(item: str) -> str:
    return item + ("es" if item.endswith(("x", "ch")) else "s")
