"""A reasoning model's thoughts, in the marks of many families, are no part of its solution."""

import pytest

from data_builders.thoughts import final_text

THOUGHT, SOLUTION = "Maybe \\boxed{361}?\nNo, 126 + 63.", "So 3 < 5 and it is \\boxed{189}."


@pytest.mark.parametrize(
    "text",
    [
        "<think>{t}</think>\n\n{s}",
        "{t}</think>\n\n{s}",  # the template opened it
        "<THINKING>\n{t}</THINKING>{s}",
        "<reasoning>{t}</reasoning>\n<answer>{s}</answer>",
        "<thought>{t}</thought> {s}",
        "<seed:think>{t}</seed:think>{s}",
        "<think>{t} <think> {t}</think>{s}",
        "<think>{t}</think></think>{s}",
        "[THINK]{t}[/THINK]{s}",
        "◁think▷{t}◁/think▷{s}",
        "<|begin_of_thought|>\n{t}\n<|end_of_thought|>\n\n<|begin_of_solution|>\n{s}\n<|end_of_solution|>",
        "<|START_THINKING|>{t}<|END_THINKING|><|START_RESPONSE|>{s}<|END_RESPONSE|>",
        "<|inner_prefix|>{t}<|inner_suffix|>{s}",
        "<|channel>thought\n{t}<channel|>{s}",
        "<unused94>thought\n{t}<unused95>{s}",
        "Here is my thought process:\n{t}\n\nHere is my response:\n{s}",
        "<|channel|>analysis<|message|>{t}<|end|><|start|>assistant<|channel|>final<|message|>{s}<|return|>",
        "<|channel|>commentary to=x <|constrain|>json<|message|>{t}<|call|>"
        "<|start|>assistant<|channel|>final<|message|>{s}",
        "analysisThe user asks. {t}assistantfinal{s}",
    ],
)
def test_only_the_solution_is_left(text):
    assert final_text(text.replace("{t}", THOUGHT).replace("{s}", SOLUTION)) == SOLUTION


@pytest.mark.parametrize(
    "text",
    [
        "<think>{t}",
        "{s}\n<think>{t}",
        "[THINK]{t}",
        "<|channel|>analysis<|message|>{t} {s}",
        "analysisThe user asks. {t}",
        "<think>{t}</think>",
    ],
)
def test_thoughts_without_an_end_are_no_solution(text):
    assert final_text(text.replace("{t}", THOUGHT).replace("{s}", SOLUTION)) == ""


@pytest.mark.parametrize(
    "text", [SOLUTION, f"  {SOLUTION}\n", "Thinking of it, x < y > z.", "An analysis: [a] and <b>."]
)
def test_a_text_without_thoughts_stays_as_it_is(text):
    assert final_text(text) == text


def test_parts_before_and_after_a_thought_both_count():
    assert final_text(f"First. <think>{THOUGHT}</think> Then.") == "First.  Then."
