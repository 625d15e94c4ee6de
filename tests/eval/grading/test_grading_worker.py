"""Grading goes on when math-verify hangs or its process dies, from any thread and after a fork."""

import os
import shutil
import signal
import subprocess
import sys
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Timer

import pytest

from cft.errors import EvalError
from eval.grading import equality, grade, same_answer
from eval.grading.worker import CAN_LIMIT_COMPUTING, Worker

# Equal, but only by multiplying out; no text that is refused without trying.
GOLD, HANG = "(x^2-1)^{2000}", "(x+1)^{2000}(x-1)^{2000}"
ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def nothing_was_late(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(equality, "_late", defaultdict(float))


@pytest.fixture
def worker():
    worker = Worker()
    yield worker
    worker.stop()


def test_a_hanging_expression_is_ungradable_and_the_next_call_works(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(equality, "LIMIT_SECONDS", 2.0)
    assert grade(GOLD, rf"\boxed{{{HANG}}}").outcome == "ungradable"
    assert grade(f"6{GOLD}", rf"\boxed{{6{HANG}}}").outcome == "ungradable"
    assert same_answer(f"{GOLD}, 7", f"{HANG}, 7") is None  # a list shares one limit
    assert same_answer(HANG, f"$ {HANG} $") is True  # not computed
    monkeypatch.undo()
    assert grade("x+y", r"\boxed{y+x}").outcome == "correct"
    assert grade("x+y", r"\boxed{y-x}").outcome == "wrong"


def test_after_three_of_one_shape_no_further_one_is_tried(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(equality, "LIMIT_SECONDS", 0.5)
    asked = []
    ask = equality._worker.ask
    monkeypatch.setattr(equality._worker, "ask", lambda *question: asked.append(question) or ask(*question))
    outcomes = [
        grade(f"(x^2-{n}^2)^{{2000}}", rf"\boxed{{(x+{n})^{{2000}}(x-{n})^{{2000}}}}").outcome for n in range(2, 8)
    ]
    assert outcomes == ["ungradable"] * 6
    assert len(asked) == 3
    assert grade("x^2-4", r"\boxed{(x-2)(x+2)}").outcome == "correct"


def test_a_shape_of_which_one_was_decided_is_always_tried(monkeypatch: pytest.MonkeyPatch):
    assert grade("(x^2-4)^{2}", r"\boxed{(x+2)^{2}(x-2)^{2}}").outcome == "correct"
    monkeypatch.setattr(equality, "LIMIT_SECONDS", 0.5)
    for n in range(2, 6):
        assert grade(f"(x^2-{n}^2)^{{2000}}", rf"\boxed{{(x+{n})^{{2000}}(x-{n})^{{2000}}}}").outcome == "ungradable"
    monkeypatch.undo()
    assert grade("(x^2-9)^{2}", r"\boxed{(x+3)^{2}(x-3)^{2}}").outcome == "correct"


def test_threads_take_turns():
    pairs = [(f"x+{n}", rf"\boxed{{{n}+x}}", "correct") for n in range(40)]
    pairs += [(f"x+{n}", rf"\boxed{{{n}-x}}", "wrong") for n in range(40)]
    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(lambda pair: grade(pair[0], pair[1]).outcome, pairs))
    assert outcomes == [outcome for *_, outcome in pairs]


def test_a_thread_that_waits_for_a_hanging_one_still_gets_its_answer(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(equality, "LIMIT_SECONDS", 3.0)
    responses = [(f"{GOLD}+{n}", rf"\boxed{{{HANG}+{n}}}") for n in range(2)] + [
        ("a+b", r"\boxed{b+a}"),
        ("a+b", r"\boxed{b-a}"),
    ]
    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(lambda pair: grade(*pair).outcome, responses))
    assert outcomes == ["ungradable", "ungradable", "correct", "wrong"]


def test_a_killed_process_is_started_again(worker: Worker):
    assert worker.ask("x+1", "1+x", 60)[0] is True
    first = worker.pid
    os.kill(first, signal.SIGKILL)
    assert worker.ask("x+2", "2+x", 60)[0] is True
    assert worker.pid != first


def test_the_same_process_answers_until_it_is_late(worker: Worker):
    assert worker.ask("x+1", "1+x", 60)[0] is True
    first = worker.pid
    assert worker.ask("x+1", "x-1", 60)[0] is False
    assert worker.pid == first
    verdict, seconds = worker.ask(GOLD, HANG, 1.0)
    assert verdict is None and seconds >= 1.0
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)


@pytest.mark.skipif(not CAN_LIMIT_COMPUTING, reason="this system limits by the clock")
def test_waiting_for_a_processor_is_not_counted(worker: Worker):
    assert worker.ask("x+1", "1+x", 60)[0] is True
    os.kill(worker.pid, signal.SIGSTOP)
    Timer(2.5, os.kill, (worker.pid, signal.SIGCONT)).start()
    assert worker.ask("x+2", "2+x", 2.0)[0] is True


def test_what_cannot_be_read_is_told_apart(worker: Worker):
    assert worker.ask("(5", "5", 60)[0] is None
    assert worker.ask("5", "(5", 60)[0] is False


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_after_a_fork_both_sides_go_on():
    assert same_answer("x+11", "11+x") is True
    child = os.fork()
    if child == 0:
        os._exit(0 if same_answer("x+12", "12+x") is True and same_answer("x+12", "12-x") is False else 1)
    assert same_answer("x+13", "13+x") is True
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert same_answer("x+14", "14+x") is True


def test_no_process_is_left_when_the_program_ends():
    program = (
        "from eval.grading import equality, same_answer\nassert same_answer('x+1', '1+x')\nprint(equality._worker.pid)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    with pytest.raises(ProcessLookupError):
        os.kill(int(done.stdout), 0)


@pytest.mark.parametrize("program", ["/no/such/python", shutil.which("false") or "/bin/false"])
def test_a_process_that_cannot_start_is_an_error_that_says_so(monkeypatch: pytest.MonkeyPatch, program: str):
    monkeypatch.setattr(equality, "_worker", Worker())
    monkeypatch.setattr(sys, "executable", program)
    with pytest.raises(EvalError, match=f"cannot grade.*{program}"):
        same_answer("u+v", "v+u")


def test_importing_the_grader_does_not_import_sympy():
    program = "import sys, eval.grading.grader; print('sympy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
