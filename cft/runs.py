"""The run folder: the only module that knows its layout.

    runs/<recipe>/<fingerprint>/
        recipe.yaml                 the resolved recipe
        data/                       {problems,candidates,critiques,examples,calls}.jsonl README.md manifest.json
        train/                      adapter/ steps/step-N/ checkpoints/ selection/ metrics.json manifest.json
                                    of a method with rollouts also rollouts/step-N.jsonl signal.json
        eval/<task>/<arm>/          answers.jsonl arm.json and lm-eval's own files; eval/manifest.json
        report/                     report.html report.md report.json and pictures
        export/                     merged/ gguf/ adapter/; those of an earlier step in step-N/
    runs/calls/<model>.jsonl        what students and teachers answered, for all runs

A stage is finished when its manifest stands, and the manifest is written last. A stage whose fingerprint
is unchanged is not run again; one that was killed has no manifest and goes on from the rows it has.
"""

import os
import platform
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, NotRequired

from filelock import FileLock, Timeout
from pydantic import Field

from cft.errors import RunError
from cft.files import content_id, read_json, read_own_jsonl, remove_leftovers, write_json, write_text
from cft.recipe.blocks import Recipe

# Names in a run's folder; everything else takes them from here.
STAGES = DATA, TRAIN, EVAL, REPORT = "data", "train", "eval", "report"
RECIPE, MANIFEST, STARTED = "recipe.yaml", "manifest.json", "started.json"
PROBLEMS, CANDIDATES, CRITIQUES = "problems.jsonl", "candidates.jsonl", "critiques.jsonl"
EXAMPLES, CALLS, CARD = "examples.jsonl", "calls.jsonl", "README.md"
ADAPTER, METRICS, CHECKPOINTS, STEPS = "adapter", "metrics.json", "checkpoints", "steps"
SELECTION, CURVE = "selection", "curve.json"
ROLLOUTS, SIGNAL = "rollouts", "signal.json"  # the completions trained on; what the base did before training
ANSWERS, ARM = "answers.jsonl", "arm.json"
REPORT_JSON, REPORT_TEXT, REPORT_PAGE = "report.json", "report.md", "report.html"
EXPORT, SWEEPS = "export", "sweeps"
# What readers rely on in these files, in case somebody changed them; other keys may hold anything.
_Number = Annotated[float, Field(ge=0, allow_inf_nan=False)] | None
SHAPES: dict[str, dict[str, Any]] = {
    MANIFEST: {"fingerprint": str, "counts": NotRequired[dict], "cost_usd": NotRequired[_Number]},
    STARTED: {"fingerprint": str, "starts": int},
    METRICS: {"summary": dict, "log": NotRequired[list[dict]]},
    SIGNAL: {
        **{"settings": str, "rewards": dict[str, float], "rows": list[dict], "sampler_difference": dict | None},
        **dict.fromkeys(("samples", "pass_rate", "signal", "truncated", "empty", "mean_tokens"), float),
        **dict.fromkeys(("distinct_answers", "observed", "spread", "generations"), _Number),
    },
    ARM: {
        **dict.fromkeys(("settings", "metrics"), NotRequired[dict]),
        **dict.fromkeys(("fingerprint", "grader"), NotRequired[str | None]),
        **dict.fromkeys(("n", "seconds", "tokens", "peak_memory_mb"), NotRequired[_Number]),
    },
    CURVE: {"points": list[dict], "selected_step": int | None},
    REPORT_JSON: {"recipe": str, "arms": list[dict], "tasks": NotRequired[list[dict]]},
    PROBLEMS: {"id": str, "question": str, "answer": str},
    CANDIDATES: {**dict.fromkeys(("id", "problem", "student", "text", "outcome"), str), "answer": str | None},
    CRITIQUES: {
        **dict.fromkeys(("id", "candidate", "teacher", "style", "text"), str),
        **dict.fromkeys(("verdict", "answer", "accepted", "reason"), Any),
    },
    EXAMPLES: {
        **{"id": str, "critique": NotRequired[str | None], "candidate": NotRequired[str]},
        **dict.fromkeys(("prompt", "completion", "messages"), NotRequired[list[dict]]),
    },
    ANSWERS: {"doc_id": int | str},
}
PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets", "lm_eval", "math-verify", "reasoning-gym")


@dataclass
class Stage:
    """One stage's folder and what is known of it."""

    name: str
    path: Path
    fingerprint: str
    inputs: dict = field(default_factory=dict)  # what the fingerprint was made of
    started: float = field(default_factory=time.monotonic)

    @property
    def manifest(self) -> dict | None:
        """The manifest if the stage is finished with this fingerprint, else None."""
        manifest = read_known(self.path / MANIFEST)
        return manifest if manifest and manifest["fingerprint"] == self.fingerprint else None

    def finish(self, *, seed: int, counts: dict, cost_usd: float | None = 0.0) -> dict:
        """Write the manifest, which is what makes the stage finished.

        `seconds` is the time since the last start; `cost_usd` what the models' answers cost, None if not known.
        """
        manifest = {
            "stage": self.name,
            "fingerprint": self.fingerprint,
            "inputs": self.inputs,
            "versions": versions(),
            "seed": seed,
            "git_commit": git_commit(),
            "counts": counts,
            "starts": (read_known(self.path / STARTED) or {}).get("starts", 1),
            "seconds": round(time.monotonic() - self.started, 1),
            "cost_usd": cost_usd,
        }
        write_json(self.path / MANIFEST, manifest)
        return manifest


@dataclass(frozen=True)
class Run:
    """The folder that one recipe fills, stage by stage."""

    path: Path

    recipe = property(lambda self: self.path / RECIPE)
    data = property(lambda self: self.path / DATA)
    examples = property(lambda self: self.data / EXAMPLES)
    critiques = property(lambda self: self.data / CRITIQUES)
    train = property(lambda self: self.path / TRAIN)
    adapter = property(lambda self: self.train / ADAPTER)
    eval = property(lambda self: self.path / EVAL)
    report = property(lambda self: self.path / REPORT)
    # The ledgers of what models answered: shared by all runs, so that no call is paid for twice.
    calls = property(lambda self: self.path.parent.parent / "calls")

    def manifest(self, stage: str) -> dict | None:
        """The manifest of a stage; None if it is not finished."""
        return read_known(self.path / stage / MANIFEST)

    def kept_adapter(self, step: int) -> Path:
        """Where the adapter after an earlier optimizer step is kept, if it was."""
        return self.train / STEPS / step_name(step)

    def export(self, step: int | None) -> Path:
        """Where the exports of the adapter go; `step` is None for the last one."""
        return self.path / EXPORT / ("" if step is None else step_name(step))

    def stage(self, name: str, inputs: dict) -> Stage:
        """The stage of these inputs, ready to be filled or already finished.

        What another fingerprint left in the folder is moved aside, never mixed with the new rows. If a sibling run of
        the same recipe has finished exactly this stage, its files are copied here instead of being made again.
        """
        stage = Stage(name, self.path / name, content_id(name, inputs), inputs)
        started = read_known(stage.path / STARTED)
        if started and started["fingerprint"] != stage.fingerprint:
            stage.path.rename(unused(stage.path.with_name(f"{name}.old-{started['fingerprint']}")))
            started = None
        if stage.manifest is None:
            siblings = self.path.parent.glob(f"*/{name}")
            if started is None and adopt(stage.path, siblings, MANIFEST, stage.fingerprint):
                return stage
            starts = started["starts"] + 1 if started else 1
            write_json(stage.path / STARTED, {"fingerprint": stage.fingerprint, "starts": starts})
        return stage

    def same_arms(self, task: str, arm: str) -> Iterator[Path]:
        """The folders in which the runs of every recipe, this one among them, keep this arm's answers to this task.

        Those of a stage that was moved aside, too: not all that its fingerprint holds decides an arm's answers.
        """
        for stage in (EVAL, f"{EVAL}.old-*"):
            yield from self.path.parent.parent.glob(f"*/*/{stage}/{task}/{arm}")

    def need(self, name: str, file: Path) -> None:
        """Raise RunError unless the earlier stage `name` is finished and left `file`."""
        if self.manifest(name) is None or not file.exists():
            raise RunError(
                f"{self.path}: the {name} stage is not finished. Run `cft {name}` or `cft run` with this recipe."
            )

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run for this process; released by the operating system even after kill -9."""
        lock = FileLock(self.path / ".lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise RunError(f"{self.path}: another process is using this run. Wait for it, or stop it first.") from None
        try:
            remove_leftovers(self.path)
            yield
        finally:
            lock.release()


def read_known(path: Path, *, exact: bool = True) -> dict[str, Any] | None:
    """The JSON object in a file that this module names, None if it is not there; RunError if it was damaged.

    `exact` as in `cft.foreign.parse_json`.
    """
    return read_json(path, SHAPES.get(path.name), exact=exact)


def read_rows(path: Path) -> list[dict]:
    """The rows of a JSON Lines file that this module names; DataError with the lines that were damaged."""
    return read_own_jsonl(path, SHAPES.get(path.name))


def step_name(step: int) -> str:
    """The name of the adapter, and of the arm, after so many optimizer steps."""
    return f"step-{step}"


def adopt(path: Path, others: Iterable[Path], marker: str, fingerprint: str) -> bool:
    """Make `path` a copy of the first of the others whose JSON file `marker` has this fingerprint, if there is one."""
    for other in sorted(others):
        finished = read_json(other / marker, {"fingerprint": str})
        if other != path and finished and finished["fingerprint"] == fingerprint:
            beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
            shutil.copytree(other, beside)
            shutil.rmtree(path, ignore_errors=True)
            beside.rename(path)
            return True
    return False


def run_of(recipe: Recipe, inputs: dict, root: Path) -> Run:
    """The run of this recipe and the sha256 of every file that it names, whether its folder is there or not."""
    return Run(root / recipe.name / content_id(recipe.dump(), inputs))


def open_run(recipe: Recipe, inputs: dict, root: Path) -> Run:
    """The run of `run_of`, its folder made if it is not there. Raises RunError if it cannot be written."""
    path = run_of(recipe, inputs, root).path
    try:
        path.mkdir(parents=True, exist_ok=True)
        write_text(path / RECIPE, recipe.to_yaml())
    except OSError as error:
        raise RunError(f"{path}: cannot be written ({error.strerror}). Choose another folder with --runs.") from None
    return Run(path)


def find_run(name: str, root: Path) -> Run:
    """A run by its folder, or the newest one of a recipe by the recipe's name. Raises RunError if there is none."""
    for path in (Path(name), root / name):
        if (path / RECIPE).is_file():
            return Run(path)
    runs = sorted((root / name).glob(f"*/{RECIPE}"), key=lambda p: p.stat().st_mtime)
    if runs:
        return Run(runs[-1].parent)
    known = sorted({p.parent.parent.name for p in root.glob(f"*/*/{RECIPE}")})
    raise RunError(f"{name}: no such run under {root}/. Recipes that have runs: {', '.join(known) or 'none yet'}.")


def unused(path: Path) -> Path:
    """`path`, or the first of path-2, path-3 ... that does not exist."""
    candidates = [path, *(path.with_name(f"{path.name}-{i}") for i in range(2, 1000))]
    return next(p for p in candidates if not p.exists())


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries whose results a run depends on."""
    numbers = {"python": platform.python_version()}
    for library in PACKAGES:
        try:
            numbers[library] = version(library)
        except PackageNotFoundError:
            numbers[library] = "not installed"
    return numbers


def git_commit() -> str | None:
    """Commit of the checkout this code runs from, with `+changes` if it is not clean; None outside of a checkout."""
    here = Path(__file__).parent
    command = ["git", "-c", "core.fsmonitor=false", "-C", str(here)]  # a repository around it may name a program there
    command += ["describe", "--always", "--abbrev=12", "--dirty=+changes", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
