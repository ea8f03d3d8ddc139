"""RVL, the lossless compression of depth images by Wilson (2017), decoded in C (`src/rvl.c`).

The data are numbers: how many pixels are 0, how many are not, and for each of these its difference
to the one before that is not 0; then the next run. Differences 0, -1, 1, -2, 2, ... are the numbers
0, 1, 2, 3, 4, ... A number is written in nibbles of three bits, the lowest bits first; the fourth
bit says that more follow. Eight nibbles, the highest first, are a little-endian word.
"""

from __future__ import annotations

import ctypes

import numpy as np
from numpy.typing import NDArray

from pear_ros.errors import ImageError
from pear_ros.system.native import load_library


def rvl_decoded(data: bytes, pixels: int) -> NDArray[np.uint16]:
    """The values (pixels,) of an image.

    Raises:
        ImageError: If the data is truncated or damaged.
    """
    values = np.empty(pixels, np.uint16)
    if not _LIBRARY.pear_decode_rvl(data, len(data), values.ctypes.data, pixels):
        raise ImageError("the RVL image is truncated or damaged")
    return values


_LIBRARY = load_library("_rvl")
_LIBRARY.pear_decode_rvl.argtypes = (
    *(ctypes.c_char_p, ctypes.c_int64),
    *(ctypes.c_void_p, ctypes.c_int64),
)
_LIBRARY.pear_decode_rvl.restype = ctypes.c_int
