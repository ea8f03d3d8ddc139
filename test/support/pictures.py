"""A picture, and PNG files written without a library."""

from __future__ import annotations

import struct
import zlib

import numpy as np

from pear_ros.people import ImageArray


def picture(height: int = 40, width: int = 60) -> ImageArray:
    """A gradient with another level and slope in each channel, so that mixed channels differ."""
    row, column = np.mgrid[:height, :width]
    red, green, blue = 40 + column, 120 + row, 220 - column - row
    return np.stack((red, green, blue), -1).astype(np.uint8)


def chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def png(width: int, height: int, row: bytes) -> bytes:
    """An RGB image whose rows are all the same; at most 100 rows are written."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress((b"\0" + row) * min(height, 100))
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks
