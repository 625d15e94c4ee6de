"""Fixtures of the tests of recipes and commands."""

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub.constants
import pytest

from cft.errors import RecipeError
from cft.models.fetch import hub_reachable
from cft.recipe.load import load_recipe

GOOD = """\
name: demo
model: {id: some-model}
data:
  builder: critiques
  problems: [bakery]
  students: [{samples: 4}]
  teachers:
    - kind: exact
    - {kind: file, path: critiques.jsonl}
train:
  method: cft
  lora: {r: 8}
  args:
    learning_rate: 2e-4
eval:
  tasks: [sums]
"""


@pytest.fixture
def write_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes demo.yaml into the working directory and returns its name."""
    monkeypatch.chdir(tmp_path)

    def write(content: str | bytes) -> str:
        Path("demo.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
        return "demo.yaml"

    return write


@pytest.fixture
def recipe_faults(write_recipe):
    """The lines of the message about GOOD with replacements and overrides, without the head line."""

    def faults_of(*changes: tuple[str, str], overrides: tuple[str, ...] = ()) -> list[str]:
        content = GOOD
        for old, new in changes:
            assert old in content
            content = content.replace(old, new)
        name = write_recipe(content)
        with pytest.raises(RecipeError) as caught:
            load_recipe(name, overrides)
        head, *lines = str(caught.value).split("\n")
        assert head == f"demo.yaml: {len(lines)} fault{'s' * (len(lines) > 1)}"
        return [line.strip() for line in lines]

    return faults_of


@pytest.fixture
def no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """An empty cache and no hub."""
    monkeypatch.setenv("CFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub" / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    hub_reachable.cache_clear()
    yield
    hub_reachable.cache_clear()


@pytest.fixture
def hub():
    """A hub that has seen nothing yet."""
    server = HubServer()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


class HubServer(ThreadingHTTPServer):
    """The hub on loopback, with what it was sent; it answers 403 from `refuse` on."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Hub)
        self.seen, self.refuse = [], False
        self.environment = {"HF_ENDPOINT": f"http://127.0.0.1:{self.server_port}", "HF_HUB_OFFLINE": "0"}

    def created(self) -> dict:
        """The request that made the repository."""
        return json.loads(next(body for path, body, _ in self.seen if path == "/api/repos/create"))

    def files(self) -> dict[str, bytes]:
        """The files of the only commit."""
        [commit] = [body for path, body, _ in self.seen if "/commit/" in path]
        rows = [row["value"] for row in map(json.loads, commit.splitlines()) if row["key"] == "file"]
        return {row["path"]: base64.b64decode(row["content"]) for row in rows}


class Hub(BaseHTTPRequestHandler):
    """As much of the hub as creating a data set and committing small files to it takes."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.seen.append((self.path, body, self.headers.get("Authorization")))
        if self.server.refuse:
            return self.reply(403, {"error": "forbidden"})
        address = f"http://127.0.0.1:{self.server.server_port}/datasets/me/set"
        if self.path == "/api/repos/create":
            return self.reply(200, {"url": address, "name": "me/set"})
        if "/preupload/" in self.path:
            files = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in json.loads(body)["files"]
            ]
            return self.reply(200, {"files": files})
        if "/commit/" in self.path:
            return self.reply(
                200, {"success": True, "commitOid": "0" * 40, "commitUrl": f"{address}/commit/{'0' * 40}"}
            )
        return self.reply(200, {"errors": [], "warnings": []})

    def do_GET(self):
        self.reply(200, {"id": "me/set", "sha": "0" * 40, "siblings": []})

    def reply(self, status, value):
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments):
        pass
