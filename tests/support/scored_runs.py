"""Runs with graded answers, as the evaluation writes them."""

import hashlib
from pathlib import Path

from cft.files import content_id, write_json, write_jsonl
from cft.recipe.load import load_recipe
from cft.runs import Run, open_run

RECIPE = """
name: {name}
seed: {seed}
model: {{id: {model}}}
data: {{builder: demonstrations, problems: [bakery]}}
train: {{method: sft, args: {{learning_rate: {rate}}}}}
eval: {{tasks: [{tasks}], max_new_tokens: {limit}}}
"""


RIGHT, WRONG = "correct", "wrong"


def outcomes(right: int, n: int = 40, skip: int = 0) -> list[str]:
    """`right` correct ones after `skip` wrong ones, of n."""
    return [RIGHT if skip <= i < skip + right else WRONG for i in range(n)]


def rows_of(task: str, arm: str, given: list[str], *, first: int = 0, salt: str = "", samples: int = 1) -> list[dict]:
    rows = []
    for i, outcome in enumerate(given):
        number, sample = first + i // samples, i % samples
        rows.append(
            {
                "task": task,
                "arm": arm,
                "doc_id": i // samples,
                "sample": sample,
                "question": f"What is {number} + 1?",
                "gold": str(number + 1),
                "prompt_sha256": hashlib.sha256(f"{salt}{number}".encode()).hexdigest(),
                "response": f"{arm} {salt} answers {i}",
                "tokens": 10,
                "finish_reason": "stop",
                "outcome": outcome,
                "answer": "1",
                "same_as": sample,
            }
        )
    return rows


def save_arm(run: Run, rows: list[dict], **about) -> None:
    folder = run.path / "eval" / rows[0]["task"] / rows[0]["arm"]
    write_jsonl(folder / "answers.jsonl", rows)
    write_json(folder / "arm.json", {"n": len(rows), "seconds": 5.0, "grader": "g1", **about})


def make_run(
    root: Path, name: str, base: list[str], adapter: list[str], *, seed: int = 0, model: str = "qwen", limit: int = 448,
    rate: str = "1.0e-4", tasks: str = "sums", first: int = 0, salt: str = "", finished: bool = True, **about,
) -> Run:  # fmt: skip
    """A run whose arms have these outcomes, written as the evaluation writes them."""
    text = RECIPE.format(name=name, seed=seed, model=model, limit=limit, rate=rate, tasks=tasks)
    (root / "recipe.yaml").write_text(text)
    run = open_run(load_recipe(str(root / "recipe.yaml")), {}, root / "runs")
    settings = {"model": model, "identity": {"repo": model}, "max_new_tokens": limit}
    for task in tasks.split(", "):
        for arm, given in (("base", base), ("adapter", adapter)):
            rows = rows_of(task, arm, given, first=first, salt=salt)
            made_of = [settings, task, given, salt, first, [name, seed, rate] if arm == "adapter" else None]
            save_arm(run, rows, settings=settings, fingerprint=content_id(made_of), **about)
    if finished:
        run.stage("eval", {"of": run.path.name}).finish(seed=seed, counts={})
    return run
