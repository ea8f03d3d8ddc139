"""Long lists of points in serialized messages without an object per point.

A list of 60,000 geometry_msgs/Point costs rclpy 100 ms to build and to serialize. Here rclpy
serializes the message with two points that serve as a mark; the real points, 24 bytes each, take
their place. Everything else in the message is rclpy's own work, so no layout is assumed but that
of the list itself: a count of 4 bytes, right before the first point's 8-byte numbers.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MARK = ((-1.7e308, 1.3e-308, -1.1e307), (1.9e-307, -1.6e306, 1.2e305))
"""Two points (x, y, z) that no one publishes."""
_MARK_BYTES = struct.pack("<6d", *(number for point in MARK for number in point))
_LITTLE_ENDIAN_CDR = b"\x00\x01"


def splice_points(template: bytes, points: Sequence[NDArray[np.float64]]) -> bytes:
    """A serialized message whose k-th list of the two MARK points becomes points[k], (P, 3).

    P is at least 1: an empty list would move what follows it. Raises ValueError where the
    template is not little-endian CDR, or its marks are not as many as `points`.
    """
    if template[:2] != _LITTLE_ENDIAN_CDR:
        raise ValueError(f"not little-endian CDR: {template[:4].hex()}")
    pieces: list[bytes] = []
    end = 0
    for rows in points:
        if not len(rows):
            raise ValueError("a list of points cannot be spliced empty")
        start = template.find(_MARK_BYTES, end)
        if start < 4 or template[start - 4 : start] != struct.pack("<I", len(MARK)):
            raise ValueError("the template has no list of the two MARK points for each of `points`")
        pieces += [template[end : start - 4], struct.pack("<I", len(rows))]
        pieces.append(np.ascontiguousarray(rows, "<f8").tobytes())
        end = start + len(_MARK_BYTES)
    if template.find(_MARK_BYTES, end) >= 0:
        raise ValueError("the template has more lists of the two MARK points than `points`")
    return b"".join([*pieces, template[end:]])
