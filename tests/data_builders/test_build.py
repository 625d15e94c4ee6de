"""The data stage: from a problem to training rows, in one go or after any number of kills."""

import json

import pytest

from cft.errors import DataError
from cft.files import read_own_jsonl, write_jsonl
from cft.generation import Completion
from cft.recipe import CritiquesData, DemonstrationsData
from data_builders.build import build, count_candidates, input_files, planned_characters
from data_builders.problems import load_problem, problems_folder
from data_builders.prompts import critique_prompt, messages, solve_prompt

RIGHT = "4 × 17 = 68 and 68 + 25 = 93. \\boxed{93}"
WRONG = "4 × 17 = 58 and 58 + 25 = 83. \\boxed{83}"


def data(**changes):
    settings = {
        "builder": "critiques",
        "problems": ["tulips"],
        "student": {"samples": 10, "batch_size": 4},
        "teachers": [{"kind": "exact"}],
    }
    return CritiquesData.model_validate(settings | changes)


def student(prompts, seed):
    """A student whose answers hang on the seed of the batch and the row, as a real one's do."""
    out = []
    for i, prompt in enumerate(prompts):
        assert "reason step by step" in prompt
        if (seed + i) % 3 == 0:
            out.append(Completion(RIGHT, 20, "stop"))
        elif (seed + i) % 7 == 1:
            out.append(Completion("4 × 17 =", 320, "length"))
        else:
            out.append(Completion(WRONG.replace("83", str(83 + (seed + i) % 50)), 20, "stop"))
    return out


def run(folder, settings=None, sample=student, **kwargs):
    return build(settings or data(), folder=folder, seed=3, sample=sample, student_name="tiny", **kwargs)


def rows(folder, name):
    return [json.loads(line) for line in (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_from_problem_to_examples(tmp_path):
    seen = []
    counts = run(tmp_path, progress=lambda done, planned: seen.append((done, planned)))
    candidates, critiques, examples = (rows(tmp_path, n) for n in ("candidates", "critiques", "examples"))
    assert seen == [(4, 10), (8, 10), (10, 10)]
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
    lines = whole["candidates.jsonl"].splitlines(keepends=True)
    for kept in (b"", b"".join(lines[:4]), b"".join(lines[:6]), b"".join(lines[:5]) + lines[5][:20]):
        folder = tmp_path / f"killed{len(kept)}"
        folder.mkdir()
        (folder / "candidates.jsonl").write_bytes(kept)
        run(folder)
        assert contents(folder) == whole


def test_what_is_there_is_not_sampled_again(tmp_path):
    run(tmp_path)
    before = contents(tmp_path)

    def fail(prompts, seed):
        raise AssertionError("sampled again")

    run(tmp_path, sample=fail)
    assert contents(tmp_path) == before


def test_a_kill_between_batches_owes_only_the_rest(tmp_path):
    calls = []

    def dies(prompts, seed):
        calls.append(seed)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return student(prompts, seed)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, sample=dies)
    assert len(read_own_jsonl(tmp_path / "candidates.jsonl")) == 4
    run(tmp_path, sample=dies)
    assert len(calls) == 4 and calls[1] == calls[2]


def test_other_seed_other_candidates(tmp_path):
    run(tmp_path / "a")
    build(data(), folder=tmp_path / "b", seed=4, sample=student, student_name="tiny")
    assert {r["id"] for r in rows(tmp_path / "a", "candidates")}.isdisjoint(
        r["id"] for r in rows(tmp_path / "b", "candidates")
    )


def test_same_answers_twice_train_once(tmp_path):
    counts = run(tmp_path, sample=lambda prompts, seed: [Completion(WRONG, 9, "stop")] * len(prompts))
    assert counts["set_aside"] == {"duplicate": 9}
    assert counts["critiques"] == 5


def test_right_candidates_train_only_when_asked_for(tmp_path):
    def half(prompts, seed):
        return [Completion(RIGHT if i % 2 else WRONG, 9, "stop") for i in range(len(prompts))]

    assert run(tmp_path / "wrong", sample=half)["set_aside"]["correct"] == 5
    counts = run(tmp_path / "all", data(candidates="all"), sample=half)
    assert counts["pass_rate"] == 0.5
    verdicts = {row["verdict"] for row in rows(tmp_path / "all", "critiques")}
    assert verdicts == {"correct", "incorrect"}


def test_max_examples_spreads_over_answers_and_styles(tmp_path):
    def skewed(prompts, seed):
        answers = ["83"] * (len(prompts) - 1) + ["84"]
        return [Completion(f"Try {seed} {i}: 4 × 17 = 58. \\boxed{{{a}}}", 9, "stop") for i, a in enumerate(answers)]

    settings = data(student={"samples": 20, "batch_size": 20}, max_examples=10)
    counts = run(tmp_path, settings, sample=skewed)
    assert counts["examples"] == 10 and counts["over_max_examples"] == 90
    critiques = {row["id"]: row for row in rows(tmp_path, "critiques")}
    candidates = {row["id"]: row for row in rows(tmp_path, "candidates")}
    chosen = [critiques[row["critique"]] for row in rows(tmp_path, "examples")]
    answers = [candidates[c["candidate"]]["answer"] for c in chosen]
    assert answers.count("84") == 5
    assert len({c["style"] for c in chosen}) == 5 and len({c["candidate"] for c in chosen if c["text"]}) >= 5


def test_prompt_solve_shows_the_problem_only(tmp_path):
    run(tmp_path, data(prompt="solve"))
    assert {e["prompt"][0]["content"] for e in rows(tmp_path, "examples")} == {
        solve_prompt(load_problem("tulips").question)
    }


def test_files_bring_their_candidates(tmp_path):
    settings = data(problems=["bakery"], student=None, teachers=[{"kind": "file", "path": "bakery"}])
    counts = run(tmp_path, settings, sample=None)
    assert (counts["candidates"], counts["examples"], counts["pass_rate"]) == (48, 48, None)
    assert counts["dropped"] == {}
    assert {r["problem"] for r in rows(tmp_path, "examples")} == {"bakery"}
    assert count_candidates(settings) == (0, 48)
    assert sorted(planned_characters(settings)) == sorted(map(characters, rows(tmp_path, "examples")))
    assert set(input_files(settings)) == {"problem bakery", "critiques bakery"}


def characters(example: dict) -> int:
    return sum(len(message["content"]) for message in [*example["prompt"], *example["completion"]])


def test_exact_teacher_also_judges_candidates_of_a_file(tmp_path):
    teachers = [{"kind": "file", "path": "bakery"}, {"kind": "exact", "styles": ["numbered check"]}]
    counts = run(tmp_path, data(problems=["bakery"], student=None, teachers=teachers), sample=None)
    assert counts["critiques"] == 96 and counts["examples"] == 96


def test_file_of_an_unknown_problem_brings_the_problem_too(tmp_path):
    path = tmp_path / "mine.jsonl"
    text = (
        "The solution is incorrect, because 2 + 2 = 4 and nothing else, so the student should count again: \\boxed{4}"
    )
    write_jsonl(path, [{"problem": "What is 2 + 2?", "answer": "4", "solution": "\\boxed{5}", "critique": text}])
    counts = run(tmp_path / "out", data(problems=[], student=None, teachers=[{"kind": "file", "path": str(path)}]))
    assert counts["examples"] == 1
    assert "What is 2 + 2?" in rows(tmp_path / "out", "examples")[0]["prompt"][0]["content"]


def test_file_that_contradicts_the_problem_is_refused(tmp_path):
    path, question = tmp_path / "mine.jsonl", load_problem("tulips").question
    write_jsonl(path, [{"problem": question, "answer": "94", "solution": "x", "critique": "y"}])
    with pytest.raises(DataError, match="line 1: the answer is '94', but problem tulips has '93'"):
        run(tmp_path / "out", data(student=None, teachers=[{"kind": "file", "path": str(path)}]))


def test_no_rows_left_says_why_and_what_to_change(tmp_path):
    with pytest.raises(DataError) as error:
        run(tmp_path, sample=lambda prompts, seed: [Completion(RIGHT, 9, "stop")] * len(prompts))
    assert "{'correct': 10}" in str(error.value) and "harder problem" in str(error.value)
    assert not (tmp_path / "examples.jsonl").exists()


def test_all_critiques_dropped_counts_the_reasons(tmp_path):
    path, question = tmp_path / "mine.jsonl", load_problem("tulips").question
    write_jsonl(path, [{"problem": question, "answer": "93", "solution": "\\boxed{1}", "critique": "Too short."}])
    with pytest.raises(DataError, match="'too short': 1"):
        run(tmp_path / "out", data(student=None, teachers=[{"kind": "file", "path": str(path)}]))


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"problems": ["tulps"]}, "Nearest: tulips"),
        ({"problems": ["tulips", str(problems_folder() / "tulips.yaml")]}, "there twice"),
        ({"teachers": [{"kind": "file", "path": "nowhere.jsonl"}]}, "does not exist"),
    ],
)
def test_bad_input(tmp_path, changes, fault):
    with pytest.raises(DataError, match=fault):
        run(tmp_path, data(**changes))


def test_student_without_a_sampler(tmp_path):
    with pytest.raises(DataError, match="no model to sample from"):
        run(tmp_path, sample=None)


def test_demonstrations(tmp_path):
    settings = DemonstrationsData(builder="demonstrations", problems=["tulips", "bakery"])
    counts = build(settings, folder=tmp_path, seed=0, sample=None, student_name=None)
    assert counts == {"examples": 2} and count_candidates(settings) == (0, 2)
    assert planned_characters(settings) == [characters(row) for row in rows(tmp_path, "examples")]
    first = rows(tmp_path, "examples")[0]
    problem = load_problem("tulips")
    assert first["prompt"] == messages(solve_prompt(problem.question)) and first["critique"] is None
    assert first["completion"][0]["content"] == problem.solution
