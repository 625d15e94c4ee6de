"""Language models as teachers: what they are shown, what becomes of what they write."""

import pytest

from cft.errors import DataError
from cft.files import read_own_jsonl
from data_builders.asking.calls import Answer
from data_builders.problems import load_problem
from data_builders.teachers.templates import PLACEHOLDERS, load_template, templates_folder
from tests.support.building import RIGHT, WRONG, Scripted, data, rows, run

GOOD = (
    'The solution is incorrect. It claims "4 × 17 = 58", but 4 × 17 = 68, since 4 × 10 = 40 and 4 × 7 = 28. '
    "Then 68 + 25 = 93 tulips, so the answer is \\boxed{93}."
)
TEACHER = {"kind": "model", "model": "big", "styles": ["step_check", "first_error"]}


def build(tmp_path, write, **changes):
    """The run of two wrong candidates, with `write(call)` as the teacher."""
    settings = data(students=[{"samples": 2}], teachers=[TEACHER | changes])

    def answer(call):
        if call.model == "tiny":
            return f"Attempt {call.sample}. " + WRONG.replace("83", str(83 + call.sample))
        return write(call)

    return run(tmp_path / "out", settings, write=answer)


def test_every_candidate_is_criticised_once_in_each_style_and_sample(tmp_path):
    seen = []
    build(tmp_path, lambda call: seen.append(call) or f"{call.template} {call.sample}: {GOOD}", samples=3)
    assert len(seen) == len({call.key for call in seen}) == 2 * 2 * 3
    question = load_problem("tulips").question
    for call in seen:
        text = call.messages[0]["content"]
        assert question in text and "4 × 17 = 58 and" in text and "{" not in text.replace("\\boxed{", "")
        assert call.sampling["max_tokens"] == 1024
    critiques = rows(tmp_path / "out", "critiques")
    assert {row["style"] for row in critiques} == {"step_check", "first_error"}
    ledger = {row["key"] for row in read_own_jsonl(tmp_path / "out-calls" / "big.jsonl")}
    assert {row["call"] for row in critiques} == ledger <= {row["key"] for row in rows(tmp_path / "out", "calls")}


def test_how_an_answer_ended_decides_before_what_it_says(tmp_path):
    def write(call):
        refused = call.template.startswith("step_check")
        status, finish = ("refused", "content_filter") if refused else ("truncated", "length")
        return Answer(GOOD, status, finish, "big")

    with pytest.raises(DataError, match="'cut off': 2, 'refused': 2"):
        build(tmp_path, write)


def test_a_reasoning_models_thinking_is_neither_trained_on_nor_checked(tmp_path):
    build(tmp_path, lambda call: f"<think>The answer given is \\boxed{{7}}?</think>\n\n{call.sample} {GOOD}", samples=1)
    texts = [row["text"] for row in rows(tmp_path / "out", "critiques") if row["accepted"]]
    assert texts and all("think" not in text for text in texts)
    assert "think" in rows(tmp_path / "out", "calls")[-1]["text"]


def test_thinking_without_end_is_no_critique(tmp_path):
    with pytest.raises(DataError, match="'too short': 4"):
        build(tmp_path, lambda call: f"<think>{GOOD}")


def test_agreement_of_two_teachers_is_reported(tmp_path):
    teachers = [TEACHER | {"styles": ["step_check"]}, TEACHER | {"model": "other", "styles": ["step_check"]}]

    def write(call):
        if call.model == "tiny":
            return f"Attempt {call.sample}. " + WRONG.replace("83", str(83 + call.sample))
        if call.model == "other" and "Attempt 0" in call.messages[0]["content"]:
            return "The solution is correct, and every step is right as it stands, so the answer is \\boxed{83}."
        if call.model == "other":
            return "No: four times seventeen is 68 and not 58, which makes it incorrect. With 25 more, \\boxed{93}"
        return GOOD

    counts = run(tmp_path / "out", data(students=[{"samples": 2}], teachers=teachers), write=write)
    assert counts["agreement"] == [
        {"teachers": ["big", "other"], "candidates": 2, "same_verdict": 0.5, "same_answer": 0.5}
    ]
    assert counts["dropped_by_teacher"]["other"] == {"verdict disagrees": 1}


def test_templates_are_files_that_the_user_may_write(tmp_path):
    path = tmp_path / "mine.md"
    path.write_text(
        "Problem: {question}\nWork: {solution}\nTruth: {answer}. Use \\boxed{} and \\frac{ab}{cd}, x_{max}."
    )
    filled = load_template(str(path)).fill(question="Q {solution}", solution="S {answer}", answer="A")
    assert filled == "Problem: Q {solution}\nWork: S {answer}\nTruth: A. Use \\boxed{} and \\frac{ab}{cd}, x_{max}."
    before = load_template(str(path)).version
    path.write_text(path.read_text() + " Be brief.")
    assert load_template(str(path)).version != before


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{question} {soluton}", r"line 1: unknown placeholder \{soluton\}. Did you mean solution\?"),
        ("{question}", r"has no \{solution\}"),
        ("{solution}\n{zzz} {question}", r"line 2: unknown placeholder \{zzz\}. Known here: question"),
        (b"\xff{question}{solution}", "is not UTF-8"),
    ],
)
def test_a_template_with_a_fault_is_refused(tmp_path, text, fault):
    path = tmp_path / "mine.md"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=fault):
        load_template(str(path))


def test_an_unknown_template_names_the_nearest():
    with pytest.raises(DataError, match="Did you mean step_check"):
        load_template("step_chek")


@pytest.mark.parametrize("path", sorted(templates_folder().glob("*.md")), ids=lambda path: path.stem)
def test_shipped_templates_do_not_give_the_answer_away(path):
    filled = load_template(path.stem).fill(question="QUESTION", solution="SOLUTION", answer="ANSWER")
    assert "QUESTION" in filled and "SOLUTION" in filled and "ANSWER" not in filled
    assert set(PLACEHOLDERS) == {"question", "solution", "answer"}


def test_right_candidates_are_confirmed_when_asked_for(tmp_path):
    def write(call):
        if call.model == "tiny":
            return RIGHT
        if call.template.startswith("step_check"):
            return "1. 4 × 17 = 68 is right. 2. 68 + 25 = 93 is right as well. The solution is correct: \\boxed{93}"
        return "The work is correct. First the red tulips, then the yellow ones are added, and no more: \\boxed{93}"

    settings = data(students=[{"samples": 1}], teachers=[TEACHER], right_share=1.0)
    assert run(tmp_path / "out", settings, write=write)["examples"] == 2
    assert Scripted(write).price.input == 0
