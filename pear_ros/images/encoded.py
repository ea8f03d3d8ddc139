"""Encoded pictures, bytes or files -> RGB arrays."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pear_ros.errors import ImageError
from pear_ros.people import ImageArray


def rgb_from_compressed(data: bytes | bytearray | memoryview | NDArray[np.uint8]) -> ImageArray:
    """The bytes of a JPEG or PNG file -> (H, W, 3) RGB.

    Raises:
        ImageError: If the file is truncated, damaged or of another format.
    """
    encoded = np.frombuffer(data, np.uint8)
    # For a truncated file, decoders fill the missing part with grey and only warn, so check that
    # the end marker is there.
    tail = encoded.tobytes().rstrip(b"\0")[-64:]  # some cameras pad their files with zeros
    if encoded[:2].tobytes() == b"\xff\xd8":
        is_whole = b"\xff\xd9" in tail
    elif encoded[:4].tobytes() == b"\x89PNG":
        is_whole = b"IEND" in tail
    else:
        raise ImageError("compressed image is neither JPEG nor PNG")
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(encoded, flags) if is_whole else None
    except cv2.error:  # the header has more pixels than OpenCV accepts
        image = None
    if image is None:
        raise ImageError(f"compressed image of {len(encoded)} bytes is truncated or damaged")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def read_picture(path: Path) -> ImageArray | None:
    """An image file of any format of OpenCV -> (H, W, 3) RGB; None if it cannot be read."""
    try:
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    except cv2.error:  # the header has more pixels than OpenCV accepts
        image = None
    return None if image is None else np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
