"""Fixtures that several test folders share."""

from pathlib import Path

import pytest

from tests.support.tiny import make_tiny_model

LONGEST = [
    "test_end_to_end.py",
    "test_launch_sharded.py",
    "test_launch.py",
    "test_launch_select.py",
    "test_selection.py",
]
LONGEST += ["test_train.py", "test_cli.py", "test_benchmarks.py", "test_speed.py", "test_sweep_runs.py", "test_full.py"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest come first, so that other processes have something to do beside them."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the random tiny model."""
    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny")
