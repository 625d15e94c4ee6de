"""Rows without a teacher: what reinforcement learning and the SFT controls train on."""

import pytest

from cft.cli.trace import trace_item
from cft.errors import DataError
from cft.recipe.blocks import data as blocks
from cft.runs import Run
from data_builders.asking.calls import Answer
from data_builders.build import planned_characters
from data_builders.inspect.inspection import load_items
from data_builders.problems import load_problem
from data_builders.prompts import critique_prompt, messages, solve_prompt
from tests.support.building import rows, run

TULIPS = load_problem("tulips")
WORDS = ["ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen", "ibis", "jay", "kite", "lynx"]


def block(builder, **settings):
    return getattr(blocks, f"{builder.capitalize()}Data").model_validate(
        {"builder": builder, "problems": ["tulips"]} | settings
    )


def students(samples):
    return [{"samples": samples}]


def boxes(*answers):
    """A student whose samples have these answers, in texts that differ; `None` is a sample that was cut off."""

    def write(call):
        answer, word = answers[call.sample], WORDS[call.sample]
        text = f"{word} {word} " * 5
        return Answer(text, "truncated", "length") if answer is None else f"{text}\\boxed{{{answer}}}"

    return write


def nobody(call):
    raise AssertionError("a model was asked")


def test_prompts_without_students_ask_no_model(tmp_path):
    settings = block("prompts", problems=["tulips", "cubes"])
    assert run(tmp_path / "out", settings, write=nobody)["examples"] == 2
    first = rows(tmp_path / "out", "examples")[0]
    assert first.pop("id") and first == {
        **{"problem": "tulips", "critique": None, "prompt": messages(solve_prompt(TULIPS.question))},
        **{"answer": "93", "majority": None, "incorrect": None},
    }
    assert planned_characters(settings)[0] == len(solve_prompt(TULIPS.question))


@pytest.mark.parametrize(
    ("answers", "majority", "incorrect"),
    [
        (
            ("93", "83", "83.0", "84", None, None, None),
            "83",
            "83",
        ),  # equal, not spelt alike; unfinished ones do not vote
        (("93", "84", "93", "83", "83"), "93", "83"),
        (("93", "93"), "93", None),
    ],
)
def test_labels_are_the_most_frequent_answers(tmp_path, answers, majority, incorrect):
    counts = run(tmp_path / "out", block("prompts", students=students(len(answers))), write=boxes(*answers))
    (row,) = rows(tmp_path / "out", "examples")
    assert (row["majority"], row["incorrect"]) == (majority, incorrect)
    assert counts["candidates"] == len(answers) and counts["set_aside"].get("truncated", 0) == answers.count(None)


@pytest.mark.parametrize(
    ("builder", "answers", "fault"),
    [
        ("prompts", (None, None), r"label `majority` \(truncated 2\).*max_new_tokens"),
        ("verdicts", ("93", "93"), r"is wrong, so right and wrong cannot be balanced \(correct 2\).*harder"),
        ("verdicts", ("83", None), r"is right, so .* balanced \(truncated 1, wrong 1\).*easier"),
        ("demonstrations", ("83", None), r"is right, so there is nothing to demonstrate"),
    ],
)
def test_what_the_students_do_not_give_is_told_with_a_way_out(tmp_path, builder, answers, fault):
    with pytest.raises(DataError, match=fault):
        run(tmp_path / "out", block(builder, students=students(2)), write=boxes(*answers))
    assert len(rows(tmp_path / "out", "candidates")) == 2 and not (tmp_path / "out" / "examples.jsonl").exists()


@pytest.mark.parametrize(("most", "expected"), [(None, 6), (5, 4)])
def test_verdicts_are_half_right_and_half_wrong(tmp_path, most, expected):
    write = boxes("93", "83", "93", "83", "93", "83", "83", "84", None, "")
    path = tmp_path / "runs" / "mine" / "x" / "data"
    counts = run(path, block("verdicts", students=students(10), max_examples=most), write=write, ledgers=tmp_path / "c")
    examples, candidates = rows(path, "examples"), {row["id"]: row for row in rows(path, "candidates")}
    assert counts["examples"] == len(examples) == expected == 2 * sum(row["correct"] for row in examples)
    for row in examples:
        candidate = candidates[row["candidate"]]
        assert row["correct"] == (candidate["outcome"] == "correct") and row["answer"] == "93"
        assert row["prompt"] == messages(critique_prompt(TULIPS.question, candidate["text"]))
    assert {candidates[row["candidate"]]["answer"] for row in examples if not row["correct"]} == {"83", "84"}
    assert counts["set_aside"] == {"no_answer": 1, "not chosen": 8 - expected, "truncated": 1}
    shown = [item.candidate["id"] for item in load_items(path) if item.trains]
    assert sorted(shown) == sorted(row["candidate"] for row in examples)
    chain = trace_item(Run(path.parent), examples[0]["id"])["chain"]
    assert [link["kind"] for link in chain] == ["example", "candidate", "problem"]
    assert chain[1]["id"] == examples[0]["candidate"]


def test_verdicts_are_balanced_for_each_problem(tmp_path):
    def write(call):
        right, of_tulips = call.sample % 4 == 0, "tulips" in call.messages[0]["content"]
        answer = ("93" if of_tulips else "46") if right == of_tulips else "1"
        return f"{WORDS[call.sample]} " * 9 + f"\\boxed{{{answer}}}"

    run(tmp_path / "out", block("verdicts", problems=["tulips", "library"], students=students(8)), write=write)
    found = [(row["problem"], row["correct"]) for row in rows(tmp_path / "out", "examples")]
    assert all(found.count((name, right)) == 2 for name in ("tulips", "library") for right in (True, False))


@pytest.mark.parametrize(("most", "texts"), [(None, "abcabc"), (4, "abca"), (2, "ac")])
def test_demonstrations_of_students_are_their_right_solutions(tmp_path, most, texts):
    def write(call):
        word = WORDS[0 if call.sample == 5 else call.sample]
        return f"{word} " * 9 + ("\\boxed{83}" if call.sample in (1, 3) else "\\boxed{93}")

    settings = block("demonstrations", students=students(6), repeat=2, max_examples=most)
    counts = run(tmp_path / "out", settings, write=write)
    examples = rows(tmp_path / "out", "examples")
    words = [row["completion"][0]["content"].split()[0] for row in examples]
    assert len(words) == len(texts) == counts["examples"] == len({row["id"] for row in examples})
    assert most == 2 or words == [{"a": "ant", "b": "cat", "c": "eel"}[letter] for letter in texts]
    assert set(words) <= {"ant", "cat", "eel"} and counts["set_aside"]["near duplicate"] == 1
    assert planned_characters(settings) == []


def test_demonstrations_of_files_are_their_worked_solutions(tmp_path):
    settings = block("demonstrations", problems=["tulips", "permit"], repeat=2)
    assert run(tmp_path / "out", settings, write=nobody)["examples"] == 4
    examples = rows(tmp_path / "out", "examples")
    assert [row["problem"] for row in examples] == ["tulips", "permit"] * 2
    assert examples[0]["prompt"] == messages(solve_prompt(TULIPS.question)) and examples[0]["critique"] is None
    assert examples[0]["completion"][0]["content"] == TULIPS.solution
    lengths = [len(row["prompt"][0]["content"]) + len(row["completion"][0]["content"]) for row in examples]
    assert planned_characters(settings) == lengths
