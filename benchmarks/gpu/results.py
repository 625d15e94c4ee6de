"""What is read of each part when its process has ended. `fault` in a result says what is wrong with it."""

import json
import re
import shlex
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.gpu.child import Ended
from cft.files import read_json
from cft.runs import METRICS, REPORT_JSON, STAGES, Run

ARM = ("accuracy", "ci", "n", "tokens_per_answer", "seconds", "peak_memory_mb", "hit_limit", "outcomes")
COMPARISON = ("difference", "ci", "p", "test", "gained", "lost", "same_text")
TRAINING = ("tokens_per_second", "seconds", "steps", "peak_memory_mb", "first_loss", "last_loss", "fell_back_to")


def from_file(ended: Ended) -> dict[str, Any]:
    """The JSON that the process wrote."""
    return read_json(ended.folder / "result.json")


def answered(ended: Ended) -> dict[str, Any]:
    """The JSON that a `cft` command printed."""
    return json.loads(ended.output.strip().splitlines()[-1])


def of_tests(ended: Ended) -> dict[str, Any]:
    """Counts of pytest's outcomes, and the last line of each failure. A whole run without a passed test is a fault."""
    text = ended.output
    counts = Counter(re.findall(r"^\S+::.*? (PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)\b", text, re.MULTILINE))
    failures = re.findall(r"^((?:FAILED|ERROR) \S+.*)$", text, re.MULTILINE)
    failures = failures or re.findall(r"^(\S+::.*? (?:FAILED|ERROR))\b", text, re.MULTILINE)  # cut before its summary
    found = {"counts": dict(counts), "failures": failures}
    found["skipped"] = re.findall(r"^SKIPPED (\[\d+\] .*)$", text, re.MULTILINE)
    if wrong := counts["FAILED"] + counts["ERROR"]:
        found["fault"] = f"{wrong} of {counts.total()} tests failed"
    elif not counts["PASSED"] and not ended.cut:
        last = ended.tail if ended.code == 4 else text.strip().splitlines()[-1]  # 4: there is no such folder
        found["fault"] = f"no test passed: {last.strip('= ')}"
    chosen = re.search(r"^collected (\d+) items?(?:.* (\d+) selected)?", text, re.MULTILINE)
    if rest := int(chosen[2] or chosen[1]) - counts.total() if chosen else 0:
        found["counts"]["NOT RUN"] = rest
    return found


def of_plan(ended: Ended) -> dict[str, Any]:
    """What the memory is, and what must be turned so that the run fits; `lacks` where nothing helps."""
    memory = answered(ended)["memory"]
    if memory is None:
        return {"gb": 0, "turn": {}, "lacks": ""}
    turn = dict(word.split("=", 1) for word in shlex.split(" ".join(memory["knob"] or [])))
    lacks = ""
    if not memory["fits"] and not turn:
        lacks = f"needs ~{memory['peak_gb']} GB; {memory['room']['gb']} GB are to be had: {memory['room']['name']}"
    return {"gb": memory["knob_gb"] if turn else memory["peak_gb"], "turn": turn, "lacks": lacks}


def of_run(ended: Ended) -> dict[str, Any]:
    """Scores, times and memory of a finished run."""
    run = Run(Path(answered(ended)["run"]))
    report, metrics = read_json(run.report / REPORT_JSON), read_json(run.train / METRICS)
    manifests = {stage: run.manifest(stage) for stage in STAGES}
    return {
        "run": str(run.path),
        "task": report["task"],
        "arms": {arm["name"]: {key: arm[key] for key in ARM} for arm in report["arms"]},
        "comparison": {key: report["comparisons"][0][key] for key in COMPARISON},
        "training": {key: metrics["summary"].get(key) for key in TRAINING},
        "stages": {stage: manifest["seconds"] for stage, manifest in manifests.items() if manifest},
        "seconds": ended.seconds,
    }


def of_comparison(ended: Ended) -> dict[str, Any]:
    """The mean effect over the seeds."""
    report = read_json(ended.folder / "compare" / REPORT_JSON)
    return {"effects": report["seeds"], "task": report["task"]}


def of_memory(ended: Ended) -> dict[str, Any]:
    """The one row that benchmarks.memory measured."""
    return read_json(ended.folder / "result.json")["rows"][0]


def of_training(ended: Ended) -> dict[str, Any]:
    """The race's medians and what they come to."""
    found = read_json(ended.folder / "result.json")
    return {key: found.get(key) for key in ("tokens", "rows", "steps", "medians", "ratios", "mfu", "matmul_flops")}


def of_answers(first: Path, ended: Ended) -> dict[str, Any]:
    """Speed of one side, and how many of its answers are those of the `first` side, which wrote the same file."""
    found, other = read_json(ended.folder / "result.json"), read_json(first)
    seconds, items = found["seconds"], len(found["texts"])
    result = {key: found[key] for key in ("seconds", "tokens", "correct", "peak_memory_mb")} | {"items": items}
    result |= {"tokens_per_second": found["tokens"] / seconds, "items_per_second": items / seconds}
    if other:
        result["alike"] = sum(a == b for a, b in zip(found["texts"], other["texts"], strict=False))
        if found["prompts"] != other["prompts"][:items]:
            result["fault"] = "it was asked other prompts than the first side"
    return result
