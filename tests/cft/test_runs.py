"""Stages are done once, go on after a kill, and are never mixed with rows of other inputs."""

import os
import subprocess
import sys

import pytest

from cft import runs
from cft.errors import RunError
from cft.recipe.load import load_recipe
from cft.runs import Run, adopt, find_run, open_run
from tests.support.forks import ENVIRONMENT

TINY = """
name: tiny
model: {{id: {model}, dtype: float32}}
data: {{builder: critiques, problems: [bakery], teachers: [{{kind: file, path: bakery}}], max_examples: 2}}
train:
  method: cft
  lora: {{r: 2}}
  keep_steps: [1]
  args: {{per_device_train_batch_size: 1, gradient_accumulation_steps: 1, max_steps: 2, max_length: 4096}}
eval: {{tasks: [cft_wordproblems_validation], limit: 2, max_new_tokens: 4, arms: [base, step-1, adapter]}}
"""


@pytest.fixture
def run(tmp_path) -> Run:
    return open_run(load_recipe("smoke"), {"file": "1"}, tmp_path / "runs")


def fill(run: Run, inputs: dict, text: str):
    stage = run.stage("data", inputs)
    (stage.path / "examples.jsonl").write_text(text)
    stage.finish(seed=0, counts={"examples": 1})
    return stage


def test_the_same_recipe_and_files_give_the_same_folder_and_others_another(tmp_path, run):
    recipe = load_recipe("smoke")
    assert open_run(recipe, {"file": "1"}, tmp_path / "runs").path == run.path
    assert open_run(recipe, {"file": "2"}, tmp_path / "runs").path != run.path
    assert open_run(load_recipe("smoke", ["seed=5"]), {"file": "1"}, tmp_path / "runs").path != run.path


def test_a_finished_stage_is_recognised_by_its_inputs_only(run):
    fill(run, {"problem": "a"}, "rows")
    assert run.stage("data", {"problem": "a"}).manifest["counts"] == {"examples": 1}


def test_an_unfinished_stage_keeps_its_rows_and_counts_its_starts(run):
    stage = run.stage("data", {"problem": "a"})
    (stage.path / "candidates.jsonl").write_text("half\n")
    again = run.stage("data", {"problem": "a"})
    assert again.manifest is None
    assert (again.path / "candidates.jsonl").read_text() == "half\n"
    assert again.finish(seed=0, counts={})["starts"] == 2


def test_rows_of_other_inputs_are_moved_aside_not_mixed_and_not_lost(run):
    fill(run, {"problem": "a"}, "old rows")
    changed = run.stage("data", {"problem": "b"})
    assert changed.manifest is None
    assert not (changed.path / "examples.jsonl").exists()
    [old] = run.path.glob("data.old-*/examples.jsonl")
    assert old.read_text() == "old rows"


def test_a_stage_that_a_sibling_run_has_finished_is_taken_over(tmp_path, run):
    fill(run, {"problem": "a"}, "rows")
    sibling = open_run(load_recipe("smoke", ["eval.limit=3"]), {"file": "1"}, tmp_path / "runs")
    assert sibling.path != run.path
    stage = sibling.stage("data", {"problem": "a"})
    assert stage.manifest is not None
    assert sibling.examples.read_text() == "rows"
    assert sibling.stage("data", {"problem": "b"}).manifest is None


def test_the_same_arm_is_found_in_the_runs_of_every_recipe(tmp_path, run):
    others = [
        open_run(load_recipe("smoke", ["seed=5"]), {}, tmp_path / "runs"),
        open_run(load_recipe("quickstart"), {}, tmp_path / "runs"),
    ]
    for filled in (run, *others):
        (filled.path / "eval" / "task" / "base").mkdir(parents=True)
    assert set(run.same_arms("task", "base")) == {r.path / "eval" / "task" / "base" for r in (run, *others)}
    assert not list(run.same_arms("task", "adapter"))


def test_a_folder_adopts_the_finished_one_of_its_fingerprint_and_never_itself(tmp_path):
    for name, fingerprint in (("mine", "a"), ("other", "a"), ("third", "b")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "arm.json").write_text(f'{{"fingerprint": "{fingerprint}"}}')
    folders = [tmp_path / "mine", tmp_path / "third", tmp_path / "unfinished"]
    assert not adopt(tmp_path / "mine", folders, "arm.json", "a")
    assert adopt(tmp_path / "mine", [*folders, tmp_path / "other"], "arm.json", "a")
    assert adopt(tmp_path / "new" / "place", folders, "arm.json", "b")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "new", "other", "third"]


def test_a_run_that_another_process_holds_is_refused_and_free_again_after_kill_9(run):
    code = (
        "import sys, time; from pathlib import Path; from cft.runs import Run\n"
        "with Run(Path(sys.argv[1])).lock(): print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(run.path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RunError, match="another process"), run.lock():
            pass
    finally:
        holder.kill()
        holder.wait()
    with run.lock():
        pass


def test_what_a_killed_process_had_begun_is_gone_at_the_next_start_and_nothing_else_is(run):
    killed = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    gone, here = int(killed.stdout), os.getppid()
    half = [f".data.{gone}.tmp/examples.jsonl", f"report/.report.png.{gone}.tmp", f"eval/t/.arm.json.{os.getpid()}.tmp"]
    kept = [f"report/.report.md.{here}.tmp", f"data/x.{gone}.tmp", ".notes.tmp", "eval/t/arm.json"]
    for name in [*half, *kept]:
        (run.path / name).parent.mkdir(parents=True, exist_ok=True)
        (run.path / name).write_text("half")
    with run.lock():
        assert not [name for name in half if (run.path / name).exists()]
        assert not (run.path / f".data.{gone}.tmp").exists() and all((run.path / name).exists() for name in kept)


def test_answers_of_a_stage_that_was_moved_aside_are_found_again(run):
    fill(run, {"problem": "a"}, "rows")
    arm = run.stage("eval", {"of": 1}).path / "task" / "base"
    arm.mkdir(parents=True)
    run.stage("eval", {"of": 2})
    assert [path.relative_to(run.path).as_posix().partition("-")[0] for path in run.same_arms("task", "base")] == [
        "eval.old"
    ]


def test_a_later_stage_names_the_command_of_the_missing_one(run):
    with pytest.raises(RunError, match="cft data"):
        run.need("data", run.examples)


def test_runs_are_found_by_folder_and_by_recipe_and_others_are_named(tmp_path, run):
    root = tmp_path / "runs"
    assert find_run("smoke", root) == find_run(str(run.path), root) == run
    with pytest.raises(RunError, match=r"Recipes that have runs: smoke"):
        find_run("smokey", root)


def test_a_root_that_cannot_be_written_is_the_users_to_fix(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="--runs"):
        open_run(load_recipe("smoke"), {}, tmp_path / "file")


def test_no_stage_knows_a_name_of_a_runs_files_but_from_runs(tmp_path, tiny_model):
    """Every name is another one here, and the stages still find what those before them left."""
    names = [
        "RECIPE", "MANIFEST", "STARTED", "PROBLEMS", "CANDIDATES", "CRITIQUES", "EXAMPLES", "CALLS", "ADAPTER",
        "METRICS", "STEPS", "CHECKPOINTS", "ANSWERS", "ARM", "REPORT_JSON", "REPORT_TEXT", "REPORT_PAGE",
    ]  # fmt: skip
    (tmp_path / "tiny.yaml").write_text(TINY.format(model=tiny_model))
    program = (
        f"import sys; from cft import runs\nfor name in {names}: setattr(runs, name, 'x-' + getattr(runs, name))\n"
        "from cft.cli.main import main; main()"
    )
    command = [sys.executable, "-c", program, "run", "tiny.yaml"]
    environment = os.environ | ENVIRONMENT | {"PYTHONPATH": os.getcwd()}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    written = {path.name for path in (tmp_path / "runs" / "tiny").rglob("*")}
    old = {getattr(runs, name) for name in names}
    assert written & old == {"adapter"}  # the arm
    assert {f"x-{name}" for name in old - {runs.CHECKPOINTS}} <= written
