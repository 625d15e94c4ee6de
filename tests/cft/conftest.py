"""Fixtures of the tests of recipes and commands."""

import threading
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from cft.errors import RecipeError
from cft.recipe.load import load_recipe
from tests.support.hub import Hub
from tests.support.recipe_text import GOOD


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
def hub():
    """A hub that has seen nothing yet."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.seen, server.refuse = [], False
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
