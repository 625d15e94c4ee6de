r"""Four graders on the same answers: python -m benchmarks.grading ANSWERS.jsonl ... [--minerva FOLDER] [--out FILE].

Each row has `gold` and `response`, as in a run's `answers.jsonl`; a response that was cut off is graded like any other.
Rows that also say whether they are `equal`, as in `tests/eval/grading/answer_pairs.jsonl`, give the errors of
each grader.
- ours: `eval.grading.grade`.
- math_verify: its `parse` and `verify` as shipped, the gold in dollar signs, as its documentation asks.
- qwen: the rules of Qwen2.5-Math's evaluation (`benchmarks.qwen_rules`).
- minerva_math: lm-eval's normalisation and `is_equiv`, on "Final Answer: The final answer is ... I hope it is correct."
  where that stands (it looks at nothing else), otherwise on the last box, found by its own function.

The last two need an antlr4 that math-verify's other version excludes, in a folder of its own (ANTLR below).
Without `--minerva FOLDER` minerva_math is left out, and qwen cannot read LaTeX by sympy's own parser, its first choice.
"""

import argparse
import json
import logging
import operator
import os
import subprocess
import sys
import threading
import time
import warnings
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from benchmarks.common import REPOSITORY, console, machine
from benchmarks.graders import GRADERS, NEED_ANTLR
from cft.errors import DataError
from cft.files import read_jsonl, write_json, write_jsonl

ANTLR = 'pip install --no-deps --target FOLDER "antlr4-python3-runtime==4.11.*", then --minerva FOLDER'
LIMIT_SECONDS = 150.0  # for one answer, by the clock; a grader that takes longer is killed and started again
START_SECONDS = 300.0


class Child:
    """A grader in a process of its own, killed and started again where it takes too long or dies."""

    def __init__(self, name: str, folder: Path | None) -> None:
        self.command = [sys.executable, "-m", "benchmarks.grading", "--child", name]
        paths = [str(folder.resolve())] if folder and name in NEED_ANTLR else []
        paths += [str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]
        self.environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it and let it grade once, so that no import is timed.

        Raises:
            SystemExit: it cannot start; the message says why.
        """
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "encoding": "utf-8"}
        self.process = subprocess.Popen(self.command, cwd=REPOSITORY, env=self.environment, **pipes)
        if self._exchange(["x+1", r"\boxed{1+x}"], START_SECONDS) is None:
            raise SystemExit(f"{self.command[-1]} cannot start: see above. It may need {ANTLR}")

    def grade(self, gold: str, response: str) -> dict[str, Any]:
        """{"correct": None where it hung or died, "answer", "seconds"}."""
        if self.process is None:
            self.start()
        began = time.perf_counter()
        reply = self._exchange([gold, response], LIMIT_SECONDS)
        correct, answer = reply or (None, "")
        return {"correct": correct, "answer": answer, "seconds": time.perf_counter() - began}

    def close(self) -> None:
        """Kill it, if it runs."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None

    def _exchange(self, question: list[str], seconds: float) -> list[Any] | None:
        timer = threading.Timer(seconds, self.process.kill)
        timer.start()
        try:
            self.process.stdin.write(json.dumps(question) + "\n")
            self.process.stdin.flush()
            reply = self.process.stdout.readline()
        except OSError:
            reply = ""
        finally:
            timer.cancel()
        if not reply.endswith("\n"):
            self.close()
            return None
        return json.loads(reply)


def serve(name: str) -> None:
    """The child: a line `[gold, response]` in, `[correct, answer]` out. A grader that raises does not say correct."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints is no reply
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    judge = GRADERS[name]()
    for line in sys.stdin:
        try:
            correct, answer = judge(*json.loads(line))
        except Exception as error:
            correct, answer = False, f"{type(error).__name__}: {error}"[:200]
        print(json.dumps([bool(correct), answer]), file=replies, flush=True)


def grade_all(name: str, rows: Sequence[dict[str, str]], folder: Path | None, processes: int) -> list[dict[str, Any]]:
    """`Child.grade` of each row, by `processes` children that take every n-th."""
    verdicts: list[dict[str, Any]] = [{}] * len(rows)

    def take(first: int) -> None:
        with closing(Child(name, folder)) as child:
            child.start()
            for place in range(first, len(rows), processes):
                verdicts[place] = child.grade(rows[place]["gold"], rows[place]["response"])

    with ThreadPoolExecutor(processes) as pool:
        list(pool.map(take, range(processes)))
    return verdicts


def response_rows(path: Path) -> list[dict[str, Any]]:
    """Rows of a file with `gold`, `response` and `file`; an `answer` without a response is put in a box.

    Raises:
        DataError: the file cannot be read, holds no rows, or one without these texts.
    """
    rows = []
    for line, row in read_jsonl(path):
        gold, text = row.get("gold"), row.get("response", row.get("answer"))
        if not isinstance(gold, str) or not isinstance(text, str):
            raise DataError(f"{path}:{line} has no `gold` and `response`: give the answers.jsonl of a run.")
        text = row.get("before", "") + text * row.get("repeat", 1) + row.get("after", "")
        text = text if "response" in row else rf"\boxed{{{text}}}"
        rows.append({**row, "gold": gold * row.get("repeat_gold", 1), "response": text, "file": str(path)})
    return rows


def compare(rows: Sequence[dict[str, str]], graded: dict[str, list[dict[str, Any]]], processes: int) -> dict[str, Any]:
    """{"answers", "graders": {name: counts and speed}, "agreement": {name: {name: share}}, "disagreements": [rows]}."""
    graders = {}
    for name, verdicts in graded.items():
        busy = [sum(one["seconds"] for one in verdicts[first::processes]) for first in range(processes)]
        outcomes = Counter((row.get("equal"), one["correct"]) for row, one in zip(rows, verdicts, strict=True))
        graders[name] = {
            "correct": sum(one["correct"] is True for one in verdicts),
            "wrongly_accepted": outcomes[False, True],
            "wrongly_rejected": outcomes[True, False] + outcomes[True, None],
            "hung_or_died": sum(one["correct"] is None for one in verdicts),
            "slowest_s": round(max(one["seconds"] for one in verdicts), 2),
            "s_per_10000": round(10_000 * max(busy) / len(rows), 1),
        }
        if not any("equal" in row for row in rows):
            del graders[name]["wrongly_accepted"], graders[name]["wrongly_rejected"]
    said = {name: [one["correct"] for one in verdicts] for name, verdicts in graded.items()}
    agreement = {a: {b: sum(map(operator.is_, said[a], said[b])) / len(rows) for b in graded} for a in graded}
    disagreements = [
        {"place": place, **{key: rows[place][key] for key in ("file", "gold", "equal") if key in rows[place]}}
        | {name: {key: verdicts[place][key] for key in ("correct", "answer")} for name, verdicts in graded.items()}
        | {"response_end": rows[place]["response"][-300:]}
        for place in range(len(rows))
        if len({verdicts[place]["correct"] for verdicts in graded.values()}) > 1
    ]
    return {"answers": len(rows), "graders": graders, "agreement": agreement, "disagreements": disagreements}


def show(result: dict[str, Any], shown: int) -> None:
    """Print counts, agreement and the first disagreements."""
    names = list(result["graders"])
    table = Table(f"{result['answers']:,} answers", *names)
    for key in result["graders"][names[0]]:
        table.add_row(key.replace("_", " "), *(f"{result['graders'][name][key]:,}" for name in names))
    for other in names:
        table.add_row(f"agrees with {other}", *(f"{result['agreement'][name][other]:.2%}" for name in names))
    console.print(table)
    console.print(f"{len(result['disagreements'])} of {result['answers']} answers on which they disagree")
    for row in result["disagreements"][:shown]:
        console.print(f"[bold]{row['place']}[/] gold {escape(row['gold'])!r}", highlight=False)
        for name in names:
            verdict = {True: "right", False: "wrong", None: "no reply"}[row[name]["correct"]]
            console.print(f"    {name:13}{verdict:9}{escape(row[name]['answer'][:100])!r}", highlight=False)


def main() -> None:
    """Read the files, run the graders in turn, print and write what they say."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.grading", description=__doc__.split(":")[0])
    parser.add_argument("files", nargs="*", type=Path, help="JSONL with `gold` and `response`")
    parser.add_argument("--minerva", type=Path, metavar="FOLDER", help="where antlr4-python3-runtime 4.11 is installed")
    parser.add_argument("--graders", nargs="+", choices=GRADERS, default=list(GRADERS))
    parser.add_argument("--processes", type=int, choices=(1, 2), default=2)
    parser.add_argument("--shown", type=int, default=20, help="disagreements to print")
    parser.add_argument("--out", type=Path, help="JSONL for all disagreements; FILE.json beside it for the counts")
    parser.add_argument("--child", choices=GRADERS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        serve(options.child)
        return
    if not options.files:
        parser.error("which answers? Give at least one FILE.jsonl.")
    try:
        rows = [row for path in options.files for row in response_rows(path)]
    except DataError as error:
        raise SystemExit(str(error)) from None
    names = [name for name in options.graders if name != "minerva_math" or options.minerva]
    if len(names) < len(options.graders):
        console.print(f"minerva_math is left out: it needs {ANTLR}", soft_wrap=True)
    graded = {name: grade_all(name, rows, options.minerva, options.processes) for name in names}
    result = compare(rows, graded, options.processes)
    show(result, options.shown)
    if options.out:
        write_jsonl(options.out, result.pop("disagreements"))
        write_json(options.out.with_suffix(".json"), result | {"machine": machine(options.processes)})


if __name__ == "__main__":
    main()
