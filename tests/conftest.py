"""Fixtures that several test folders share."""

from pathlib import Path

import pytest

from tests.tiny import make_tiny_model


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the random tiny model."""
    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny")
