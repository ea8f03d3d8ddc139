"""Writes long lists of points into serialized messages without one object per point.

rclpy needs 100 ms to build and serialize a list of 60,000 geometry_msgs/Point. Here rclpy
serializes the message with two placeholder points, which are then replaced by the real points, 24
bytes each. rclpy writes everything else, so the only layout assumed is that of the list itself: a
4-byte count directly before the 8-byte coordinates of the first point.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MARK = ((-1.7e308, 1.3e-308, -1.1e307), (1.9e-307, -1.6e306, 1.2e305))
"""Placeholder: two points (x, y, z) that do not occur in real messages."""
_MARK_BYTES = struct.pack("<6d", *(number for point in MARK for number in point))
_LITTLE_ENDIAN_CDR = b"\x00\x01"


def splice_points(template: bytes, points: Sequence[NDArray[np.float64]]) -> bytes:
    """Replaces the k-th list of the two MARK points in a serialized message by points[k], (P, 3).

    Raises:
        ValueError: If `template` is not little-endian CDR, if the number of MARK lists differs from
            that of `points`, or if a list of points is empty.
    """
    if template[:2] != _LITTLE_ENDIAN_CDR:
        raise ValueError(f"not little-endian CDR: {template[:4].hex()}")
    pieces: list[bytes] = []
    end = 0
    for rows in points:
        if not len(rows):
            raise ValueError("cannot splice an empty list of points")
        start = template.find(_MARK_BYTES, end)
        if start < 4 or template[start - 4 : start] != struct.pack("<I", len(MARK)):
            raise ValueError("the template has fewer lists of the two MARK points than `points`")
        pieces += [template[end : start - 4], struct.pack("<I", len(rows))]
        pieces.append(np.ascontiguousarray(rows, "<f8").tobytes())
        end = start + len(_MARK_BYTES)
    if template.find(_MARK_BYTES, end) >= 0:
        raise ValueError("the template has more lists of the two MARK points than `points`")
    return b"".join([*pieces, template[end:]])
