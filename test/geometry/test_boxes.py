"""Boxes: clipping, squares, overlap, margins around joints."""

from __future__ import annotations

import time

import numpy as np
import pytest
from samples import golden

from pear_ros.geometry.boxes import (
    box_iou_batch,
    boxes_around,
    boxes_inside,
    clip_boxes,
    margins_of,
    square_boxes,
    suppress_overlaps,
    usable,
)
from pear_ros.people import Boxes

NAN, INF = float("nan"), float("inf")


def xyxy(*boxes: tuple[float, ...]) -> np.ndarray:
    return np.array(boxes, np.float32).reshape(-1, 4)


# --- One image -----------------------------------------------------------------------------------

CLIPPED = {
    "inside": ((10, 20, 30, 60), (10, 20, 29, 59)),
    "image": ((0, 0, 100, 80), (0, 0, 99, 79)),
    "right and below": ((50, 40, 500, 400), (50, 40, 99, 79)),
    "left and above keep their size": ((-10, -20, 30, 40), (0, 0, 39, 59)),
    "inverted": ((30, 60, 10, 20), (30, 60, 30, 60)),
}


@pytest.mark.parametrize(("box", "expected"), CLIPPED.values(), ids=CLIPPED)
def test_clip_boxes(box: tuple[float, ...], expected: tuple[float, ...]) -> None:
    np.testing.assert_array_equal(clip_boxes(xyxy(box), 100, 80), xyxy(expected))


def test_squares_agree_with_the_published() -> None:
    published = golden("crop")
    squares = square_boxes(published["boxes_xyxy"], 640, 480)
    np.testing.assert_allclose(squares, published["crop_boxes_xywh"], rtol=0, atol=1e-3)


def test_a_square_is_around_the_clipped_box() -> None:
    square = square_boxes(xyxy((10, 20, 31, 61)), 100, 80)  # its last pixel is (30, 60)
    np.testing.assert_array_equal(square, [[20 - 25, 40 - 25, 50, 50]])


USABLE = {
    "inside": ((10, 20, 30, 60), True),
    "whole image": ((0, 0, 100, 80), True),
    "partly outside": ((-50, -50, 10, 10), True),
    "larger than the image": ((-500, -500, 500, 500), True),
    "two pixels": ((4, 4, 6, 6), True),
    "one pixel": ((4, 4, 5, 5), False),
    "last column": ((99, 0, 120, 80), False),
    "empty": ((10, 10, 10, 40), False),
    "inverted": ((30, 20, 10, 60), False),
    "left of the image": ((-50, 0, -1, 40), False),
    "touches from the left": ((-50, 0, 0, 40), False),
    "right of the image": ((100, 0, 150, 40), False),
    "above": ((0, -50, 50, -1), False),
    "below": ((0, 90, 50, 120), False),
    "nan": ((10, NAN, 30, 60), False),
    "infinite": ((0, 0, INF, 40), False),
    "all infinite": ((-INF, -INF, INF, INF), False),
}


@pytest.mark.parametrize(("box", "expected"), USABLE.values(), ids=USABLE)
def test_usable(box: tuple[float, ...], expected: bool) -> None:
    assert usable(xyxy(box), 100, 80).tolist() == [expected]


def test_no_boxes() -> None:
    assert usable(xyxy(), 100, 80).shape == (0,)
    assert square_boxes(xyxy(), 100, 80).shape == (0, 4)
    assert len(boxes_inside(Boxes.empty(), (80, 100))) == 0


# Boxes -> the part in an image of 100x80 px, None: the box is dropped.
INSIDE = {
    "inside": ((10, 20, 30, 60), (10, 20, 30, 60)),
    "whole image": ((0, 0, 100, 80), (0, 0, 100, 80)),
    "larger than the image": ((-5, -6, 500, 400), (0, 0, 100, 80)),
    "cut on the left": ((-20, 10, 30, 40), (0, 10, 30, 40)),
    "cut at the right and below": ((90, 70, 130, 95), (90, 70, 100, 80)),
    "outside, to the right": ((100, 10, 150, 40), None),
    "outside, above": ((10, -50, 40, 0), None),
    "empty": ((10, 10, 10, 40), None),
    "inverted": ((30, 60, 10, 20), None),
}


@pytest.mark.parametrize(("box", "part"), INSIDE.values(), ids=INSIDE)
def test_boxes_inside(box: tuple[float, ...], part: tuple[float, ...] | None) -> None:
    found = boxes_inside(Boxes(xyxy(box), np.ones(1, np.float32)), (80, 100))
    np.testing.assert_array_equal(found.xyxy, xyxy() if part is None else xyxy(part))


def test_boxes_inside_keep_their_scores() -> None:
    scores = np.linspace(0.1, 0.9, len(INSIDE), dtype=np.float32)
    found = boxes_inside(Boxes(xyxy(*(box for box, _ in INSIDE.values())), scores), (80, 100))
    is_inside = [part is not None for _, part in INSIDE.values()]
    np.testing.assert_array_equal(found.scores, scores[is_inside])


# --- Two sets of boxes ---------------------------------------------------------------------------

OVERLAPS = {
    "same": ((0, 0, 10, 10), (0, 0, 10, 10), 1),
    "half": ((0, 0, 10, 10), (0, 0, 10, 5), 1 / 2),
    "shifted by half": ((0, 0, 10, 10), (5, 0, 15, 10), 1 / 3),
    "corner": ((0, 0, 10, 10), (5, 5, 15, 15), 25 / 175),
    "touching": ((0, 0, 10, 10), (10, 0, 20, 10), 0),
    "apart in x and y": ((0, 0, 10, 10), (30, 30, 40, 40), 0),
    "apart in x": ((0, 0, 10, 10), (30, 0, 40, 10), 0),
    "empty": ((5, 5, 5, 5), (5, 5, 5, 5), 0),
    "empty in another": ((5, 5, 5, 5), (0, 0, 10, 10), 0),
}


@pytest.mark.parametrize(("a", "b", "expected"), OVERLAPS.values(), ids=OVERLAPS)
def test_overlap(a: tuple[float, ...], b: tuple[float, ...], expected: float) -> None:
    assert box_iou_batch(xyxy(a), xyxy(b))[0, 0] == pytest.approx(expected)
    assert box_iou_batch(xyxy(b), xyxy(a))[0, 0] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("n", "m"),
    [(0, 0), (0, 2), (2, 0), (2, 3)],
    ids=["none and none", "none and two", "two and none", "two and three"],
)
def test_overlaps_of_batches(n: int, m: int) -> None:
    a, b = (xyxy(*((left, 0, left + 10, 20) for left in range(count))) for count in (n, m))
    overlaps = box_iou_batch(a, b)
    assert overlaps.shape == (n, m)
    for i in range(n):
        for k in range(m):
            assert overlaps[i, k] == box_iou_batch(a[i : i + 1], b[k : k + 1])[0, 0]


# --- Overlapping boxes are suppressed -------------------------------------------------------------

# Left sides of boxes 10 px wide and their scores -> the rows that are kept; at most a third.
SUPPRESSED = {
    "nobody": ([], [], []),
    "one": ([0], [0.5], [0]),
    "apart, the best first": ([0, 50, 90], [0.5, 0.9, 0.7], [1, 2, 0]),
    "the better of two": ([0, 2], [0.5, 0.9], [1]),
    "the same twice": ([0, 0], [0.5, 0.5], [0]),
    "equal scores keep their order": ([90, 0, 50], [0.5, 0.5, 0.5], [0, 1, 2]),
    "an overlap of the limit": ([0, 5], [0.9, 0.5], [0, 1]),
    "who is suppressed suppresses nobody": ([0, 4, 8], [0.9, 0.8, 0.7], [0, 2]),
    "a worse one between": ([0, 4, 8], [0.8, 0.7, 0.9], [2, 0]),
    "two groups": ([0, 51, 1, 50], [0.6, 0.7, 0.9, 0.8], [2, 3]),
}


@pytest.mark.parametrize(("lefts", "scores", "kept"), SUPPRESSED.values(), ids=SUPPRESSED)
def test_suppress_overlaps(lefts: list[float], scores: list[float], kept: list[int]) -> None:
    boxes = Boxes(xyxy(*((x, 0, x + 10, 20) for x in lefts)), np.array(scores, np.float32))
    found = suppress_overlaps(boxes, 1 / 3)
    np.testing.assert_array_equal(found.xyxy, boxes.xyxy[kept])
    np.testing.assert_array_equal(found.scores, boxes.scores[kept])


def random_boxes(count: int, size_px: float) -> Boxes:
    """Boxes of about 100x100 px in an image of `size_px`."""
    random = np.random.default_rng(0)
    corner, size = random.uniform(0, size_px, (count, 2)), random.uniform(80, 120, (count, 2))
    scores = random.random(count).astype(np.float32)
    return Boxes(np.concatenate((corner, corner + size), 1).astype(np.float32), scores)


def test_who_is_kept_overlaps_nobody_and_who_is_not_overlaps_a_better_one() -> None:
    boxes = random_boxes(300, 300)
    found = suppress_overlaps(boxes, 0.5)
    assert 10 < len(found) < 290
    assert (np.diff(found.scores) <= 0).all()
    overlaps = box_iou_batch(found.xyxy, found.xyxy) - np.eye(len(found))
    assert overlaps.max() <= 0.5
    is_kept = np.isin(boxes.scores, found.scores)
    better = found.scores[:, None] > boxes.scores[None, ~is_kept]
    overlaps = box_iou_batch(found.xyxy, boxes.xyxy[~is_kept])
    assert ((overlaps > 0.5) & better).any(0).all()


@pytest.mark.parametrize("size_px", [500, 20_000], ids=["crowded", "sparse"])
def test_ten_thousand_boxes_are_suppressed_quickly(size_px: float) -> None:
    """The bound is one that a loaded machine keeps."""
    boxes = random_boxes(10_000, size_px)
    began_s = time.process_time()
    suppress_overlaps(boxes, 0.6)
    assert time.process_time() - began_s < 3


# --- Margins around joints ------------------------------------------------------------------------

JOINTS = xyxy((100, 50, 140, 250), (300, 200, 420, 260))
DETECTED = xyxy((90, 40, 160, 255), (310, 205, 400, 230))  # the second hides behind a desk


def test_margins_give_the_boxes_again() -> None:
    margins = margins_of(DETECTED, JOINTS)
    np.testing.assert_allclose(boxes_around(JOINTS, margins), DETECTED, atol=1e-3)


def test_margins_are_relative_to_the_longer_side() -> None:
    np.testing.assert_allclose(
        margins_of(DETECTED, JOINTS)[0], [-10 / 200, -10 / 200, 20 / 200, 5 / 200], rtol=1e-6
    )


def test_margins_move_and_grow_with_the_person() -> None:
    margins = margins_of(DETECTED, JOINTS)
    np.testing.assert_allclose(
        boxes_around(1.5 * JOINTS + 30, margins), 1.5 * DETECTED + 30, atol=1e-3
    )


def test_joints_at_one_point_do_no_harm() -> None:
    point = xyxy((10, 10, 10, 10))
    margins = margins_of(xyxy((0, 0, 20, 20)), point)
    assert np.isfinite(margins).all()
    np.testing.assert_array_equal(boxes_around(point, margins), point)


def test_margins_of_nobody() -> None:
    assert margins_of(xyxy(), xyxy()).shape == (0, 4)
    assert boxes_around(xyxy(), xyxy()).shape == (0, 4)
