"""How alike two texts are, by the words they share in runs; no embeddings, no model."""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from math import ceil

_WORD = re.compile(r"\w+|[^\w\s]")
_WORD_ALONE = re.compile(r"[^\W_]+")


def shingles(text: str, size: int = 3, *, signs: bool = True) -> frozenset[tuple[str, ...]]:
    """All runs of `size` words, numbers or, with `signs`, signs of a text, in lower case; a shorter text is one run."""
    words = (_WORD if signs else _WORD_ALONE).findall(text.casefold())
    return frozenset(tuple(words[i : i + size]) for i in range(max(1, len(words) - size + 1)))


def near_duplicates(texts: Sequence[str], groups: Sequence[object], threshold: float) -> dict[int, int]:
    """`{index: index of an earlier text}` for each text that is nearly the same as an earlier one of its group.

    Two such texts share one of the rarest runs of either (prefix filter; Bayardo et al. 2007, "Scaling up all pairs
    similarity search"), so only the few that do are compared.
    """
    runs = [frozenset(map(hash, shingles(text))) for text in texts]  # numbers take a fifth of the memory
    number = Counter(chain.from_iterable(runs))
    holders: dict[tuple[object, int], list[int]] = {}
    duplicates = {}
    for i, (mine, group) in enumerate(zip(runs, groups, strict=True)):
        shared = ceil(threshold * len(mine) - 1e-9)  # runs that a text must have in common with this one
        rarest = sorted(mine, key=lambda run: (number[run], run))[: len(mine) - shared + 1]
        for j in sorted({j for run in rarest for j in holders.get((group, run), ())}):
            # Jaccard index: the share of all runs that both have
            if len(mine & runs[j]) / len(mine | runs[j]) >= threshold:
                duplicates[i] = j
                break
        else:
            for run in rarest:
                holders.setdefault((group, run), []).append(i)
    return duplicates


def distinct_ngrams(texts: Sequence[str], size: int) -> float | None:
    """Different runs of `size` words over all runs (distinct-n, Li et al. 2016, arXiv 1510.03055, section 5.2)."""
    words = [_WORD.findall(text.casefold()) for text in texts]
    runs = [tuple(some[i : i + size]) for some in words for i in range(len(some) - size + 1)]
    return len(set(runs)) / len(runs) if runs else None
