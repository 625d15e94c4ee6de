"""How alike two texts are, by the words they share in runs; no embeddings, no model."""

import re
from collections.abc import Sequence

_WORD = re.compile(r"\w+|[^\w\s]")


def shingles(text: str, size: int = 3) -> frozenset[tuple[str, ...]]:
    """All runs of `size` words, numbers or signs of a text, in lower case."""
    words = _WORD.findall(text.casefold())
    return frozenset(tuple(words[i : i + size]) for i in range(max(1, len(words) - size + 1)))


def near_duplicates(texts: Sequence[str], groups: Sequence[object], threshold: float) -> dict[int, int]:
    """`{index: index of an earlier text}` for each text that is nearly the same as an earlier one of its group."""
    kept: dict[object, list[tuple[int, frozenset]]] = {}
    duplicates = {}
    for i, (text, group) in enumerate(zip(texts, groups, strict=True)):
        mine = shingles(text)
        earlier = kept.setdefault(group, [])
        for j, theirs in earlier:
            short, long = sorted((len(mine), len(theirs)))
            # Jaccard index: the share of all runs that both have; the sizes alone give a bound on it
            if short >= threshold * long and len(mine & theirs) / len(mine | theirs) >= threshold:
                duplicates[i] = j
                break
        else:
            earlier.append((i, mine))
    return duplicates


def distinct_ngrams(texts: Sequence[str], size: int) -> float | None:
    """Different runs of `size` words over all runs (distinct-n, Li et al. 2016, arXiv 1510.03055, section 5.2)."""
    words = [_WORD.findall(text.casefold()) for text in texts]
    runs = [tuple(some[i : i + size]) for some in words for i in range(len(some) - size + 1)]
    return len(set(runs)) / len(runs) if runs else None
