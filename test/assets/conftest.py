"""Fixtures of the tests of assets."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def downloads(small_downloads: Path, tmp_path: Path) -> Path:
    """A copy of the downloads that a test may break."""
    folder = tmp_path / "downloads"
    shutil.copytree(small_downloads, folder)
    return folder
