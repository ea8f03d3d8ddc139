"""Fixtures of the tests that need ROS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from samples import DATA


@pytest.fixture(scope="session")
def files(front_checkpoint: Path, small_assets_path: Path) -> dict[str, Any]:
    """Parameters of a node whose network always estimates people that can be placed."""
    return {
        "network.checkpoint": str(front_checkpoint),
        "network.config": str(DATA / "network_tiny.json"),
        "body.assets": str(small_assets_path),
        "network.device": "cpu",
        "network.dtype": "float32",
    }
