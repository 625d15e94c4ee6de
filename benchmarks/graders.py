"""Graders to compare, each as `judge(gold, response) -> (correct, extracted answer)`; see `benchmarks.grading`."""

import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Any

Grader = Callable[[str, str], tuple[bool, str]]


def ours() -> Grader:
    """Verdict and extracted answer by `eval.grading`."""
    from eval.grading import grade

    def judge(gold: str, response: str) -> tuple[bool, str]:
        graded = grade(gold, response)
        return graded.outcome == "correct", graded.answer or ""

    return judge


def math_verify() -> Grader:
    """The same by math-verify as shipped."""
    from math_verify import parse, verify

    def judge(gold: str, response: str) -> tuple[bool, str]:
        answer = parse(response)
        return verify(parse(f"${gold}$"), answer), str(answer[-1]) if answer else ""

    return judge


def qwen() -> Grader:
    """The same by the rules of Qwen2.5-Math, at most 3 s an answer, as there, but of computing and not of waiting."""
    from benchmarks.qwen_rules import equal, extract, spell

    def late(*_: Any) -> None:
        raise TimeoutError

    signal.signal(signal.SIGVTALRM, late)
    equal("x+1", "1+x")  # imports sympy

    def judge(gold: str, response: str) -> tuple[bool, str]:
        answer = extract(response)
        signal.setitimer(signal.ITIMER_VIRTUAL, 3)
        try:
            return equal(answer, spell(gold)), answer
        except TimeoutError:
            return False, answer
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)

    return judge


def minerva_math() -> Grader:
    """The same by lm-eval's `minerva_math`."""
    from lm_eval.tasks.minerva_math import utils

    def judge(gold: str, response: str) -> tuple[bool, str]:
        text = utils.get_unnormalized_answer(response)
        if text == "[invalidanswer]":
            box = utils.last_boxed_only_string(response)
            with suppress(AssertionError):  # an \fbox
                text = utils.remove_boxed(box) if box else text
        answer = utils.normalize_final_answer(text)
        return bool(utils.is_equiv(answer, utils.normalize_final_answer(gold))), answer

    return judge


GRADERS: dict[str, Callable[[], Grader]] = {make.__name__: make for make in (ours, math_verify, qwen, minerva_math)}
NEED_ANTLR = ("qwen", "minerva_math")
