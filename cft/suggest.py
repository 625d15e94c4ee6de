"""The known word that a mistyped one is most likely meant to be."""

import difflib
from collections.abc import Iterable


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that `word` is most likely a slip of, or None."""
    plain: dict[str, str] = {}
    for name in known:
        plain.setdefault(name.lower().replace("-", "_"), name)
    word = word.lower().replace("-", "_")
    if near := difflib.get_close_matches(word, plain, n=1, cutoff=0.6):
        return plain[near[0]]
    return next((plain[k] for k in plain if min(len(word), len(k)) > 3 and (word in k or k in word)), None)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`Did you mean X?` if one is near, else all that are known."""
    known = list(known)
    near = nearest(word, known)
    return f"Did you mean {near}?" if near else f"Known here: {', '.join(known) or 'nothing'}"
