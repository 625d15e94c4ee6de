"""Texts of others on the terminal: whole, as text, and with nothing that hides, reorders or steers."""

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.progress import Progress
from rich.table import Column, Table

from cft.files import read_own_jsonl, write_jsonl
from cft.terminal import Terminal, Text, json_line, panel, text_column
from cft.words import in_markdown, shell_line, tidy
from tests.house import other_doors
from tests.support.command import cft
from tests.support.forks import ENVIRONMENT
from tests.support.inspecting import candidate, critique, write_folder
from tests.support.scored_runs import make_run

ROOT = Path(__file__).parents[2]
WHOLE = ["[/bold]", "[bold]b[/bold]", "[link=http://x]y[/link]", "[/x]", ":smile:", r"\[x^2 + 1 = 5\]", "[@click=a]z"]
HIDDEN = [
    "\x1b]0;title\x07",
    "\x1b[2J",
    "\x9b31m",
    "\x00",
    "\x08",
    "\x0crac{1}",
    "\u202e",
    "\u2066",
    "\u200b",
    "\u3164",
]
STORED = " ".join([*WHOLE, *HIDDEN, "end"])
EVIL = f"{STORED} \ud800"  # no file of ours can hold half a character


def visible(printed: str) -> str:
    """What was printed without the styles that Rich gives it."""
    return re.sub(r"\x1b\[[0-9;]*m|\x1b\[\?25[lh]|\x1b\[1A|\x1b\[2K|\r", "", printed)


def assert_whole(printed: str) -> None:
    """Every text of WHOLE is there, over whatever lines it was wrapped, and nothing of HIDDEN."""
    shown = re.sub(r"[\s│┃]", "", visible(printed))
    assert [text for text in WHOLE if re.sub(r"\s", "", text) not in shown] == []
    assert tidy(shown) == shown


@pytest.mark.parametrize("styled", [True, False], ids=["terminal", "pipe"])
def test_nothing_that_the_console_prints_is_read_as_markup_or_steers(styled):
    console = Terminal(file=io.StringIO(), width=70, force_terminal=styled, legacy_windows=False)

    def printed(write) -> str:
        write()
        text = console.file.getvalue()
        console.file.seek(console.file.truncate(0))
        return text

    table, styles = Table(EVIL), Table(Column(Text(EVIL, style="bold")))
    table.add_row(EVIL)
    styles.add_row(Text.assemble((EVIL, "red"), EVIL))

    def progress() -> None:
        with Progress(text_column("{task.description}"), console=console) as bars:
            bars.add_task(EVIL, total=1)

    def status() -> None:
        with console.status(EVIL):
            pass

    writes = [lambda: console.print(EVIL), lambda: console.print(Text(EVIL)), lambda: console.out(EVIL)]
    writes += [lambda: console.print(table), lambda: console.print(styles), lambda: console.print(panel("a", EVIL))]
    for write in writes:
        assert_whole(printed(write))
    for write in (
        status,
        progress,
        lambda: console.rule(EVIL),
        lambda: console.print(panel(EVIL, "")),
    ):  # cut at the width
        assert tidy(visible(printed(write))) == visible(printed(write))


def test_the_house_knows_no_other_door():
    assert other_doors() == []


@pytest.fixture
def run(tmp_path) -> Path:
    """A run whose texts are all by somebody who means no good."""
    run = make_run(tmp_path, "evil", ["correct", "wrong"], ["wrong", "correct"])
    for path in run.eval.glob("*/*/answers.jsonl"):
        evil = dict.fromkeys(("response", "question", "gold", "answer"), STORED)
        write_jsonl(path, [row | evil for row in read_own_jsonl(path)])
    write_folder(run.data)
    write_jsonl(run.data / "candidates.jsonl", [candidate("one", text=STORED, answer=STORED) | {"student": STORED}])
    write_jsonl(run.data / "critiques.jsonl", [critique("two", "one", text=STORED, teacher=STORED, style=STORED)])
    messages = {key: [{"role": "user", "content": STORED}] for key in ("prompt", "completion")}
    write_jsonl(run.data / "examples.jsonl", [{"id": "three", "critique": "two", "problem": STORED, **messages}])
    run.stage("data", {}).path.joinpath("manifest.json").write_text('{"fingerprint": "x"}')
    return run.path


@pytest.mark.parametrize(
    "command",
    [["trace", "sums:0"], ["trace", "three"], ["trace", "two"], ["trace", "one"], ["data", "inspect"]],
    ids=" ".join,
)
def test_commands_show_foreign_texts_whole(tmp_path, run, command):
    first = command[:-1] if command[0] == "trace" else command
    shown = cft(*first, str(run), *(command[-1:] if command[0] == "trace" else []), cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert_whole(shown.stdout)
    data = cft(*first, str(run), *(command[-1:] if command[0] == "trace" else []), "--json", cwd=tmp_path).stdout
    assert tidy(data) == data and STORED[:60] in json.dumps(json.loads(data), ensure_ascii=False).replace("\\\\", "\\")


@pytest.mark.parametrize(
    "arguments",
    [
        ["plan", "{}"],
        ["run", "smoke", "model.id={}"],
        ["plan", "smoke", "{}=1"],
        ["plan", "smoke", "--gpu", "{}"],
        ["trace", "{}"],
        ["compare", "{}"],
        ["sweep", "{}"],
        ["models", "path", "{}"],
        ["plan", "smoke", "eval.tasks=['{}']"],
        ["plan", "smoke", "data.problems=['{}']"],
    ],
    ids=" ".join,
)
def test_an_error_says_foreign_words_as_they_are(tmp_path, arguments):
    evil = r"[/x] :smile: \[5\] [red]"
    told = cft(*(text.replace("{}", evil) for text in arguments), cwd=tmp_path, CFT_CACHE=str(tmp_path))
    assert told.returncode == 2 and "Traceback" not in told.stderr
    assert evil in told.stderr.replace("\\\\", "\\")


def python(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess:
    """`cft` in an interpreter of its own."""
    env = os.environ | ENVIRONMENT | {"PYTHONPATH": str(ROOT)} | environment
    command = [sys.executable, "-m", "cft.cli.main", *arguments]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_console_that_is_not_utf8_gets_all_texts(tmp_path, run, encoding):
    for options in ([], ["--json"]):
        done = python("trace", str(run), "sums:0", *options, cwd=tmp_path, PYTHONIOENCODING=encoding)
        assert (done.returncode, done.stderr) == (0, b"")
        assert "\\[x^2 + 1 = 5\\]" in done.stdout.decode(encoding).replace("\\\\", "\\")


def test_an_argument_that_is_no_text_is_one_message(tmp_path):
    done = python("plan", os.fsdecode(b"\xff.yaml"), cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.startswith(b"error: argument 2, ") and b"is not UTF-8" in done.stderr


def test_a_reader_that_has_read_enough_ends_the_command_as_sigpipe_does(tmp_path):
    for arguments in (["recipes"], ["models", "--json"], ["plan", "nosuch"]):
        command = [sys.executable, "-m", "cft.cli.main", *arguments]
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, env=os.environ | ENVIRONMENT)
        for stream in (process.stdout, process.stderr) if "nosuch" in arguments else (process.stdout,):
            stream.close()
        assert process.wait() == 141
        assert process.stderr.closed or process.stderr.read() == b""


def test_json_on_the_terminal_is_json_in_every_encoding_and_steers_nothing():
    for encoding in ("utf-8", "ascii", "cp1252"):
        line = json_line({"text": EVIL + "é"}, encoding)
        assert json.loads(line)["text"] == EVIL + "é" and tidy(line) == line
        line.encode(encoding)


@pytest.mark.parametrize(
    ("foreign", "shown"),
    [
        ("<img src=http://x onerror=y>", "&lt;img src=http://x onerror=y>"),
        ("</td><!-- x", "&lt;/td>&lt;!-- x"),
        ("![a](http://x) [b](javascript:y)", "![a]\\(http://x) [b]\\(javascript:y)"),
        ("p < 0.001 of [3, 4] (5)", "p < 0.001 of [3, 4] (5)"),
    ],
)
def test_foreign_text_in_markdown_makes_no_html_no_picture_and_no_link(foreign, shown):
    assert in_markdown(foreign) == shown


def test_a_printed_command_can_be_pasted():
    assert shell_line("cft", "plan", Path("my files/a'b.yaml")) == """cft plan 'my files/a'"'"'b.yaml'"""
