"""The numbers of a report: summaries, paired comparisons and groups, against hand computation."""

import random

import pytest

from cft.errors import EvalError
from eval.statistics import statistics
from eval.statistics.intervals import wilson


def arm(*outcomes: str, response: str = "text") -> list[dict]:
    """Rows of one arm: the outcomes of a question's samples, told apart by blanks."""
    rows = []
    for doc_id, samples in enumerate(outcomes):
        for sample, outcome in enumerate(samples.split()):
            rows.append({"doc_id": doc_id, "sample": sample, "outcome": outcome, "response": response, "tokens": 10})
            rows[-1]["finish_reason"] = "length" if outcome == "truncated" else "stop"
    return rows


def test_summary_counts_every_outcome():
    rows = arm("correct", "correct", "wrong", "no_answer", "truncated", "ungradable")
    rows[1]["finish_reason"] = "length"  # boxed in time, then rambled on: still correct
    rows[0]["tokens"] = 70
    summary = statistics.summarise(rows)
    assert summary["accuracy"] == pytest.approx(2 / 6)
    assert summary["outcomes"] == {"correct": 2, "wrong": 1, "no_answer": 1, "truncated": 1, "ungradable": 1}
    assert (summary["n"], summary["boxed"], summary["accuracy_boxed"], summary["hit_limit"]) == (6, 4, 0.5, 2)
    assert summary["tokens_per_answer"] == pytest.approx(20)
    assert statistics.summarise(arm("no_answer"))["accuracy_boxed"] is None


def test_comparison_splits_the_change_into_format_and_content():
    counts = {"no_answer correct": 4, "truncated correct": 2, "wrong correct": 3, "ungradable correct": 1}
    counts |= {"correct truncated": 2, "correct wrong": 1, "correct correct": 5, "wrong wrong": 2}
    pairs = [pair.split() for pair, count in counts.items() for _ in range(count)]
    comparison = statistics.compare(arm(*(b for b, _ in pairs)), arm(*(a for _, a in pairs), response="other"))
    assert (comparison["gained"], comparison["lost"], comparison["n"]) == (10, 3, 20)
    assert (comparison["both_correct"], comparison["both_failed"]) == (5, 2)
    assert comparison["difference"] == pytest.approx(7 / 20)
    assert comparison["mcnemar_p"] == pytest.approx(2 * (1 + 13 + 78 + 286) / 2**13)
    assert comparison["same_text"] == 0
    split = comparison["format"]
    kinds = ("gained_unboxed", "gained_boxed", "lost_unboxed", "lost_boxed", "both_boxed")
    assert [split[kind] for kind in kinds] == [6, 4, 2, 1, 12]
    assert split["both_boxed_against"] == pytest.approx(6 / 12)
    assert split["both_boxed_accuracy"] == pytest.approx(9 / 12)
    assert split["both_boxed_p"] == pytest.approx(2 * (1 + 5) / 32)


def test_a_difference_is_shown_only_when_interval_and_exact_test_agree():
    three_up = statistics.compare(arm(*["wrong"] * 3, *["correct"] * 147), arm(*["correct"] * 150))
    assert three_up["ci"][0] > 0 and three_up["p"] == pytest.approx(0.25)
    assert not three_up["shown"]
    ten_up = statistics.compare(arm(*["wrong"] * 10, *["correct"] * 140), arm(*["correct"] * 150))
    assert ten_up["shown"]
    assert not statistics.compare(arm(*["wrong"] * 9), arm(*["wrong"] * 9))["shown"]


def test_a_question_counts_once_however_many_samples_it_has():
    summary = statistics.summarise(arm("correct correct wrong wrong", "wrong wrong wrong no_answer"))
    assert summary["accuracy"] == 0.25
    assert (summary["n"], summary["samples"]) == (2, 4)
    assert summary["outcomes"] == {"correct": 2, "wrong": 5, "no_answer": 1, "truncated": 0, "ungradable": 0}
    assert summary["accuracy_boxed"] == pytest.approx(2 / 7)
    assert summary["pass_at_k"] == pytest.approx({"1": 0.25, "2": 5 / 12, "4": 0.5})
    copied = [" ".join([outcome] * 8) for outcome in ["correct"] * 30 + ["wrong"] * 50]
    once = statistics.summarise(arm(*(samples.split()[0] for samples in copied)))["ci"]
    low, high = statistics.summarise(arm(*copied))["ci"]
    assert high - low >= once[1] - once[0]  # eight copies of an answer say no more than one
    assert high - low < 1.05 * (once[1] - once[0])


def test_sampled_arms_are_compared_by_their_shares_of_correct_answers():
    base = arm("correct wrong", "wrong wrong", "correct correct", "wrong wrong", "correct wrong")
    other = arm("correct correct", "wrong correct", "correct wrong", "wrong wrong", "wrong correct", response="other")
    comparison = statistics.compare(base, other)
    assert comparison["difference"] == pytest.approx((0.5 + 0.5 - 0.5) / 5)
    assert (comparison["gained"], comparison["lost"]) == (2, 1)
    assert (comparison["both_correct"], comparison["both_failed"]) == (0, 1)
    assert comparison["test"] == "permutation" and "mcnemar_p" not in comparison
    assert comparison["p"] == 1.0  # |sum| of three signs is 1 or 3
    assert comparison["samples"] == [2, 2]


def test_arms_with_different_numbers_of_samples_can_be_compared():
    greedy = arm(*["wrong"] * 12, *["correct"] * 12)
    sampled = arm(*["correct wrong correct"] * 12, *["correct correct correct"] * 12)
    comparison = statistics.compare(greedy, sampled)
    assert comparison["difference"] == pytest.approx(1 / 3)
    assert comparison["samples"] == [1, 3]
    assert comparison["p"] == pytest.approx(2 / 2**12)
    assert comparison["shown"]


def test_the_split_into_format_and_content_adds_up_for_samples_too():
    rng = random.Random(0)
    outcomes = ["correct", "wrong", "no_answer", "truncated"]
    base = arm(*(" ".join(rng.choices(outcomes, [3, 4, 2, 1], k=3)) for _ in range(40)))
    other = arm(*(" ".join(rng.choices(outcomes, [5, 4, 0.5, 0.5], k=4)) for _ in range(40)))
    comparison = statistics.compare(base, other)
    split = comparison["format"]
    net = split["gained_unboxed"] + split["gained_boxed"] - split["lost_unboxed"] - split["lost_boxed"]
    assert net / 40 == pytest.approx(comparison["difference"])
    assert split["gained_unboxed"] > split["lost_unboxed"]
    assert 0 <= split["both_boxed_p"] <= 1


def test_rows_are_paired_by_their_question_in_whatever_order_they_come():
    rng = random.Random(1)
    base = arm(*rng.choices(["correct", "wrong"], k=60))
    other = arm(*rng.choices(["correct", "wrong"], k=60))
    expected = statistics.compare(base, other)
    rng.shuffle(base)
    assert statistics.compare(base, other) == expected


def test_arms_that_answered_different_questions_are_refused():
    with pytest.raises(EvalError, match=r"^1 questions.*doc_id 2"):
        statistics.compare(arm("correct", "wrong"), arm("correct", "wrong", "wrong"))


def test_groups_are_compared_within_themselves():
    base = arm("correct", "wrong", "wrong", "correct", "wrong")
    other = arm("correct", "correct", "wrong", "wrong", "correct")
    levels = ["10", "2", "2", "10", None]
    for row in base + other:
        row["level"] = levels[row["doc_id"]]
    easy, hard = statistics.by_group(base, other, "level")
    assert (easy["group"], easy["n"], easy["difference"], easy["gained"], easy["lost"]) == ("2", 2, 0.5, 1, 0)
    assert (hard["group"], hard["n"], hard["difference"]) == ("10", 2, -0.5)
    assert easy["base"]["accuracy"] == 0.0 and easy["arm"]["accuracy"] == 0.5
    assert easy["base"]["ci"] == list(wilson(0, 2))
    assert easy["p"] == easy["p_holm"] == 1.0
    assert statistics.by_group(base, other, "subject") == []


def test_a_question_in_two_groups_is_refused():
    base, other = arm("correct", "wrong"), arm("correct", "wrong")
    for row, subject in zip(base + other, ["Algebra", "Algebra", "Algebra", "Geometry"], strict=True):
        row["subject"] = subject
    with pytest.raises(EvalError, match="doc_id 1: subject is Algebra and Geometry"):
        statistics.by_group(base, other, "subject")
