"""Bytes of depth images -> metres along the optical axis.

Raw images are those of REP 118: millimetres of 16 bits, or metres of 32. `compressedDepth` is what
ROS's compressed_depth_image_transport sends: a header of 12 bytes, then a PNG picture or RVL, both
of 16 bits. In the header are two numbers that give metres for images that had 32 bits, whose
inverse is stored.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pear_ros.errors import ImageError
from pear_ros.images.decode import Data, Section, views
from pear_ros.images.encoded import decoded
from pear_ros.images.rvl import rvl_decoded
from pear_ros.images.size import DEFAULT_MAX_PIXELS, require_size
from pear_ros.images.whole import end_of_png
from pear_ros.people import FloatArray

Values = NDArray[np.uint16]

ENCODINGS = {"16UC1": "u2", "mono16": "u2", "32FC1": "f4"}  # of depth images -> numpy's types
M_A_MILLIMETRE = np.float32(0.001)

_HEADER = struct.Struct("<iff")  # kind of compression; a, b: depth = a / (value - b)
_RVL_SIZE = struct.Struct("<II")  # width, height
_PNG_HEADER = struct.Struct(">8sI4sIIBB")  # signature, length, name, width, height, bits, colours
_PNG = b"\x89PNG\r\n\x1a\n"


def depth_from_raw(
    data: Data, encoding: str, height: int, width: int, step: int, is_bigendian: bool = False
) -> FloatArray:
    """A raw depth image whose rows are `step` bytes apart -> (H, W) m; 0: not measured.

    Raises:
        ImageError: If the encoding is not in ENCODINGS, or if size, `step` and `data` do not fit.
    """
    _require_encoding(encoding)
    kind = np.dtype(("<", ">")[is_bigendian] + ENCODINGS[encoding])
    pixels = Section(0, (height, width, kind.itemsize), (step, kind.itemsize, 1))
    (section,) = views(data, [pixels], encoding)
    values = section.view(kind)[..., 0]  # (H, W)
    if kind.kind == "u":
        return np.multiply(values, M_A_MILLIMETRE, dtype=np.float32)
    return _measured(values.astype(np.float32, copy=False))


@dataclass(frozen=True)
class CompressedDepth:
    """A depth image whose size is known, but which is not decoded yet."""

    height: int  # px
    width: int  # px
    _values: Callable[[], Values]  # (H, W)
    _inverse: tuple[float, float] | None  # a, b; None: millimetres

    def metres(self) -> FloatArray:
        """(H, W) m; 0: not measured.

        Raises:
            ImageError: If the data is truncated or damaged.
        """
        values = self._values()
        if self._inverse is None:
            return np.multiply(values, M_A_MILLIMETRE, dtype=np.float32)
        a, b = self._inverse
        with np.errstate(all="ignore"):
            depths = a / (np.arange(1 << 16) - b)  # of each value
            table = _measured(depths.astype(np.float32))
        table[0] = 0
        return table[values]


def open_compressed_depth(
    data: bytes | bytearray | memoryview | NDArray[np.uint8],
    format_: str,
    max_pixels: int = DEFAULT_MAX_PIXELS,
) -> CompressedDepth:
    """Reads the headers of `compressedDepth`.

    Args:
        data: The content of the message.
        format_: That of the message, for example "16UC1; compressedDepth png".
        max_pixels: The largest size, px.

    Raises:
        ImageError: If it is of another format, truncated, or has more than `max_pixels`.
    """
    encoding, codec = _parts(format_)
    data = bytes(data)
    if len(data) < _HEADER.size:
        raise ImageError(f"{len(data)} bytes are too few for the header of compressedDepth")
    _, a, b = _HEADER.unpack_from(data)
    is_inverse = ENCODINGS[encoding] == "f4"
    if is_inverse and not (np.isfinite((a, b)).all() and a > 0):
        raise ImageError(
            f"the header of compressedDepth says {a} / (value - {b}), which is no depth"
        )
    height, width, values = _CODECS[codec](data[_HEADER.size :])
    require_size(width, height, max_pixels)
    return CompressedDepth(height, width, values, (a, b) if is_inverse else None)


def _require_encoding(encoding: str) -> None:
    if encoding not in ENCODINGS:
        raise ImageError(
            f"encoding {encoding!r} is none of depth images, {', '.join(ENCODINGS)}; connect the "
            "depth image"
        )


def _parts(format_: str) -> tuple[str, str]:
    """Encoding and codec of CompressedImage.format; senders before 2020 name no codec, or nothing.

    Raises:
        ImageError: If it is not that of a depth image.
    """
    encoding, _, transport = (part.strip() for part in format_.partition(";"))
    _require_encoding(encoding)
    name, _, codec = transport.partition(" ")
    if name not in ("compressedDepth", "") or (codec or "png") not in _CODECS:
        raise ImageError(
            f"the format {format_!r} is not compressedDepth of {' or '.join(_CODECS)}; connect the "
            "topic that ends in /compressedDepth"
        )
    return encoding, codec or "png"


def _open_png(data: bytes) -> tuple[int, int, Callable[[], Values]]:
    if len(data) < _PNG_HEADER.size or not data.startswith(_PNG):
        raise ImageError("there is no PNG picture behind the header of compressedDepth")
    _, _, name, width, height, bits, colours = _PNG_HEADER.unpack_from(data)
    if (name, bits, colours) != (b"IHDR", 16, 0):
        raise ImageError("the PNG picture is not a grey one of 16 bits, as depth images are")
    return height, width, lambda: _png_values(data, (height, width))


def _png_values(data: bytes, size: tuple[int, int]) -> Values:
    end = end_of_png(data)
    values = None
    if end is not None:
        picture = np.frombuffer(data, np.uint8, end)
        values = decoded(lambda: cv2.imdecode(picture, cv2.IMREAD_UNCHANGED))
    if values is None or values.dtype != np.uint16 or values.shape != size:
        raise ImageError("the PNG picture is truncated or damaged")
    return values


def _open_rvl(data: bytes) -> tuple[int, int, Callable[[], Values]]:
    if len(data) < _RVL_SIZE.size:
        raise ImageError(f"{len(data)} bytes are too few for an RVL image")
    width, height = _RVL_SIZE.unpack_from(data)
    return (
        height,
        width,
        lambda: rvl_decoded(data[_RVL_SIZE.size :], height * width).reshape(height, width),
    )


_CODECS = {"png": _open_png, "rvl": _open_rvl}


def _measured(depth_m: FloatArray) -> FloatArray:
    """Replaces what is no distance, such as NaN, by 0."""
    with np.errstate(invalid="ignore"):
        return np.where((depth_m > 0) & (depth_m < np.inf), depth_m, np.float32(0))
