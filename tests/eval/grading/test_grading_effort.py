r"""Answers too large or too deep to work out are seen before anybody tries; ordinary ones are not."""

import pytest

from eval.grading import equality, grade
from eval.grading.effort import beyond_evaluation

BEYOND = [
    r"\prod_{k=1}^{10000000} k", r"(10^{10000000})!", r"9\times10^{10000000}", "10^{6}!", "99^{-1000000000}",
    r"7^{1000000000000000000}", r"\binom{1000000000}{123456789}", r"\sum_{k=1}^{100000} k^k", "9^{9^{9}}", "9^9^9",
    "2^a^a^a^a^a^a^a^a^a^a^a^a^a^a^a", r"\sin(99^{100000})", r"\int_0^{99999} x^{99999} dx", "e^{e^{e^{e^{2}}}}",
    r"\exp(\exp(\exp(\exp(\exp(x)))))",
    r"\log(" * 8 + "9" + ")" * 8, r"\lfloor " * 8 + "9" + r"\rfloor " * 8, r"\frac{1}{" * 14 + "9" + "}" * 14,
    "2" + "/2" * 40, r"\ln " * 9 + "2", "x+" * 400 + "1",
    "|" * 30, ")10^{10^{9}}", r"\frac{10^{5}}{2}^{100000}", "5!!!!",
]  # fmt: skip
ORDINARY = [
    "2^{2018}-1", "2^{10^{6}}", "x^{1000000}", "(1+x)^{2024}", "100!", r"\frac{2024!}{2023!}", r"\binom{1000}{500}",
    r"\sum_{k=1}^{2018} k", r"\sum_{k=0}^{\infty}\frac{1}{k!}", r"\left(\frac{1}{2}\right)^{120}", "2^{3^{2}}",
    r"\sqrt{2+\sqrt{2+\sqrt{2+\sqrt{2}}}}", "((x+1)^{2}+1)^{2}", r"\frac{1}{1+\frac{1}{1+\frac{1}{1+\frac{1}{2}}}}",
    r"e^{i\pi/3}", r"\sin(\arctan(\frac{1}{2}))", r"|x-1|+|x+1|", r"\lfloor\frac{n}{2}\rfloor",
]  # fmt: skip


@pytest.mark.parametrize(("text", "beyond"), [(t, True) for t in BEYOND] + [(t, False) for t in ORDINARY])
def test_what_is_beyond_evaluation(text: str, beyond: bool):
    assert beyond_evaluation(text) is beyond


@pytest.mark.parametrize("text", BEYOND)
@pytest.mark.parametrize("gold", [r"\frac{x+1}{x-1}", r"(-\infty,3]\cup[5,\infty)", r"\text{(B)}", r"y=\sqrt{2}x"])
def test_a_hostile_answer_is_never_correct_and_never_tried(gold: str, text: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(equality._worker, "ask", lambda *question: pytest.fail(f"tried: {question}"))
    for answer in (text, f"x={text}", rf"\left({text}\right)"):
        assert grade(gold, rf"\boxed{{{answer}}}").outcome in ("wrong", "ungradable")
