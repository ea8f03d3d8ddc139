"""How a camera moved between two images, from its poses in a frame that stands still.

People are followed in the axes of the camera. When the camera moves, their states move into its new
axes, so velocities are those over the ground.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# A robot's camera is slower: a larger motion is a jump of the localisation, not of the camera.
FASTEST_M_S = 5.0
FASTEST_RAD_S = 2 * np.pi
LEAST_TIME_S = 1 / 120  # between two images; their stamps may stand still
MOST_GAP_S = 0.5  # in a longer gap of images without poses, people moved as if the camera stood
RIGID = 1e-3  # largest deviation of a rotation matrix from an orthonormal one


@dataclass(frozen=True)
class CameraMotion:
    """From the camera's axes before to those now: p_now = rotation @ p_before + translation."""

    rotation: Array  # (3, 3)
    translation: Array  # (3,) m

    def points(self, before: NDArray[np.floating]) -> Array:
        """Points (..., 3), m, that stand still, in the axes of the camera now."""
        moved: Array = before @ self.rotation.T + self.translation
        return moved

    def vectors(self, before: NDArray[np.floating]) -> Array:
        """Vectors (..., 3) in the axes of the camera now."""
        turned: Array = before @ self.rotation.T
        return turned


class CameraPath:
    """The last pose of one camera that was known."""

    def __init__(self) -> None:
        self._pose: Array | None = None  # (4, 4)
        self._stamp_s = 0.0
        self._is_interrupted = False  # by images without a pose

    def motion_to(self, world_from_optical: Array | None, stamp_s: float) -> CameraMotion | None:
        """The motion since the last pose; None if it is not known: the camera counts as still.

        It is known if both poses (4, 4) are, if no longer gap than MOST_GAP_S without poses was
        between them, and if the motion is one that a camera can make.
        """
        if self._pose is None or world_from_optical is None:
            return None
        if self._is_interrupted and stamp_s - self._stamp_s > MOST_GAP_S:
            return None
        elapsed_s = max(stamp_s - self._stamp_s, LEAST_TIME_S)
        return relative_motion(self._pose, world_from_optical, elapsed_s)

    def arrive(self, world_from_optical: Array | None, stamp_s: float) -> None:
        """Takes in the pose (4, 4) of an image; None: it is not known."""
        self._is_interrupted = world_from_optical is None
        if world_from_optical is not None:
            self._pose, self._stamp_s = world_from_optical, stamp_s


def relative_motion(before: Array, now: Array, elapsed_s: float) -> CameraMotion | None:
    """The motion from pose to pose (4, 4); None if no camera moves so: faster than the limits."""
    with np.errstate(invalid="ignore"):
        rotation = now[:3, :3].T @ before[:3, :3]
        translation = now[:3, :3].T @ (before[:3, 3] - now[:3, 3])
        cosine = 0.5 * (np.trace(rotation) - 1)
        is_rigid = np.abs(rotation @ rotation.T - np.eye(3)).max() < RIGID  # False for NaN
        is_rigid &= np.linalg.det(rotation) > 0  # no reflection
        angle_rad = np.arccos(np.clip(cosine, -1, 1))
    is_slow = np.linalg.norm(translation) < FASTEST_M_S * elapsed_s
    if not (is_rigid and is_slow and angle_rad < FASTEST_RAD_S * elapsed_s):
        return None
    return CameraMotion(rotation, translation)
