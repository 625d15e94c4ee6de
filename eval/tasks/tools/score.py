r"""The score of an office task: the end state of the files and the boxed answer, both must be right.

Nothing is asked of the way there. A file counts by its text, with CRLF read as LF and line ends at its end left out;
every other difference counts, and so does a file too many or too few. The answer is graded by the one grader.
"""

from collections.abc import Mapping
from typing import Any

from eval.grading import grade
from eval.grading.grader import Outcome


def outcome(row: Mapping[str, Any], files_after: Mapping[str, str], final_text: str, *, cut: bool = False) -> Outcome:
    r"""What became of one task.

    Args:
        row: of `eval.tasks.tools.tasks`; its "expected" is read.
        files_after: path -> text when the model had ended.
        final_text: its last message, without tool calls.
        cut: whether it ran out of tokens or turns before it ended by itself.

    Returns:
        "correct" where files and answer are right. An answer that is not graded correct keeps the grader's outcome
        ("wrong", "no_answer", "truncated", "ungradable"); right answers over wrong files are "wrong".
    """
    expected = row["expected"]
    graded = grade(expected["answer"], final_text, truncated=cut).outcome
    return "wrong" if graded == "correct" and not same_files(expected["files"], files_after) else graded


def same_files(expected: Mapping[str, str | None], files: Mapping[str, str | None]) -> bool:
    """Whether two sets of files are equal but for line ends. A None in place of a text is no file."""
    return normal(expected) == normal(files)


def normal(files: Mapping[str, str | None]) -> dict[str, str]:
    """The files with LF as line ends, and none at the end of a text."""
    return {
        path: str(text).replace("\r\n", "\n").replace("\r", "\n").rstrip("\n")
        for path, text in files.items()
        if text is not None
    }
