"""The distance of people whose feet stand on the floor: where the ray to a sole meets it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pear_ros.geometry.camera import project
from pear_ros.people import Camera, FloatArray

Array = NDArray[np.float64]

SOLE_SIGMA_M = 0.015  # of the lowest foot joint's height above the floor: shoes, lifted heels
LEAST_BELOW_M = 0.2  # of a foot below the camera: rays near the horizon tell little
MOST_LOG_RATIO = 0.7  # the image alone is not wrong by more
AT_BORDER = 0.02  # of the image's height: a foot at the border may be cut off


def floor_ratios(
    feet: FloatArray,
    soles_m: FloatArray,
    floor: Array,
    camera: Camera,
    size: tuple[int, int],
    sigma_deg: float,
) -> tuple[Array, Array]:
    """Compares the distances of N people with those of the floor under their lower foot.

    Args:
        feet: (N, F, 3) m, optical, joints of both feet as estimated from the image.
        soles_m: (F,) heights of these joints above the floor when a foot stands on it.
        floor: (4,) see `Frame.floor`.
        camera: The camera.
        size: Height and width of the image, px.
        sigma_deg: Standard deviation of the angle between the ray and the floor.

    Returns:
        (N,) log(distance from the floor / estimated distance) and its standard deviation, infinite
        if the foot is outside of the image, or not below the camera.
    """
    height, width = size
    normal, camera_height_m = floor[:3], float(floor[3])
    above = feet @ normal - soles_m  # (N, F) of the soles, relative to the camera
    rows = np.arange(len(feet)), above.argmin(1)
    foot, sole_m = feet[rows].astype(np.float64), soles_m[rows[1]]
    below_m = -(foot @ normal)  # (N,)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = (camera_height_m - sole_m) / below_m
        pixels = project(foot, camera)
        distance_m = np.linalg.norm(foot, axis=1)
        sine = below_m / distance_m
        # d = h / tan(angle), so its relative error is that of the angle / (sin * cos).
        slope = 1 / (sine * np.sqrt(np.maximum(1 - sine**2, 1e-6)))
        sigma = np.hypot(np.radians(sigma_deg) * slope, SOLE_SIGMA_M / below_m)
        log_ratio = np.log(ratio)
    border = AT_BORDER * height
    is_seen = (foot[:, 2] > 0) & (pixels >= border).all(1)
    is_seen &= (pixels < (width - border, height - border)).all(1)
    is_usable = is_seen & (below_m > LEAST_BELOW_M) & (np.abs(log_ratio) < MOST_LOG_RATIO)
    return np.where(is_usable, log_ratio, 0.0), np.where(is_usable, sigma, np.inf)
