"""`cft try` and `cft compare` as a user meets them: processes, pipes and a terminal."""

import json
import os
import pty
import signal
from pathlib import Path

import pytest

from cft.runs import Run
from tests.support.command import cft, started
from tests.support.evaluating import QUESTION, make_run
from tests.support.forks import Forked
from tests.support.scored_runs import make_run as make_scored_run
from tests.support.scored_runs import outcomes


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_model) -> Path:
    folder = tmp_path_factory.mktemp("asked")
    make_run(folder, tiny_model)
    return folder


def test_try_prints_one_json_value_with_both_answers(folder):
    done = cft("try", "tried", QUESTION, "--json", "--gold", "36", "--max-new-tokens", "8", cwd=folder)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert list(told) == ["question", "gold", "base", "adapter"] and told["question"] == QUESTION
    for arm in ("base", "adapter"):
        assert set(told[arm]) == {"text", "tokens", "finish_reason", "answer", "outcome"}
        assert told[arm]["tokens"] == 8 and told[arm]["outcome"] == "truncated"


def test_try_writes_plain_text_where_it_is_no_terminal(folder):
    done = cft("try", "tried", QUESTION, "--base-only", "--max-new-tokens", "8", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("base\n") and "8 tokens, hit the token limit, no box" in done.stdout
    assert "\x1b" not in done.stdout and "adapter" not in done.stdout


def test_try_reads_one_question_or_a_question_a_line_from_a_pipe(folder):
    short = ("--json", "--base-only", "--max-new-tokens", "2")
    whole = cft("try", "tried", "-", *short, cwd=folder, given="Wieviel ist 1 + 1?\nUnd é?\n".encode())
    assert json.loads(whole.stdout)["question"] == "Wieviel ist 1 + 1?\nUnd é?"
    lines = cft("try", "tried", *short, cwd=folder, given=b"1 + 1?\n\n2 + 2?")
    assert [json.loads(line)["question"] for line in lines.stdout.splitlines()] == ["1 + 1?", "2 + 2?"]
    assert lines.returncode == 0


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        (b"", ["tried", "-"], "standard input has no question"),
        (b"\n \n", ["tried"], "standard input has no question"),
        (b"\xff\xfe", ["tried"], "not UTF-8"),
        (b"", ["tried", " "], "question is empty"),
        (b"", ["nothing", "1 + 1?"], "no such run"),
        (b"", ["tried", "1 + 1?", "--gold", ""], "--gold is empty"),
    ],
)
def test_try_refuses_with_exit_code_2_and_one_message(folder, text, arguments, message):
    done = cft("try", *arguments, cwd=folder, given=text)
    assert done.returncode == 2
    assert message in done.stderr and "Traceback" not in done.stderr


def in_terminal(*arguments: str, cwd: Path, width: int = 100) -> tuple[Forked, int]:
    """The command with a terminal as its standard input and outputs, and our end of it."""
    ours, theirs = pty.openpty()
    size = {"COLUMNS": str(width), "LINES": "30", "TERM": "xterm-256color"}
    process = started(*arguments, cwd=cwd, streams=[os.ttyname(theirs)] * 3, **size)
    os.close(theirs)
    return process, ours


def read_until(end: int, sign: bytes) -> bytes:
    """What the terminal shows until `sign` has come, or the process has gone."""
    seen = b""
    while sign not in seen:
        try:
            seen += os.read(end, 4096)
        except OSError:  # how Linux says that nobody holds the other end
            break
    return seen


def test_try_asks_for_questions_in_a_terminal_until_the_input_ends(folder):
    process, terminal = in_terminal("try", "tried", "--max-new-tokens", "4", cwd=folder)
    assert b"question>" in read_until(terminal, b"question>")
    os.write(terminal, b"1 + 1?\n")
    shown = read_until(terminal, b"question>")
    assert shown.count(b"4 tokens") >= 2 and b"adapter" in shown
    os.write(terminal, b"x" * 4060 + b"\n")
    assert b"Shorten the question" in read_until(terminal, b"question>")
    os.write(terminal, b"2 + 2?\n")
    assert b"4 tokens" in read_until(terminal, b"question>")
    os.write(terminal, b"\x04")
    read_until(terminal, b"\0")
    assert process.wait() == 0


def test_ctrl_c_stops_an_answer_and_leaves_what_was_written(folder):
    process, terminal = in_terminal("try", "tried", QUESTION, "--max-new-tokens", "3900", cwd=folder)
    read_until(terminal, b"tokens")
    process.send_signal(signal.SIGINT)
    shown = read_until(terminal, b"\0")
    assert process.wait() == 130
    assert b"stopped" in shown and b"Traceback" not in shown


def test_compare_prints_the_table_and_writes_the_pages(tmp_path):
    one = make_scored_run(tmp_path, "one", outcomes(10), outcomes(20))
    make_scored_run(tmp_path, "two", outcomes(10), outcomes(11))
    done = cft("compare", "one", "two", "--out", "page", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "two adapter" in done.stdout and "report: page/report.md" in done.stdout
    for name in ("report.md", "report.html", "report.json", "report.png"):
        assert (tmp_path / "page" / name).stat().st_size > 0
    told = json.loads(cft("compare", str(one.path), "--json", cwd=tmp_path).stdout)
    assert told["out"] == "runs/compare/one" and [arm["name"] for arm in told["arms"]] == ["base", "adapter"]
    assert Run(one.path).report.exists() is False


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["one", "nothing"], "no such run"),
        (["one", "--task", "sum"], "Did you mean sums"),
        (["one", "open"], "eval stage is not finished"),
    ],
)
def test_compare_refuses_with_exit_code_2(tmp_path, arguments, message):
    make_scored_run(tmp_path, "one", outcomes(10), outcomes(20))
    make_scored_run(tmp_path, "open", outcomes(10), outcomes(20), finished=False)
    done = cft("compare", *arguments, cwd=tmp_path)
    assert done.returncode == 2 and message in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr
