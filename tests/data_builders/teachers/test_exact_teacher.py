"""The programmatic teacher finds the first mistake, and never says anything false."""

import random
import re

import pytest

from cft.errors import DataError
from cft.recipe.blocks import ExactTeacher
from data_builders.arithmetic.claims import claims
from data_builders.arithmetic.expressions import parse
from data_builders.filter.verify import check
from data_builders.problems import load_problem
from data_builders.teachers.exact.diagnosis import diagnose
from data_builders.teachers.exact.exact import STYLES, critique, exact_critiques
from data_builders.teachers.exact.working import work_out
from data_builders.teachers.file import find_critiques, load_critiques
from eval.grading import grade

PROBLEMS = ("bakery", "tulips", "library", "museum", "ribbon")
REAL = load_critiques(find_critiques("bakery"))


def critiques(problem, text, *, truncated=False, seed="0"):
    graded = grade(problem.answer, text, truncated=truncated)
    same = {"outcome": graded.outcome, "answer": graded.answer, "seed": seed}
    return [(graded.outcome, *critique(problem, text, style=style, **same)) for style in STYLES]


def assert_true(problem, text, outcome, told):
    """No false arithmetic outside quotations, every quotation is the candidate's, and the verdict and box are right."""
    own_words = re.sub(r'"[^"\n]*"', "Q", told)
    false = [own_words[c.start : c.end] for c in claims(own_words) if c.slip]
    assert not false, f"{false} in {told}"
    checked = check(told, question=problem.question, gold=problem.answer, candidate=text, outcome=outcome)
    assert checked.reason is None, f"{checked} for {told}"
    assert told.endswith(f"\\boxed{{{problem.answer}}}")


def kinds(problem_name, text):
    problem = load_problem(problem_name)
    graded = grade(problem.answer, text)
    found = diagnose(problem, text, outcome=graded.outcome, answer=graded.answer)
    return [(fault.kind, line.quote) for line in found.lines for fault in line.faults], found


@pytest.mark.parametrize("row", REAL, ids=lambda row: f"line{row.line}")
def test_says_nothing_false_of_real_solutions(row):
    problem = load_problem("bakery")
    for seed in ("a", "b"):
        for outcome, told, _ in critiques(problem, row.solution, truncated=row.truncated, seed=seed):
            assert_true(problem, row.solution, outcome, told)


@pytest.mark.parametrize("name", PROBLEMS)
def test_says_nothing_false_of_corrupted_solutions(name):
    problem, choice = load_problem(name), random.Random(name)
    for _ in range(40):
        text = corrupt(problem.solution, choice)
        truncated = choice.random() < 0.15
        if truncated:
            text = text[: int(len(text) * choice.uniform(0.3, 0.9))]
        for outcome, told, _ in critiques(problem, text, truncated=truncated, seed=str(choice.random())):
            assert_true(problem, text, outcome, told)


def corrupt(text, choice):
    """Change one to three numbers or signs, or drop a line; now and then write it as LaTeX."""
    for _ in range(choice.randint(1, 3)):
        match choice.choice(["number", "number", "sign", "line"]):
            case "number":
                found = choice.choice(list(re.finditer(r"\d+", text)))
                new = str(max(0, int(found.group()) + choice.choice([-10, -1, 1, 2, 10, 90])))
                text = text[: found.start()] + new + text[found.end() :]
            case "sign":
                signs = list(re.finditer(r"[×+−/](?= \d)", text))
                found = choice.choice(signs) if signs else None
                text = text[: found.start()] + choice.choice("×+−/") + text[found.end() :] if found else text
            case "line":
                lines = text.split("\n\n")
                lines.pop(choice.randrange(len(lines)) if len(lines) > 1 else 0)
                text = "\n\n".join(lines) or "Nothing, 12."
    if choice.random() < 0.3:
        text = re.sub(r"([\d ×+−/]+ = \d+)", r"\\(\1\\)", text).replace("×", r"\times")
    return text


LEFT_OUT = (
    "14 × 9 = 126, 37 × 2 = 74, 14 / 2 = 7, 7 × 9 = 63, 37 + 12 = 49, 49 × 2 = 98. 126 + 63 + 98 = 287 \\boxed{287}"
)
MONDAY = "The total revenue from Monday is 14 × 9 = 126.\nTuesday: 7 × 9 = 63.\n126 + 63 = 189 \\boxed{189}"


@pytest.mark.parametrize(
    ("name", "text", "fault", "step"),
    [
        ("tulips", "In rows: 4 × 17 = 58 bulbs. Then 58 + 25 = 83. \\boxed{83}", ("slip", "4 × 17 = 58"), None),
        ("museum", "26 × 9 = 234 dollars. 234 + 27 = 261. \\boxed{261}", ("price", "26 × 9 = 234"), "26 × 4 = 104"),
        ("library", "65 - 28 = 37. 37 - 9 = 28. \\boxed{28}", ("sign", "37 - 9 = 28"), "37 + 9 = 46"),
        ("tulips", "4 + 17 = 21. 21 + 25 = 46. \\boxed{46}", ("sign", "4 + 17 = 21"), "4 × 17 = 68"),
        ("ribbon", "5 × 9 = 45. 85 - 45 = 40. 40 × 2 = 80. \\boxed{80}", ("sign", "40 × 2 = 80"), "40 / 2 = 20"),
        ("bakery", "14 / 2 = 7. So 7 + 12 = 19. 19 × 2 = 38 \\boxed{38}", ("units", "7 + 12 = 19"), "37 + 12 = 49"),
        ("bakery", "14 × 6 = 84, and 84 × 9 = 756 dollars \\boxed{756}", ("unused", "14 × 6 = 84"), None),
        ("library", "5 × 13 = 65 and 65 - 31 = 34 \\boxed{34}", ("stranger", "65 - 31 = 34"), None),
        ("bakery", MONDAY, ("part", "14 × 9 = 126"), "37 × 2 = 74"),
        ("bakery", LEFT_OUT, ("dropped", "126 + 63 + 98 = 287"), None),
    ],
)
def test_finds_the_fault(name, text, fault, step):
    """Its kind, the line, and the step that belongs there."""
    faults, found = kinds(name, text)
    assert faults[0] == fault
    if step:
        assert found.first.faults[0].instead.shown == step


@pytest.mark.parametrize(
    ("name", "text", "ending"),
    [
        ("museum", "26 × 4 = 104, 3 × 9 = 27, 104 + 27 = 131 \\boxed{131}", "other quantity"),
        ("tulips", "4 × 17 = 68 and 68 + 25 = 93. \\boxed{39}", "miscopied"),
        ("tulips", "4 × 17 = 68. \\boxed{5}", "from nowhere"),
        ("tulips", "4 × 17 = 68 and 68 + 25 = 93.", "no box"),
    ],
)
def test_endings(name, text, ending):
    assert kinds(name, text)[1].ending == ending


def test_a_mistake_copied_forward_is_not_called_a_new_one():
    text = "5 × 13 = 75. 75 - 28 = 47. 47 + 9 = 56. \\boxed{56}"
    faults, found = kinds("library", text)
    assert faults == [("slip", "5 × 13 = 75")] and [line.sound for line in found.lines] == [False] * 3
    told, _ = critique(load_problem("library"), text, style="numbered check", outcome="wrong", answer="56", seed="1")
    assert "65 − 28 = 37" in told


def test_another_way_to_the_answer_is_no_mistake():
    text = (
        "14 / 2 = 7, 14 + 7 = 21, 21 × 9 = 189, 37 + 12 = 49, 37 + 49 = 86, 86 × 2 = 172, 189 + 172 = 361. \\boxed{361}"
    )
    faults, found = kinds("bakery", text)
    assert faults == [] and all(line.sound for line in found.lines) and found.absent == []


def test_small_steps_in_the_head_are_no_mistake():
    text = "10 × 9 = 90 and 4 × 9 = 36, so 90 + 36 = 126. 37 × 2 = 74. 126 + 74 = 190. \\boxed{190}"
    assert kinds("bakery", text)[0] == [("slip", "126 + 74 = 190")]


def test_says_less_where_nothing_can_be_shown():
    problem = load_problem("bakery")
    text = "```python\nprint(boxes * 9)\n```\nThe bakery earned \\boxed{400} dollars. 400"
    for style in STYLES:
        told, used = critique(problem, text, style=style, outcome="wrong", answer="400", seed="x")
        assert used == "re-derivation" and "first mistake" not in told and '"' not in told
        assert_true(problem, text, "wrong", told)


@pytest.mark.parametrize("name", PROBLEMS)
def test_confirms_a_right_solution(name):
    problem = load_problem(name)
    for outcome, told, _ in critiques(problem, problem.solution):
        assert outcome == "correct"
        assert_true(problem, problem.solution, outcome, told)


def test_a_right_answer_from_wrong_lines_is_not_called_a_right_solution():
    problem, text = load_problem("tulips"), "4 × 17 = 58 and 68 + 25 = 93. \\boxed{93}"
    for outcome, told, _ in critiques(problem, text):
        assert "olution is correct" not in told and '"4 × 17 = 58"' in told
        assert_true(problem, text, outcome, told)


def test_right_work_without_a_box_is_unfinished():
    text = "4 × 17 = 68 and 68 + 25 = 93 bulbs."
    for outcome, told, _ in critiques(load_problem("tulips"), text):
        assert outcome == "no_answer" and "unfinished" in told and "incorrect" not in told and '.".' not in told


def test_same_seed_same_text_and_other_seeds_vary():
    problem, text = load_problem("tulips"), "4 × 17 = 58. 58 + 25 = 83. \\boxed{83}"
    one = critiques(problem, text, seed="7")
    assert one == critiques(problem, text, seed="7") and len(set(one)) == len(STYLES) >= 4
    assert len({critiques(problem, text, seed=str(i))[0] for i in range(9)}) > 3


@pytest.mark.parametrize(
    "text",
    ["", " ", '"', "\\boxed{", "= = = 3", "1" * 500 + " + 1 = 2", "(" * 3000 + "1 + 1 = 2", "(1 + " * 999],
    ids=range(8),
)
def test_odd_candidates_get_a_critique(text):
    problem = load_problem("tulips")
    for outcome, told, _ in critiques(problem, text):
        assert_true(problem, text, outcome, told)


def test_problems_without_steps_are_refused():
    with pytest.raises(DataError, match="badge has no `steps:`"):
        exact_critiques([ExactTeacher(kind="exact")], {"badge": load_problem("badge")}, [{"problem": "badge"}], 0)


@pytest.mark.parametrize(
    ("expression", "shown"),
    [
        ("2 * 3 + 4", ["2 × 3 = 6, 6 + 4 = 10"]),
        ("4 + 2 * 3 + 5 * 6", ["2 × 3 = 6, 5 × 6 = 30, 4 + 6 = 10, 10 + 30 = 40"]),
        ("2 + 3 + 4", ["2 + 3 = 5, 5 + 4 = 9"]),
        ("2 * (3 + 4)", []),
        ("7 / 2 + 3 + 1", []),
    ],
)
def test_sums_with_products_are_explained_in_order(expression, shown):
    assert list(work_out(parse(expression))) == shown


AVERAGE = """
id: average
question: A van drives 100 km on Monday and 80 km on Tuesday, for 3 hours and for 2 hours. How fast is it on average?
answer: 36
source: written for this test
licence: Apache-2.0
asked: the average speed
given:
  far: {value: 100, unit: km, says: the distance on Monday}
  near: {value: 80, unit: km, says: the distance on Tuesday}
  long: {value: 3, unit: h, says: the hours on Monday}
  short: {value: 2, unit: h, says: the hours on Tuesday}
steps:
  - {name: monday, says: the way on Monday, expression: far, value: 100}
  - {name: way, says: the whole distance, expression: monday + near, value: 180}
  - {name: speed, says: the average speed, expression: way / (long + short), value: 36}
"""


def test_steps_that_divide_by_a_sum_or_only_name_a_quantity(tmp_path):
    (tmp_path / "average.yaml").write_text(AVERAGE, encoding="utf-8")
    problem = load_problem(str(tmp_path / "average.yaml"))
    for text in (
        "100 + 80 = 170, 170 / 5 = 34 \\boxed{34}",
        "100 − 80 = 20 \\boxed{20}",
        "180 / 5 = 36 \\boxed{36}",
        "36",
    ):
        for outcome, told, _ in critiques(problem, text):
            assert_true(problem, text, outcome, told)
