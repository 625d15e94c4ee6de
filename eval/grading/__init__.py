"""The one grader: candidates, validation items and the tasks all call these."""

from eval.grading.grader import (
    Grade,
    grade,
    grader_identity,
    is_cut_off,
    last_box,
    same_answer,
    same_answer_groups,
)

__all__ = ["Grade", "grade", "grader_identity", "is_cut_off", "last_box", "same_answer", "same_answer_groups"]
