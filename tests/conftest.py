"""Fixtures that several test folders share."""

import os
from pathlib import Path

import pytest

from tests.support.tiny import make_tiny_model

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: threads of several tests wait for each other
LONGEST = [
    "end_to_end",
    "install",
    "launch_sharded",
    "launch",
    "launch_select",
    "selection",
    "train",
    "cli",
    "benchmarks",
    "speed",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest come first, so that other processes have something to do beside them."""
    order = {f"test_{name}": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the random tiny model."""
    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny")
