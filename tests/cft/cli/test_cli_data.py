"""`cft data ...` and `cft problems ...` as a user meets them, with a real server on loopback as the teacher."""

import json
from pathlib import Path

import pytest

from cft.files import read_own_jsonl
from tests.support.command import cft
from tests.support.faulty_server import FaultyServer

KEY = "sk-secret-0123456789abcdef"
RECIPE = """
name: asked
model: {{id: {model}, dtype: float32}}
data:
  builder: critiques
  problems: [bakery]
  students: [{{samples: 3, max_new_tokens: 8}}]
  teachers:
    - {{kind: file, path: bakery}}
    - kind: model
      model: fake-teacher
      styles: [step_check]
      endpoint: {{base_url: "{url}", api_key_env: TEACHER_KEY, price: {{input: 1.0, output: 100.0}}}}
train: {{method: cft, args: {{learning_rate: 1.0e-3}}}}
eval: {{tasks: [cft_wordproblems], limit: 5, max_new_tokens: 12, batch_size: 2}}
"""


@pytest.fixture
def teacher(tmp_path, tiny_model):
    """A recipe in the folder, and the server with its teacher."""
    with FaultyServer(log=tmp_path / "log", latency=0.0, require_key=KEY) as server:
        (tmp_path / "asked.yaml").write_text(RECIPE.format(model=tiny_model, url=server.url))
        yield server


def data_folder(root: Path) -> Path:
    return next((root / "runs" / "asked").glob("*/data"))


def test_plan_make_and_make_again(tmp_path, teacher):
    plan = json.loads(cft("plan", "asked.yaml", "--json", cwd=tmp_path).stdout)
    student, asked = plan["stages"][0]["calls"]
    assert (student["role"], student["calls"], student["host"]) == ("student", 3, "this process")
    assert asked["at_most"] and asked["calls"] == 3 + 92 and 0 < asked["cost_usd"] == plan["estimates"]["cost_usd"]

    done = cft("data", "asked.yaml", cwd=tmp_path, TEACHER_KEY=KEY)
    assert done.returncode == 0, done.stderr
    calls = sum(event["event"] == "answered" for event in teacher.requests())
    manifest = json.loads((data_folder(tmp_path) / "manifest.json").read_text())
    assert 92 < calls <= 95 and manifest["cost_usd"] == manifest["counts"]["cost_usd"] > 0
    assert f"cost ${manifest['cost_usd']:.4f}" in done.stderr.replace("\n", " ")
    everything = b"".join(path.read_bytes() for path in (tmp_path / "runs").rglob("*") if path.is_file())
    assert KEY.encode() not in everything and KEY not in done.stdout + done.stderr

    # another run, the same calls
    again = cft("data", "asked.yaml", "data.max_examples=5", cwd=tmp_path, TEACHER_KEY=KEY)
    assert again.returncode == 0, again.stderr
    assert sum(event["event"] == "answered" for event in teacher.requests()) == calls
    plan = json.loads(cft("plan", "asked.yaml", "data.max_examples=6", "--json", cwd=tmp_path).stdout)
    kept = plan["stages"][0]["calls"]
    assert [(row["calls"], row["kept"]) for row in kept] == [(3, 3), (calls, calls)] and kept[1]["cost_usd"] == 0


@pytest.mark.parametrize(
    ("arguments", "environment", "fault"),
    [
        ([], {}, "TEACHER_KEY: is not set"),
        ([], {"TEACHER_KEY": "sk-wrong-0123456789"}, "the API key is not accepted"),
        (["--max-cost", "0.01"], {"TEACHER_KEY": KEY}, "--max-cost 0.01"),
        (["data.teachers.1.styles=[step_chek]"], {"TEACHER_KEY": KEY}, "Did you mean step_check?"),
    ],
)
def test_faults_are_one_message_and_exit_code_2(tmp_path, teacher, arguments, environment, fault):
    done = cft("data", "make", "asked.yaml", *arguments, cwd=tmp_path, **environment)
    assert done.returncode == 2 and fault in done.stderr and "Traceback" not in done.stderr
    assert KEY not in done.stderr and "sk-wrong" not in done.stderr and len(done.stderr) < 1500


def test_a_server_that_is_not_there_is_told_before_any_student_is_sampled(tmp_path, tiny_model):
    (tmp_path / "asked.yaml").write_text(RECIPE.format(model=tiny_model, url="http://127.0.0.1:9/v1"))
    done = cft("data", "asked.yaml", cwd=tmp_path, TEACHER_KEY=KEY)
    assert done.returncode == 2 and "127.0.0.1:9: cannot be reached" in done.stderr
    assert not list((tmp_path / "runs").rglob("calls/*.jsonl"))


def test_inspect_and_load_what_was_made(tmp_path, tiny_model):
    overrides = [f"model.id={tiny_model}", "data.max_examples=20"]
    assert cft("data", "quickstart", *overrides, cwd=tmp_path).returncode == 0
    items = json.loads(cft("data", "inspect", "quickstart", "--style", "numbered check", "--json", cwd=tmp_path).stdout)
    assert len(items) == 12 and {item["critique"]["style"] for item in items} == {"numbered check"}
    shown = cft("data", "inspect", "quickstart", "--search", "nowhere near 1632", cwd=tmp_path)
    assert shown.returncode == 0
    page = cft("data", "inspect", "quickstart", "--html", "page.html", cwd=tmp_path)
    assert page.returncode == 0 and (tmp_path / "page.html").read_text().startswith("<!")
    wrong = cft("data", "inspect", "quickstart", "--teacher", "file:bakry", cwd=tmp_path)
    assert wrong.returncode == 2 and "file:bakery" in wrong.stderr

    from datasets import load_dataset

    folder = next((tmp_path / "runs" / "quickstart").glob("*/data"))
    loaded = load_dataset(str(folder), split="train", cache_dir=str(tmp_path / "cache"))
    assert len(loaded) == 20 and loaded[0]["completion"][0]["role"] == "assistant"
    assert "| bakery | 361 |" in (folder / "README.md").read_text()


def test_rank_a_pool(tmp_path, tiny_model):
    pool = tmp_path / "pool.jsonl"
    pool.write_text('{"id": "a", "question": "1 + 1?", "answer": 2}\n{"id": "b", "question": "2 + 2?", "answer": 4}\n')
    command = ["problems", "rank", "pool.jsonl", "--model", str(tiny_model), "--samples", "3", "--max-new-tokens", "16"]
    done = cft(*command, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {(row["problem"], row["samples"]) for row in json.loads(done.stdout)} == {("a", 3), ("b", 3)}
    assert len(read_own_jsonl(next((tmp_path / "runs" / "calls").glob("*.jsonl")))) == 6
    table = cft(*command, cwd=tmp_path)
    assert "score = 4p(1-p)" in table.stdout
    assert cft("problems", "rank", "nowhere.jsonl", "--model", "x", cwd=tmp_path).returncode == 2


def test_push_says_what_it_would_send_and_sends_it_when_told(tmp_path, tiny_model, hub):
    assert cft("data", "quickstart", f"model.id={tiny_model}", cwd=tmp_path).returncode == 0
    environment = hub.environment | {"HF_TOKEN": "hf_secret0123456789"}
    dry = cft("data", "push", "quickstart", "me/set", cwd=tmp_path, **environment)
    assert dry.returncode == 0 and "add --yes" in dry.stdout and "examples.jsonl" in dry.stdout and not hub.seen
    sent = cft("data", "push", "quickstart", "me/set", "--yes", cwd=tmp_path, **environment)
    assert sent.returncode == 0, sent.stderr
    created = hub.created()
    assert created["type"] == "dataset" and (created.get("visibility") == "private" or created.get("private"))
    rows = {f"{name}.jsonl" for name in ("examples", "critiques", "candidates", "problems")}
    assert set(hub.files()) == rows | {"README.md", "manifest.json"}
    folder = next((tmp_path / "runs" / "quickstart").glob("*/data"))
    assert all(content == (folder / name).read_bytes() for name, content in hub.files().items())
    bad = cft("data", "push", "quickstart", "set", cwd=tmp_path, **environment)
    assert bad.returncode == 2 and "Write OWNER/NAME" in bad.stderr
