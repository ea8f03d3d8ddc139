"""Pictures of the camera's image next to the node's overlay: a still and an animation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from pear_ros.people import ImageArray

MAX_FRAMES = 60
SIDE_PX = 360  # width of each of the two images in the animation
QUALITY = 60


def side_by_side(
    images: Mapping[int, ImageArray], overlays: Mapping[int, ImageArray]
) -> dict[int, ImageArray]:
    """Returns (H, 2 W, 3) RGB for each stamp with image and overlay, in order of the stamps."""
    stamps = sorted(set(images) & set(overlays))
    return {stamp: np.hstack((images[stamp], overlays[stamp])) for stamp in stamps}


def write_still(path: Path, pairs: Mapping[int, ImageArray]) -> None:
    """Writes the last pair."""
    cv2.imwrite(str(path), cv2.cvtColor(pairs[max(pairs)], cv2.COLOR_RGB2BGR))


def write_animation(path: Path, pairs: Mapping[int, ImageArray]) -> None:
    """Writes the last MAX_FRAMES pairs as an animated WebP at the original speed."""
    stamps = list(pairs)[-MAX_FRAMES:]
    animation = cv2.Animation()
    animation.frames = [_small(pairs[stamp]) for stamp in stamps]
    periods_ms = np.diff(stamps) / 1e6
    animation.durations = np.append(periods_ms, 100).round().astype(int)
    cv2.imwriteanimation(str(path), animation, [cv2.IMWRITE_WEBP_QUALITY, QUALITY])


def _small(pair: ImageArray) -> ImageArray:
    height, width = pair.shape[:2]
    size = (2 * SIDE_PX, round(2 * SIDE_PX * height / width))
    return cv2.cvtColor(cv2.resize(pair, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2BGR)
