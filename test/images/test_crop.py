"""Crops against the published ones, against interpolation by hand, and on a device."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from devices import DEVICES
from estimators import frames_of
from samples import golden

from pear_ros.geometry.boxes import square_boxes
from pear_ros.geometry.crop_camera import CROP_SIZE
from pear_ros.images import crop
from pear_ros.images.crop import cut_crop, cut_crops, cut_on_device, squares_of
from pear_ros.people import Boxes, Camera, Frame, ImageArray

PUBLISHED = golden("crop")
IMAGE = PUBLISHED["image"]  # (480, 640, 3)
SQUARES = square_boxes(PUBLISHED["boxes_xyxy"], 640, 480)


def xyxy(*boxes: tuple[float, ...]) -> np.ndarray:
    return np.array(boxes, np.float32).reshape(-1, 4)


# --- The published numbers -----------------------------------------------------------------------


@pytest.mark.parametrize("row", range(5), ids="person {}".format)
def test_sampled_positions_invert_the_published_affine(row: int) -> None:
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


@pytest.mark.parametrize("row", range(5), ids="person {}".format)
def test_crops_agree_with_the_published(row: int) -> None:
    expected = PUBLISHED["patches"][row].astype(int)
    difference = np.abs(cut_crop(IMAGE, SQUARES[row]).astype(int) - expected)
    assert (difference.max(-1) <= 1).mean() >= 0.999


# --- Interpolation -------------------------------------------------------------------------------


def test_a_crop_of_the_same_scale_is_a_copy() -> None:
    copy = cut_crop(IMAGE, np.array([30, 40, 256, 256], np.float32))
    np.testing.assert_array_equal(copy, IMAGE[40:296, 30:286])


def test_a_crop_is_black_outside_the_image() -> None:
    white = np.full((256, 256, 3), 255, np.uint8)
    half = cut_crop(white, np.array([-128, 0, 256, 256], np.float32))
    assert (half[:, :128] == 0).all()
    assert (half[:, 128:] == 255).all()
    assert (cut_crop(white, np.array([300, 300, 50, 50], np.float32)) == 0).all()


def test_values_between_pixels_are_interpolated() -> None:
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
def test_images_of_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected"):
        cut_crop(np.zeros(shape, np.uint8), np.array([0, 0, 8, 8], np.float32))


def test_images_of_other_types_are_refused() -> None:
    with pytest.raises(ValueError, match="expected an image of three uint8 channels"):
        cut_crop(np.zeros((8, 8, 3), np.float32), np.array([0, 0, 8, 8], np.float32))


SQUARES_ANYWHERE = {
    "small": (70.3, 90.8, 31.7),
    "nearly the same scale": (12.4, 3.9, 255.1),
    "large": (-40.2, 10.7, 470.9),
    "beyond all borders": (-700.5, -600.5, 2000.1),
    "at a corner": (610.6, 455.2, 90.4),
    "within a pixel": (100.2, 100.4, 0.3),
    "far away": (1e6, -1e6, 300.0),
}


@pytest.mark.parametrize("square", SQUARES_ANYWHERE.values(), ids=SQUARES_ANYWHERE)
@pytest.mark.parametrize("is_view", [False, True], ids=["contiguous", "view"])
def test_each_sample_is_interpolated_from_four_pixels(
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


# --- Several frames ------------------------------------------------------------------------------


def frame(image: ImageArray) -> Frame:
    return Frame(image, Camera(1, 1, 0, 0), 0.0)


def boxes_of(*boxes: tuple[float, ...]) -> Boxes:
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
    frames = [frame(np.roll(IMAGE, 50 * i, 1)) for i in range(len(counts))]
    boxes = [
        boxes_of(*((10 * i + 50 * k, 20, 200 + 50 * k, 300) for k in range(count)))
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


# --- On a device ---------------------------------------------------------------------------------


@pytest.mark.parametrize("device", DEVICES)
def test_crops_on_a_device_agree_with_those_in_c(device: str) -> None:
    frames = frames_of([6, 5, 4], scale=2.5)
    boxes = [frame.boxes or Boxes.empty() for frame in frames]
    images = [torch.from_numpy(frame.image.reshape(-1, 3).copy()) for frame in frames]
    first_pixels = np.cumsum([0, *map(len, images)])
    squares = squares_of(frames, boxes)
    index = squares.frame_index
    sizes = torch.tensor([frames[i].image.shape[1::-1] for i in index])
    crops = cut_on_device(
        torch.cat(images).to(device),
        torch.from_numpy(first_pixels[index]).to(device),
        sizes.to(device),
        torch.from_numpy(squares.xywh).to(device),
    ).cpu()
    people = zip(index, squares.xywh, strict=True)
    expected = np.stack([cut_crop(frames[i].image, xywh) for i, xywh in people])
    off = np.abs(crops.numpy().astype(int) - expected)
    assert off.max() <= (0 if device == "cpu" else 1)
    assert (off == 0).mean() > 0.99
    assert expected.mean(axis=(1, 2, 3)).min() > 10  # each crop shows a part of the image
