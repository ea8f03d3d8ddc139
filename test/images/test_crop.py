"""Crops against the published ones, and boxes at the borders of what is possible."""

from __future__ import annotations

import numpy as np
import pytest
from samples import golden

from pear_ros.geometry.boxes import clip_boxes, square_boxes, usable
from pear_ros.geometry.crop_camera import CROP_SIZE
from pear_ros.images import crop
from pear_ros.images.crop import cut_crop, cut_crops, squares_of
from pear_ros.people import Boxes, Camera, Frame, ImageArray

PUBLISHED = golden("crop")
IMAGE = PUBLISHED["image"]  # (480, 640, 3)
SQUARES = square_boxes(PUBLISHED["boxes_xyxy"], 640, 480)


def xyxy(*boxes: tuple[float, ...]) -> np.ndarray:
    return np.array(boxes, np.float32).reshape(-1, 4)


# --- The published numbers -----------------------------------------------------------------------


def test_squares_are_the_published() -> None:
    np.testing.assert_allclose(SQUARES, PUBLISHED["crop_boxes_xywh"], rtol=0, atol=1e-3)


@pytest.mark.parametrize("row", range(5))
def test_sampled_positions_are_the_inverse_of_the_published_affine(row: int) -> None:
    image_from_crop = np.linalg.inv(np.vstack((PUBLISHED["affine"][row], (0, 0, 1))))
    corners = np.array([(0, 0, 1), (CROP_SIZE - 1, CROP_SIZE - 1, 1)])
    for axis, limit in enumerate((640, 480)):
        first, last = (image_from_crop @ corner for corner in corners)
        expected = np.linspace(first[axis], last[axis], CROP_SIZE)
        pixels, weights = crop._interpolation(SQUARES[row, axis], SQUARES[row, 2], limit)
        inside = (expected > 0) & (expected < limit - 1)
        assert inside.sum() > CROP_SIZE // 4
        position = (pixels * weights).sum(0)  # (256,)
        np.testing.assert_allclose(position[inside], expected[inside], rtol=0, atol=1e-3)
        np.testing.assert_allclose(weights.sum(0)[inside], 1, atol=1e-6)


@pytest.mark.parametrize("row", range(5))
def test_patches_are_the_published(row: int) -> None:
    expected = PUBLISHED["patches"][row].astype(int)
    difference = np.abs(cut_crop(IMAGE, SQUARES[row]).astype(int) - expected)
    assert (difference.max(-1) <= 1).mean() >= 0.999


# --- Interpolation -------------------------------------------------------------------------------


def test_crop_of_its_own_size_is_a_copy() -> None:
    copy = cut_crop(IMAGE, np.array([30, 40, 256, 256], np.float32))
    np.testing.assert_array_equal(copy, IMAGE[40:296, 30:286])


def test_crop_is_black_outside() -> None:
    white = np.full((256, 256, 3), 255, np.uint8)
    half = cut_crop(white, np.array([-128, 0, 256, 256], np.float32))
    assert (half[:, :128] == 0).all()
    assert (half[:, 128:] == 255).all()
    assert (cut_crop(white, np.array([300, 300, 50, 50], np.float32)) == 0).all()


def test_between_pixels_is_their_mean() -> None:
    ramp = np.arange(0, 200, 2, dtype=np.uint8)[None, :, None].repeat(100, 0).repeat(3, 2)
    halved = cut_crop(ramp, np.array([0, 0, 64, 64], np.float32))  # a quarter of a pixel a step
    expected = np.floor(np.arange(256) * 0.5 + 0.5).astype(np.uint8)
    np.testing.assert_array_equal(halved[100, :, 0], expected)


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (3, 2)], ids=str)
def test_tiny_images(shape: tuple[int, int]) -> None:
    image = np.full((*shape, 3), 90, np.uint8)
    cut = cut_crop(image, np.array([-1, -1, 4, 4], np.float32))
    assert cut.shape == (CROP_SIZE, CROP_SIZE, 3)
    assert cut.max() == 90  # pixel (0, 0) lies on sample 64
    assert (cut[64, 64] == 90).all()


@pytest.mark.parametrize("shape", [(0, 64, 3), (48, 0, 3), (48, 64, 4), (48, 64, 1)], ids=str)
def test_what_is_no_image(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected"):
        cut_crop(np.zeros(shape, np.uint8), np.array([0, 0, 8, 8], np.float32))


def test_numbers_that_are_no_bytes() -> None:
    with pytest.raises(ValueError, match="expected an image of three uint8 channels"):
        cut_crop(np.zeros((8, 8, 3), np.float32), np.array([0, 0, 8, 8], np.float32))


SQUARES_ANYWHERE = {
    "small": (70.3, 90.8, 31.7),
    "of nearly its own size": (12.4, 3.9, 255.1),
    "large": (-40.2, 10.7, 470.9),
    "beyond all borders": (-700.5, -600.5, 2000.1),
    "at a corner": (610.6, 455.2, 90.4),
    "within a pixel": (100.2, 100.4, 0.3),
    "far away": (1e6, -1e6, 300.0),
}


@pytest.mark.parametrize("square", SQUARES_ANYWHERE.values(), ids=SQUARES_ANYWHERE)
@pytest.mark.parametrize("is_view", [False, True], ids=["contiguous", "view"])
def test_each_sample_is_the_mean_of_four_pixels(
    square: tuple[float, float, float], is_view: bool
) -> None:
    image = IMAGE[::-1, ::-1] if is_view else IMAGE
    left, top, side = square
    found = cut_crop(image, np.array((left, top, side, side), np.float32))
    x, y = (np.float32(start) + np.arange(256) * np.float64(np.float32(side)) / 256
            for start in (left, top))  # fmt: skip
    expected = np.zeros((256, 256, 3))
    for row in (np.floor(y), np.floor(y) + 1):
        for column in (np.floor(x), np.floor(x) + 1):
            is_inside = ((row >= 0) & (row < 480))[:, None] & (column >= 0) & (column < 640)
            weight = (1 - np.abs(y - row))[:, None] * (1 - np.abs(x - column)) * is_inside
            pixels = image[row.clip(0, 479).astype(int)[:, None], column.clip(0, 639).astype(int)]
            expected += weight[..., None] * pixels
    assert np.abs(found - expected).max() <= 0.5 + 1e-3


# --- Boxes ---------------------------------------------------------------------------------------

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


def test_square_is_round_the_clipped_box() -> None:
    square = square_boxes(xyxy((10, 20, 31, 61)), 100, 80)  # its last pixel is (30, 60)
    np.testing.assert_array_equal(square, [[20 - 25, 40 - 25, 50, 50]])


NAN, INF = float("nan"), float("inf")
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


# --- Several frames ------------------------------------------------------------------------------


def _frame(image: ImageArray) -> Frame:
    return Frame(image, Camera(1, 1, 0, 0), 0.0)


def _boxes(*boxes: tuple[float, ...]) -> Boxes:
    return Boxes(xyxy(*boxes), np.ones(len(boxes), np.float32))


FRAMES = {
    "no frame": [],
    "nobody": [0],
    "one of one": [1],
    "of several": [2, 0, 1],
    "nobody anywhere": [0, 0],
}


@pytest.mark.parametrize("counts", FRAMES.values(), ids=FRAMES)
def test_crops_of_frames(counts: list[int]) -> None:
    frames = [_frame(np.roll(IMAGE, 50 * i, 1)) for i in range(len(counts))]
    boxes = [
        _boxes(*((10 * i + 50 * k, 20, 200 + 50 * k, 300) for k in range(count)))
        for i, count in enumerate(counts)
    ]
    squares = squares_of(frames, boxes)
    crops = cut_crops(frames, squares)
    people = [(i, k) for i, count in enumerate(counts) for k in range(count)]
    assert crops.shape == (len(people), 256, 256, 3)
    assert crops.dtype == np.uint8
    assert squares.xywh.shape == (len(people), 4)
    assert squares.xywh.dtype == np.float32
    assert squares.frame_index.tolist() == [i for i, _ in people]
    for row, (i, k) in enumerate(people):
        square = square_boxes(boxes[i].xyxy[k : k + 1], 640, 480)[0]
        np.testing.assert_array_equal(squares.xywh[row], square)
        np.testing.assert_array_equal(crops[row], cut_crop(frames[i].image, square))
