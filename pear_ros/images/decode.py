"""Raw image bytes -> RGB arrays."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from pear_ros.errors import ImageError
from pear_ros.people import ImageArray

_Convert = Callable[[NDArray[np.uint8]], ImageArray]


def _by_opencv(code: int) -> _Convert:
    return lambda image: np.asarray(cv2.cvtColor(image, code), np.uint8)


# sensor_msgs/image_encodings -> channels (bytes per pixel) and conversion of (H, W, channels).
# OpenCV names a Bayer pattern by the second and third pixel of its second row, ROS by the first
# two pixels of its first row.
ENCODINGS: dict[str, tuple[int, _Convert]] = {
    "rgb8": (3, lambda image: image),
    "bgr8": (3, _by_opencv(cv2.COLOR_BGR2RGB)),
    "rgba8": (4, _by_opencv(cv2.COLOR_RGBA2RGB)),
    "bgra8": (4, _by_opencv(cv2.COLOR_BGRA2RGB)),
    "mono8": (1, _by_opencv(cv2.COLOR_GRAY2RGB)),
    "yuv422": (2, _by_opencv(cv2.COLOR_YUV2RGB_UYVY)),
    "uyvy": (2, _by_opencv(cv2.COLOR_YUV2RGB_UYVY)),
    "yuv422_yuy2": (2, _by_opencv(cv2.COLOR_YUV2RGB_YUY2)),
    "yuyv": (2, _by_opencv(cv2.COLOR_YUV2RGB_YUY2)),
    "bayer_rggb8": (1, _by_opencv(cv2.COLOR_BayerBG2RGB)),
    "bayer_bggr8": (1, _by_opencv(cv2.COLOR_BayerRG2RGB)),
    "bayer_gbrg8": (1, _by_opencv(cv2.COLOR_BayerGR2RGB)),
    "bayer_grbg8": (1, _by_opencv(cv2.COLOR_BayerGB2RGB)),
}
LARGEST_SIDE = 1 << 15  # px; a larger image means a broken header


def rgb_from_raw(
    data: bytes | bytearray | memoryview | NDArray[np.uint8],
    encoding: str,
    height: int,
    width: int,
    step: int,
) -> ImageArray:
    """A raw image whose rows are `step` bytes apart -> (H, W, 3) RGB; `rgb8` is a view of `data`.

    Raises:
        ImageError: If the encoding is not in ENCODINGS, or if size, `step` and `data` do not fit.
    """
    if encoding not in ENCODINGS:
        raise ImageError(f"encoding {encoding!r} is none of {', '.join(ENCODINGS)}")
    if not (0 < height <= LARGEST_SIDE and 0 < width <= LARGEST_SIDE):
        raise ImageError(f"an image of {width}x{height} px is empty or too large")
    channels, convert = ENCODINGS[encoding]
    if channels == 2 and width % 2:
        raise ImageError(f"{encoding} stores pixels in pairs, but the width is {width}")
    if step < width * channels:
        raise ImageError(f"step {step} is less than {width} px of {channels} bytes ({encoding})")
    needed = step * (height - 1) + width * channels
    if len(data) < needed:
        raise ImageError(
            f"{len(data)} bytes of data, but {width}x{height} {encoding} needs {needed}"
        )
    strides = (step, channels, 1)
    image: NDArray[np.uint8] = np.ndarray(
        (height, width, channels), np.uint8, buffer=data, strides=strides
    )
    return convert(image)
