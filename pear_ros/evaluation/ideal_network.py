"""Where people are placed if the network makes no error: what remains is that of the geometry.

Pose, shape and orientation are the true ones. The crop's camera has three numbers; they are fitted,
so that it sees the joints as near as it can to where the lens does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from pear_ros.estimation.crop_cameras import CropCameras
from pear_ros.geometry.camera import intrinsics_of, project
from pear_ros.geometry.crop_camera import CROP_FOCAL
from pear_ros.geometry.lens import lens_rows
from pear_ros.people import NUM_BODY_JOINTS, NUM_JOINTS, Camera, FloatArray, People
from pear_ros.placement.reprojection import FINGER_WEIGHT, place_in_camera

Array = NDArray[np.float64]

STEPS = 15  # of Gauss-Newton
WEIGHTS = np.where(
    np.arange(NUM_JOINTS) < NUM_BODY_JOINTS, 1.0, FINGER_WEIGHT
)  # of a joint's error
FIRST_TZ = 12.0  # nearer than most: from farther away a step would lead past the body


@dataclass(frozen=True)
class Placed:
    """Where N people are placed."""

    translation: FloatArray  # (N, 3) m
    position_cm: Array  # (N,) error
    reprojection_px: Array  # (N, 55) distances of projected joints to the true ones


def placed_ideally(truth: People, camera: Camera) -> Placed:
    """Places N people as with the best parameters that a network can give."""
    count = len(truth)
    cameras = CropCameras(
        torch.from_numpy(truth.crop_xywh),
        intrinsics_of([camera] * count),
        lens_rows([camera] * count),
    )
    joints = truth.joints.astype(np.float64)  # (N, 55, 3)
    pixels = project(truth.joints + truth.translation[:, None], camera)  # (N, 55, 2)
    square = truth.crop_xywh.astype(np.float64)[:, None]
    seen = 2 * (pixels - square[..., :2]) / square[..., 2:] - 1  # half crops
    pelvis = joints[:, :1]
    in_crop = (joints - pelvis) @ cameras.camera_from_crop.double().numpy() + pelvis
    camera_t = np.stack([fitted(*rows) for rows in zip(in_crop, seen, strict=True)])
    translation = place_in_camera(
        torch.from_numpy(truth.joints),
        torch.from_numpy(camera_t.astype(np.float32)),
        cameras.xywh,
        cameras.intrinsics,
        cameras.lenses,
    ).numpy()
    found = project(truth.joints + translation[:, None], camera)
    return Placed(
        translation,
        100 * np.linalg.norm((translation - truth.translation).astype(np.float64), axis=1),
        np.linalg.norm(found - pixels, axis=2),
    )


def fitted(joints: Array, seen: Array) -> Array:
    """The (3,) `camera_t` with which the crop's camera sees joints (J, 3) nearest to (J, 2)."""
    camera_t = np.array((0.0, 0.0, FIRST_TZ))
    for _ in range(STEPS):
        depth = (joints[:, 2:] + camera_t[2])[..., None]  # (J, 1, 1)
        offset = (joints[:, :2] - camera_t[:2])[..., None]  # (J, 2, 1)
        slopes = -CROP_FOCAL * np.concatenate(
            (np.broadcast_to(np.eye(2), (len(joints), 2, 2)) / depth, offset / depth**2), 2
        )  # (J, 2, 3)
        error = seen - (CROP_FOCAL * offset / depth)[..., 0]
        weighted = slopes * WEIGHTS[:, None, None], error * WEIGHTS[:, None]
        step = np.linalg.lstsq(weighted[0].reshape(-1, 3), weighted[1].ravel(), rcond=None)[0]
        camera_t = camera_t + step.clip(-5, 5)
    return camera_t
