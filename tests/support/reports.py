"""Graded answers, and reports of them."""

import hashlib
import json
from pathlib import Path

from cft.files import write_json
from eval.report.report import build_report, write_report


def make_rows(outcomes: list[str], arm: str, task: str = "sums", responses: list[str] | None = None) -> list[dict]:
    return [
        {
            "task": task,
            "arm": arm,
            "doc_id": i,
            "question": f"What is {i} + 1?",
            "gold": str(i + 1),
            "prompt_sha256": hashlib.sha256(str(i).encode()).hexdigest(),
            "response": responses[i] if responses else f"{arm} answers item {i}",
            "tokens": 10,
            "finish_reason": "length" if outcome == "truncated" else "stop",
            "outcome": outcome,
            "answer": None,
        }
        for i, outcome in enumerate(outcomes)
    ]


def save_arm(folder: Path, rows: list[dict], **about) -> Path:
    arm = folder / rows[0]["task"] / rows[0]["arm"]
    arm.mkdir(parents=True, exist_ok=True)
    # ASCII JSON, so that a lone surrogate can be stored as the escape it came as.
    (arm / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_json(arm / "arm.json", {"seconds": 83.0, "peak_memory_mb": 1536.0, "n": len(rows), **about})
    return arm


def report(folder: Path, arms: tuple[str, ...] = ("base", "adapter"), tasks: tuple[str, ...] = ("sums",)) -> dict:
    return write_report(
        "demo",
        folder / "eval",
        folder / "report",
        environment={"python": "3.11.9", "libraries": {"torch": "2.13.0"}, "command": "cft run demo seed=1"},
        arms=list(arms),
        tasks=list(tasks),
    )


ABOUT = {
    "settings": {"block": {"id": "qwen2.5-math-1.5b", "dtype": "bfloat16"}, "max_new_tokens": 3072, "temperature": 0.0}
}


def arm(name: str, correct: int, n: int = 40, start: int = 0) -> tuple[dict, list[dict]]:
    """An arm with `correct` right answers, from item `start` on; its prompts are of its prompt variant."""
    right = range(start, start + correct)
    rows = make_rows(["correct" if i in right else "wrong" for i in range(n)], name, "cft_math500")
    for row in rows:
        row["prompt_sha256"] += name.partition("@")[2]
        row["subject"] = "Algebra" if row["doc_id"] < 20 else "Geometry"
    return ABOUT, rows


def task_of(arms: dict[str, tuple[dict, list[dict]]], **options) -> dict:
    return build_report("demo", {"cft_math500": arms}, {}, **options)
