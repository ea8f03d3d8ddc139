"""Errors of rotation and placement for people in known poses, seen by an ideal network.

PEAR learns the global orientation from projected joints only. So an ideal network estimates the
orientation and the crop camera with the least reprojection error; the body's pose and shape are
known. docs/concepts/crop_camera.md has the numbers.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from samples import SIZES
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation
from torch import Tensor

from pear_ros.assets.body_assets import load_assets
from pear_ros.body.body_model import BodyModel
from pear_ros.geometry.camera import intrinsics_of, project
from pear_ros.geometry.crop_camera import camera_from_crop
from pear_ros.people import JOINT, Camera, EhmParameters
from pear_ros.placement import reprojection as placement
from pear_ros.placement.reprojection import place_in_camera
from pear_ros.system.installed import shared_file

pytestmark = pytest.mark.slow

Array = NDArray[np.float64]

STANDIN = shared_file("standin/body.npz")
CAMERA = Camera(800, 800, 640, 360)
COUNT = 60


@functools.cache
def posed_joints() -> tuple[Array, Array]:
    """(N, 55, 3) m, (N, 3, 3): joints and orientation of upright people with any yaw."""
    random = np.random.default_rng(1)

    def mild(joints: int, spread_rad: float) -> Array:
        turns = Rotation.from_rotvec(random.normal(0, spread_rad, (COUNT * joints, 3)))
        return turns.as_matrix().reshape(COUNT, joints, 3, 3)

    upright = Rotation.from_rotvec((np.pi, 0, 0)).as_matrix()
    yaw = Rotation.from_rotvec(random.uniform(-np.pi, np.pi, (COUNT, 1)) * (0, 1, 0)).as_matrix()
    orientation = mild(1, 0.1)[:, 0] @ upright @ yaw
    body_pose = mild(21, 0.15)
    for name, side in (("left_shoulder", -1), ("right_shoulder", 1)):  # the arms hang down
        body_pose[:, JOINT[name] - 1] @= Rotation.from_rotvec((0, 0, side * 1.1)).as_matrix()
    poses = {
        "global_orient": orientation[:, None], "body_pose": body_pose,
        "left_hand_pose": mild(15, 0.15), "right_hand_pose": mild(15, 0.15),
    }  # fmt: skip
    values = {name: torch.zeros(COUNT, size) for name, size in SIZES.items()}
    values |= {name: torch.from_numpy(pose.astype(np.float32)) for name, pose in poses.items()}
    values["head_scale"] = torch.ones(COUNT, 3)
    bodies = BodyModel(load_assets(STANDIN))(EhmParameters(**values))
    return bodies.joints.numpy().astype(np.float64), orientation


@dataclasses.dataclass
class Estimated:
    """Estimates of an ideal network for people with known joints."""

    truth: Array  # (N, 55, 3) m, in the camera
    camera_from_crop: Array  # (N, 3, 3)
    estimated: Array  # (N, 3, 3) estimated rotation, relative to the true one
    camera_t: Array  # (N, 3)
    squares: Array  # (N, 4) xywh, px

    @property
    def crop_joints(self) -> Array:
        """(N, 55, 3) m in the crop camera's axes, without its translation."""
        return about_pelvis(self.estimated, self.bodies)

    @property
    def bodies(self) -> Array:
        return posed_joints()[0]

    @property
    def seen(self) -> Array:
        """(N, 55, 2) px, the estimated joints projected by the crop's camera."""
        half_crops = crop_projection(self.crop_joints, self.camera_t)
        half = self.squares[:, None, 2:] / 2
        return self.squares[:, None, :2] + half * (1 + half_crops)


def about_pelvis(rotation: Array, joints: Array) -> Array:  # (N, 3, 3), (N, J, 3)
    pelvis = joints[:, :1]
    return (joints - pelvis) @ rotation.swapaxes(1, 2) + pelvis


def crop_projection(joints: Array, camera_t: Array) -> Array:
    """(..., J, 3) m, (..., 3) -> (..., J, 2), -1 to 1 in the crop: the published camera."""
    t = camera_t[..., None, :]
    return 24 * (joints[..., :2] - t[..., :2]) / (joints[..., 2:] + t[..., 2:])


def squares_around(pixels: Array) -> Array:  # (N, J, 2) -> (N, 4) xywh
    low, high = pixels.min(1), pixels.max(1)
    side = 1.25 * (high - low).max(1, keepdims=True)
    return np.concatenate(((low + high - side) / 2, side, side), 1)


def best_estimate(joints: Array, half_crops: Array) -> Array:
    """(6,) rotation vector of the body, tx, ty, log tz with the least reprojection error."""
    pelvis = joints[0]

    def error(x: Array) -> Array:
        turned = Rotation.from_rotvec(x[:3]).apply(joints - pelvis) + pelvis
        found = crop_projection(turned, np.array((x[3], x[4], np.exp(x[5]))))
        return (found - half_crops).ravel()

    return least_squares(error, (0, 0, 0, 0, 0, np.log(30)), method="lm").x


@functools.cache
def estimated(distance_m: float, off_axis_deg: float) -> Estimated:
    """People at a distance, along rays at an angle to the optical axis, on all sides of it."""
    joints, _ = posed_joints()
    angle = np.radians(off_axis_deg)
    around = np.random.default_rng(2).uniform(-np.pi, np.pi, COUNT)
    ray = np.stack(
        (
            np.sin(angle) * np.cos(around),
            np.sin(angle) * np.sin(around),
            0 * around + np.cos(angle),
        ),
        -1,
    )
    truth = joints - joints[:, :1] + distance_m * ray[:, None]
    assert (truth[..., 2] > 0.1).all()
    pixels = project_wide(truth)
    squares = squares_around(pixels)
    half_crops = (pixels - squares[:, None, :2]) / squares[:, None, 2:] * 2 - 1
    x = np.array([best_estimate(j, n) for j, n in zip(joints, half_crops, strict=True)])
    return Estimated(
        truth=truth,
        camera_from_crop=camera_from_crop(*rows(squares)).numpy(),
        estimated=Rotation.from_rotvec(x[:, :3]).as_matrix(),
        camera_t=np.concatenate((x[:, 3:5], np.exp(x[:, 5:])), 1),
        squares=squares,
    )


def rows(squares: Array) -> tuple[Tensor, Tensor]:
    """Squares and intrinsics, the inputs of the placement."""
    return torch.from_numpy(squares), intrinsics_of([CAMERA] * len(squares)).double()


def project_wide(points: Array) -> Array:
    return project(points, CAMERA).astype(np.float64)


def angles_deg(a: Array, b: Array) -> Array:
    """(N, 3, 3) twice -> (N,)."""
    return np.degrees(Rotation.from_matrix(a.swapaxes(1, 2) @ b).magnitude())


def exact(a: Estimated) -> tuple[Array, Array]:
    """Rotated joints (N, 55, 3) and their placement (N, 3)."""
    joints = about_pelvis(a.camera_from_crop, a.crop_joints)
    translation = place_in_camera(
        torch.from_numpy(joints), torch.from_numpy(a.camera_t), *rows(a.squares)
    )
    return joints, translation.numpy().astype(np.float64)


def closed_form(a: Estimated) -> tuple[Array, Array]:
    """Joints without rotation, placed so that size and position in the image stay the same."""
    tx, ty, tz = a.camera_t.T
    side = a.squares[:, 2]
    depth = CAMERA.fx * tz / (12 * side)
    x = -tx + (a.squares[:, 0] + side / 2 - CAMERA.cx) * depth / CAMERA.fx
    y = -ty + (a.squares[:, 1] + side / 2 - CAMERA.cy) * depth / CAMERA.fy
    return a.crop_joints, np.stack((x, y, depth), -1)


def medians(a: Estimated, joints: Array, translation: Array) -> tuple[float, float, float]:
    """Median errors: depth of the pelvis and joints, m, and distance to the seen joints, px."""
    placed = joints + translation[:, None]
    depth = np.abs((placed - a.truth)[:, 0, 2])
    distance = np.linalg.norm(placed - a.truth, axis=-1).mean(1)
    pixels = np.sqrt(((project_wide(placed) - a.seen) ** 2).sum(-1).mean(1))
    return float(np.median(depth)), float(np.median(distance)), float(np.median(pixels))


# --- The orientation -----------------------------------------------------------------------------

IDENTITY = np.eye(3)[None]


# Degrees off the axis; error of the orientation without and with the rotation, degrees.
@pytest.mark.parametrize(
    ("off_axis_deg", "without_deg", "with_deg"),
    [(0, 2.3, 2.9), (10, 9.7, 3.6), (20, 19.0, 5.4), (30, 29.0, 8.6)],
    ids=["on the axis", "10 degrees off", "20 degrees off", "30 degrees off"],
)
def test_the_rotation_reduces_the_error_of_the_orientation(
    off_axis_deg: float, without_deg: float, with_deg: float
) -> None:
    """Medians of people at 3 m. The rest is perspective, which the crop's camera hardly has."""
    a = estimated(3, off_axis_deg)
    without = angles_deg(a.estimated, IDENTITY)
    rotated = angles_deg(a.camera_from_crop @ a.estimated, IDENTITY)
    assert np.median(without) == pytest.approx(without_deg, abs=0.3)
    assert np.median(rotated) == pytest.approx(with_deg, abs=0.3)


def test_far_away_the_rotation_removes_almost_all_of_the_error() -> None:
    """The rest: a pinhole camera stretches objects away from the axis, by 1.5 % here."""
    a = estimated(50, 10)
    assert np.median(angles_deg(a.estimated, IDENTITY)) == pytest.approx(10, abs=0.3)
    assert np.median(angles_deg(a.camera_from_crop @ a.estimated, IDENTITY)) < 1


# --- The translation -----------------------------------------------------------------------------


# Distance, m, and degrees off the axis; the values of `medians`, by least squares and closed form.
MEDIANS = {
    "1 m away, on the axis": ((1, 0), (0.048, 0.106, 72.5), (0.060, 0.088, 73)),
    "1 m away, 30 degrees off": ((1, 30), (0.075, 0.146, 118), (0.117, 0.211, 196)),
    "1.5 m away, on the axis": ((1.5, 0), (0.021, 0.056, 26.6), (0.055, 0.066, 26.1)),
    "1.5 m away, 30 degrees off": ((1.5, 30), (0.052, 0.102, 51.1), (0.135, 0.221, 100.3)),
    "3 m away, on the axis": ((3, 0), (0.014, 0.026, 5.6), (0.047, 0.051, 5.7)),
    "3 m away, 30 degrees off": ((3, 30), (0.084, 0.098, 14.4), (0.197, 0.267, 46.0)),
    "6 m away, on the axis": ((6, 0), (0.011, 0.015, 1.1), (0.040, 0.041, 1.2)),
    "6 m away, 30 degrees off": ((6, 30), (0.127, 0.148, 5.5), (0.418, 0.484, 23.6)),
}


@pytest.mark.parametrize(("place", "least_squares", "closed"), MEDIANS.values(), ids=MEDIANS)
def test_placement_against_the_closed_form(
    place: tuple[float, float],
    least_squares: tuple[float, float, float],
    closed: tuple[float, float, float],
) -> None:
    a = estimated(*place)
    assert medians(a, *exact(a)) == pytest.approx(least_squares, rel=0.1, abs=0.01)
    assert medians(a, *closed_form(a)) == pytest.approx(closed, rel=0.1, abs=0.01)


# Largest distance to the solution of COUNT people, m, after 0, 1, 2, ... Gauss-Newton steps.
CONVERGENCE = {
    "1 m away, 30 degrees off": ((1, 30), (0.2, 0.05, 0.02, 0.006, 0.003)),
    "3 m away, 30 degrees off": ((3, 30), (0.1, 1e-3, 1e-4, 1e-6, 1e-6)),
    "6 m away, on the axis": ((6, 0), (0.1, 1e-3, 1e-5, 1e-6, 1e-6)),
}


@pytest.mark.parametrize(("place", "moved_m"), CONVERGENCE.values(), ids=CONVERGENCE)
def test_gauss_newton_converges(
    monkeypatch: pytest.MonkeyPatch, place: tuple[float, float], moved_m: tuple[float, ...]
) -> None:
    def after(steps: int) -> Array:
        monkeypatch.setattr(placement, "GAUSS_NEWTON_STEPS", steps)
        return exact(estimated(*place))[1]

    best = after(30)
    for steps, bound in enumerate(moved_m):
        assert np.linalg.norm(after(steps) - best, axis=1).max() < bound, steps
