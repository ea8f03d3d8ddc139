"""Loads the C libraries that CMake builds from `src/`.

ctypes releases Python's global interpreter lock during calls.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

import pear_ros


def require(is_met: bool, what: str) -> None:
    """Checks a condition that the C code relies on; unlike assert, with `python -O` as well.

    Raises:
        ValueError: If it is not met: "expected " and `what`.
    """
    if not is_met:
        raise ValueError(f"expected {what}")


def load_library(name: str) -> ctypes.CDLL:
    """Loads the library `name`.so of this package.

    Raises:
        ImportError: If it was not built.
    """
    # If the modules are imported from the source tree, the libraries and the generated messages are
    # still in the installed package, so search every folder of the package.
    paths = [Path(folder, f"{name}.so") for folder in pear_ros.__path__]
    found = next((path for path in paths if path.exists()), None)
    if found is None:
        raise ImportError(f"pear_ros is not built: none of {', '.join(map(str, paths))} exists")
    return ctypes.CDLL(str(found))
