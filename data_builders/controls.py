r"""Controls: accepted critiques with one thing changed, to see what that thing does in training.

They are changed after the filter has passed them, so what trains is not what was verified; critiques.jsonl keeps them
as they were written.
"""

import random
import re
from collections import Counter
from collections.abc import Sequence

from cft.errors import DataError
from cft.files import content_id
from data_builders.filter.sentences import BOX
from data_builders.filter.verdict import verdict_places
from eval.grading.number_words import CARDINALS

_LEFT_ALONE = re.compile(r"(?m)^[ \t]*(?:\(?\d+[.)]|[-*•])?[ \t]*\n")  # a line with nothing, or only with a number
_NUMBER_WORDS = [word for word, number in CARDINALS.items() if number > 2]  # "one" and "two" often count nothing
_NUMBER_OR_NAME = re.compile(
    r"(?P<name>\\[A-Za-z]+|^[ \t]*(?:[-*•>][ \t]+)?[*_(]*[0-9]{1,2}[.)](?=[\s*_])|\b(?:step|line|part|check)s? [0-9]+)|"
    r"(?P<word>[A-Za-z_]\w*)|(?P<number>[0-9]+(?:,[0-9]{3})*(?:\.[0-9]+)?)",
    re.MULTILINE | re.IGNORECASE,
)


def change_critiques(
    change: str, critiques: Sequence[dict], candidates: dict[str, dict], seed: int
) -> tuple[list[dict], dict[str, int]]:
    """The critiques as `data.change` wants them, and how many it changed and left unchanged.

    Args:
        critiques: rows of critiques.jsonl.
        candidates: by id, those that the critiques speak of.

    Raises:
        DataError: when nothing can be changed.
    """
    if change == "none" or not critiques:
        return list(critiques), {}
    if change == "shuffled":
        return _shuffled(critiques, candidates, seed)
    changed = []
    for row in critiques:
        if change == "no_verdict":
            new = without_verdict(row["text"], candidates[row["candidate"]]["answer"])
        else:
            new = wrong_numbers(row["text"], seed, row["id"])
        changed.append(row | {"text": new})
    number = sum(new["text"] != old["text"] for new, old in zip(changed, critiques, strict=True))
    if not number:
        what = "passes a verdict in words" if change == "no_verdict" else "holds a number"
        raise DataError(f"data.change {change}: none of the {len(critiques)} critiques {what}. Use other critiques.")
    return changed, {change: number, "unchanged": len(critiques) - number}


def _shuffled(critiques: Sequence[dict], candidates: dict[str, dict], seed: int) -> tuple[list[dict], dict[str, int]]:
    """Each critique with another's candidate: of the same problem, with another answer where that is possible.

    Every candidate stands as often as before. The choice is an assignment of least cost: a critique's own candidate
    costs more than all answers that stay the same.
    """
    import numpy as np
    from scipy.optimize import linear_sum_assignment  # a second to import

    draws, changed, same = np.random.default_rng(seed), list(critiques), 0
    own = [candidates[row["candidate"]] for row in critiques]
    for problem in dict.fromkeys(row["problem"] for row in own):
        places = [i for i, row in enumerate(own) if row["problem"] == problem]
        number = len(places)
        ids, answers = (np.array([str(own[i][key]) for i in places]) for key in ("id", "answer"))
        cost = 2.0 * number * (ids[:, None] == ids) + (answers[:, None] == answers)
        _, others = linear_sum_assignment(cost + draws.random((number, number)) / (number + 1))
        if any(ids == ids[others]):
            often = Counter(ids.tolist()).most_common(1)[0][1]
            raise DataError(
                f"data.change shuffled: {often} of the {number} critiques of problem {problem} speak of one "
                "candidate, so not all of them find another. Use critiques of more candidates, or fewer styles."
            )
        same += int(sum(answers == answers[others]))
        for i, other in zip(places, others, strict=True):
            changed[i] = critiques[i] | {"candidate": own[places[other]]["id"]}
    return changed, {"shuffled": len(critiques), "beside the same answer": same}


def without_verdict(text: str, answer: str | None) -> str:
    """A critique without the sentences that judge the whole; a box in one of them stays.

    What is said of single steps stays too, and with it what a reader may conclude from that.

    Args:
        answer: the criticised solution's; "312 is wrong" is then a verdict.
    """
    while judging := verdict_places(text, answer):
        for start, end in reversed(judging):
            start += len(text[start:end]) - len(text[start:end].lstrip())
            before, boxes, after = text[:start], BOX.findall(text[start:end]), text[end:].lstrip('"”)* \t')
            if boxes:
                after = " ".join(boxes) + text[end:]
            elif after.startswith("; "):
                after = after[2:3].upper() + after[3:]
            elif before.endswith("; "):
                before = before[:-2] + ". "
            text = before + after
    return re.sub(r"\n{3,}", "\n\n", _LEFT_ALONE.sub("\n", re.sub(r"[ \t]+\n", "\n", text))).strip()


def wrong_numbers(text: str, *seed: object) -> str:
    r"""A critique with every number replaced: by another of as many digits, the same one by the same.

    Numbers in words from three on are replaced by such words. Commands (`\frac`), units (`cm²`), names (`x_1`), the
    numbers of a list and what names a line ("step 3") stay.
    """
    draw, others = random.Random(content_id(*seed)), {}

    def other(match: re.Match) -> str:
        old = match[0].replace(",", "").lower()
        if match["name"] or (match["word"] and old not in _NUMBER_WORDS):
            return match[0]
        if old not in others:
            draws = [_drawn(old, draw) for _ in range(60)]
            fitting = [new for new in draws if new != old]
            others[old] = next((new for new in fitting if new not in others.values()), fitting[0])
        if match["word"]:
            return others[old].capitalize() if match[0][0].isupper() else others[old]
        digits = iter(re.sub(r"\D", "", others[old]))
        return re.sub(r"\d", lambda _: next(digits), match[0])  # with its commas

    return _NUMBER_OR_NAME.sub(other, text)


def _drawn(old: str, draw: random.Random) -> str:
    """A number word for a word; else digits for digits, the first one not 0."""
    if old.isalpha():
        return draw.choice(_NUMBER_WORDS)
    return str(draw.randint(1, 9)) + re.sub(r"\d", lambda _: str(draw.randint(0, 9)), old[1:])
