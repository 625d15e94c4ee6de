"""Nothing that lies in the working folder runs: not as a module of ours, not in a process that is started."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.forks import ENVIRONMENT

ROOT = Path(__file__).parents[2]
MODULES = ("yaml", "torch", "transformers", "lm_eval", "sitecustomize", "math_verify", "matplotlib")
PACKAGES = ("pip", "accelerate", "peft", "datasets")
RECIPE = """
name: tiny
model: {{id: {model}, dtype: float32}}
data: {{builder: critiques, problems: [bakery], teachers: [{{kind: file, path: bakery}}], max_examples: 4}}
train: {{method: cft, lora: {{r: 2}}, args: {{max_steps: 1, max_length: 4096, per_device_train_batch_size: 1}}}}
eval: {{tasks: [cft_wordproblems], limit: 2, max_new_tokens: 4}}
"""


@pytest.fixture
def trapped(tmp_path, tiny_model) -> Path:
    """A folder in which a module of every name that might be imported says that it ran."""
    trap = f"from pathlib import Path\nPath({str(tmp_path)!r}, 'ran', __file__.replace('/', '_')).touch()\n"
    for name in MODULES:
        (tmp_path / f"{name}.py").write_text(trap)
    for name in PACKAGES:
        (tmp_path / name).mkdir()
        for file in ("__init__.py", "__main__.py"):
            (tmp_path / name / file).write_text(trap)
    (tmp_path / "ran").mkdir()
    (tmp_path / "tiny.yaml").write_text(RECIPE.format(model=tiny_model))
    return tmp_path


def python(*arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    environment = os.environ | ENVIRONMENT | {"PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True)


def test_a_launched_training_scoring_and_the_report_run_nothing_of_the_folder(trapped):
    python("-c", "import sitecustomize", cwd=trapped)
    started = {path.name for path in (trapped / "ran").iterdir()}  # the trap works
    entry = ["-P", "-c", "from cft.cli.main import main; main()"]  # as the installed `cft`: without the working folder
    done = python(*entry, "run", "tiny.yaml", "--launch", "ddp", "--processes", "1", cwd=trapped)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (trapped / "ran").iterdir()} == started != set()
    [results] = trapped.glob("runs/*/*/eval/*/base/results_*.json")
    written = json.loads(results.read_text("utf-8"))
    assert "transformers: " in written["pretty_env_info"] and written["git_hash"] is None


def test_what_is_imported_or_started_later_does_not_come_from_the_folder_either(trapped):
    code = (
        "import subprocess, sys, cft.cli.main as program\n"  # here the path still begins with the working folder
        "program.app = lambda: None; program.main()\n"
        "import lm_eval; subprocess.run([sys.executable, '-m', 'pip', '--version'])"
    )
    done = python("-c", code, cwd=trapped)
    assert done.returncode == 0 and done.stdout.startswith("pip "), done.stderr
    assert not list((trapped / "ran").iterdir())
