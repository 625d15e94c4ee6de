"""The command line as a user meets it: in a process of its own, judged by output and exit code."""

import contextlib
import errno
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cft.errors import fault_of_the_machine
from tests.support.command import cft, started

RECIPE = """
name: tiny
seed: 3
model: {{id: {model}, dtype: float32}}
data:
  builder: critiques
  problems: [bakery]
  students: [{{samples: 6, max_new_tokens: 12, batch_size: 3}}]
  teachers:
    - {{kind: exact, styles: [numbered check]}}
    - {{kind: file, path: bakery}}
  max_examples: 10
train:
  method: cft
  lora: {{r: 4, target_modules: all-linear}}
  args: {{learning_rate: 1.0e-3, per_device_train_batch_size: 1, gradient_accumulation_steps: 2, max_length: 4096}}
eval: {{tasks: [cft_wordproblems], limit: 5, max_new_tokens: 12, batch_size: 2}}
"""


@pytest.fixture
def recipe(tmp_path, tiny_model) -> str:
    (tmp_path / "tiny.yaml").write_text(RECIPE.format(model=tiny_model))
    return "tiny.yaml"


def answers(run: Path) -> dict[str, bytes]:
    """The files that must not depend on how often a run was interrupted."""
    parts = ["data/[!c]*.jsonl", "data/c[!a]*.jsonl", "data/can*.jsonl"]
    parts += ["eval/*/*/answers.jsonl", "train/adapter/adapter_model.safetensors"]
    return {str(p.relative_to(run)): p.read_bytes() for part in parts for p in run.glob(part)}


def test_help_does_not_import_the_heavy_libraries():
    code = (
        "import sys; sys.argv = ['cft', '--help']\n"
        "from cft.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: print([m for m in ('torch', 'transformers', 'pydantic', 'scipy') if m in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    assert "preflight" in printed and printed.rstrip().endswith("[]")


def test_the_whole_chain_then_nothing_twice_then_a_trace_back(tmp_path, recipe):
    plan = json.loads(cft("plan", recipe, "--json", cwd=tmp_path).stdout)
    assert [stage["stage"] for stage in plan["stages"]] == ["data", "train", "eval"]
    first = cft("run", recipe, "--json", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    result = json.loads(first.stdout.splitlines()[-1])
    run = tmp_path / result["run"]
    assert plan["run"] == result["run"]
    report = json.loads((run / "report" / "report.json").read_text())
    assert [arm["name"] for arm in report["arms"]] == ["base", "adapter"]
    assert all(arm["n"] == 5 == sum(arm["outcomes"].values()) for arm in report["arms"])
    assert {"arm", "against", "difference", "ci", "mcnemar_p", "gained", "lost"} <= set(report["comparisons"][0])
    for name in ("report.md", "report.png"):
        assert (run / "report" / name).stat().st_size > 0
    for stage in ("data", "train", "eval"):
        manifest = json.loads((run / stage / "manifest.json").read_text())
        assert manifest["seed"] == 3 and manifest["versions"]["trl"] and manifest["counts"]

    before = {p: p.stat().st_mtime_ns for p in run.rglob("*.jsonl")}
    again = cft("run", recipe, cwd=tmp_path)
    assert again.returncode == 0 and again.stderr.count("done before") == 3
    assert before == {p: p.stat().st_mtime_ns for p in run.rglob("*.jsonl")}

    example = json.loads((run / "data" / "examples.jsonl").read_text().splitlines()[0])
    chain = json.loads(cft("trace", "tiny", example["id"][:8], "--json", cwd=tmp_path).stdout)["chain"]
    assert [link["kind"] for link in chain] == ["example", "critique", "candidate", "problem"]
    assert chain[0]["completion"][0]["content"] == chain[1]["text"].strip()
    assert chain[2]["text"].strip() in chain[0]["prompt"][0]["content"]
    scored = json.loads(cft("trace", "tiny", "cft_wordproblems:2", "--json", cwd=tmp_path).stdout)["chain"]
    assert [link["kind"] for link in scored] == ["answer", "answer", "eval", "train", "data"]
    shown = cft("preflight", recipe, cwd=tmp_path)
    assert shown.returncode == 0 and "boxed{361}" in shown.stdout


def made(folder: Path) -> dict[str, int]:
    """What a run has finished so far: its rows, checkpoints and manifests, with their sizes."""
    found = {}
    with contextlib.suppress(FileNotFoundError):  # it works on while we look
        for path in folder.rglob("*"):
            if path.suffix == ".jsonl" or path.name.startswith(("checkpoint-", "manifest", "arm.json")):
                found[str(path)] = path.stat().st_size
    return found


@pytest.mark.parametrize("times", [4, pytest.param(12, marks=pytest.mark.soak)])
def test_a_run_killed_again_and_again_ends_as_an_undisturbed_one(tmp_path, recipe, times):
    undisturbed = cft("run", recipe, "--runs", "calm", "--json", cwd=tmp_path)
    calm = tmp_path / json.loads(undisturbed.stdout.splitlines()[-1])["run"]
    rng, kills = random.Random(0), 0
    for _ in range(times):
        before = made(tmp_path / "killed")
        process = started("run", recipe, "--runs", "killed", cwd=tmp_path)
        while process.poll() is None and made(tmp_path / "killed") == before:
            time.sleep(0.02)  # every start gets a little further, on a machine of any speed
        time.sleep(rng.uniform(0, 0.3))
        kills += process.poll() is None
        process.kill()
        process.wait()
    assert kills >= times // 2
    last = cft("run", recipe, "--runs", "killed", "--json", cwd=tmp_path)
    assert last.returncode == 0, last.stderr
    killed = tmp_path / json.loads(last.stdout.splitlines()[-1])["run"]
    assert answers(killed) == answers(calm) != {}
    reports = [json.loads((run / "report" / "report.json").read_text()) for run in (calm, killed)]
    scores = [[(arm["accuracy"], arm["outcomes"]) for arm in report["arms"]] for report in reports]
    assert scores[0] == scores[1]


@pytest.mark.parametrize(
    ("arguments", "needles"),
    [
        (["run", "quickstrat"], ["quickstart"]),
        (["plan", "missing.yaml"], ["missing.yaml"]),
        (["plan", "empty.yaml"], ["empty.yaml", "empty"]),
        (["plan", "broken.yaml"], ["broken.yaml", "YAML"]),
        (["plan", "quickstart", "trane.method=cft"], ["trane", "train"]),
        (["plan", "quickstart", "train.args.learning_rte=1"], ["learning_rte", "learning_rate"]),
        (["plan", "quickstart", "model.id=qwen2.5-codr-0.5b"], ["qwen2.5-coder-0.5b", "cft models"]),
        (["plan", "quickstart", "model.id=."], ["config.json"]),
        (["plan", "quickstart", "eval.tasks=[cft_wordprblems]"], ["cft_wordproblems"]),
        (["train", "quickstart"], ["cft data"]),
        (["trace", "quickstart"], ["no such run"]),
        (["models", "path", "nothing-like-it"], ["cft models"]),
        (["copy", "quickstart", "there.yaml"], ["exists already"]),
    ],
)
def test_a_mistake_is_one_message_without_traceback_and_exit_code_2(tmp_path, arguments, needles):
    (tmp_path / "empty.yaml").write_text("")
    (tmp_path / "broken.yaml").write_text("name: [x\nmodel: }")
    (tmp_path / "there.yaml").write_text("mine")
    result = cft(*arguments, cwd=tmp_path, CFT_CACHE=str(tmp_path / "cache"), PIP_NO_INDEX="1")
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    assert len(result.stderr.splitlines()) < 24
    for needle in needles:
        assert needle in " ".join(result.stderr.split())
    assert (tmp_path / "there.yaml").read_text() == "mine"


def test_an_error_with_json_is_json(tmp_path):
    result = cft("plan", "quickstart", "seed=many", "--json", cwd=tmp_path)
    assert result.returncode == 2
    assert "seed" in json.loads(result.stdout)["error"]


def test_every_listing_answers_in_text_and_in_json(tmp_path):
    for command in (["recipes"], ["models"], ["doctor"], ["show", "quickstart"]):
        text, data = cft(*command, cwd=tmp_path), cft(*command, "--json", cwd=tmp_path)
        assert text.returncode == data.returncode == 0, text.stderr + data.stderr
        assert text.stdout.strip() and json.loads(data.stdout)


def test_a_copied_recipe_is_the_shipped_one_and_runs_from_its_file(tmp_path):
    assert cft("copy", "smoke", "mine.yaml", cwd=tmp_path).returncode == 0
    shipped = json.loads(cft("show", "smoke", "--json", cwd=tmp_path).stdout)
    assert json.loads(cft("show", "mine.yaml", "--json", cwd=tmp_path).stdout) == shipped


@pytest.mark.parametrize(
    ("arguments", "needle"),
    [
        (["copy", "smoke", "/proc/nothing/x.yaml"], "/proc/nothing/x.yaml: cannot be written"),
        (["copy", "smoke", "file/x.yaml"], "file/x.yaml: cannot be written"),
        (["copy", "smoke", "loop"], "loop: exists already"),
        (["copy", "smoke", "n" * 300], "cannot be written (File name too long)"),
        (["plan", "smoke", "--runs", "file"], "Not a directory"),
        (["models", "path", "smollm2-135m"], "file/cache"),
    ],
)
def test_a_place_that_cannot_be_used_is_one_message(tmp_path, arguments, needle):
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to("loop")
    told = cft(*arguments, cwd=tmp_path, CFT_CACHE="file/cache" if arguments[0] == "models" else str(tmp_path))
    assert told.returncode == 2 and "Traceback" not in told.stderr
    assert needle in told.stderr


def test_a_folder_that_is_gone_and_an_unknown_home_are_one_message(tmp_path):
    program = "import os, sys; os.mkdir('x'); os.chdir('x'); os.rmdir('../x')\nfrom cft.cli.main import main; main()"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, "-c", program, "recipes"]
    told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert told.returncode == 2 and told.stderr.startswith("error: the folder that this command was given in is gone")
    told = cft("models", cwd=tmp_path, CFT_CACHE="~nobody-of-this-name/x")
    assert told.returncode == 2 and "Set CFT_CACHE" in told.stderr and "Traceback" not in told.stderr


def test_what_a_disk_or_its_permissions_refuse_is_told_and_a_missing_file_may_be_a_bug():
    for number in (errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EIO, errno.ENAMETOOLONG):
        told = fault_of_the_machine(OSError(number, os.strerror(number), "runs/x"))
        assert told.startswith("runs/x: ") and "What is done is kept" in told
    assert fault_of_the_machine(FileNotFoundError(errno.ENOENT, "", "runs/x")) is None
