"""Reads files and changes their arrays, for tests of error messages."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def read_npz(path: Path) -> dict[str, Any]:
    with np.load(path) as file:
        return dict(file)


def read_pickle(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = pickle.loads(path.read_bytes())
    return content


def changed(arrays: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Replaces arrays by new ones or by functions of the old ones; None removes an array."""
    for name, change in changes.items():
        new = change(arrays[name]) if callable(change) else change
        if new is None:
            del arrays[name]
        else:
            arrays[name] = new
    return arrays


def entry(index: Any, value: Any) -> Callable[[Any], Any]:
    """A change of one entry of an array."""

    def change(array: Any) -> Any:
        array = array.copy()
        array[index] = value
        return array

    return change


def objects(array: Any) -> Any:
    """The array with dtype object, which numpy stores as a pickle."""
    return array.astype(object)
