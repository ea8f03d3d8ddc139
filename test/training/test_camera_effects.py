"""Errors of cameras change colours, not the geometry, and nothing outside of the image."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from pear_ros.geometry.crop_camera import CROP_SIZE
from pear_ros.people import ImageArray
from training.camera_effects import outside, with_camera_effects

SIZE = (640, 480)
INSIDE = np.array((200, 100, 250, 250), np.float32)  # xywh, px


def grey(level: int) -> ImageArray:
    return np.full((CROP_SIZE, CROP_SIZE, 3), level, np.uint8)


@pytest.mark.parametrize(
    ("square", "rows", "columns"),
    [
        pytest.param((200, 100, 256, 256), (0, 256), (0, 256), id="inside"),
        pytest.param((-64, 100, 256, 256), (0, 256), (64, 256), id="left"),
        pytest.param((200, -32, 128, 128), (64, 256), (0, 256), id="top, enlarged"),
        pytest.param((540, 300, 400, 400), (0, 115), (0, 64), id="right and bottom, reduced"),
        pytest.param((-100, -60, 800, 600), (19, 172), (32, 236), id="all sides"),
    ],
)
def test_it_is_black_outside_of_the_image_and_only_there(
    square: tuple[float, ...], rows: tuple[int, int], columns: tuple[int, int]
) -> None:
    inside = np.zeros((CROP_SIZE, CROP_SIZE), bool)
    inside[slice(*rows), slice(*columns)] = True
    xywh = np.array(square, np.float32)
    edge = cv2.dilate(inside.astype(np.uint8), np.ones((3, 3))) != cv2.erode(
        inside.astype(np.uint8), np.ones((3, 3))
    )  # a pixel to either side, at which rounding decides
    found = outside(xywh, SIZE)
    np.testing.assert_array_equal(found[~edge], ~inside[~edge])
    for seed in range(25):
        seen = with_camera_effects(grey(150), xywh, SIZE, np.random.default_rng(seed))
        assert seen.shape == (CROP_SIZE, CROP_SIZE, 3)
        assert seen.dtype == np.uint8
        assert (seen[found] == 0).all()
        assert (seen[~found].max(-1) > 0).mean() > 0.999


def test_edges_stay_where_they_are() -> None:
    """A bright square in front of black: the edges' places by the mean brightness of a row."""
    picture = grey(20)
    low, high = 90, 170
    picture[low:high, low:high] = 220
    changed = 0
    for seed in range(150):
        seen = with_camera_effects(picture.copy(), INSIDE, SIZE, np.random.default_rng(seed))
        changed += not np.array_equal(seen, picture)
        for profile in (
            seen[110:150].mean((0, 2)),  # along a row
            seen[:, 110:150].mean((1, 2)),  # along a column
        ):
            dark = np.median(np.concatenate((profile[:60], profile[-60:])))
            bright = np.median(profile[110:150])
            assert bright > dark + 25, seed
            share = ((profile - dark) / (bright - dark)).clip(0, 1)
            for start, stop, place in ((70, 130, low), (130, 190, high)):
                width = share[start:stop].sum()  # bright pixels between start and stop
                found = stop - width if place == low else start + width
                assert abs(found - place) < 2, seed
    assert changed > 100


def test_the_same_seed_has_the_same_effects() -> None:
    random = np.random.default_rng(0)
    picture = cv2.resize(random.integers(0, 255, (32, 32, 3), np.uint8), (CROP_SIZE, CROP_SIZE))
    results = []
    for seed in range(60):
        first, again = (
            with_camera_effects(picture.copy(), INSIDE, SIZE, np.random.default_rng(seed))
            for _ in range(2)
        )
        np.testing.assert_array_equal(first, again)
        results.append(first)
    distinct = {result.tobytes() for result in results}
    assert len(distinct) > 30  # more than a fifth have no effect at all and are equal
