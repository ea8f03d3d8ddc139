"""Projections and placement: the published numbers, exact cases and stated bounds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from samples import golden

from pear_ros.camera import (
    assumed_camera,
    calibrated_camera,
    crop_camera_translation,
    place_in_camera,
    project,
    project_to_crop,
)
from pear_ros.people import Camera, FloatArray

NAN, INF = float("nan"), float("inf")
SQUARE = (100.0, 50.0, 400.0, 400.0)  # xywh, px; its centre is (300, 250)


def rows(*values: tuple[float, ...]) -> FloatArray:
    return np.array(values, np.float32)


def random_people(count: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Points (N, 40, 3) m within half a metre, crop cameras (N, 3), squares (N, 4) px."""
    random = np.random.default_rng(8)
    points = random.uniform(-0.5, 0.5, (count, 40, 3))
    camera_t = random.uniform((-0.5, -0.5, 8), (0.5, 0.5, 30), (count, 3))
    side = random.uniform(100, 600, (count, 1))
    corner = random.uniform(-100, 900, (count, 2))
    squares = np.concatenate((corner, side, side), 1)
    return points.astype(np.float32), camera_t.astype(np.float32), squares.astype(np.float32)


def in_image(points: FloatArray, camera_t: FloatArray, square: FloatArray) -> FloatArray:
    """Where the crop's camera sees the points, in px of the image."""
    return project_to_crop(points[None], camera_t[None], float(square[2]))[0] + square[:2]


# --- The crop's camera ---------------------------------------------------------------------------


def test_joints_are_seen_where_published() -> None:
    stored = golden("ehm")
    found = project_to_crop(stored["joints"], stored["camera_t"], 1024)
    np.testing.assert_allclose(found, stored["joints_uv_1024"], rtol=0, atol=1e-2)


def test_crop_camera_translation() -> None:
    translation = crop_camera_translation(rows((0.1, -0.2, 5)))
    np.testing.assert_array_equal(translation, rows((-0.1, 0.2, 5)))


def test_in_the_crop_camera_itself_placement_is_exact() -> None:
    points, camera_t, squares = random_people(20)
    for p, t, square in zip(points, camera_t, squares, strict=True):
        side = float(square[2])
        x, y = (float(edge) + side / 2 for edge in square[:2])
        itself = Camera(12 * side, 12 * side, x, y)
        (translation,) = place_in_camera(t[None], square[None], itself)
        np.testing.assert_allclose(translation, crop_camera_translation(t), rtol=0, atol=1e-5)
        found = project(p + translation, itself)
        np.testing.assert_allclose(found, in_image(p, t, square), rtol=0, atol=1e-2)


# --- The real camera -----------------------------------------------------------------------------


def test_a_known_placement() -> None:
    camera = Camera(600, 500, 320, 240)
    found = place_in_camera(rows((0.1, -0.2, 16)), rows(SQUARE), camera)
    depth = 600 * 16 / (12 * 400)  # 2 m
    expected = (-0.1 + (300 - 320) * depth / 600, 0.2 + (250 - 240) * depth / 500, depth)
    np.testing.assert_allclose(found, rows(expected), rtol=1e-6)


@pytest.mark.parametrize("focal_px", [300.0, 1500.0, 20_000.0])
def test_placed_people_are_seen_where_the_crop_put_them(focal_px: float) -> None:
    """Up to the perspective of their depth.

    With f the true focal length, g = 12 L the crop's and d = f tz / g the depth it is placed at, a
    point at (X, Z) of the body moves by at most
        |c_u - c_x| |Z| / (Z + d) + g |X - tx| |Z| |g / f - 1| / ((Z + tz) (Z g / f + tz)):
    the crop looks straight at the person and from another distance. At Z = 0 both vanish.
    """
    camera = Camera(focal_px, focal_px, 640, 360)
    points, camera_t, squares = random_people(30)
    points[:, :10, 2] = 0
    translations = place_in_camera(camera_t, squares, camera)
    placed = translations[:, 2] > 1  # what stands in the camera has no image
    assert placed.sum() >= 5
    for p, t, square, translation in zip(
        points[placed], camera_t[placed], squares[placed], translations[placed], strict=True
    ):
        error = np.abs(project(p + translation, camera) - in_image(p, t, square))
        g, z, tz = 12 * square[2], p[:, 2:], t[2]
        off_axis = np.abs(square[:2] + square[2] / 2 - (640, 360)) * np.abs(
            z / (z + translation[2])
        )
        nearer = np.abs(z * (g / focal_px - 1) / ((z + tz) * (z * g / focal_px + tz)))
        bound = off_axis + g * np.abs(p[:, :2] - t[:2]) * nearer
        assert (error <= bound + 1e-2).all()
        assert error[:10].max() < 1e-2


def test_a_long_lens_sees_people_as_the_crop_did() -> None:
    """A focal length as long as the crop's, the person 100 px off the axis, 0.5 m deep at 16 m.

    The bound above is 100 * 0.5 / 15.5 = 3.3 px.
    """
    points = random_people(1)[0][0]
    camera_t, square = rows((0.1, 0.1, 16)), rows(SQUARE)
    camera = Camera(4800, 4800, 400, 150)
    translation = place_in_camera(camera_t, square, camera)
    error = np.abs(
        project(points[0] + translation, camera) - in_image(points[0], camera_t[0], square[0])
    )
    assert 0.5 < error.max() < 3.3


def test_pixels_that_are_not_square() -> None:
    """The point on the crop's axis stays in the crop's centre."""
    camera = Camera(600, 900, 320, 240)
    camera_t = rows((0.1, -0.2, 16))
    translation = place_in_camera(camera_t, rows(SQUARE), camera)
    on_axis = rows((0.1, -0.2, 0))
    np.testing.assert_allclose(project(on_axis + translation, camera), [[300, 250]], atol=1e-3)


UNPLACEABLE = {
    "behind": ((0, 0, -5), SQUARE),
    "at the camera": ((0, 0, 0), SQUARE),
    "tz nan": ((0, 0, NAN), SQUARE),
    "tz infinite": ((0, 0, INF), SQUARE),
    "tz minus infinite": ((0, 0, -INF), SQUARE),
    "tx nan": ((NAN, 0, 5), SQUARE),
    "ty infinite": ((0, INF, 5), SQUARE),
    "empty square": ((0, 0, 5), (100, 50, 0, 0)),
    "nan square": ((0, 0, 5), (NAN, 50, 400, 400)),
}


@pytest.mark.parametrize(("camera_t", "square"), UNPLACEABLE.values(), ids=UNPLACEABLE)
def test_unplaceable_rows_are_nan(camera_t: tuple[float, ...], square: tuple[float, ...]) -> None:
    camera = Camera(600, 600, 320, 240)
    good = (0.1, 0.2, 5)
    found = place_in_camera(rows(good, camera_t, good), rows(SQUARE, square, SQUARE), camera)
    assert np.isnan(found[1]).all()
    (expected,) = place_in_camera(rows(good), rows(SQUARE), camera)
    np.testing.assert_array_equal(found[[0, 2]], [expected, expected])
    assert np.isfinite(expected).all()


def test_nobody() -> None:
    none = place_in_camera(
        np.zeros((0, 3), np.float32), np.zeros((0, 4), np.float32), Camera(1, 1, 0, 0)
    )
    assert none.shape == (0, 3)
    assert project(np.zeros((0, 55, 3), np.float32), Camera(1, 1, 0, 0)).shape == (0, 55, 2)
    no_points = np.zeros((0, 55, 3), np.float32)
    assert project_to_crop(no_points, np.zeros((0, 3), np.float32), 256).shape == (0, 55, 2)


# --- Cameras -------------------------------------------------------------------------------------


def k_matrix(**changes: float) -> np.ndarray:
    names = {"fx": 0, "cx": 2, "fy": 4, "cy": 5}
    k = np.array([600, 0, 320, 0, 610, 240, 0, 0, 1], np.float64)
    for name, value in changes.items():
        k[names[name]] = value
    return k


def test_calibrated_camera() -> None:
    assert calibrated_camera(k_matrix()) == Camera(600, 610, 320, 240, is_metric=True)
    assert calibrated_camera(k_matrix(cx=-5, cy=0)) == Camera(600, 610, -5, 0, is_metric=True)


NOT_CALIBRATED = {
    f"{name} {value}": k_matrix(**{name: value})
    for name in ("fx", "fy", "cx", "cy")
    for value in (NAN, INF, -INF, *((0.0, -600.0) if name[0] == "f" else ()))
} | {"all zero": np.zeros(9)}


@pytest.mark.parametrize("k", NOT_CALIBRATED.values(), ids=NOT_CALIBRATED)
def test_not_calibrated(k: np.ndarray) -> None:
    assert calibrated_camera(k) is None


@pytest.mark.parametrize(("width", "height"), [(640, 480), (480, 640), (1, 1)])
def test_assumed_camera_spans_the_longer_side(width: int, height: int) -> None:
    camera = assumed_camera(width, height, 70.0)
    assert not camera.is_metric
    assert camera.fx == camera.fy
    assert (camera.cx, camera.cy) == (width / 2, height / 2)
    half_angle = math.atan2(max(width, height) / 2, camera.fx)
    assert math.degrees(2 * half_angle) == pytest.approx(70)
