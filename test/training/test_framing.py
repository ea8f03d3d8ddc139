"""Cameras of training crops: what they show of a person, and where the crop is."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pear_ros.assets.body_assets import BodyAssets
from pear_ros.geometry.camera import project
from pear_ros.geometry.crop_camera import CROP_MARGIN
from pear_ros.people import FloatArray
from training.framing import (
    BOX_JITTER,
    IMAGE_SIZES,
    NEAREST_M,
    OCCLUDED,
    View,
    _covered,
    frame_person,
)

COUNT = 500


@pytest.fixture(scope="module")
def body(standin: BodyAssets) -> FloatArray:
    """Vertices (V, 3) m of a person who faces the camera, optical axes."""
    return (standin.body_template * (1, -1, -1))[::7].astype(np.float32)


@pytest.fixture(scope="module")
def views(body: FloatArray) -> list[View]:
    random = np.random.default_rng(2)
    return [frame_person(body, random) for _ in range(COUNT)]


def pixels_of(body: FloatArray, view: View) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Where the vertices are in the image (V, 2) px, and whether they are inside of it (V,)."""
    pixels = project(body + view.place, view.camera)
    return pixels, np.asarray(((pixels >= 0) & (pixels < view.image_size)).all(1))


def covered(pixels: FloatArray, view: View) -> NDArray[np.bool_]:
    """(V,) whether OpenCV finds the points in one of the occluders."""
    is_covered = np.zeros(len(pixels), bool)
    for polygon in view.occluders:
        is_covered |= [
            cv2.pointPolygonTest(polygon, (float(u), float(v)), False) >= 0 for u, v in pixels
        ]
    return is_covered


def test_half_bodies_and_busts_are_as_common_as_planned(
    body: FloatArray, views: list[View]
) -> None:
    """By what the image shows, without occluders: the head, and how much below it."""
    kinds = []
    height_m = float(np.ptp(body[:, 1]))
    for view in views:
        _, inside = pixels_of(body, view)
        is_head = body[:, 1] < body[:, 1].min() + 0.1 * height_m
        share = float(body[inside, 1].max() - body[:, 1].min()) / height_m
        if inside[is_head].mean() < 0.5:
            kinds.append("no head")
        elif share > 0.93:  # the feet are visible
            kinds.append("whole")
        else:
            kinds.append("half" if share > 0.3 else "bust")
    shares = {kind: kinds.count(kind) / COUNT for kind in set(kinds)}
    assert shares["half"] > 1 / 3
    assert shares["bust"] > 0.1
    assert shares["whole"] > 0.25
    assert shares["no head"] > 0.02


def test_the_square_is_around_what_is_visible(body: FloatArray, views: list[View]) -> None:
    """Or, for some people behind something, around what would be visible without it."""
    around_visible, around_hidden = 0, 0
    for view in views:
        pixels, inside = pixels_of(body, view)
        visible = inside & ~covered(pixels, view)

        def is_around(shown: NDArray[np.bool_], view: View, pixels: FloatArray) -> bool:
            low, high = pixels[shown].min(0), pixels[shown].max(0)
            side = float((high - low).max())
            centre = view.square[:2] + view.square[2:] / 2
            off = np.abs(centre - (low + high) / 2).max() / side
            larger = view.square[2] / (CROP_MARGIN * side)
            pixel = 1 / side  # a box ends at its last pixel
            return bool(off <= BOX_JITTER + pixel and abs(larger - 1) <= 2 * BOX_JITTER + 2 * pixel)

        if is_around(visible, view, pixels):
            around_visible += 1
        else:
            assert is_around(inside, view, pixels)
            around_hidden += 1
    assert around_visible > 0.85 * COUNT
    assert around_hidden > 0


def test_something_stands_in_front_of_some_people(body: FloatArray, views: list[View]) -> None:
    hidden = []
    for view in views:
        pixels, inside = pixels_of(body, view)
        hidden.append(covered(pixels, view)[inside].mean())
    occluded = np.array([len(view.occluders) > 0 for view in views])
    assert 0.5 * OCCLUDED < occluded.mean() <= 1.3 * OCCLUDED
    assert np.mean(np.array(hidden)[occluded] > 0.02) > 0.5  # of the vertices; most are on the head
    assert max(hidden) < 0.7  # enough remains
    assert not np.array(hidden)[~occluded].any()


def test_nobody_is_too_near_or_out_of_sight(body: FloatArray, views: list[View]) -> None:
    for view in views:
        assert (body + view.place)[:, 2].min() >= NEAREST_M
        _, inside = pixels_of(body, view)
        assert inside.mean() > 0.04
        assert view.square[2] > 60
    depths_m = np.array([view.place[2] for view in views])
    assert depths_m.min() < 0.8
    assert depths_m.max() > 5
    assert {view.image_size for view in views} == set(IMAGE_SIZES)


def test_the_same_seed_gives_the_same_views(body: FloatArray, views: list[View]) -> None:
    random = np.random.default_rng(2)
    for view in views[:40]:
        again = dataclasses.asdict(frame_person(body, random))
        np.testing.assert_equal(again, dataclasses.asdict(view))
    other = frame_person(body, np.random.default_rng(3))
    assert not np.array_equal(other.square, views[0].square)


def test_covered_points_are_those_that_opencv_finds() -> None:
    random = np.random.default_rng(0)
    points = random.uniform(0, 100, (1500, 2)).astype(np.float32)
    angles = np.sort(random.uniform(0, 2 * np.pi, (3, 6)))
    convex = 50 + 40 * np.stack((np.cos(angles), 0.5 * np.sin(angles)), -1)  # (3, 6, 2)
    for polygon in (convex[0], convex[1, ::-1], convex[2, ::2]):  # both orientations, a triangle
        corners = polygon.astype(np.float32)
        distance = np.array(
            [cv2.pointPolygonTest(corners, (float(u), float(v)), True) for u, v in points]
        )
        sure = np.abs(distance) > 1e-3
        assert 30 < (distance > 0).sum() < 1000
        np.testing.assert_array_equal(_covered(points, (corners,))[sure], distance[sure] > 0)
    together = _covered(points, (convex[0].astype(np.float32), convex[1].astype(np.float32)))
    each = [_covered(points, (convex[i].astype(np.float32),)) for i in (0, 1)]
    np.testing.assert_array_equal(together, each[0] | each[1])
    assert not _covered(points, ()).any()
