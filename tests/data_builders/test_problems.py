"""A problem file is checked whole when it is loaded."""

import pytest
import yaml

from cft.errors import DataError
from data_builders.arithmetic.expressions import show_number
from data_builders.problems import load_problem, problems_folder

GOOD = {
    "id": "pens",
    "question": "Ida buys 3 boxes of 12 pens and loses half of them. How many pens has she left?",
    "answer": 18,
    "source": "written for this test",
    "licence": "Apache-2.0",
    "given": {
        "boxes": {"value": 3, "unit": "box", "says": "the number of boxes"},
        "in_a_box": {"value": 12, "unit": "pen/box", "says": "the number of pens in a box"},
    },
    "steps": [
        {"name": "bought", "says": "the pens bought", "expression": "boxes * in_a_box", "value": 36},
        {"name": "left", "says": "the pens left", "expression": "bought / 2", "value": 18, "tell": ["So 36 / 2 = 18."]},
    ],
    "solution": "She buys 3 × 12 = 36 pens and keeps 36 / 2 = 18, so \\boxed{18}.",
}


def write(tmp_path, **changes):
    path = tmp_path / "pens.yaml"
    path.write_text(yaml.safe_dump(GOOD | changes), encoding="utf-8")
    return str(path)


def step(i, **changes):
    steps = [dict(s) for s in GOOD["steps"]]
    steps[i] |= changes
    return steps


@pytest.mark.parametrize("path", sorted(problems_folder().glob("*.yaml")), ids=lambda p: p.stem)
def test_shipped_problems_are_whole(path):
    problem = load_problem(path.stem)
    assert problem.id == path.stem
    assert problem.licence == "Apache-2.0" and problem.source == "written for this project"
    logic = {"alarm": "No", "badge": "B", "permit": "12 March 2024"}  # all others end in a number
    assert problem.answer == logic.get(path.stem, problem.answer) and (path.stem in logic or problem.answer.isdigit())
    assert problem.solution.rstrip().endswith((".", "}")) and f"\\boxed{{{problem.answer}}}" in problem.solution
    if problem.steps:  # without them the exact teacher leaves a problem alone
        assert show_number(problem.steps[-1].value) == problem.answer
        assert all(s.tell for s in (*problem.steps, *problem.other_steps)) and len(problem.ideas) >= 2


def test_a_good_problem_loads(tmp_path):
    problem = load_problem(write(tmp_path))
    assert [s.shown for s in problem.steps] == ["3 × 12 = 36", "36 / 2 = 18"]
    assert problem.steps[1].quantity.unit == (("pen", 1),)


@pytest.mark.parametrize(
    ("name", "fault"), [("bakary", "bakery"), ("nowhere/pens.yaml", "there is no such problem or file")]
)
def test_unknown_names_and_missing_files(name, fault):
    with pytest.raises(DataError, match=fault):
        load_problem(name)


def test_all_faults_are_listed_at_once(tmp_path):
    steps = step(0, value=35, tell=["So 3 × 12 = 37."])
    path = write(tmp_path, steps=steps, answer=17, licens="MIT", solution="It is \\boxed{18} as 3 × 12 = 35.")
    with pytest.raises(DataError) as error:
        load_problem(path)
    message = str(error.value)
    assert "licens: is not a key here; did you mean licence?" in message
    assert "3 × 12 is 36, not 35" in message
    assert "end in 18, but the answer is '17'" in message
    assert "does not state '3 × 12 = 36'" in message


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"question": ""}, "question: is ''"),
        ({"answer": True}, "answer: is True"),
        ({"steps": step(1, expression="bougt / 2")}, "did you mean 'bought'"),
        ({"steps": step(1, expression="bought / 5", value=7.2)}, "number 5 does not stand in the question"),
        ({"steps": step(1, expression="bought / (2 - 2)")}, "division by zero"),
        ({"steps": step(1, expression="bought ** 2")}, "may only hold numbers"),
        ({"steps": step(0, expression="boxes + in_a_box", value=15)}, "unlike units"),
        ({"steps": step(1, name="bought")}, "name is taken"),
        ({"steps": ["bought"]}, 'steps[0]: is "bought"'),
        ({"steps": {"a": 1}}, "write a list"),
        ({"given": {"boxes": {"value": 4, "says": "boxes"}}}, "4 does not stand in the question"),
        ({"given": {"boxes": {"value": 3, "unit": "pen box", "says": "boxes"}}}, "not words joined"),
        ({"given": {"boxes": 3}}, "given.boxes: is 3"),
        ({"solution": "It is \\boxed{19}."}, "holds '19'"),
        ({"solution": "3 × 12 = 35, so \\boxed{18}."}, "'3 × 12 = 35' is false"),
        ({"ideas": "one"}, 'ideas: is "one"'),
    ],
)
def test_each_fault_is_told(tmp_path, changes, fault):
    with pytest.raises(DataError) as error:
        load_problem(write(tmp_path, **changes))
    assert fault in str(error.value)


@pytest.mark.parametrize("content", [b"", b"- a\n- b\n", b"id: [", b"id: \xff\xfe"])
def test_files_that_are_no_problem(tmp_path, content):
    path = tmp_path / "odd.yaml"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"odd\.yaml"):
        load_problem(str(path))
