"""Options of `pear-ros bench`."""

from __future__ import annotations

from dataclasses import dataclass

from pear_ros.config import Config


@dataclass(frozen=True)
class BenchOptions:
    """The pipeline's settings and what to measure."""

    # Ignored: detection.detector, network.dtype, detection.max_people, and measure.AS_ESTIMATED.
    config: Config
    random: str | None  # file for random weights; empty: temporary; None: config's checkpoint
    dtypes: tuple[str, ...]  # precisions of the backbone
    batches: tuple[int, ...]  # people per step
    image_size: tuple[int, int]  # width, height, px
    repeats: int  # timed steps
    mesh: bool  # compute vertices, too
