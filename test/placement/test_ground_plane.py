"""Distances from the floor under the feet."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from pear_ros.people import Camera
from pear_ros.placement.ground_plane import floor_ratios

CAMERA = Camera(600, 600, 320, 240)
SIZE = 480, 640  # px
HEIGHT_M = 1.2
SOLES_M = np.array((0.08, 0.08, 0.03, 0.03), np.float32)
SIGMA_DEG = 0.4


def floor(pitch_deg: float = 10, roll_deg: float = 0) -> tuple[NDArray[np.float64], Rotation]:
    """The floor under a camera that looks down, and the rotation of level axes to optical."""
    optical_from_level = Rotation.from_euler("xz", (pitch_deg, roll_deg), degrees=True)
    up = optical_from_level.apply((0.0, -1.0, 0.0))
    return np.append(up, HEIGHT_M), optical_from_level


def feet(*places: tuple[float, float, float]) -> NDArray[np.float32]:
    """(N, 4, 3) m, level axes, of people with the right foot 20 cm in the air; x, above, z."""
    rows = [
        [(x - 0.1, HEIGHT_M - above - 0.08, z), (x + 0.1, HEIGHT_M - above - 0.28, z),
         (x - 0.1, HEIGHT_M - above - 0.03, z - 0.1), (x + 0.1, HEIGHT_M - above - 0.23, z - 0.1)]
        for x, above, z in places
    ]  # fmt: skip
    return np.array(rows, np.float32)


@pytest.mark.parametrize("factor", [0.9, 1.0, 1.15])
@pytest.mark.parametrize(("pitch_deg", "roll_deg"), [(10, 0), (20, 5), (0, -10)])
def test_people_who_are_too_near_or_too_far(
    factor: float, pitch_deg: float, roll_deg: float
) -> None:
    """The estimated body is `factor` times as far away as the true one, and as much larger."""
    plane, optical_from_level = floor(pitch_deg, roll_deg)
    true = feet((0.0, 0.0, 4.0), (0.5, 0.0, 4.5))
    placed = (optical_from_level.apply(true.reshape(-1, 3)) * factor).reshape(true.shape)
    log_ratio, sigma = floor_ratios(placed, SOLES_M, plane, CAMERA, SIZE, SIGMA_DEG)
    np.testing.assert_allclose(np.exp(log_ratio), 1 / factor, rtol=0.01)
    assert (sigma < 0.06).all()


def test_far_people_are_less_certain() -> None:
    plane, optical_from_level = floor()
    placed = optical_from_level.apply(feet((0, 0, 3), (0, 0, 8)).reshape(-1, 3)).reshape(2, 4, 3)
    _, sigma = floor_ratios(placed, SOLES_M, plane, CAMERA, SIZE, SIGMA_DEG)
    assert sigma[1] > 2 * sigma[0]


UNUSABLE = {
    "feet below the image": (0.0, 0.0, 1.5),
    "feet beside the image": (3.0, 0.0, 4.0),
    "high above the floor": (0.0, 1.15, 4.0),
    "behind the camera": (0.0, 0.0, -4.0),
}


@pytest.mark.parametrize("place", UNUSABLE.values(), ids=UNUSABLE)
def test_the_floor_says_nothing(place: tuple[float, float, float]) -> None:
    plane, optical_from_level = floor()
    placed = optical_from_level.apply(feet(place).reshape(-1, 3)).reshape(1, 4, 3)
    log_ratio, sigma = floor_ratios(placed, SOLES_M, plane, CAMERA, SIZE, SIGMA_DEG)
    assert log_ratio.tolist() == [0]
    assert np.isinf(sigma).all()


def test_nobody() -> None:
    plane, _ = floor()
    log_ratio, sigma = floor_ratios(
        np.zeros((0, 4, 3), np.float32), SOLES_M, plane, CAMERA, SIZE, SIGMA_DEG
    )
    assert log_ratio.shape == sigma.shape == (0,)


def test_a_camera_near_the_floor() -> None:
    """From 15 cm above the sole, the ray is too flat."""
    for camera_height_m, is_used in ((0.15, False), (0.35, True)):
        plane = np.array((0.0, -1.0, 0.0, camera_height_m))
        sole = np.array([[(0.0, camera_height_m, 4.0)]], np.float32)
        _, sigma = floor_ratios(sole, np.zeros(1, np.float32), plane, CAMERA, SIZE, SIGMA_DEG)
        assert np.isfinite(sigma[0]) == is_used
