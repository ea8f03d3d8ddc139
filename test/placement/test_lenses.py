"""Placement behind lenses that distort: exact where a pinhole is, and equal to scipy's minimum."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from samples import project_to_crop
from scipy.optimize import least_squares
from torch import Tensor

from pear_ros.estimation.crop_cameras import CropCameras
from pear_ros.geometry.camera import intrinsics_of, project
from pear_ros.geometry.crop_camera import CROP_FOCAL
from pear_ros.geometry.lens import distorted, lens_of, lens_rows, slopes_of
from pear_ros.people import Camera, FloatArray, Lens
from pear_ros.placement.reprojection import place_in_camera

SIDE_PX, CENTRE_PX = (640, 480), (320.0, 240.0)
LENSES = {
    "barrel": (500, lens_of("plumb_bob", (-0.25, 0.08, 0.0005, -0.0003, -0.01))),
    "wide": (280, lens_of("rational_polynomial", (1.2, 0.3, 0.0001, 0.0, 0.01, 1.6, 0.6, 0.05))),
    "fisheye": (300, lens_of("equidistant", (-0.02, 0.004, -0.002, 0.0003))),
}


def camera_of(name: str) -> Camera:
    focal_px, lens = LENSES[name]
    assert lens is not None
    return Camera(focal_px, focal_px, *CENTRE_PX, lens=lens)


def body() -> FloatArray:
    """(40, 3) m, points of a body of 1.7 m."""
    random = np.random.default_rng(4)
    return random.uniform((-0.35, -0.85, -0.15), (0.35, 0.85, 0.15), (40, 3)).astype(np.float32)


def seen_from(camera: Camera, angle_deg: float, distance_m: float) -> tuple[Tensor, ...]:
    """A person in a direction right of the axis: joints, crop camera, square, true translation.

    The crop's camera sees each joint where the lens does, as far as its three numbers can: they
    are fitted.
    """
    direction = np.radians(angle_deg)
    true = distance_m * np.array((np.sin(direction), 0.1, np.cos(direction)))
    joints = body()
    pixels = project(joints + true, camera)
    low, high = pixels.min(0), pixels.max(0)
    side = 1.25 * (high - low).max()
    square = np.array((*((low + high - side) / 2), side, side))
    cameras = crop_cameras(camera, square)
    turned = (joints - joints[0]) @ cameras.camera_from_crop[0].numpy() + joints[0]
    expected = (pixels - square[:2]) / side * 2 - 1  # half crops

    def error(camera_t: FloatArray) -> FloatArray:
        found = CROP_FOCAL * (turned[:, :2] - camera_t[:2]) / (turned[:, 2:] + camera_t[2])
        return (found - expected).ravel()

    camera_t = least_squares(error, (0, 0, 25.0)).x
    return tuple(
        torch.from_numpy(np.asarray(rows, np.float32))[None]
        for rows in (joints, camera_t, square, true)
    )


def crop_cameras(camera: Camera, square: FloatArray) -> CropCameras:
    return CropCameras(
        torch.from_numpy(np.asarray(square, np.float32))[None],
        intrinsics_of([camera]),
        lens_rows([camera]),
    )


def placed(camera: Camera, joints: Tensor, camera_t: Tensor, square: Tensor) -> FloatArray:
    cameras = crop_cameras(camera, square[0].numpy())
    found = place_in_camera(joints, camera_t, cameras.xywh, cameras.intrinsics, cameras.lenses)
    return found[0].numpy()


@pytest.mark.parametrize("name", LENSES)
@pytest.mark.parametrize("angle_deg", [0, 20, 40])
def test_a_person_at_four_metres_is_placed(name: str, angle_deg: float) -> None:
    """Not exactly: the crop's camera is nearly parallel, and stretches no side of the crop.

    Measured: 0.020 to 0.028 m up to 20 degrees, 0.025 to 0.066 m at 40; a pinhole has 0.012 m and
    0.054 m.
    """
    camera = camera_of(name)
    joints, camera_t, square, true = seen_from(camera, angle_deg, 4.0)
    found = placed(camera, joints, camera_t, square)
    assert np.linalg.norm(found - true[0].numpy()) < (0.04 if angle_deg < 40 else 0.08)
    pixels = project(joints[0].numpy() + found, camera)
    errors = np.linalg.norm(pixels - project((joints + true[:, None])[0].numpy(), camera), axis=1)
    assert np.median(errors) < 0.6


@pytest.mark.parametrize("name", LENSES)
def test_taken_for_a_pinhole_it_would_be_elsewhere(name: str) -> None:
    camera = camera_of(name)
    joints, camera_t, square, true = seen_from(camera, 40, 4.0)
    pinhole = Camera(camera.fx, camera.fy, camera.cx, camera.cy)
    found = placed(pinhole, joints, camera_t, square)
    assert np.linalg.norm(found - true[0].numpy()) > 0.3


@pytest.mark.parametrize("name", LENSES)
def test_no_other_translation_has_a_smaller_error(name: str) -> None:
    """Scipy minimises the distances of slopes, times the pixels per slope of each joint."""
    camera = camera_of(name)
    joints, camera_t, square, _ = seen_from(camera, 30, 3.0)
    found = placed(camera, joints, camera_t, square)
    side = float(square[0, 2])
    cameras = crop_cameras(camera, square[0].numpy())
    turn = cameras.camera_from_crop[0].numpy()
    points = joints[0].numpy()
    in_crop = (points - points[0]) @ turn + points[0]
    seen_px = project_to_crop(in_crop[None], camera_t.numpy(), side)[0] + square[0, :2].numpy()
    slopes = slopes_of(seen_px.astype(np.float64), camera)
    assert camera.lens is not None
    steps = np.eye(2) * 1e-5
    right, down = (
        (distorted(slopes + d, camera.lens) - distorted(slopes - d, camera.lens)) / 2e-5
        for d in steps
    )
    focal = camera.fx * np.sqrt(np.abs(right[:, 0] * down[:, 1] - right[:, 1] * down[:, 0]))
    focal[25:] *= 15**-0.5

    def error(translation: FloatArray) -> FloatArray:
        moved = points + translation
        return (focal[:, None] * (moved[:, :2] / moved[:, 2:] - slopes)).ravel()

    best = least_squares(error, found + 0.1, xtol=1e-12, ftol=1e-12).x
    np.testing.assert_allclose(found, best, rtol=0, atol=2e-4)


def test_a_lens_without_distortion_is_a_pinhole() -> None:
    camera = Camera(500, 520, *CENTRE_PX, lens=Lens())
    joints, camera_t, square, _ = seen_from(camera, 25, 3.0)
    pinhole = Camera(500, 520, *CENTRE_PX)
    np.testing.assert_allclose(
        placed(camera, joints, camera_t, square),
        placed(pinhole, joints, camera_t, square),
        rtol=0,
        atol=1e-6,
    )


def test_people_of_several_cameras_in_one_batch() -> None:
    cameras = [camera_of("fisheye"), Camera(500, 500, *CENTRE_PX), camera_of("barrel")]
    people = [seen_from(camera, 20, 3.0) for camera in cameras]
    joints, camera_t, squares = (torch.cat(rows) for rows in list(zip(*people, strict=True))[:3])
    together = place_in_camera(
        joints, camera_t, squares, intrinsics_of(cameras), lens_rows(cameras)
    )
    for camera, (one, t, square, _), found in zip(cameras, people, together, strict=True):
        np.testing.assert_array_equal(found, placed(camera, one, t, square))


def test_gradients_know_no_lenses() -> None:
    camera = camera_of("fisheye")
    joints, camera_t, square, _ = seen_from(camera, 0, 3.0)
    rows = lens_rows([camera])
    with pytest.raises(ValueError, match="lenses"):
        place_in_camera(joints.requires_grad_(), camera_t, square, intrinsics_of([camera]), rows)
