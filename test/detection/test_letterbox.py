"""Images -> inputs, boxes -> pixels of the image, and which boxes are worth a look."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from pear_ros.detection.letterbox import (
    LEAST_SCORE,
    best,
    corners,
    cut_to_image,
    letterbox_scale,
    letterboxed,
    stretched,
)
from pear_ros.people import Boxes

SIZES = [(480, 640), (640, 480), (64, 96), (30, 1000), (1000, 30), (641, 640), (1, 3000)]


@pytest.mark.parametrize(
    ("size", "fitted"),
    [
        pytest.param((480, 640), (480, 640), id="landscape"),
        pytest.param((640, 480), (640, 480), id="portrait"),
        pytest.param((1080, 1920), (360, 640), id="larger"),
        pytest.param((100, 50), (640, 320), id="smaller"),
        pytest.param((641, 640), (640, 639), id="rounded down"),
        pytest.param((1, 3000), (1, 640), id="a line"),
        pytest.param((3000, 1), (640, 1), id="an upright line"),
    ],
)
def test_a_letterbox_is_grey_right_and_below(
    size: tuple[int, int], fitted: tuple[int, int]
) -> None:
    box = letterboxed(np.full((*size, 3), 200, np.uint8), (640, 640))
    height, width = fitted
    assert box.shape == (640, 640, 3)
    assert (box[:height, :width] == 200).all()
    assert (box[height:] == 114).all()
    assert (box[:, width:] == 114).all()
    np.testing.assert_allclose(
        letterbox_scale(size, (640, 640)), (width / size[1], height / size[0])
    )


@pytest.mark.parametrize("size", [(480, 640), (640, 480), (200, 1000), (900, 310)], ids=str)
@pytest.mark.parametrize("input_size", [(320, 320), (416, 640), (640, 416)], ids=str)
def test_boxes_come_back_to_where_they_were(
    size: tuple[int, int], input_size: tuple[int, int]
) -> None:
    """A white rectangle is found in the letterbox and mapped back."""
    left, top, right, bottom = (np.array([0.2, 0.3, 0.6, 0.9]) * (*size[::-1], *size[::-1])).astype(
        int
    )
    image = np.zeros((*size, 3), np.uint8)
    image[top:bottom, left:right] = 255
    box = letterboxed(image, input_size)[..., 0]
    y, x = np.nonzero(box > 200)
    found = np.array([x.min(), y.min(), x.max() + 1, y.max() + 1])
    scale = letterbox_scale(size, input_size)
    restored = found / np.tile(scale, 2)
    np.testing.assert_allclose(restored, [left, top, right, bottom], atol=1.01 / scale.min())


def test_a_stretched_image_is_filtered() -> None:
    """Stripes of one pixel become grey, as in Pillow; without a filter they would be stripes."""
    image = np.zeros((90, 300, 3), np.uint8)
    image[:, ::2] = 255
    small = stretched(image, (30, 100))
    assert small.shape == (30, 100, 3)
    assert np.abs(small[:, 1:-1].astype(int) - 127).max() <= 20


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_stretched_image_keeps_its_colours_and_halves(size: tuple[int, int]) -> None:
    image = np.full((*size, 3), (10, 20, 30), np.uint8)
    image[:, size[1] // 2 :] += 100
    small = stretched(image, (32, 64))
    assert (small[:, :8] == (10, 20, 30)).all()
    if size[1] % 2 == 0:
        assert (small[:, -8:] == (110, 120, 130)).all()


def test_a_stretched_image_may_be_a_view_that_cannot_be_written() -> None:
    image = cv2.merge([np.arange(48, dtype=np.uint8).reshape(6, 8)] * 3)
    image.setflags(write=False)
    np.testing.assert_array_equal(stretched(image[:, ::-1], (6, 8)), image[:, ::-1])


def test_corners() -> None:
    assert corners(np.array([[10, 20, 6, 8]], np.float32)).tolist() == [[7, 16, 13, 24]]


def test_the_best_are_kept_in_their_order() -> None:
    scores = np.array([0.3, 0.9, LEAST_SCORE - 0.001, 0.5, LEAST_SCORE, np.nan], np.float32)
    assert best(scores, 10).tolist() == [1, 3, 0, 4, 5]
    assert best(scores, 2).tolist() == [1, 3, 5]  # NaN is reported in any case
    assert best(np.zeros(0, np.float32), 2).tolist() == []


def test_boxes_are_cut_at_the_border() -> None:
    xyxy = np.array([[-5, 10, 50, 200], [3, 4, 5, 6], [np.inf, 0, 1, np.nan]], np.float32)
    cut = cut_to_image(Boxes(xyxy, np.ones(3, np.float32)), (48, 40)).xyxy
    np.testing.assert_array_equal(cut, [[0, 10, 40, 48], [3, 4, 5, 6], [np.inf, 0, 1, np.nan]])
    assert len(cut_to_image(Boxes.empty(), (48, 40))) == 0
