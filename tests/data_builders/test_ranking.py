"""Which problem to train on."""

import pytest

from cft.errors import DataError
from cft.files import write_jsonl
from data_builders.problems import Problem
from data_builders.ranking import load_pool, rank, usefulness


def rows(right=0, wrong=(), cut=0, problem="p", student="s"):
    outcomes = [("correct", "1")] * right + [("wrong", a) for a in wrong] + [("truncated", None)] * cut
    return [{"problem": problem, "student": student, "outcome": o, "answer": a, "tokens": 100} for o, a in outcomes]


def test_medium_difficulty_and_different_wrong_answers_count():
    medium = usefulness(rows(4, "abcd"))["score"]
    assert medium > usefulness(rows(1, "abcdefg"))["score"] > usefulness(rows(0, "abcdefgh"))["score"] > 0
    assert medium > usefulness(rows(4, "aabb"))["score"] > usefulness(rows(4, "aaaa"))["score"] == 0
    assert medium > usefulness(rows(4, "abcd", cut=4))["score"]
    assert usefulness(rows(8))["score"] == usefulness(rows(0, cut=8))["score"] == 0


def test_what_the_score_is_made_of():
    told = usefulness(rows(3, "aab", cut=2))
    assert (told["samples"], told["pass_rate"], told["wrong_answers"], told["truncated"]) == (8, 0.375, 2, 0.25)
    assert told["entropy"] == pytest.approx(0.918, abs=1e-3) and told["mean_tokens"] == 100


def test_best_first_with_the_pass_rate_of_each_student():
    problems = [Problem(k, "q", "1", "s", "l") for k in ("easy", "good")]
    candidates = rows(8, problem="easy") + rows(2, "ab", problem="good") + rows(1, "abc", problem="good", student="t")
    ranked = rank(problems, candidates)
    assert [row["problem"] for row in ranked] == ["good", "easy"]
    assert ranked[0]["students"] == {"s": 0.5, "t": 0.25} and ranked[0]["samples"] == 8


def test_pools(tmp_path):
    assert [p.id for p in load_pool("tulips")] == ["tulips"]
    path = tmp_path / "pool.jsonl"
    write_jsonl(path, [{"problem": "1 + 1?", "answer": 2, "unique_id": "a"}, {"question": "2 + 2?", "answer": "4"}])
    found = [(p.id, p.question, p.answer) for p in load_pool(str(path))]
    assert found == [("a", "1 + 1?", "2"), ("pool-2", "2 + 2?", "4")]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ('{"question": "x"}\n', "line 1: needs `question`"),
        ('{"question": "x", "answer": 1, "id": "a"}\n' * 2, "'a' is there twice"),
        ("", "has no rows"),
        ("[1]\n", "not an object"),
    ],
)
def test_faulty_pools(tmp_path, content, fault):
    path = tmp_path / "pool.jsonl"
    path.write_text(content)
    with pytest.raises(DataError, match=fault):
        load_pool(str(path))


def test_pools_that_are_not_there(tmp_path):
    with pytest.raises(DataError, match="holds no problem files"):
        load_pool(str(tmp_path))
    with pytest.raises(DataError, match="there is no such problem"):
        load_pool("nothing")
