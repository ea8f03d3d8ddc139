"""The robot base that carries the camera, and where it is over time.

The world frame is that of `odom`: x forward, y left, z up; the floor is at z = 0.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

Array = NDArray[np.float64]

BASES = ("still", "circle")
SPEED_M_S, RADIUS_M = 0.5, 0.6
TURN_DEG_S, TURN_DEG = 20.0, 16.0  # largest rate and largest angle
# Axes of a camera that looks along x of its base: optical x right, y down, z forward.
BASE_FROM_LEVEL = np.array(((0.0, 0, 1), (-1, 0, 0), (0, -1, 0)))


def world_from_base(base: str, time_s: float) -> Array:
    """(4, 4) the pose of the base; it starts at the origin and looks along x.

    On its circle it drives sideways, too, like a base with mecanum wheels, and it turns back and
    forth. So the people in front of it stay in the image.
    """
    assert base in BASES, base
    if base == "still":
        return np.eye(4)
    along = SPEED_M_S / RADIUS_M * time_s  # rad
    turn = math.radians(TURN_DEG) * math.sin(TURN_DEG_S / TURN_DEG * time_s)
    place = RADIUS_M * np.array((math.cos(along) - 1, math.sin(along), 0))
    return pose(Rotation.from_rotvec((0, 0, turn)).as_matrix(), place)


def pose(rotation: Array, translation: Array) -> Array:
    """(3, 3) and (3,) -> (4, 4)."""
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation, translation
    return matrix


def inverse(matrix: Array) -> Array:
    """Of a pose (4, 4)."""
    rotation = matrix[:3, :3].T
    return pose(rotation, -rotation @ matrix[:3, 3])


def moved(matrix: Array, points: NDArray[np.floating]) -> Array:
    """Points (..., 3) m, moved by a pose (4, 4)."""
    placed: Array = points @ matrix[:3, :3].T + matrix[:3, 3]
    return placed
