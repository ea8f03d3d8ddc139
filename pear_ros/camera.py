"""From the crop's camera to the real one.

The crop is seen by a pinhole camera of focal length 24 in half crop sides, so a point (X, Y, Z) of
the body appears at u = c_u + L/2 * 24 * (X - tx) / (Z + tz), and likewise v, where L is the side
of the square box in pixels and c its centre. Posed bodies are in optical axes already.

That camera looks straight at the crop's centre, the real one past it. So a body is turned from the
axes of the first into those of the second (`camera_from_crop`), then moved to where the real camera
sees its joints as the crop's camera did (`placement.py`). docs/frames.md has the measurements.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pear_ros.decoder import CROP_FOCAL
from pear_ros.people import Camera, EhmParameters, FloatArray


def project_to_crop(points: FloatArray, camera_t: FloatArray, size: float) -> FloatArray:
    """(N, J, 3) m and (N, 3) -> (N, J, 2) px in a crop drawn `size` pixels wide."""
    tx_ty, tz = camera_t[:, None, :2], camera_t[:, None, 2:]
    uv = 1 + CROP_FOCAL * (points[..., :2] - tx_ty) / (points[..., 2:] + tz)
    return (uv * (size / 2)).astype(np.float32)


def crop_camera_translation(camera_t: FloatArray) -> FloatArray:
    """(N, 3) `tx, ty, tz` -> (N, 3) m: the body's origin in the crop camera's optical frame."""
    return camera_t * np.array((-1, -1, 1), np.float32)


def intrinsics_of(cameras: Sequence[Camera]) -> Tensor:
    """(C, 4) fx, fy, cx, cy, px."""
    rows = [(c.fx, c.fy, c.cx, c.cy) for c in cameras]
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)


def camera_from_crop(crop_xywh: Tensor, intrinsics: Tensor) -> Tensor:
    """(N, 4) px and (N, 4) fx, fy, cx, cy px -> (N, 3, 3), crop camera's axes to the camera's.

    The smallest rotation that takes the optical axis onto the ray through the square's centre.
    """
    centre = crop_xywh[:, :2] + crop_xywh[:, 2:] / 2
    slope = (centre - intrinsics[:, 2:]) / intrinsics[:, :2]  # (N, 2) of the ray, by depth
    z = torch.rsqrt(1 + (slope * slope).sum(-1))
    x, y = (slope * z[:, None]).unbind(-1)  # (x, y, z) has length 1
    k = 1 / (1 + z)
    xy = -k * x * y
    rows = (1 - k * x * x, xy, x, xy, 1 - k * y * y, y, -x, -y, z)
    return torch.stack(rows, -1).unflatten(-1, (3, 3))


def turned(parameters: EhmParameters, turn: Tensor) -> EhmParameters:
    """Parameters of N people turned about their pelvis by (N, 3, 3)."""
    global_orient = turn[:, None] @ parameters.global_orient  # (N, 1, 3, 3)
    return dataclasses.replace(parameters, global_orient=global_orient)


def project(points: FloatArray, camera: Camera) -> FloatArray:
    """(..., 3) m, optical frame -> (..., 2) px."""
    focal = np.array((camera.fx, camera.fy), np.float32)
    centre = np.array((camera.cx, camera.cy), np.float32)
    return focal * points[..., :2] / points[..., 2:] + centre


def assumed_camera(width: int, height: int, fov_deg: float) -> Camera:
    """A camera whose longer image side spans `fov_deg`; not metric."""
    focal_px = max(width, height) / (2 * math.tan(math.radians(fov_deg) / 2))
    return Camera(focal_px, focal_px, width / 2, height / 2, is_metric=False)


def calibrated_camera(k: NDArray[np.float64]) -> Camera | None:
    """A camera from the matrix K (9,) of a `camera_info`; None where K is not a calibration."""
    fx, cx, fy, cy = (float(k[i]) for i in (0, 2, 4, 5))
    if not all(map(math.isfinite, (fx, fy, cx, cy))) or fx <= 0 or fy <= 0:
        return None
    return Camera(fx, fy, cx, cy)
