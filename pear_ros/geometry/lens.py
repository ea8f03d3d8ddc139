"""Lens distortion as `sensor_msgs/CameraInfo` and OpenCV define it.

A lens moves the point where a ray meets the image. In `slopes` a ray is (x / z, y / z); `distorted`
points are those slopes after the lens, before the matrix K: px = K (distorted, 1).

Polynomials of lenses are fitted inside of the image. Farther out they may fold back, so that two
rays have one point. From the radius where that begins, `limit`, it is continued linearly: every ray
has a point, and every point a ray.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pear_ros.people import Camera, Lens

Array = NDArray[np.float64]

MODELS = {"plumb_bob": (4, 5), "rational_polynomial": (8, 12, 14), "equidistant": (4,)}
"""Names of `distortion_model` and their numbers of coefficients; others are not known."""
MOST_DEG = 85.0  # angle between a ray and the optical axis up to which lenses are evaluated
LEAST_SLOPE = 0.05  # of the distorted radius over the radius; less is taken as folding back
NEWTON_STEPS, CONVERGED = 12, 1e-12
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
    """Slopes (..., 2) of rays -> (..., 2) points behind the lens, or behind lenses (..., ROW)."""
    return _distorted(slopes, _rows(lens))[0]


def undistorted(points: Array, lens: Lens | Array) -> Array:
    """The inverse of `distorted`, by Newton's method.

    Far outside of the image, about twice its size, it may find no ray of a lens whose slope changes
    several times, such as a webcam's with large k2 and k3.
    """
    rows = _rows(lens)
    angle = np.hypot(points[..., 0], points[..., 1])
    # Exact for a fisheye without coefficients.
    stretch = np.tan(np.minimum(angle, 1.4)) / np.maximum(angle, 1e-12)
    slopes = points * np.where((rows[..., 0] > 0) & (angle > 1e-12), stretch, 1.0)[..., None]
    for _ in range(NEWTON_STEPS):
        found, (xx, xy, yx, yy) = _distorted(slopes, rows)
        right, down = np.moveaxis(found - points, -1, 0)
        step = np.stack((yy * right - xy * down, xx * down - yx * right), -1)
        step /= (xx * yy - xy * yx)[..., None]
        slopes -= step
        if not (np.abs(step) > CONVERGED).any():
            break
    return slopes


def _distorted(slopes: Array, rows: Array) -> tuple[Array, tuple[Array, ...]]:
    """Points of slopes, and their derivatives: dx/dx, dx/dy, dy/dx, dy/dy."""
    limit = rows[..., 9]
    radius = np.hypot(slopes[..., 0], slopes[..., 1])
    shorter = np.minimum(radius, limit) / np.maximum(radius, 1e-12)
    x, y = np.moveaxis(slopes * shorter[..., None], -1, 0)  # within the limit
    squared = x * x + y * y
    is_fisheye = rows[..., 0] > 0
    given = np.where(is_fisheye[..., None], 0, rows[..., 1:9])
    k1, k2, p1, p2, k3, k4, k5, k6 = np.moveaxis(given, -1, 0)
    below = _radial(squared, k4, k5, k6)
    scale = _radial(squared, k1, k2, k3) / below
    growth = 2 * (_radial_slope(squared, k1, k2, k3) - scale * _radial_slope(squared, k4, k5, k6))
    growth = growth / below  # of the scale over the squared radius, twice
    if is_fisheye.any():
        bent_scale, bent_growth = _fisheye_scale(squared, rows[..., 1:5])
        scale = np.where(is_fisheye, bent_scale, scale)
        growth = np.where(is_fisheye, bent_growth, growth)
    # Tangential terms stay as they are at the limit.
    is_inside = radius <= limit
    sideways = np.stack(
        (2 * p1 * x * y + p2 * (squared + 2 * x * x), p1 * (squared + 2 * y * y) + 2 * p2 * x * y),
        -1,
    )
    by_x, by_y = is_inside * p1, is_inside * p2
    # The radius is continued linearly.
    slope = scale + growth * squared  # of the distorted radius over the radius
    continued = (limit * scale + slope * (radius - limit)) / np.maximum(radius, 1e-12)
    growth = np.where(is_inside, growth, (slope - continued) / np.maximum(radius, 1e-12) ** 2)
    scale = np.where(is_inside, scale, continued)
    right, down = np.moveaxis(slopes, -1, 0)
    off_axis = growth * right * down + 2 * (by_x * x + by_y * y)
    return slopes * scale[..., None] + sideways, (
        scale + growth * right * right + 2 * by_x * y + 6 * by_y * x,
        off_axis,
        off_axis,
        scale + growth * down * down + 6 * by_x * y + 2 * by_y * x,
    )


def _radial(squared: Array, a: Array, b: Array, c: Array) -> Array:
    return 1 + squared * (a + squared * (b + squared * c))


def _radial_slope(squared: Array, a: Array, b: Array, c: Array) -> Array:
    return a + squared * (2 * b + squared * 3 * c)


def _fisheye(angle: Array, k: Array) -> tuple[Array, Array]:
    """The distorted radius, and its derivative over the angle (rad)."""
    k1, k2, k3, k4 = np.moveaxis(k, -1, 0)
    q = angle * angle
    bent = angle * (1 + q * (k1 + q * (k2 + q * (k3 + q * k4))))
    slope = 1 + q * (3 * k1 + q * (5 * k2 + q * (7 * k3 + q * 9 * k4)))
    return bent, slope


def _fisheye_scale(squared: Array, k: Array) -> tuple[Array, Array]:
    """The distorted radius over the radius, and its growth over the squared radius, twice."""
    radius = np.sqrt(squared)
    bent, slope = _fisheye(np.arctan(radius), k)
    scale = np.where(radius > 1e-8, bent / np.maximum(radius, 1e-12), 1.0)
    growth = (slope / (1 + squared) - scale) / np.maximum(squared, 1e-24)
    return scale, np.where(radius > 1e-4, growth, 2 * (k[..., 0] - 1 / 3))


@lru_cache(maxsize=64)
def limit(lens: Lens) -> float:
    """The largest slope before the lens folds back, at most that of MOST_DEG."""
    angles = np.radians(np.linspace(0, MOST_DEG, 2000))
    radii = np.tan(angles)
    k = np.array(lens.coefficients)
    if lens.is_fisheye:
        is_good = _fisheye(angles, k[:4])[1] > LEAST_SLOPE
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
