"""Traits of answers: what counts, what does not, and how two arms differ."""

import pytest

from eval.statistics.behaviour import TRAITS, describe, loops, opening, reflections, traits


def row(doc_id: int, response: str, *, outcome="correct", finish="stop", tokens=10, sample=0) -> dict:
    about = {"doc_id": doc_id, "sample": sample, "outcome": outcome, "finish_reason": finish, "tokens": tokens}
    return {**about, "response": response}


@pytest.mark.parametrize(
    "text",
    [
        "So it is 3.\n" * 9,
        "First, a start. " + "The number of apples is 12. " * 6 + "The number of app",
        "x = 1 + 1 + 1" + " + 1" * 40,
        "0" * 200,
        "".join(f"{i}. **Count the days**: from Sunday to Monday.\n\n" for i in range(7, 15)),
        "long " + ("".join(f"line {i} of a long unit\n" for i in range(30))) * 5,
    ],
)
def test_a_repeat_to_the_end_is_a_loop_wherever_it_is_cut(text):
    assert loops(text) and loops(text[:-1])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no",
        "12. " * 5,  # too short to tell
        "So it is 3.\n" * 9 + "But then it ends otherwise: \\boxed{3}.",
        "".join(f"Step {i}: add {i}, giving {i * (i + 1) // 2}.\n" for i in range(60)),
        "A table\n" + "-" * 300,
        "the same sentence three times over. " * 3,
    ],
)
def test_what_is_no_loop(text):
    assert not loops(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Wait, that is not right.", {"wait"}),
        ("so 12. Wait. 3 + 4 is 7", {"wait"}),
        ("But wait, there is more", {"wait"}),
        ("Let me double-check this.", {"let me check", "re-check"}),
        ("Let's verify the sum", {"let me check"}),
        ("We recalculate it.", {"re-check"}),
        ("Alternatively, use 3 bags. Hmm", {"alternatively", "hmm"}),
        ("I made a small mistake above", {"mistake"}),
        ("Tom has to wait for 20 minutes. They wait at the gate; the wait time is 5.", set()),
        ("She lets us know; a checkbook; a hummus", set()),
        ("She made a mistake in the ledger.", set()),
    ],
)
def test_words_of_a_second_look(text, words):
    assert reflections(text) == words


@pytest.mark.parametrize(
    ("text", "trait", "expected"),
    [
        ("```python\nprint(1)\n```", "code", True),
        ("import sympy\nx = 1", "code", True),
        ("They import 5 tons of rice; print 3 pages. `x`", "code", False),
        ("3 + 4 = 8\n\n**Conclusion: wrong**", "verdict", True),
        ("Conclusion: the solution is incorrect", "verdict", True),
        ("In conclusion, she has 5 apples.\nConclusion: 5 apples", "verdict", False),
        ("The student adds 3 and 4.", "others", True),
        ("The students add 3 and 4; the solution is 7.", "others", False),
    ],
)
def test_code_and_the_language_of_critiques(text, trait, expected):
    assert bool(traits(row(0, text))[trait]) is expected


def test_results_of_tools_are_no_words_of_the_model():
    result = {"role": "tool", "content": "Wait, let me check.\n```python\nprint(1)\n```"}
    text = f"I look.\n<tool_response>\n{result['content']}\n</tool_response>\nIt is 7."
    dialogue = row(0, text) | {"trajectory": {"messages": [result]}}
    assert traits(row(0, text))["code"] and not traits(dialogue)["code"] and not traits(dialogue)["reflects"]
    assert describe({"base": [dialogue]}, None)["base"]["reflections"]["wait"] == 0


def test_openings_are_compared_by_their_words():
    assert opening("  **To find** the sum") == opening("to find, the other") == "to find the"
    assert opening("") == ""


def test_traits_of_arms_and_their_paired_differences():
    base = [row(i, "It is 4." if i % 2 else "Wait, it is \\boxed{4}.", tokens=10,
                outcome="no_answer" if i % 2 else "correct") for i in range(20)]  # fmt: skip
    arm = [row(i, "It is \\boxed{4}.", tokens=30 + i % 3) for i in range(20)]
    found = describe({"base": base, "adapter": arm}, "base")
    assert list(found["base"]["traits"]) == list(TRAITS)
    assert found["base"]["traits"]["boxed"] == 0.5 and found["adapter"]["traits"]["boxed"] == 1.0
    assert found["base"]["reflections"]["wait"] == 0.5 and ["it is 4", 0.5] in found["base"]["openings"]
    boxed = found["adapter"]["differences"]["boxed"]
    assert boxed["difference"] == 0.5 and 0.2 < boxed["ci"][0] < 0.5 < boxed["ci"][1] < 0.8
    assert found["adapter"]["differences"]["code"] == {"difference": 0.0, "ci": None}
    assert found["adapter"]["differences"]["tokens"]["difference"] == pytest.approx(20.95)
    assert "differences" not in found["base"]
    assert "differences" not in describe({"adapter": arm}, None)["adapter"]


def test_samples_of_one_question_count_as_one_question():
    base = [row(doc, "x", tokens=10, sample=sample) for doc in range(2) for sample in range(3)]
    arm = [row(0, "x", tokens=20), row(1, "x", tokens=40)]
    tokens = describe({"base": base, "adapter": arm}, "base")["adapter"]["differences"]["tokens"]
    # Two questions, differences 10 and 30: mean 20, and t with 1 degree of freedom, 12.706, times sd / sqrt(2) = 10.
    assert tokens["difference"] == 20 and tokens["ci"] == pytest.approx([20 - 127.06, 20 + 127.06], abs=0.01)
