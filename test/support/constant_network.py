"""A network that says the same of every image, so that a test can choose the truth of a dataset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray


@dataclass(frozen=True)
class Constant:
    """The checkpoint, and what it says of everybody, in the axes of the crop's camera."""

    options: list[str]  # of pear-ros evaluate
    joints: NDArray[Any]  # (55, 3) m
    vertices: NDArray[Any]  # (150, 3) m
