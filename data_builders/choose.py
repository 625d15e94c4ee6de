"""Which rows are used when there are more than needed: spread over their kinds."""

from collections import Counter
from collections.abc import Callable, Hashable

from cft.files import content_id


def choose_critiques(
    critiques: list[dict], candidates: list[dict], most: int | None, seed: int
) -> tuple[list[dict], int]:
    """At most `most` critiques, spread over wrong answers, styles, teachers and candidates; and how many are left."""
    by_id = {row["id"]: row for row in candidates}

    def kinds(critique: dict) -> tuple[Hashable, ...]:
        row = by_id[critique["candidate"]]
        return (row["problem"], row["answer"]), critique["style"], critique["teacher"], row["id"]

    chosen = _spread(critiques, most, seed, kinds)
    return chosen, len(critiques) - len(chosen)


def choose_candidates(candidates: list[dict], most: int | None, seed: int) -> list[dict]:
    """At most `most` candidates, spread over problems, their different answers, and students."""
    return _spread(
        candidates, most, seed, lambda row: (row["problem"], (row["problem"], row["answer"]), row["student"])
    )


def _spread(rows: list[dict], most: int | None, seed: int, kinds: Callable[[dict], tuple[Hashable, ...]]) -> list[dict]:
    """`most` rows in their order, picked one by one: each time one whose kinds, in their order, were picked least."""
    if most is None or len(rows) <= most:
        return rows
    left = sorted(rows, key=lambda row: content_id(seed, row["id"]))
    used, chosen = Counter(), set()
    for _ in range(most):
        pick = min(left, key=lambda row: [used[i, kind] for i, kind in enumerate(kinds(row))])
        left.remove(pick)
        used.update(enumerate(kinds(pick)))
        chosen.add(pick["id"])
    return [row for row in rows if row["id"] in chosen]
