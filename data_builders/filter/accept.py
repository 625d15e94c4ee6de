"""Which critiques may train: each is checked against the true answer, against similar ones, and by its length."""

from collections.abc import Sequence

from cft.files import content_id
from data_builders.filter.verify import check
from data_builders.problems import Problem
from data_builders.similarity import near_duplicates

SAME_CANDIDATE = 0.5  # overlap above which two critiques of one candidate are one
SAME_PROBLEM = 0.95  # and two critiques of different candidates: the same text, whatever the solution said
NOT_AN_ANSWER = {"truncated": "cut off", "refused": "refused", "empty": "empty"}  # status of a call -> reason


def accept(
    written: Sequence[dict], candidates: Sequence[dict], problems: dict[str, Problem], *, trim: float = 0.0
) -> list[dict]:
    """The critiques of the given candidates, each with verdict, answer, and the reason why it may not train.

    Args:
        written: {"candidate", "teacher", "style", "text"} each, and "call" and "status" where a model was asked.
        trim: share of the remaining critiques to drop at each end of their lengths in characters.
    """
    by_id, rows = {row["id"]: row for row in candidates}, []
    for critique in written:
        candidate = by_id.get(critique["candidate"])
        if candidate is None:
            continue
        problem = problems[candidate["problem"]]
        truth = {"question": problem.question, "gold": problem.answer}
        checked = check(critique["text"], candidate=candidate["text"], outcome=candidate["outcome"], **truth)
        kept = {key: value for key, value in critique.items() if key != "status"}
        reason = NOT_AN_ANSWER.get(critique.get("status")) or checked.reason
        judged = {"verdict": checked.verdict, "answer": checked.answer, "accepted": False, "reason": reason}
        rows.append({"id": content_id(critique), **kept, **judged})
    _drop_repeated(rows, by_id)
    _trim(rows, trim)
    for row in rows:
        row["accepted"] = row["reason"] is None
    return rows


def _drop_repeated(rows: list[dict], by_id: dict[str, dict]) -> None:
    for key, threshold in (("candidate", SAME_CANDIDATE), ("problem", SAME_PROBLEM)):
        left = [row for row in rows if row["reason"] is None]
        groups = [row["candidate"] if key == "candidate" else by_id[row["candidate"]]["problem"] for row in left]
        for i in near_duplicates([row["text"] for row in left], groups, threshold):
            left[i]["reason"] = "near duplicate"


def _trim(rows: list[dict], share: float) -> None:
    left = sorted((row for row in rows if row["reason"] is None), key=lambda row: (len(row["text"]), row["id"]))
    n = int(len(left) * share)
    for reason, ends in (("among the shortest", left[:n]), ("among the longest", left[len(left) - n :])):
        for row in ends:
            row["reason"] = reason
