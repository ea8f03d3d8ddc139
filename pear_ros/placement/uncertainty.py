"""How far the true position of a person may be from the estimated one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pear_ros.people import JOINT, NUM_BODY_JOINTS, NUM_JOINTS, FloatArray

Array = NDArray[np.float64]

LEAST_SIGMA_M = 0.005
# Standard deviation of a joint's position relative to the pelvis, along each axis, m: measured with
# the demo network on rendered people, see docs/placement.md.
JOINTS_M = {
    "pelvis": 0.0, "hip": 0.005, "spine1": 0.007, "spine2": 0.010, "spine3": 0.015, "neck": 0.021,
    "collar": 0.018, "shoulder": 0.023, "head": 0.024, "jaw": 0.024, "eye": 0.025, "knee": 0.024,
    "ankle": 0.037, "foot": 0.041, "elbow": 0.038, "wrist": 0.060,
}  # fmt: skip
FINGERS_M = 0.075


def _joint_table() -> FloatArray:
    table = np.full(NUM_JOINTS, FINGERS_M, np.float32)
    for name, row in JOINT.items():
        if row < NUM_BODY_JOINTS:
            table[row] = JOINTS_M[name.removeprefix("left_").removeprefix("right_")]
    return table


JOINT_SIGMA_M: FloatArray = _joint_table()  # (55,)


def covariances(position: Array, along: Array, across: float) -> Array:
    """The covariances (N, 3, 3), m^2, of positions (N, 3), m, in a camera's axes.

    `along` (N,) and `across` are standard deviations relative to the distance, along the ray from
    the camera and across it.
    """
    distance_m = np.maximum(np.linalg.norm(position, axis=1), 1e-6)[:, None, None]
    ray = position[:, :, None] / distance_m
    on_ray = ray @ np.swapaxes(ray, 1, 2)
    along_m2 = (along[:, None, None] * distance_m) ** 2 + LEAST_SIGMA_M**2
    across_m2 = (across * distance_m) ** 2 + LEAST_SIGMA_M**2
    covariance: Array = along_m2 * on_ray + across_m2 * (np.eye(3) - on_ray)
    return covariance


def joint_sigmas(covariance: Array, scale: float) -> Array:
    """(N, 55) standard deviations, m, of joints of people with these position covariances."""
    pelvis_m2 = np.trace(covariance, axis1=1, axis2=2)[:, None] / 3
    sigma: Array = np.sqrt(pelvis_m2 + (scale * JOINT_SIGMA_M) ** 2)
    return sigma
