"""What a model does differently: traits of its answers, and the paired difference of each between two arms.

Fine-tuning on critiques can raise accuracy by teaching form (a box), habit (checking), or a genre (judging a solution
that nobody gave). Accuracy does not tell them apart; the traits help to. They are found by patterns in the text, so
they say which words are there, not what is meant.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
from scipy.stats import ttest_1samp

from eval.statistics.power import ALPHA
from eval.statistics.samples import UNBOXED, shown

# What is looked for in a text in lower case: words one of which must be there, and the pattern. Looking for the words
# first is what makes it fast: most answers hold none of them.
Mark = tuple[tuple[str, ...], re.Pattern]


def _mark(needles: str, pattern: str) -> Mark:
    return tuple(needles.split("|")), re.compile(pattern, re.MULTILINE)


# Words of a second look. "wait" counts only as an interjection: buses wait in word problems.
REFLECTIONS: dict[str, Mark] = {
    "wait": _mark(
        "wait", r"(?:^|[.!?…\n]\s*|\b(?:but|no|oh|hmm)[, ]+)wait\b(?!\s+(?:for|until|time)\b)|\bwait[,.!…—-]"
    ),
    "let me check": _mark(
        "let me|let's|let’s|let us",
        r"\blet(?: me|[’']s| us) (?:just |now |first )?(?:re-?|double[- ]?)?"
        r"(?:check|verify|examine|read|consider|think again|look again)",
    ),
    "re-check": _mark(
        "double|re-|recheck|reexamin|recalculat|recomput|reevaluat|reverif",
        r"\b(?:re-?|double[- ]?)(?:check|examin|calculat|comput|evaluat|verif)",
    ),
    "alternatively": _mark("alternatively|another way", r"\balternatively\b|\banother way\b"),
    "hmm": _mark("hmm", r"\bhmm+\b"),
    "mistake": _mark(
        "mistake|error|slip|second thought",
        r"\b(?:i|we) (?:have |had )?(?:made|make) (?:a|an) (?:\w+ )?(?:mistake|error|slip)|\bon second thought",
    ),
}
CODE = _mark("```|def |import |print(", r"^\s*```|^\s*(?:def \w+\(|import \w+\s*$|from \w+ import |print\()")
# A line that passes sentence, as the critiques do that the adapter was trained on: "Conclusion: wrong".
VERDICT = _mark(
    "conclusion|verdict|judgment|judgement",
    r"^\W*(?:conclusion|verdict|judge?ment)\W{1,6}(?:the )?(?:solution |answer )?(?:is )?"
    r"(?:not )?(?:right|wrong|correct|incorrect)\b",
)
OTHERS = _mark(
    "the student|the candidate|the given|the proposed|the provided|the above",
    r"\bthe (?:student|candidate)\b|\bthe (?:given|proposed|provided|above) (?:solution|answer)\b",
)
LONGEST_LOOP = 1000  # characters of the longest unit that is looked for
LOOPED = 80  # characters that must repeat at least, so that dots and rules do not count
LIST_NUMBER = re.compile(r"^(\W*(?:step )?)\d+(?=[.):])", re.IGNORECASE | re.MULTILINE)
OPENING_WORDS, OPENING_LENGTH = 3, 40  # of an opening, in words and at most in characters
OPENINGS = 5  # that are told, the most frequent ones

TRAITS = {
    "boxed": "holds a complete box",
    "truncated": "hits the token limit",
    "loops": "repeats itself to the end",
    "reflects": "checks or reconsiders",
    "code": "holds code",
    "verdict": "passes a verdict",
    "others": "speaks of a given solution",
    "tokens": "tokens",
}


def holds(mark: Mark, lowered: str) -> bool:
    """Whether a text in lower case holds the mark."""
    needles, pattern = mark
    return any(needle in lowered for needle in needles) and bool(pattern.search(lowered))


def loops(text: str) -> bool:
    """Whether `text` ends in at least four repeats of one unit, which may be cut anywhere; list numbers may count on.

    A text of period p equals itself shifted by p, so the end is compared with what stands p characters before it.
    """
    tail = LIST_NUMBER.sub(r"\1#", text.rstrip()[-5 * LONGEST_LOOP :])
    end = tail[-8:]
    for period in range(1, min(LONGEST_LOOP, len(tail) // 4) + 1):
        if tail[-period - 8 : -period] != end:
            continue  # almost always: the long comparison below is seldom needed
        length = max(3 * period, LOOPED)
        if length + period <= len(tail) and tail[-length:] == tail[-length - period : -period]:
            return len(set(tail[-period:])) > 1 or tail[-1].isalnum()
    return False


def reflections(text: str) -> set[str]:
    """Which of REFLECTIONS the text holds."""
    lowered = text.lower()
    return {word for word, mark in REFLECTIONS.items() if holds(mark, lowered)}


def written(row: dict) -> str:
    """What the model wrote of an answer: a dialogue's text without the results of tools."""
    text = row["response"]
    for message in row["trajectory"]["messages"] if "trajectory" in row else ():
        if message["role"] == "tool":
            text = text.replace(shown(message), "", 1)
    return text


def traits(row: dict) -> dict[str, float]:
    """One answer's TRAITS: 0 or 1, and the number of its tokens."""
    lowered = (text := written(row)).lower()
    return {
        "boxed": row["outcome"] not in UNBOXED,
        "truncated": row["finish_reason"] == "length",
        "loops": loops(text),
        "reflects": any(holds(mark, lowered) for mark in REFLECTIONS.values()),
        "code": holds(CODE, lowered),
        "verdict": holds(VERDICT, lowered),
        "others": holds(OTHERS, lowered),
        "tokens": row["tokens"],
    }


def opening(text: str) -> str:
    """The first words of an answer, in lower case and without marks: `to find the`."""
    words = re.findall(r"\w+(?:[’']\w+)?|```", text[:400].lower())
    return " ".join(words[:OPENING_WORDS])[:OPENING_LENGTH]


def table(rows: Sequence[dict]) -> dict[int | str, np.ndarray]:
    """doc_id -> mean of each of TRAITS over the samples of that question, shape (traits,)."""
    found: dict[int | str, list[list[float]]] = defaultdict(list)
    for row in rows:
        found[row["doc_id"]].append([float(value) for value in traits(row).values()])
    return {doc: np.mean(values, axis=0) for doc, values in found.items()}


def describe(answers: dict[str, Sequence[dict]], against: str | None) -> dict[str, dict]:
    """Traits of every arm, and their paired differences from one of them.

    Args:
        answers: rows of answers.jsonl by arm; all arms hold the same doc_ids.
        against: the arm to compare with; None or unknown: differences are left out.

    Returns:
        By arm: `traits` {trait: share of answers, or mean number of tokens}, `reflections` {word: share of answers},
        `openings` [[first words, share of answers], …] most frequent first, and, but for `against`, `differences`
        {trait: {difference, ci}}. `ci` is a 95 % interval by Student's t over questions, and None when all questions
        differ alike. It describes; it is not corrected for the number of traits.
    """
    tables = {arm: table(rows) for arm, rows in answers.items()}
    base = tables.get(against) if against else None
    found = {}
    for arm, rows in answers.items():
        n = len(rows)
        words = Counter(word for row in rows for word in reflections(written(row)))
        openings = Counter(opening(written(row)) for row in rows).most_common(OPENINGS)
        found[arm] = {
            "traits": dict(zip(TRAITS, map(float, np.mean(list(tables[arm].values()), axis=0)), strict=True)),
            "reflections": {word: words[word] / n for word in REFLECTIONS},
            "openings": [[words, count / n] for words, count in openings],
        }
        if base is not None and arm != against:
            found[arm]["differences"] = differences(base, tables[arm])
    return found


def differences(base: dict[int | str, np.ndarray], arm: dict[int | str, np.ndarray]) -> dict[str, dict]:
    """{trait: {difference, ci}} of two results of `table`; see `describe`."""
    values = np.array([arm[doc] - base[doc] for doc in base])  # (questions, traits)
    found = {}
    for trait, column in zip(TRAITS, values.T, strict=True):
        interval = None
        if len(column) > 1 and np.ptp(column) > 0:
            low, high = ttest_1samp(column, 0.0).confidence_interval(1 - ALPHA)
            interval = [float(low), float(high)]
        found[trait] = {"difference": float(column.mean()), "ci": interval}
    return found
