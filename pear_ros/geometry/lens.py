"""Lens distortion as `sensor_msgs/CameraInfo` and OpenCV define it.

A lens moves the point where a ray meets the image. In `slopes` a ray is (x / z, y / z); `distorted`
points are those slopes after the lens, before the matrix K: px = K (distorted, 1).

Polynomials of lenses are fitted inside of the image. Farther out they may fold back, so that two
rays have one point. From the radius where that begins, `limit`, it is continued linearly: every ray
has a point, and every point a ray.

Points and rays are computed in C (`src/lens.c`): with NumPy, the overhead of some 100 operations on
a few points took 2 ms per image.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pear_ros.people import Camera, Lens
from pear_ros.system.native import load_library, require

Array = NDArray[np.float64]

MODELS = {"plumb_bob": (4, 5), "rational_polynomial": (8, 12, 14), "equidistant": (4,)}
"""Names of `distortion_model` and their numbers of coefficients; others are not known."""
MOST_DEG = 85.0  # angle between a ray and the optical axis up to which lenses are evaluated
LEAST_SLOPE = 0.05  # of the distorted radius over the radius; less is taken as folding back
ROW = 10  # numbers in a row of `lens_rows`


def lens_of(model: str, coefficients: Sequence[float]) -> Lens | None:
    """The lens of a `camera_info` with this `distortion_model` and `d`; None if it has none.

    Raises:
        ValueError: If the model is not one of MODELS, or if the number of coefficients or a value
            does not fit it.
    """
    given = [float(value) for value in coefficients]
    if not any(given):  # also how drivers of rectified or uncalibrated cameras fill it
        if model not in ("", *MODELS):
            raise ValueError(f"distortion_model {model!r} is none of {', '.join(MODELS)}")
        return Lens(is_fisheye=True) if model == "equidistant" and given else None
    if model not in MODELS:
        raise ValueError(f"distortion_model {model!r} is none of {', '.join(MODELS)}")
    if len(given) not in MODELS[model] or not all(map(math.isfinite, given)):
        raise ValueError(f"{given} are not the coefficients of {model}")
    if any(given[8:]):
        raise ValueError(f"{model} with thin prism or tilt (more than 8 coefficients)")
    padded = (*given[:8], *[0.0] * (8 - len(given[:8])))
    return Lens(model == "equidistant", padded)


def distorted(slopes: Array, lens: Lens | Array) -> Array:
    """Slopes of rays -> points behind the lens, both (..., 2).

    Several lenses (N, ROW), see `lens_rows`, are those of slopes (N, ..., 2).
    """
    return _through(_LIBRARY.pear_distort, slopes, lens)


def undistorted(points: Array, lens: Lens | Array) -> Array:
    """The inverse of `distorted`, by Newton's method.

    Far outside of the image, about twice its size, it may find no ray of a lens whose slope changes
    several times, such as a webcam's with large k2 and k3.
    """
    return _through(_LIBRARY.pear_undistort, points, lens)


def _through(function: Callable[..., None], points: Array, lens: Lens | Array) -> Array:
    rows = np.ascontiguousarray(np.atleast_2d(_rows(lens)), np.float64)
    points = np.ascontiguousarray(points, np.float64)
    require(points.shape[-1] == 2, "two numbers a point")
    require(rows.shape[1] == ROW, f"{ROW} numbers a lens")
    is_fitting = len(rows) == 1 or (points.ndim > 1 and len(rows) == len(points))
    require(is_fitting, "one lens, or one for each row of points")
    found = np.empty_like(points)
    if points.size:
        count = points.size // 2 // len(rows)
        function(rows.ctypes.data, len(rows), count, points.ctypes.data, found.ctypes.data)
    return found


def _radial(squared: Array, a: Array, b: Array, c: Array) -> Array:
    return 1 + squared * (a + squared * (b + squared * c))


def _fisheye_slope(angle: Array, k: Array) -> Array:
    """Derivative of the distorted radius over the angle (rad)."""
    q = angle * angle
    slope: Array = 1 + q * (3 * k[0] + q * (5 * k[1] + q * (7 * k[2] + q * 9 * k[3])))
    return slope


@lru_cache(maxsize=64)
def limit(lens: Lens) -> float:
    """The largest slope before the lens folds back, at most that of MOST_DEG."""
    angles = np.radians(np.linspace(0, MOST_DEG, 2000))
    radii = np.tan(angles)
    k = np.array(lens.coefficients)
    if lens.is_fisheye:
        is_good = _fisheye_slope(angles, k[:4]) > LEAST_SLOPE
    else:
        squared = radii * radii
        below = _radial(squared, *k[5:8])
        with np.errstate(divide="ignore", invalid="ignore"):
            bent = radii * _radial(squared, k[0], k[1], k[4]) / below
            is_good = (np.gradient(bent, radii) > LEAST_SLOPE) & (below > 0)
    return float(radii[-1] if is_good.all() else radii[max(int(np.argmin(is_good)) - 1, 0)])


def lens_rows(cameras: Sequence[Camera]) -> Tensor | None:
    """(C, ROW) float64 for many people at once; None if no camera's lens distorts.

    Columns: whether it is a fisheye, eight coefficients, limit. An undistorted camera has zeros.
    """
    if all(camera.lens is None for camera in cameras):
        return None
    plain = Lens()
    return torch.from_numpy(np.stack([_rows(camera.lens or plain) for camera in cameras]))


def _rows(lens: Lens | Array) -> Array:
    if isinstance(lens, Lens):
        return np.array((float(lens.is_fisheye), *lens.coefficients, limit(lens)))
    return lens


def slopes_of(pixels: Array, camera: Camera) -> Array:
    """Pixels (..., 2) -> slopes (..., 2) of the rays that reach them."""
    focal, centre = np.array((camera.fx, camera.fy)), np.array((camera.cx, camera.cy))
    points = (pixels - centre) / focal
    return points if camera.lens is None else undistorted(points, camera.lens)


_LIBRARY = load_library("_lens")
for _function in (_LIBRARY.pear_distort, _LIBRARY.pear_undistort):
    _function.argtypes = (
        *(ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64),
        *(ctypes.c_void_p, ctypes.c_void_p),
    )
    _function.restype = None
