"""The choices of `pear-ros bench`."""

from __future__ import annotations

from dataclasses import dataclass

from pear_ros.config import Config


@dataclass(frozen=True)
class BenchOptions:
    """What is measured besides the pipeline's own settings."""

    config: Config  # its detector, dtype and max_people are not used
    random: str | None  # file for random weights, empty: a temporary one; None: config's weights
    dtypes: tuple[str, ...]  # of the backbone
    batches: tuple[int, ...]  # people per step
    image_size: tuple[int, int]  # width, height, px
    repeats: int
    mesh: bool
