"""Precision and recall of the critique filter on a labelled set: python -m benchmarks.filter [LABELLED.jsonl].

Rows: {"id", "label": "good" or a kind of bad, "question", "answer", "candidate", "outcome", "critique"}. Precision is
the share of the accepted that are good, recall the share of the good that are accepted.
"""

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from cft.files import content_id, read_jsonl
from data_builders.filter.accept import accept
from data_builders.problems import Problem

LABELLED = Path(__file__).parents[1] / "tests" / "data_builders" / "filter" / "labelled_critiques.jsonl"


def measure(rows: Sequence[dict]) -> dict:
    """{"rows", "good", "accepted", "precision", "recall", "caught": {kind: share dropped}, "let_through": [id],
    "lost": {id: reason}}"""
    problems, candidates, written = {}, {}, []
    for row in rows:
        problem = content_id(row["question"])
        candidate = content_id(row["question"], row["candidate"])
        problems[problem] = Problem(problem, row["question"], row["answer"], source="", licence="")
        of = {"id": candidate, "problem": problem, "text": row["candidate"]}
        candidates[candidate] = of | {"outcome": row["outcome"]}
        written.append({"candidate": candidate, "teacher": row["id"], "style": row["label"], "text": row["critique"]})
    judged = {row["teacher"]: row for row in accept(written, list(candidates.values()), problems)}
    kinds = Counter(r["label"] for r in rows)
    dropped = {r["id"]: judged[r["id"]]["reason"] for r in rows if not judged[r["id"]]["accepted"]}
    passed = [r for r in rows if r["id"] not in dropped]
    caught = Counter(r["label"] for r in rows if r["id"] in dropped)
    good = sum(r["label"] == "good" for r in passed)
    return {
        "rows": len(rows),
        "good": kinds["good"],
        "accepted": len(passed),
        "precision": good / len(passed) if passed else None,
        "recall": good / kinds["good"] if kinds["good"] else None,
        "caught": {kind: caught[kind] / n for kind, n in sorted(kinds.items()) if kind != "good"},
        "let_through": [r["id"] for r in passed if r["label"] != "good"],
        "lost": {r["id"]: dropped[r["id"]] for r in rows if r["label"] == "good" and r["id"] in dropped},
    }


def main() -> None:
    """Print the measure, and the rows that the filter gets wrong."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else LABELLED
    summary = measure([row for _, row in read_jsonl(path)])
    print(
        f"{summary['rows']} critiques, {summary['good']} of them good: {summary['accepted']} accepted, "
        f"precision {summary['precision']:.3f}, recall {summary['recall']:.3f}"
    )
    for kind, share in summary["caught"].items():
        print(f"  {kind}: {share:.0%} dropped")
    print("let through:", ", ".join(summary["let_through"]) or "none")
    print("good ones lost:", ", ".join(f"{k} ({v})" for k, v in summary["lost"].items()) or "none")


if __name__ == "__main__":
    main()
