"""Boxes at the edge of the image overlap what is expected there."""

from __future__ import annotations

import numpy as np
import pytest

from pear_ros.tracking.expected_boxes import cut_sides, overlaps, share_inside

SIZE = 480, 640  # px
NOWHERE = np.zeros((1, 4), bool)


def box(*xyxy: float) -> np.ndarray:
    return np.array([xyxy], np.float32)


@pytest.mark.parametrize(
    ("xyxy", "sides"),
    [
        ((100, 100, 200, 200), (0, 0, 0, 0)),
        ((0, 100, 200, 200), (1, 0, 0, 0)),
        ((100, -50, 200, 200), (0, 1, 0, 0)),
        ((100, 100, 635, 477), (0, 0, 1, 1)),
    ],
)
def test_sides_at_an_edge_are_cut(xyxy: tuple[float, ...], sides: tuple[int, ...]) -> None:
    np.testing.assert_array_equal(cut_sides(box(*xyxy), SIZE), [np.array(sides, bool)])


def test_boxes_that_leave_the_image_are_compared_inside_of_it() -> None:
    expected, seen = box(600, 100, 720, 400), box(602, 100, 640, 400)
    assert overlaps(expected, NOWHERE, seen, SIZE)[0, 0] == pytest.approx(38 / 40)


def test_a_body_that_was_cut_comes_in_with_the_part_that_was_not_seen() -> None:
    """30 px of it were seen at the right edge; it has moved by 50 px."""
    expected, seen = box(560, 100, 590, 400), box(560, 100, 640, 400)
    is_cut = np.array([[False, False, True, False]])
    assert overlaps(expected, NOWHERE, seen, SIZE)[0, 0] == pytest.approx(3 / 8)
    assert overlaps(expected, is_cut, seen, SIZE)[0, 0] == pytest.approx(1)


def test_a_box_that_only_touched_the_edge_is_compared_as_it_is() -> None:
    expected = box(94, 100, 204, 400)  # it was at 4 to 114, and moved with a camera that turns
    is_cut = np.array([[True, False, False, False]])
    assert overlaps(expected, is_cut, expected, SIZE)[0, 0] == pytest.approx(1)


def test_boxes_outside_overlap_nothing() -> None:
    outside = box(700, 100, 800, 400)
    assert overlaps(outside, NOWHERE, box(600, 100, 640, 400), SIZE)[0, 0] == 0
    assert share_inside(outside, SIZE)[0] == 0


def test_shapes() -> None:
    many, none = np.zeros((3, 4), np.float32), np.zeros((0, 4), np.float32)
    assert overlaps(many, np.zeros((3, 4), bool), none, SIZE).shape == (3, 0)
    assert overlaps(none, np.zeros((0, 4), bool), many, SIZE).shape == (0, 3)
