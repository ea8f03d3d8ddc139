"""Cameras: projection, and the sources of their intrinsics."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pear_ros.geometry.lens import distorted
from pear_ros.people import Camera, FloatArray


def intrinsics_of(cameras: Sequence[Camera]) -> Tensor:
    """(C, 4) fx, fy, cx, cy, px."""
    rows = [(c.fx, c.fy, c.cx, c.cy) for c in cameras]
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)


def project(points: FloatArray, camera: Camera) -> FloatArray:
    """(..., 3) m, optical frame -> (..., 2) px."""
    focal = np.array((camera.fx, camera.fy), np.float32)
    centre = np.array((camera.cx, camera.cy), np.float32)
    slopes = points[..., :2] / points[..., 2:]
    if camera.lens is not None:
        slopes = distorted(slopes.astype(np.float64), camera.lens).astype(slopes.dtype)
    return focal * slopes + centre


def assumed_camera(width: int, height: int, fov_deg: float) -> Camera:
    """A camera, not metric, whose longer image side (px) has the field of view `fov_deg`."""
    focal_px = max(width, height) / (2 * math.tan(math.radians(fov_deg) / 2))
    return Camera(focal_px, focal_px, width / 2, height / 2, is_metric=False)


def calibrated_camera(k: NDArray[np.float64]) -> Camera | None:
    """A camera from the matrix K (9,), px, of a `camera_info`; None if K is no calibration."""
    fx, cx, fy, cy = (float(k[i]) for i in (0, 2, 4, 5))
    with np.errstate(over="ignore"):
        used = np.array((fx, fy, cx, cy), np.float32)  # the precision that cameras are used in
    if not np.isfinite(used).all() or (used[:2] <= 0).any():
        return None
    return Camera(fx, fy, cx, cy)
