"""Cameras with lenses, as `camera_info` describes them, for a horizontal field of view."""

from __future__ import annotations

import math

import numpy as np

from pear_ros.geometry.lens import distorted
from pear_ros.people import Camera, Lens

LENSES = ("pinhole", "plumb_bob", "rational_polynomial", "equidistant")
MOST_FOV_DEG = 140.0

# Made as a fisheye of a calibrated robot camera: all of one lens, so its field of view grows with
# the image sensor.
FISHEYE = (-0.02, 0.004, -0.002, 0.0003, 0.0, 0.0, 0.0, 0.0)
# A similar lens as a ratio of polynomials: k1 k2 p1 p2 k3 k4 k5 k6.
RATIONAL = (1.2, 0.3, 0.0001, -0.0001, 0.01, 1.6, 0.6, 0.05)
# Barrel distortion of a lens of 120 degrees, of the radius over that of the image's left edge.
BARREL, BARREL_AGAIN = -0.25, 0.06
TANGENTIAL = (0.0005, -0.0003)


def camera_with(lens: str, fov_deg: float, width: int, height: int) -> Camera:
    """A calibrated camera whose images of `width` x `height` px have this field of view.

    Args:
        lens: One of LENSES. A plumb_bob's barrel distortion grows with the field of view.
        fov_deg: Between the left and the right edge, at most MOST_FOV_DEG.
        width: Of the image.
        height: Of the image.
    """
    assert lens in LENSES, lens
    assert 0 < fov_deg <= MOST_FOV_DEG, fov_deg
    edge = math.tan(math.radians(fov_deg) / 2)  # slope of the ray
    optics = _lens(lens, fov_deg, edge)
    bent = edge if optics is None else float(distorted(np.array((edge, 0.0)), optics)[0])
    focal_px = width / 2 / bent
    return Camera(focal_px, focal_px, width / 2 - 0.5, height / 2 - 0.5, lens=optics)


def _lens(lens: str, fov_deg: float, edge: float) -> Lens | None:
    if lens == "pinhole":
        return None
    if lens == "equidistant":
        return Lens(is_fisheye=True, coefficients=FISHEYE)
    if lens == "rational_polynomial":
        return Lens(coefficients=RATIONAL)
    strength = fov_deg / 120
    k1, k2 = strength * BARREL / edge**2, strength * BARREL_AGAIN / edge**4
    return Lens(coefficients=(k1, k2, *TANGENTIAL, 0.0, 0.0, 0.0, 0.0))
