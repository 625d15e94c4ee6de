"""A data folder to look at."""

from cft.files import write_jsonl

BAKERY = {"id": "bakery", "question": "How many dollars?", "answer": "361", "source": "here", "licence": "Apache-2.0"}
APPLES = {"id": "apples", "question": "How many apples?", "answer": "19", "source": "here", "licence": "Apache-2.0"}


def candidate(key, problem="bakery", answer="370", outcome="wrong", text=r"So \(37 \times 2 = 74\). [bold]Done[/bold]"):
    return {
        "id": key, "problem": problem, "student": "small", "sample": 0, "text": text, "tokens": None,
        "finish_reason": "stop", "outcome": outcome, "answer": answer,
    }  # fmt: skip


def critique(key, of, text='It is incorrect. "37 × 2 = 74" is right: \\boxed{361}', **more):
    row = {"id": key, "candidate": of, "teacher": "exact", "style": "numbered", "text": text, "verdict": "incorrect",
           "answer": "361", "accepted": True, "reason": None}  # fmt: skip
    return row | more


def dropped(key, of, reason, **more):
    return critique(key, of, accepted=False, reason=reason, **more)


CANDIDATES = [
    candidate("b-correct", answer="361", outcome="correct"),
    candidate("b-1,436", answer="1,436"),
    candidate("b-370"),
    candidate("b-none", answer=None, outcome="no_answer"),
    candidate("a-6", problem="apples", answer="6"),
]


CRITIQUES = [
    critique("k1", "a-6"),
    critique("k2", "b-1,436", style="thinking aloud"),
    critique("k3", "b-370", style="rederived"),
    dropped("k4", "b-370", "too short", teacher="file:mine", text="Wrong."),
    dropped("k5", "b-none", "quote not in candidate", text='The solution is incorrect: "99 boxes" is nowhere.'),
]


def write_folder(path):
    write_jsonl(path / "problems.jsonl", [BAKERY, APPLES])
    write_jsonl(path / "candidates.jsonl", CANDIDATES)
    write_jsonl(path / "critiques.jsonl", CRITIQUES)
    write_jsonl(path / "examples.jsonl", [{"id": "e1", "critique": "k2", "prompt": [], "completion": []}])
    return path
