"""Fixtures that several test folders share."""

import os
from pathlib import Path

import pytest

from tests.support.tiny import make_tiny_model

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: threads of several tests wait for each other
LONGEST = [
    "test_end_to_end",
    "test_launch_sharded",
    "test_launch",
    "test_launch_select",
    "test_selection",
    "test_train",
    "test_cli",
    "test_benchmarks",
    "test_speed",
    "test_sweep_runs",
    "test_full",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest come first, so that other processes have something to do beside them."""
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the random tiny model."""
    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny")
