"""Lens distortion agrees with OpenCV's, and its inverse with itself."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from pear_ros.geometry.camera import project
from pear_ros.geometry.lens import (
    MOST_DEG,
    distorted,
    lens_of,
    lens_rows,
    limit,
    slopes_of,
    undistorted,
)
from pear_ros.people import Camera, Lens

LENSES = {  # model, coefficients, half angle of view in degrees
    "webcam": ("plumb_bob", (0.12, -0.25, 0.001, -0.002, 0.05), 38),
    "four coefficients": ("plumb_bob", (-0.1, 0.02, 0.001, 0.002), 45),
    "barrel": ("plumb_bob", (-0.3, 0.12, 0.0005, -0.0003, -0.02), 45),
    "wide": ("rational_polynomial", (1.2, 0.3, 0.0001, -0.0002, 0.01, 1.6, 0.6, 0.05), 60),
    "zeros at the end": (
        "rational_polynomial", (0.3, -0.05, 0.0, 0.0, 0.0, 0.4, 0.02, 0.0, 0, 0, 0, 0), 50,
    ),
    "fisheye": ("equidistant", (-0.02, 0.004, -0.002, 0.0003), 75),
    "ideal fisheye": ("equidistant", (0.0, 0.0, 0.0, 0.0), 80),
}  # fmt: skip


def lens_and_slopes(name: str) -> tuple[Lens, np.ndarray]:
    """Rays in all directions within the angle of view, and the axis."""
    model, coefficients, half_deg = LENSES[name]
    lens = lens_of(model, coefficients)
    assert lens is not None
    random = np.random.default_rng(3)
    radius = np.tan(np.radians(random.uniform(0, half_deg, 500)))
    angle = random.uniform(0, 2 * math.pi, 500)
    slopes = radius[:, None] * np.stack((np.cos(angle), np.sin(angle)), 1)
    return lens, np.concatenate((slopes, np.zeros((1, 2))))


def opencv(name: str, slopes: np.ndarray) -> np.ndarray:
    """OpenCV's points behind the lens."""
    model, coefficients, _ = LENSES[name]
    given = np.array(coefficients)
    rays = np.concatenate((slopes, np.ones((len(slopes), 1))), 1)[:, None]
    zero, unit = np.zeros(3), np.eye(3)
    if model == "equidistant":
        return cv2.fisheye.projectPoints(rays, zero, zero, unit, given)[0][:, 0]
    return cv2.projectPoints(rays, zero, zero, unit, given)[0][:, 0]


@pytest.mark.parametrize("name", LENSES)
def test_points_agree_with_opencv(name: str) -> None:
    lens, slopes = lens_and_slopes(name)
    np.testing.assert_allclose(distorted(slopes, lens), opencv(name, slopes), rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", LENSES)
def test_rays_return(name: str) -> None:
    lens, slopes = lens_and_slopes(name)
    np.testing.assert_allclose(undistorted(distorted(slopes, lens), lens), slopes, atol=1e-8)


@pytest.mark.parametrize("shape", [(), (4,), (4, 3)], ids=str)
def test_several_lenses_at_once(shape: tuple[int, ...]) -> None:
    """Each lens is that of a row of points."""
    lenses = [lens_and_slopes(name)[0] for name in LENSES]
    rows = lens_rows([Camera(600, 600, 320, 240, lens=lens) for lens in lenses])
    assert rows is not None
    slopes = np.random.default_rng(2).uniform(-0.5, 0.5, (len(lenses), *shape, 2))
    points = distorted(slopes, rows.numpy())
    expected = [distorted(s, lens) for s, lens in zip(slopes, lenses, strict=True)]
    np.testing.assert_array_equal(points, expected)
    np.testing.assert_allclose(undistorted(points, rows.numpy()), slopes, atol=1e-8)


def test_no_points() -> None:
    for lens in (Lens(is_fisheye=True), np.zeros((0, 10))):
        assert distorted(np.zeros((0, 5, 2)), lens).shape == (0, 5, 2)


@pytest.mark.parametrize(
    ("points", "rows"),
    [((3, 3), (1, 10)), ((3, 2), (1, 9)), ((3, 2), (2, 10)), ((2,), (2, 10))],
    ids=str,
)
def test_shapes_that_do_not_fit(points: tuple[int, int], rows: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="expected"):
        distorted(np.zeros(points), np.zeros(rows))


@pytest.mark.parametrize("name", LENSES)
def test_every_ray_has_a_point_of_its_own(name: str) -> None:
    """Beyond the image, too, where the polynomial itself may fold back."""
    lens, _ = lens_and_slopes(name)
    slopes = np.linspace(0, 30, 3000)[:, None] * np.array((0.6, -0.8))
    points = distorted(slopes, lens)
    along = points @ np.array((0.6, -0.8))
    assert (np.diff(along) > 0).all()
    np.testing.assert_allclose(undistorted(points, lens), slopes, rtol=1e-6, atol=1e-6)


def test_a_strong_barrel_is_continued_from_where_it_folds_back() -> None:
    lens = lens_of("plumb_bob", (-0.4, 0.0, 0.0, 0.0, 0.0))
    assert lens is not None
    # r (1 - 0.4 r^2) has its maximum at r^2 = 1 / 1.2; its slope is 0.05 a little before.
    assert limit(lens) == pytest.approx(math.sqrt(0.95 / 1.2), abs=2e-3)
    assert limit(Lens()) == pytest.approx(math.tan(math.radians(MOST_DEG)))


def test_a_lens_that_folds_back_at_its_axis_is_a_pinhole() -> None:
    lens = Lens(coefficients=(-1e8, *[0.0] * 7))
    slopes = np.random.default_rng(1).normal(0, 1, (50, 2))
    assert limit(lens) == 0
    np.testing.assert_allclose(distorted(slopes, lens), slopes)
    np.testing.assert_allclose(undistorted(slopes, lens), slopes)


def test_the_axis_stays() -> None:
    for name in LENSES:
        lens, _ = lens_and_slopes(name)
        np.testing.assert_array_equal(distorted(np.zeros((1, 2)), lens), 0)
        np.testing.assert_array_equal(undistorted(np.zeros((1, 2)), lens), 0)


@pytest.mark.parametrize("model", ["", "plumb_bob", "rational_polynomial"])
@pytest.mark.parametrize("coefficients", [(), (0.0,) * 5, (0.0,) * 8])
def test_zeros_are_no_lens(model: str, coefficients: tuple[float, ...]) -> None:
    assert lens_of(model, coefficients) is None


def test_a_fisheye_without_coefficients_still_is_one() -> None:
    assert lens_of("equidistant", (0.0,) * 4) == Lens(is_fisheye=True)


@pytest.mark.parametrize(
    ("model", "coefficients"),
    [
        ("thin_prism_fisheye", (0.1,) * 8),
        ("omnidirectional", (0.0,) * 4),
        ("", (0.1, 0, 0, 0, 0)),
        ("plumb_bob", (0.1, 0.2)),
        ("plumb_bob", (0.1, 0.2, 0, 0, math.nan)),
        ("equidistant", (0.1,) * 5),
        ("rational_polynomial", (0.1,) * 14),
    ],
    ids=["unknown", "unknown zeros", "no name", "two", "nan", "five", "tilted"],
)
def test_lenses_that_are_not_known(model: str, coefficients: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=r"distortion_model|coefficients"):
        lens_of(model, coefficients)


@pytest.mark.parametrize("name", LENSES)
def test_pixels_and_rays_of_a_camera(name: str) -> None:
    lens, slopes = lens_and_slopes(name)
    camera = Camera(610, 590, 322, 241, lens=lens)
    points = np.concatenate((slopes, np.ones((len(slopes), 1))), 1) * 2.5  # m
    pixels = project(points, camera)
    expected = opencv(name, slopes) * (610, 590) + (322, 241)
    np.testing.assert_allclose(pixels, expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(slopes_of(pixels, camera), slopes, rtol=0, atol=1e-7)
