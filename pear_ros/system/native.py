"""Finds the C libraries that CMake builds from `src/`; ctypes calls them without Python's lock."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pear_ros


def require(is_met: bool, what: str) -> None:
    """What C relies on and does not check, also where `python -O` drops asserts.

    Raises ValueError.
    """
    if not is_met:
        raise ValueError(f"expected {what}")


def load_library(name: str) -> ctypes.CDLL:
    # Where the source tree stands in for the installed modules, the library is in neither's place
    # alone: as for the generated messages, every part of the package is searched.
    paths = [Path(folder, f"{name}.so") for folder in pear_ros.__path__]
    found = next((path for path in paths if path.exists()), None)
    if found is None:
        raise ImportError(f"pear_ros is not built: none of {', '.join(map(str, paths))} exists")
    return ctypes.CDLL(str(found))
