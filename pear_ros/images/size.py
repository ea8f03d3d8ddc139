"""The limit of an image's size, checked before it is decoded."""

from __future__ import annotations

from pear_ros.config import CameraSettings
from pear_ros.errors import ImageError

DEFAULT_MAX_PIXELS: int = CameraSettings.max_pixels


def require_size(width: int, height: int, max_pixels: int = DEFAULT_MAX_PIXELS) -> None:
    """Checks the size, px, that an image's header names.

    A small file can name a size whose pixels fill the memory.

    Raises:
        ImageError: If there are no pixels, or more than `max_pixels` (camera.max_pixels).
    """
    if width <= 0 or height <= 0:
        raise ImageError(f"an image of {width}x{height} px is empty")
    if width * height > max_pixels:
        raise ImageError(
            f"an image of {width}x{height} px has more pixels than camera.max_pixels, {max_pixels}"
        )
