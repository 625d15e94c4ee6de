"""Critiques with one thing changed: exactly that thing, the same way each time, and counted."""

import re
from collections import Counter

import pytest

from cft.errors import DataError
from data_builders.arithmetic.claims import claims
from data_builders.controls import change_critiques, without_verdict, wrong_numbers
from data_builders.filter.verdict import find_verdict
from eval.grading import last_box
from eval.grading.number_words import CARDINALS
from tests.support.building import data, rows, run

STYLES = ["numbered check", "examiner, concept first", "first error, then another grouping"]
ANY_NUMBER = re.compile(rf"(?i)\d|\b(?:{'|'.join(CARDINALS)})\b")


@pytest.fixture(scope="module")
def bakery(tmp_path_factory):
    """36 accepted critiques of the bakery problem, and its candidates by id."""
    folder = tmp_path_factory.mktemp("bakery")
    teacher = {"kind": "file", "path": "bakery", "styles": STYLES}
    counts = run(folder, data(problems=["bakery"], students=[], teachers=[teacher]))
    assert counts["changed"] == {} and counts["accepted"] == 36
    return rows(folder, "critiques"), {row["id"]: row for row in rows(folder, "candidates")}


def test_only_the_examples_of_a_control_are_changed(tmp_path):
    before, after = tmp_path / "before", tmp_path / "after"
    assert run(before, ledgers=tmp_path / "calls")["changed"] == {}
    counts = run(after, data(change="shuffled"), ledgers=tmp_path / "calls")
    assert rows(after, "critiques") == rows(before, "critiques")
    critiques, candidates = ({row["id"]: row for row in rows(after, name)} for name in ("critiques", "candidates"))
    examples = rows(after, "examples")
    assert counts["changed"]["shuffled"] == counts["accepted"] == len(examples)
    assert not {row["id"] for row in examples} & {row["id"] for row in rows(before, "examples")}
    for row in examples:
        critique = critiques[row["critique"]]
        assert row["candidate"] != critique["candidate"] and row["completion"][0]["content"] == critique["text"]
        assert candidates[row["candidate"]]["text"] in row["prompt"][0]["content"]
    assert "that were changed after the filter (shuffled: " in (after / "README.md").read_text(encoding="utf-8")


def test_shuffled_critiques_stand_beside_a_candidate_with_another_answer(bakery):
    critiques, candidates = bakery
    changed, counts = change_critiques("shuffled", critiques, candidates, 0)
    pairs = [(candidates[a["candidate"]], candidates[b["candidate"]]) for a, b in zip(critiques, changed, strict=True)]
    assert all(own["answer"] != other["answer"] for own, other in pairs)
    assert Counter(own["id"] for own, _ in pairs) == Counter(other["id"] for _, other in pairs)
    assert [row["text"] for row in changed] == [row["text"] for row in critiques]
    assert counts == {"shuffled": 36, "beside the same answer": 0}


def test_shuffling_stays_within_a_problem_hangs_on_the_seed_and_needs_two_candidates():
    candidates = {f"{p}{i}": {"id": f"{p}{i}", "problem": p, "answer": "5"} for p in "ab" for i in range(9)}
    critiques = [{"id": key, "candidate": key} for key in candidates]
    pairs = [[row["candidate"] for row in change_critiques("shuffled", critiques, candidates, n)[0]] for n in (1, 1, 2)]
    assert pairs[0] == pairs[1] != pairs[2]
    assert all(new != old and new[0] == old[0] for new, old in zip(pairs[0], candidates, strict=True))
    with pytest.raises(DataError, match="2 of the 2 critiques of problem a speak of one candidate"):
        change_critiques("shuffled", [critiques[0]] * 2, candidates, 0)


def test_no_verdict_leaves_the_work_and_takes_the_judgement(bakery):
    changed, counts = change_critiques("no_verdict", *bakery, 0)
    assert counts["no_verdict"] >= 35 and sum(counts.values()) == 36
    for old, new in zip(bakery[0], changed, strict=True):
        assert find_verdict(new["text"]) is None and last_box(new["text"]) == "361"
        assert len(new["text"].split()) > 0.7 * len(old["text"].split())


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("The solution is wrong. Half of 14 is 7, not 8.", "Half of 14 is 7, not 8."),
        ("1. 3 + 4 = 7, good.\n2. So 12 is incorrect.\n\nIt is \\boxed{7}", "1. 3 + 4 = 7, good.\n\nIt is \\boxed{7}"),
        ("One slip makes the answer wrong; it should be \\boxed{7}", "It should be \\boxed{7}"),
        ("Step 2 adds 3 wrongly; the solution is wrong.", "Step 2 adds 3 wrongly."),
        ("It adds well. The answer is wrong, the right one is \\boxed{7}.", "It adds well. \\boxed{7}"),
    ],
)
def test_sentences_that_judge_the_whole_go(before, after):
    assert without_verdict(before, "12") == after


def test_wrong_numbers_leave_no_calculation_true_but_by_chance(bakery):
    changed, counts = change_critiques("wrong_numbers", *bakery, 0)
    true = [sum(not claim.slip for row in some for claim in claims(row["text"])) for some in (bakery[0], changed)]
    assert true[0] > 200 and true[1] <= 2
    assert counts == {"wrong_numbers": 36, "unchanged": 0}
    for old, new in zip(bakery[0], changed, strict=True):
        box = last_box(new["text"])
        assert box != "361" and len(box) == 3 and find_verdict(new["text"]) == find_verdict(old["text"])
        assert ANY_NUMBER.sub("0", new["text"]) == ANY_NUMBER.sub("0", old["text"])


def test_a_number_is_replaced_by_the_same_other_everywhere_and_nothing_else_is():
    old = "1. \\frac{14}{2} = 7, 1,234.5 cm² at x_1; step 3:\n2) Three times 14\\times9 is \\boxed{14}"
    new = wrong_numbers(old, 0, "id")
    shape = (
        r"1\. \\frac\{(\d\d)\}\{(\d)\} = (\d), \d,\d{3}\.\d cm² at x_1; step 3:\n2\) ([A-Z][a-z]+) times "
        r"(\d\d)\\times(\d) is \\boxed\{(\d\d)\}"
    )
    first, two, seven, word, again, nine, box = re.fullmatch(shape, new).groups()
    assert first == again == box != "14" and len({two, seven, nine}) == 3 and "0" not in two + seven + nine
    assert word != "Three" and (two, seven, nine) != ("2", "7", "9") and "1,234.5" not in new
    assert wrong_numbers(old, 0, "id") == new != wrong_numbers(old, 1, "id")


def test_a_change_that_changes_nothing_is_refused():
    critiques = [{"id": "k", "candidate": "c", "text": "Half of it is missing."}]
    for change, fault in (("no_verdict", "passes a verdict"), ("wrong_numbers", "holds a number")):
        with pytest.raises(DataError, match=f"none of the 1 critiques {fault}"):
            change_critiques(change, critiques, {"c": {"answer": "5"}}, 0)
