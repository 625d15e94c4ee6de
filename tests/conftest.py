"""Fixtures that several test folders share."""

from pathlib import Path

import pytest

from tests.support.tiny import make_tiny_model


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The file that takes longest comes first, so that other processes have something to do beside it."""
    items.sort(key=lambda item: item.path.name != "test_end_to_end.py")


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the random tiny model."""
    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny")
