"""Changes to arrays, for tests of what is said of broken files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def read_npz(path: Path) -> dict[str, Any]:
    with np.load(path) as file:
        return dict(file)


def changed(arrays: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    for name, change in changes.items():
        new = change(arrays[name]) if callable(change) else change
        if new is None:
            del arrays[name]
        else:
            arrays[name] = new
    return arrays


def entry(index: Any, value: Any) -> Callable[[Any], Any]:
    def change(array: Any) -> Any:
        array = array.copy()
        array[index] = value
        return array

    return change


def objects(array: Any) -> Any:
    return array.astype(object)
