"""Projections, rotations from crop to camera, calibrations.

placement/test_ideal_network.py measures how much the rotation reduces the error.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from samples import crop_camera_translation, golden, project_to_crop, random_parameters
from scipy.spatial.transform import Rotation

from pear_ros.body.body_model import BodyModel
from pear_ros.geometry.camera import assumed_camera, calibrated_camera, project
from pear_ros.geometry.crop_camera import camera_from_crop, rotated
from pear_ros.people import Camera

NAN, INF = float("nan"), float("inf")
SQUARE = (100.0, 50.0, 400.0, 400.0)  # xywh, px; its centre is (300, 250)


# --- The crop's camera ---------------------------------------------------------------------------


def test_projected_joints_agree_with_the_published() -> None:
    stored = golden("ehm")
    found = project_to_crop(stored["joints"], stored["camera_t"], 1024)
    np.testing.assert_allclose(found, stored["joints_uv_1024"], rtol=0, atol=1e-2)


def test_crop_camera_translation() -> None:
    translation = crop_camera_translation(np.array([(0.1, -0.2, 5)], np.float32))
    np.testing.assert_array_equal(translation, np.array([(-0.1, 0.2, 5)], np.float32))


def test_projections_of_nobody() -> None:
    no_points = np.zeros((0, 55, 3), np.float32)
    assert project(no_points, Camera(1, 1, 0, 0)).shape == (0, 55, 2)
    assert project_to_crop(no_points, np.zeros((0, 3), np.float32), 256).shape == (0, 55, 2)


# --- From the crop to the camera -----------------------------------------------------------------


def test_a_crop_on_the_optical_axis_is_not_rotated() -> None:
    intrinsics = torch.tensor([[600.0, 500, 300, 250]])
    found = camera_from_crop(torch.tensor([SQUARE]), intrinsics)
    assert torch.equal(found, torch.eye(3)[None])


def test_the_rotation_is_the_smallest_to_the_ray_through_the_square() -> None:
    random = np.random.default_rng(8)
    corner, side = random.uniform(-100, 900, (50, 2)), random.uniform(100, 600, (50, 1))
    squares = torch.from_numpy(np.concatenate((corner, side, side), 1))
    intrinsics = torch.tensor([600.0, 500, 320, 240], dtype=torch.float64).repeat(50, 1)
    found = camera_from_crop(squares, intrinsics)
    centre = squares[:, :2] + squares[:, 2:] / 2
    ray = torch.cat((centre - intrinsics[:, 2:], torch.ones(50, 1)), 1)
    ray[:, :2] /= intrinsics[:, :2]
    ray = torch.nn.functional.normalize(ray, dim=1)
    torch.testing.assert_close(found @ torch.tensor((0.0, 0, 1)).double(), ray)
    rotation = Rotation.from_matrix(found.numpy())
    np.testing.assert_allclose(rotation.as_matrix(), found, atol=1e-12)
    np.testing.assert_allclose(rotation.magnitude(), ray[:, 2].arccos(), atol=1e-7)


def test_bodies_are_rotated_about_their_pelvis(small_body_model: BodyModel) -> None:
    parameters = random_parameters(3)
    turn = torch.from_numpy(Rotation.random(3, np.random.default_rng(1)).as_matrix()).float()
    before = small_body_model(parameters, mesh=True)
    after = small_body_model(rotated(parameters, turn), mesh=True)
    pelvis = before.joints[:, :1]
    for name in ("joints", "vertices"):
        expected = (getattr(before, name) - pelvis) @ turn.mT + pelvis
        torch.testing.assert_close(getattr(after, name), expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(after.rotations, turn[:, None] @ before.rotations)
    back = rotated(rotated(parameters, turn), turn.mT)
    torch.testing.assert_close(back.global_orient, parameters.global_orient)


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
    for value in (NAN, INF, -INF, 1e300, *((0.0, -600.0, 1e-300) if name[0] == "f" else ()))
} | {"all zero": np.zeros(9)}


@pytest.mark.parametrize("k", NOT_CALIBRATED.values(), ids=NOT_CALIBRATED)
def test_matrices_that_are_no_calibration(k: np.ndarray) -> None:
    assert calibrated_camera(k) is None


@pytest.mark.parametrize(
    ("width", "height"),
    [(640, 480), (480, 640), (1, 1)],
    ids=["landscape", "portrait", "one pixel"],
)
def test_assumed_camera_spans_the_longer_side(width: int, height: int) -> None:
    camera = assumed_camera(width, height, 70.0)
    assert not camera.is_metric
    assert camera.fx == camera.fy
    assert (camera.cx, camera.cy) == (width / 2, height / 2)
    half_angle = math.atan2(max(width, height) / 2, camera.fx)
    assert math.degrees(2 * half_angle) == pytest.approx(70)
