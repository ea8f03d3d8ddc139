"""From the crop's camera to the real one.

The crop is seen by a pinhole camera of focal length 24 in half crop sides, so a point (X, Y, Z) of
the body appears at u = c_u + L/2 * 24 * (X - tx) / (Z + tz), and likewise v, where L is the side
of the square box in pixels and c its centre. Posed bodies are in optical axes already.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from pear_ros.decoder import CROP_FOCAL
from pear_ros.people import Camera, FloatArray


def project_to_crop(points: FloatArray, camera_t: FloatArray, size: float) -> FloatArray:
    """(N, J, 3) m and (N, 3) -> (N, J, 2) px in a crop drawn `size` pixels wide."""
    tx_ty, tz = camera_t[:, None, :2], camera_t[:, None, 2:]
    uv = 1 + CROP_FOCAL * (points[..., :2] - tx_ty) / (points[..., 2:] + tz)
    return (uv * (size / 2)).astype(np.float32)


def crop_camera_translation(camera_t: FloatArray) -> FloatArray:
    """(N, 3) `tx, ty, tz` -> (N, 3) m: the body's origin in the crop camera's optical frame."""
    return camera_t * np.array((-1, -1, 1), np.float32)


def place_in_camera(camera_t: FloatArray, crop_xywh: FloatArray, camera: Camera) -> FloatArray:
    """Translations (N, 3), m, that put bodies in the optical frame of the camera.

    Closed form: a person keeps the size and the place in the image that the crop's camera gave;
    the difference in perspective within the body is neglected. A row that cannot be placed
    (`tz` not positive, anything not finite) is NaN.
    """
    tx, ty, tz = camera_t.astype(np.float64).T  # each (N,)
    x, y, side, _ = crop_xywh.astype(np.float64).T
    with np.errstate(all="ignore"):
        depth_m = camera.fx * tz / (CROP_FOCAL / 2 * side)
        x_m = -tx + (x + side / 2 - camera.cx) * depth_m / camera.fx
        y_m = -ty + (y + side / 2 - camera.cy) * depth_m / camera.fy
        translation = np.stack((x_m, y_m, depth_m), -1)
        translation[~(np.isfinite(translation).all(1) & (tz > 0))] = np.nan
        return translation.astype(np.float32)


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
