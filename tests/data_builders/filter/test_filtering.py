"""The filter: what it drops beyond single texts, and how well it tells good from bad on a labelled set."""

import json
import time

import pytest

from benchmarks.filter import LABELLED, measure
from cft.files import read_jsonl
from data_builders.filter.accept import accept
from data_builders.filter.quotations import quotations
from data_builders.filter.verify import check
from data_builders.filter.wording import ends_properly, foreign, leak, repeats
from data_builders.problems import load_problem
from data_builders.teachers.file import critiques_folder, load_critiques, read_files

TULIPS = load_problem("tulips")
CANDIDATES = [
    {"id": name, "problem": "tulips", "text": f"4 × 17 = 58, so {name}. \\boxed{{83}}", "outcome": "wrong"}
    for name in ("a", "b")
]
FIRST = (
    'The solution is incorrect. In "4 × 17 = 58" the carried ten was lost: 4 × 7 = 28 and 4 × 10 = 40 make 68. '
    "With the 25 other tulips there are 68 + 25 = 93. \\boxed{93}"
)
OTHER = (
    "Count by tens first. Seventeen taken four times is 40 and 28, which is 68, and 25 more are 93. The answer 83 is "
    "wrong because the product came out ten too small. \\boxed{93}"
)


def judge(*texts, candidates="aaaaaaa", **settings):
    written = [
        {"candidate": candidate, "teacher": "t", "style": "s", "text": text}
        for candidate, text in zip(candidates, texts, strict=False)
    ]
    return [row["reason"] for row in accept(written, CANDIDATES, {"tulips": TULIPS}, **settings)]


def test_near_duplicates_of_one_candidate_go_and_different_critiques_stay():
    assert judge(FIRST, OTHER, FIRST.replace("carried", "missing"), FIRST) == [None, None] + ["near duplicate"] * 2


def test_the_same_text_for_another_candidate_goes_but_one_that_looks_at_it_stays():
    assert judge(FIRST, FIRST, OTHER, candidates="aba") == [None, "near duplicate", None]
    other = FIRST.replace("incorrect", "wrong, as b also is, in its product")
    assert judge(FIRST, other, candidates="ab") == [None, None]


def test_a_dropped_critique_makes_no_other_one_a_duplicate():
    assert judge(FIRST.replace("58", "59"), FIRST) == ["quote not in candidate", None]


def test_both_ends_of_the_lengths_are_trimmed():
    texts = []
    for k in range(10):
        noise = " ".join(f"word{k}x{i}" for i in range(40 + 5 * k))  # so that no two are alike
        texts.append(f"The solution is incorrect. {noise}. So there are 93 tulips. \\boxed{{93}}")
    reasons = judge(*texts, candidates="a" * 10, trim=0.2)
    assert reasons == ["among the shortest"] * 2 + [None] * 6 + ["among the longest"] * 2
    assert judge(*texts, candidates="a" * 10) == [None] * 10


@pytest.mark.parametrize("path", sorted(critiques_folder().glob("*.jsonl")), ids=lambda path: path.stem)
def test_every_shipped_critique_passes(path):
    from cft.recipe.blocks import FileTeacher

    problems, candidates, written = read_files([FileTeacher(kind="file", path=str(path))], {})
    rows = accept(written, candidates, problems)
    assert [(row["reason"], row["text"][:80]) for row in rows if row["reason"]] == []
    shipped = load_critiques(path)
    most = {"bakery": (168, 92), "cubes": (189, 109), "logic": (21, 21), "office": (61, 61)}[path.stem]
    assert (len(rows), len(candidates)) == most and len(rows) == len(shipped)
    assert {row["outcome"] for row in candidates} <= {"wrong", "no_answer", "truncated"}
    assert all(text.rstrip().endswith(("}", ".", ")", "$", "]")) for text in (row.critique for row in shipped))


def test_the_labelled_set():
    rows = [row for _, row in read_jsonl(LABELLED)]
    found = measure(rows)
    print(json.dumps(found, indent=1))
    assert len(rows) >= 200 and len(found["caught"]) == 8
    assert found["let_through"] == []
    assert found["recall"] >= 0.95


def test_the_labelled_set_in_other_voices():
    """Blame on a step that is right is not judged. What else is let through needs more than the texts: two laws of
    geometry, a remark in the conditional, an estimate in words, a share of an hour."""
    rows = [row for _, row in read_jsonl(LABELLED.with_name("more_critiques.jsonl"))]
    found = measure([row for row in rows if row["label"] != "wrong_blame"])
    print(json.dumps(found, indent=1))
    known = {"m-false_identity-05-cone", "m-false_unit-11-cone", "m-false_calculation-14-frac"}
    known |= {"n-false_unit-08-tri", "p-false_unit-05-clock"}
    assert set(found["let_through"]) <= known
    assert found["lost"] == {}


def test_the_set_written_by_somebody_who_knew_nothing_of_the_filter():
    rows = [row for _, row in read_jsonl(LABELLED.with_name("blind_critiques.jsonl"))]
    found = measure([row for row in rows if row["label"] != "wrong_blame"])
    print(json.dumps(found, indent=1))
    known = {"s-false_calculation-05", "s-false_identity-02", "s-false_unit-01", "s-false_unit-04"}
    assert set(found["let_through"]) <= known
    assert set(found["lost"]) <= {"s-good-07", "s-good-09", "s-good-21", "s-good-35"}


@pytest.mark.parametrize(
    "body", ["9", " ", "\n", "so ", "a=", "1+", "_", '"', "“", "≠", "\\frac{", "(", "the answer is ", "1 h "]
)
def test_endless_critiques_are_checked_at_once(body):
    """Runs of a megabyte are refused unread; what is below the limit is read in time that grows with its length."""
    text = (
        f"The solution is incorrect. {body * (19_000 // len(body))} So \\boxed{{4}} is right and final, twelve words."
    )
    started = time.process_time()
    assert check("x" + 50 * text, question="2 + 2?", gold="4", candidate=text, outcome="wrong").reason == "too long"
    check(text, question="2 + 2?", gold="4", candidate=5 * text, outcome="wrong")
    quotations(text, text, "2 + 2?")
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("This agrees with the reference answer, 93.", "reference answer"),
        ("The expected answer is 93.", "expected answer"),
        ("The correct answer is given as 93, so the student is wrong.", "correct answer is given"),
        ("As an AI language model I find this wrong.", "an AI"),
        ("As instructed, I begin with the verdict.", "As instructed"),
        ("Here is my critique of the solution.", "Here is my critique"),
        ("It is wrong. <|im_end|>", "<|im_end|>"),
        ("Student's solution: 4 × 17 = 58", "Student's solution:"),
        ("It is wrong. [END]", "[END]"),
        ("Fill in {question} here.", "{question}"),
        ("Let me know if you want more.", "Let me know"),
        ("It matches the answer I was supplied with.", "answer I was"),
        ("I've been told that this attempt failed.", "I've been told"),
        ("The result disclosed to me is 93.", "disclosed to me"),
        ("By the marking scheme it is wrong.", "marking scheme"),
        ("We are given that a + b = 7, and told nothing of a.", None),
        ("The answer provided by the student is 83.", None),
        ("The answer given by the student is 83.", None),
        ("We were told about a + b, not about a.", None),
        ("It is cut off, so no final answer is stated.", None),
        ("The student asks the right question and gives a model of care.", None),
        ('The line "as an AI" stands in the solution.', None),
        ("We are asked for a³ + b³, and the known product is 5.", None),
    ],
)
def test_leaks(text, words):
    assert leak(text) == words


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("So it is \\boxed{93}", True),
        ("So it is \\boxed{93}.", True),
        ("\\[\\boxed{93}\\]", True),
        ("It is $\\boxed{93}$ tulips in all.", True),
        ("It is \\boxed{93}.\n\nVerdict: incorrect", True),
        ("It is \\boxed{93}. And then the student", False),
        ("It is \\boxed{93}.\n\n" + "Another problem follows here. " * 12, False),
        ("It is \\boxed{93}. Next:", False),
        ("It is \\boxed{93}.\n```python\nprint(93", False),
    ],
)
def test_ends(text, ends):
    assert ends_properly(text) is ends


def test_a_model_that_went_round_in_circles():
    assert repeats("So the sum is ninety three tulips. " * 3)
    assert not repeats("So it is. So it is. So it is. The sum is ninety three tulips. The sum is ninety four tulips.")


@pytest.mark.parametrize(
    ("text", "is_foreign"),
    [
        ("Die Lösung ist nicht richtig, weil der Schritt falsch ist. \\boxed{93}", True),
        ("The solution is incorrect. La réponse est fausse, donc cette étape est une erreur dans le calcul.", True),
        ("The solution is incorrect. 答案应该是九十三。", True),
        ("Решение неверно.", True),
        ("Noël's naïve façade of a solution is wrong, as Müller's is.", False),
        ("With s₁ = 7, s₂ = 39, s₃ = 238 and α + β = 7, x² − 7x + 5 = 0.", False),
        ("Divide as in a / b and take es = 4, la = 5.", False),
    ],
)
def test_languages(text, is_foreign):
    assert foreign(text) is is_foreign
