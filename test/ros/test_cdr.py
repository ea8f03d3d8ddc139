"""Points are spliced into serialized messages, here laid out by hand. Needs no ROS."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
import pytest

from pear_ros.ros.cdr import MARK, splice_points

HEADER = b"\x00\x01\x00\x00"  # little-endian CDR
Points = Sequence[Sequence[float]]


def listed(points: Points) -> bytes:
    """A count and its points; the fields before leave the points aligned to 8 bytes."""
    return struct.pack("<I", len(points)) + b"".join(struct.pack("<3d", *p) for p in points)


def message(*lists: Points, header: bytes = HEADER) -> bytes:
    """A message with lists between other fields of 4 bytes."""
    return (
        header
        + b"".join(struct.pack("<I", 7 + i) + listed(p) for i, p in enumerate(lists))
        + b"end!"
    )


def points(count: int, first: float = 0.0) -> np.ndarray:
    return first + np.arange(3.0 * count).reshape(count, 3)


@pytest.mark.parametrize(
    "counts", [[], [1], [2], [3], [1, 4], [500, 1, 2]], ids="lists of {} points".format
)
def test_points_replace_marks(counts: list[int]) -> None:
    lists = [points(count, 100 * i) for i, count in enumerate(counts)]
    template = message(*([MARK] * len(counts)))
    assert splice_points(template, lists) == message(*lists)


@pytest.mark.parametrize(
    "given",
    [
        points(3).astype(np.float32),
        points(6)[::2],
        np.asfortranarray(points(3)),
        points(3).astype(">f8"),
    ],
    ids=["float32", "strided", "columns first", "big-endian"],
)
def test_arrays_of_any_layout(given: np.ndarray) -> None:
    assert splice_points(message(MARK), [given]) == message(given.tolist())


def test_points_that_equal_marks() -> None:
    """Spliced points are not searched for marks."""
    lists = [np.array(MARK), points(2)]
    assert splice_points(message(MARK, MARK), lists) == message(*lists)


def test_lists_without_marks_are_kept() -> None:
    spliced = splice_points(message(points(2), MARK, points(1)), [points(4)])
    assert spliced == message(points(2), points(4), points(1))


REFUSED = {
    "big-endian": (message(MARK, header=b"\x00\x00\x00\x00"), [points(1)], "not little-endian"),
    "parameter list": (message(MARK, header=b"\x00\x03\x00\x00"), [points(1)], "not little-endian"),
    "empty": (b"", [points(1)], "not little-endian"),
    "no mark": (message(points(2)), [points(1)], "fewer lists of the two MARK points"),
    "mark among others": (
        message([*MARK, *MARK]),
        [points(1)],
        "fewer lists of the two MARK points",
    ),
    "fewer marks": (message(MARK), [points(1), points(1)], "fewer lists of the two MARK points"),
    "more marks": (message(MARK, MARK), [points(1)], "more lists of the two MARK points"),
    "marks and no lists": (message(MARK), [], "more lists of the two MARK points"),
    "empty list": (message(MARK), [points(0)], "cannot splice an empty list"),
    "mark at the start": (
        HEADER[:2] + listed(MARK)[4:],
        [points(1)],
        "fewer lists of the two MARK",
    ),
}


@pytest.mark.parametrize(("template", "lists", "error"), REFUSED.values(), ids=REFUSED)
def test_bad_templates_are_refused(template: bytes, lists: list[np.ndarray], error: str) -> None:
    with pytest.raises(ValueError, match=error):
        splice_points(template, lists)
