"""`python -m benchmarks.gpu` on a CPU with the tiny model: its parts, a kill in the middle, what it says of a card."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import psutil
import pytest

from benchmarks import answer
from benchmarks.answer import decoders
from benchmarks.gpu import card, results
from benchmarks.gpu.child import Ended, run_child
from benchmarks.gpu.record import Part, Record, Settings
from benchmarks.gpu.runner import run_part
from benchmarks.gpu.steps import STEPS, items_in_time
from cft.errors import CFTError
from cft.recipe.load import load_recipe
from tests.support.tiny import write_models_file

REPOSITORY = Path(__file__).parent.parent
OPTIONS = ["--device", "cpu", "--items", "3", "--tokens", "8"]


def started(out: Path, model: Path, *arguments: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "benchmarks.gpu", *OPTIONS, "--model", str(model), "--out", str(out), *arguments]
    return subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True)


def wait_for(condition: Callable[[], object], seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.05)


def record_of(out: Path, step: str) -> dict:
    path = out / "steps" / f"{step}.json"
    return json.loads(path.read_text()) if path.exists() else {"parts": {}}


def running_in(folder: Path) -> list[psutil.Process]:
    """The processes whose command names the folder."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if any(str(folder) in word for word in process.info["cmdline"] or []):
            found.append(process)
    return found


@pytest.mark.soak
def test_killed_in_the_middle_it_goes_on(tiny_model: Path, tmp_path: Path):
    only = ["--only", "machine", "--only", "quickstart", "--minutes", "6"]
    first = started(tmp_path, tiny_model, *only)
    runs = tmp_path / "work"
    wait_for(lambda: list(runs.glob("*/runs/quickstart/*/data/manifest.json")) or first.poll() is not None)
    first.kill()
    assert first.wait() == -signal.SIGKILL
    wait_for(lambda: not running_in(tmp_path), 30)
    kept = record_of(tmp_path, "machine")
    assert kept["parts"]["machine"]["status"] == "done"
    assert record_of(tmp_path, "quickstart")["parts"].keys() == {"plan"}

    second = started(tmp_path, tiny_model, *only)
    _, said = second.communicate(timeout=300)
    assert second.returncode == 0, said
    assert record_of(tmp_path, "machine") == kept  # not measured again
    seed = record_of(tmp_path, "quickstart")["parts"]["seed 0"]
    assert seed["status"] == "done" and seed["result"]["arms"].keys() == {"base", "adapter"}
    assert seed["result"]["arms"]["base"]["n"] == 3 and seed["result"]["training"]["steps"] == 2
    manifest = json.loads(next(runs.glob("*/runs/quickstart/*/data/manifest.json")).read_text())
    assert manifest["starts"] == 1  # the killed run's data were taken
    page = (tmp_path / "gpu.md").read_text()
    headings = re.findall(r"^## (.*)$", page, re.MULTILINE)
    assert headings == ["machine", "tests", "quickstart", "memory", "training", "evaluation", "large"]
    assert "MATH-500 is not" in page and "| seed 0 | 0.0 %" in page and page.count("Not measured") == 5


@pytest.mark.soak
def test_the_races_and_the_memory(tiny_model: Path, tmp_path: Path):
    steps = ["--only", "memory", "--only", "training", "--only", "evaluation", "--minutes", "20"]
    whole = started(tmp_path, tiny_model, *steps)
    _, said = whole.communicate(timeout=1300)
    assert whole.returncode == 0, said
    measured = [part["result"] for part in record_of(tmp_path, "memory")["parts"].values() if part["status"] == "done"]
    assert len(measured) == 1 and all(row["measured"] > 1e8 for row in measured)
    assert record_of(tmp_path, "training")["parts"]["race"]["result"]["medians"].keys() == {"cft train", "trl sft"}
    sides = record_of(tmp_path, "evaluation")["parts"]
    assert sides["vllm"]["status"] == "skipped" and sides["lm_eval"]["result"]["items"] == 2
    page = (tmp_path / "gpu.md").read_text()
    assert "times the speed of trl sft" in page and "times as fast as lm_eval" in page and "| tiny, 1 row |" in page


def settings_of(device: str, model: Path, out: Path) -> Settings:
    return Settings(
        device=device, model=str(model), location=model, data=None, large="smollm2-135m", items=None, tokens=1024,
        seeds=2, vllm=None, unsloth=None, out=out, of={},
    )  # fmt: skip


BEGUN = "collected 4 items\n\na.py::test_a PASSED [ 25%]\na.py::test_b "


@pytest.mark.parametrize(
    ("said", "status", "counts"),
    [
        ("", "cut", {}),
        (BEGUN, "cut", {"PASSED": 1, "NOT RUN": 3}),
        (f"{BEGUN}FAILED [ 50%]\n", "failed", {"PASSED": 1, "FAILED": 1, "NOT RUN": 2}),
    ],
)
def test_tests_that_are_cut_off_are_counted_and_fail_only_if_one_failed(
    said: str, status: str, counts: dict, tmp_path: Path
):
    program = f"import time; print({said!r}, end='', flush=True); time.sleep(99)"
    part = Part("tests", [sys.executable, "-c", program], results.of_tests, partly=True)
    settings = settings_of("cpu", tmp_path, tmp_path)
    kept = run_part(part, "tests", settings, lambda: 3.0, lambda *shown: None)
    assert (kept["status"], kept["result"]["counts"]) == (status, counts)
    assert kept["result"]["failures"] == ["a.py::test_b FAILED"] * (status == "failed")
    late = run_part(part, "tests", settings, lambda: 0.5, lambda *shown: None)
    assert late["status"] == "cut" and late["why"] == "0 s were left to this step"


def test_a_process_ends_at_its_limit_with_all_it_started(tmp_path: Path):
    sleeper = (
        "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(99)', sys.argv[1]])"
    )
    ended = run_child([sys.executable, "-c", sleeper, str(tmp_path)], tmp_path, 1.0, {}, lambda: None)
    assert ended.cut and ended.code and 1 <= ended.seconds < 10
    assert not running_in(tmp_path)


def test_the_recipes_take_what_a_gpu_would_be_asked(tiny_model: Path, tmp_path: Path):
    """Every override of every command, those that a small card turns among them."""
    settings = settings_of("cuda", tiny_model, tmp_path)
    turned = {"train.args.per_device_train_batch_size": "1", "eval.batch_size": "32"}
    checked = 0
    for step in STEPS:
        record = Record(tmp_path / "record.json", step.name, {})
        for part in step.parts(settings, record, lambda: 100.0):
            overrides = [word for word in part.command if re.match(r"[a-z_]+(\.\w+)*=", word)]
            if overrides:
                recipe = (
                    part.command[part.command.index("--recipe") + 1] if "--recipe" in part.command else "quickstart"
                )
                loaded = load_recipe(recipe, overrides)
                checked += 1
                if part.name.startswith("seed"):
                    assert loaded.eval.batch_size == loaded.eval.limit == 32
            if part.name == "plan":
                plan = {"gb": 9.0, "turn": turned, "lacks": ""}
                record.parts["plan"] = {"status": "done", "command": part.command, "result": plan}
    assert checked == 2 * 1 + 2 + 1 + 7
    assert items_in_time(500, 500, settings, 10) == 500 and items_in_time(500, 64, settings, 300) == 256


TESTS = """
import pytest
@pytest.mark.gpu
def test_right(): pass
@pytest.mark.gpu
def test_wrong(): assert 1 == 2, "the reason"
@pytest.mark.gpu
@pytest.mark.skip(reason="has no such card")
def test_left_out(): pass
"""


def outcome_of(text: str, folder: Path) -> dict:
    (folder / "test_some.py").write_text(text)
    options = [
        "-m",
        "gpu",
        "-vv",
        "--tb=short",
        "-rfEs",
        "-p",
        "no:cacheprovider",
        "-c",
        str(REPOSITORY / "pyproject.toml"),
    ]
    done = subprocess.run([sys.executable, "-m", "pytest", str(folder), *options], capture_output=True, text=True)
    (folder / "stdout.txt").write_text(done.stdout)
    (folder / "stderr.txt").write_text(done.stderr)
    return results.of_tests(Ended(done.returncode, 1.0, False, folder))


def test_outcomes_of_tests(tmp_path: Path):
    found = outcome_of(TESTS, tmp_path)
    assert found["counts"] == {"PASSED": 1, "FAILED": 1, "SKIPPED": 1} and found["fault"] == "1 of 3 tests failed"
    assert "the reason" in found["failures"][0] and "has no such card" in found["skipped"][0]
    assert "no test passed" in outcome_of("def test_without_mark(): pass", tmp_path)["fault"]
    assert "fault" not in outcome_of(TESTS.replace("1 == 2", "1 == 1"), tmp_path)


SMI = """#!/bin/sh
case "$*" in
  *query-gpu*) echo "NVIDIA GeForce RTX 3060, 12288, 8.6, 9000" ;;
  *compute-apps*) echo "/usr/bin/game, 4242, 8800 MiB" ;;
  *) echo "| NVIDIA-SMI 535.1   Driver Version: 535.1   CUDA Version: 12.2 |" ;;
esac
"""


@pytest.fixture
def busy_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What nvidia-smi says of a card that a game is using."""
    (tmp_path / "nvidia-smi").write_text(SMI)
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.usefixtures("busy_card")
def test_a_busy_card_is_told_with_both_figures():
    assert card.lacking(3.0) == ""
    told = card.lacking(8.0)
    assert "needs 8.0 GB" in told and "3.4 GB of 12.9 GB are free" in told and "game (process 4242, 8800 MiB)" in told
    assert "game" in card.notes("cuda")[0]


@pytest.mark.usefixtures("busy_card")
def test_a_torch_without_cuda_is_told():
    import torch

    if torch.version.cuda:
        pytest.skip("this torch has CUDA")
    with pytest.raises(CFTError, match=r"RTX 3060 is here, but this torch is built without CUDA.*--device cpu"):
        card.choose_device("cuda")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--only", "memry"], "--only memry: is no step"),
        (["--data", "nowhere"], "is no folder"),
        (["--device", "tpu"], "tpu"),
    ],
)
def test_bad_input(arguments: list[str], told: str, tiny_model: Path, tmp_path: Path):
    done = started(tmp_path, tiny_model, *arguments)
    _, said = done.communicate(timeout=60)
    assert done.returncode == 2 and told in said and "Traceback" not in said


def test_results_of_another_card_begin_anew(tmp_path: Path):
    of = {"card": "one", "torch": "2.13.0"}
    record, other = Record.read(tmp_path / "memory.json", of)
    record.parts["a"] = {"status": "done", "command": ["x"], "seconds": 1.0, "result": {"measured": 3}}
    record.write()
    assert other is None
    again, other = Record.read(tmp_path / "memory.json", of)
    assert other is None and again.result("a") == {"measured": 3} and again.status == "done"
    fresh, other = Record.read(tmp_path / "memory.json", of | {"card": "two"})
    assert other == of and not fresh.parts


def test_random_weights_of_a_recipes_sizes(tiny_model: Path, tmp_path: Path):
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    sizes |= {"num_key_value_heads": 2, "vocab_size": 300, "qk_norm": True}
    entry = {"hub_id": "some/model", "licence": "none", "parameters": 100_000, "architecture": sizes}
    entry["sources"] = [{"kind": "hub", "download_mb": 1, "cached_mb": 1}]
    models = write_models_file(tmp_path / "models.yaml", sized=entry)
    command = [sys.executable, "-m", "benchmarks.memory", "--shape", "--model", str(tiny_model), "--steps", "1"]
    command += ["--setting", "the recipe's own", "--runs", str(tmp_path), "--json", str(tmp_path / "out.json")]
    command += ["model.id=sized", "data.max_examples=4", "train.args.max_length=4096"]
    environment = os.environ | {"CFT_MODELS": str(models)}
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert "error" not in row and row["steps"] == 1 and row["planned"] > 1e8 and row["measured"] > 1e8
    config = json.loads(next((tmp_path / "shapes").glob("*/config.json")).read_text())
    assert config["model_type"] == "qwen3" and config["hidden_size"] == 64


class OneModel(BaseHTTPRequestHandler):
    """A server of completions as vllm's, for one model."""

    def do_GET(self) -> None:
        self.answer({"object": "list", "data": [{"id": "here", "object": "model", "created": 1, "owned_by": "x"}]})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = f"{asked['model']} {asked['max_tokens']} \\boxed{{1}}"
        choice = {"index": 0, "text": text, "finish_reason": "stop", "logprobs": None}
        self.answer({"id": "1", "object": "text_completion", "created": 1, "model": "here", "choices": [choice]})

    def answer(self, body: dict) -> None:
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), OneModel) as http:
        Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}/v1"
        http.shutdown()


def test_sides_answer_the_same_prompts(tiny_model: Path, tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GOMP_SPINCOUNT", "1000")  # which it would set for its process
    found = {}
    for side in (*decoders(), "vllm"):
        out = tmp_path / f"{side}.json"
        answer.main(side, str(tiny_model), 3, 6, 3, out, server)
        found[side] = json.loads(out.read_text())
    first = found[decoders()[0]]
    assert all(one["prompts"] == first["prompts"] for one in found.values())
    assert all(found[name]["texts"] == first["texts"] for name in decoders())
    (tmp_path / "result.json").write_text((tmp_path / "vllm.json").read_text())
    speed = results.of_answers(tmp_path / "vllm.json", Ended(0, 1.0, False, tmp_path))
    assert speed["items"] == speed["alike"] == 3 and speed["tokens_per_second"] > 0 and "fault" not in speed
    (tmp_path / "other.json").write_text(json.dumps(first | {"prompts": ["1 + 1?"] * 3}))
    assert "other prompts" in results.of_answers(tmp_path / "other.json", Ended(0, 1.0, False, tmp_path))["fault"]
    assert found["vllm"]["texts"] == ["here 6 \\boxed{1}"] * 3
