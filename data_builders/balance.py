"""Which critiques train when there are more than asked for: spread out, not as they come."""

from collections import Counter

from cft.files import content_id


def choose(critiques: list[dict], candidates: list[dict], most: int | None, seed: int) -> tuple[list[dict], int]:
    """At most `most` critiques, spread over wrong answers, styles and candidates; and how many are left over."""
    if most is None or len(critiques) <= most:
        return critiques, 0
    by_id = {row["id"]: row for row in candidates}
    left = sorted(critiques, key=lambda c: content_id(seed, c["id"]))
    answers, styles, used, chosen = Counter(), Counter(), Counter(), set()

    def crowd(critique: dict) -> tuple[int, int, int]:
        row = by_id[critique["candidate"]]
        return answers[row["problem"], row["answer"]], styles[critique["style"]], used[row["id"]]

    for _ in range(most):
        pick = min(left, key=crowd)
        left.remove(pick)
        row = by_id[pick["candidate"]]
        answers[row["problem"], row["answer"]] += 1
        styles[pick["style"]] += 1
        used[row["id"]] += 1
        chosen.add(pick["id"])
    return [c for c in critiques if c["id"] in chosen], len(left)
