"""The data stage: from a problem to training rows, in one go or after any number of kills."""

import pytest

from cft.errors import DataError
from cft.files import read_own_jsonl, write_jsonl
from data_builders.asking.calls import Answer
from data_builders.build import planned_characters
from data_builders.problems import load_problem, problems_folder
from data_builders.prompts import critique_prompt, messages, solve_prompt
from data_builders.teachers.file import find_critiques, load_critiques
from tests.support.building import RIGHT, WRONG, data, rows, run, student


def without_usage(text):
    """An answer of a server that reports no token counts."""
    return Answer(text, "ok", "stop")


def contents(folder):
    """What must not hang on when the calls were made."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "calls.jsonl"}


def test_from_problem_to_examples(tmp_path):
    counts = run(tmp_path / "out")
    tmp_path /= "out"
    candidates, critiques, examples = (rows(tmp_path, n) for n in ("candidates", "critiques", "examples"))
    assert counts["ignores_temperature"] == []
    assert counts["candidates"] == 10 == len(candidates) == sum(counts["outcomes"].values())
    assert counts["pass_rate"] == counts["outcomes"].get("correct", 0) / 10
    assert counts["examples"] == len(examples) == counts["accepted"] == sum(c["accepted"] for c in critiques)
    assert counts["critiques"] == counts["accepted"] + sum(counts["dropped"].values())
    by_id = {row["id"]: row for row in candidates}
    parents = {row["id"]: row for row in critiques}
    for example in examples:
        critique = parents[example["critique"]]
        candidate = by_id[critique["candidate"]]
        assert candidate["outcome"] in ("wrong", "no_answer", "truncated")
        question = load_problem("tulips").question
        assert example["prompt"] == messages(critique_prompt(question, candidate["text"]))
        assert example["completion"] == [{"role": "assistant", "content": critique["text"]}]
    assert len({row["id"] for row in candidates + critiques + examples}) == len(candidates + critiques + examples)


def test_a_killed_run_ends_the_same(tmp_path):
    run(tmp_path / "whole")
    whole = contents(tmp_path / "whole")
    ledger = (tmp_path / "whole-calls" / "tiny.jsonl").read_bytes()
    lines = ledger.splitlines(keepends=True)
    for kept in (b"", b"".join(lines[:4]), b"".join(lines[:6]), b"".join(lines[:5]) + lines[5][:20]):
        folder = tmp_path / f"killed{len(kept)}"
        calls = tmp_path / f"killed{len(kept)}-calls"
        calls.mkdir()
        (calls / "tiny.jsonl").write_bytes(kept)
        run(folder)
        assert contents(folder) == whole


def test_what_is_there_is_not_asked_again_even_by_another_run(tmp_path):
    run(tmp_path / "a", ledgers=tmp_path / "calls")

    def fail(call):
        raise AssertionError("asked again")

    run(tmp_path / "b", write=fail, ledgers=tmp_path / "calls")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_a_stop_owes_only_the_rest(tmp_path):
    calls = []

    def dies(call):
        calls.append(call.key)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return student(call)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "out", write=dies)
    assert len(read_own_jsonl(tmp_path / "out-calls" / "tiny.jsonl")) == 4
    run(tmp_path / "out", write=dies)
    assert len(calls) == 11 and len(set(calls)) == 10 and calls[4] == calls[5]


def test_other_seed_other_candidates(tmp_path):
    run(tmp_path / "a")
    run(tmp_path / "b", seed=4)
    one, other = ({row["id"] for row in rows(tmp_path / name, "candidates")} for name in "ab")
    assert one.isdisjoint(other)


@pytest.mark.parametrize("reply", [str, without_usage])
def test_same_answers_twice_train_once(tmp_path, reply):
    counts = run(tmp_path / "out", write=lambda call: reply(WRONG))
    assert counts["set_aside"] == {"near duplicate": 9} and counts["ignores_temperature"] == ["tiny"]
    assert counts["critiques"] == 5


def test_several_students_at_several_temperatures(tmp_path):
    students = [{"model": "a", "samples": 3, "temperatures": [0.5, 1.0]}, {"model": "b/c", "samples": 2}]
    counts = run(tmp_path / "out", data(students=students))
    found = [(row["student"], row["temperature"], row["sample"]) for row in rows(tmp_path / "out", "candidates")]
    assert found == [("a", t, k) for t in (0.5, 1.0) for k in range(3)] + [("b/c", 0.9, k) for k in range(2)]
    assert {name: s["samples"] for name, s in counts["students"].items()} == {"a": 6, "b/c": 2}
    assert len(list((tmp_path / "out-calls").glob("*.jsonl"))) == 2
    assert len(rows(tmp_path / "out", "calls")) == 8


def test_right_candidates_train_only_when_asked_for_and_in_the_share_asked_for(tmp_path):
    def half(call):
        return f"Try {call.sample} of it. " + (RIGHT if call.sample % 2 else WRONG.replace("83", str(83 + call.sample)))

    assert run(tmp_path / "wrong", write=half)["set_aside"]["correct"] == 5
    counts = run(tmp_path / "all", data(right_share=1.0), write=half)
    assert counts["pass_rate"] == 0.5 and "correct" not in counts["set_aside"]
    verdicts = [row["verdict"] for row in rows(tmp_path / "all", "critiques")]
    assert verdicts.count("correct") == verdicts.count("incorrect") == 25
    counts = run(tmp_path / "some", data(right_share=0.2), write=half)
    verdicts = [row["verdict"] for row in rows(tmp_path / "some", "critiques")]
    assert verdicts.count("correct") == 5 and verdicts.count("incorrect") == 25
    assert counts["set_aside"] == {"not chosen": 4}


@pytest.mark.parametrize("reply", [str, without_usage])
def test_max_candidates_spreads_over_wrong_answers_and_students(tmp_path, reply):
    def skewed(call):
        answer = 83 if call.sample < 8 else 100 + call.sample
        return reply(f"{call.model} tries {call.key}: 4 × 17 = 58. \\boxed{{{answer}}}")

    students = [{"model": "a", "samples": 10}, {"model": "b", "samples": 10}]
    run(tmp_path / "out", data(students=students, max_candidates=6), write=skewed)
    critiques = rows(tmp_path / "out", "critiques")
    by_id = {row["id"]: row for row in rows(tmp_path / "out", "candidates")}
    chosen = [by_id[key] for key in dict.fromkeys(row["candidate"] for row in critiques)]
    assert len(chosen) == 6 and {row["answer"] for row in chosen} == {"83", "108", "109"}
    assert sorted(row["student"] for row in chosen) == ["a"] * 3 + ["b"] * 3


def test_max_examples_spreads_over_answers_and_styles(tmp_path):
    def skewed(call):
        answer = "84" if call.sample == 19 else "83"
        return f"Try {call.sample} by {call.key}: 4 × 17 = 58. \\boxed{{{answer}}}"

    counts = run(tmp_path / "out", data(students=[{"samples": 20}], max_examples=10), write=skewed)
    tmp_path /= "out"
    assert counts["examples"] == 10 and counts["over_max_examples"] == counts["accepted"] - 10 > 40
    critiques = {row["id"]: row for row in rows(tmp_path, "critiques")}
    candidates = {row["id"]: row for row in rows(tmp_path, "candidates")}
    chosen = [critiques[row["critique"]] for row in rows(tmp_path, "examples")]
    answers = [candidates[c["candidate"]]["answer"] for c in chosen]
    assert answers.count("84") == 5
    assert len({c["style"] for c in chosen}) == 5 and len({c["candidate"] for c in chosen if c["text"]}) >= 5


def test_prompt_solve_shows_the_problem_only(tmp_path):
    run(tmp_path / "out", data(prompt="solve"))
    prompts = {example["prompt"][0]["content"] for example in rows(tmp_path / "out", "examples")}
    assert prompts == {solve_prompt(load_problem("tulips").question)}


def test_files_bring_their_candidates(tmp_path):
    settings = data(problems=["bakery"], students=[], teachers=[{"kind": "file", "path": "bakery"}])
    counts = run(tmp_path / "out", settings)
    shipped = load_critiques(find_critiques("bakery"))
    solutions = {row.solution for row in shipped}
    assert (counts["candidates"], counts["examples"], counts["pass_rate"]) == (len(solutions), len(shipped), None)
    assert counts["dropped"] == {}
    tmp_path /= "out"
    assert {r["problem"] for r in rows(tmp_path, "examples")} == {"bakery"}
    assert len(planned_characters(settings)) == len(shipped)
    assert sorted(planned_characters(settings)) == sorted(map(characters, rows(tmp_path, "examples")))


def characters(example: dict) -> int:
    return sum(len(message["content"]) for message in [*example["prompt"], *example["completion"]])


def test_exact_teacher_also_judges_candidates_of_a_file(tmp_path):
    teachers = [{"kind": "file", "path": "bakery"}, {"kind": "exact", "styles": ["numbered check"]}]
    counts = run(tmp_path / "out", data(problems=["bakery"], students=[], teachers=teachers))
    assert counts["critiques"] == len(load_critiques(find_critiques("bakery"))) + counts["candidates"]
    assert counts["accepted"] > 0.95 * counts["critiques"] and set(counts["dropped"]) <= {"near duplicate"}


def test_file_of_an_unknown_problem_brings_the_problem_too(tmp_path):
    path = tmp_path / "mine.jsonl"
    text = "The solution is incorrect, because 2 + 2 = 4 and nothing else, so count again, please. The answer is 4."
    write_jsonl(path, [{"problem": "What is 2 + 2?", "answer": "4", "solution": "\\boxed{5}", "critique": text}])
    counts = run(tmp_path / "out", data(problems=[], students=[], teachers=[{"kind": "file", "path": str(path)}]))
    assert counts["examples"] == 1
    (row,) = rows(tmp_path / "out", "examples")
    assert "What is 2 + 2?" in row["prompt"][0]["content"] and row["answer"] == "4"
    assert row["completion"][0]["content"] == f"{text}\n\n\\boxed{{4}}"


@pytest.mark.parametrize(
    ("answer", "fault"),
    [("94", "line 1: the answer is '94', but problem tulips has '93'"), ("93", "'too short': 1")],
)
def test_files_that_contradict_the_problem_or_leave_no_critique_are_refused(tmp_path, answer, fault):
    path, question = tmp_path / "mine.jsonl", load_problem("tulips").question
    write_jsonl(path, [{"problem": question, "answer": answer, "solution": "\\boxed{1}", "critique": "Too short."}])
    with pytest.raises(DataError, match=fault):
        run(tmp_path / "out", data(students=[], teachers=[{"kind": "file", "path": str(path)}]))


def test_no_rows_left_says_why_and_what_to_change(tmp_path):
    with pytest.raises(DataError) as error:
        run(tmp_path / "out", write=lambda call: RIGHT)
    assert "{'correct': 10}" in str(error.value) and "harder problem" in str(error.value)
    assert not (tmp_path / "out" / "examples.jsonl").exists()


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"problems": ["tulps"]}, "Did you mean tulips"),
        ({"problems": ["tulips", str(problems_folder() / "tulips.yaml")]}, "there twice"),
        ({"teachers": [{"kind": "file", "path": "nowhere.jsonl"}]}, "there is no such critiques or file"),
    ],
)
def test_bad_input(tmp_path, changes, fault):
    with pytest.raises(DataError, match=fault):
        run(tmp_path / "out", data(**changes))
