"""Points on the skin that are cheap to pose: each moves with one joint.

Skinning a mesh takes milliseconds. To compare a body with a depth image, some hundred points that
are right within two centimetres are enough: a point has the body's mean shape and keeps its place
relative to the joint that moves it most.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pear_ros.assets.body_assets import BodyAssets
from pear_ros.people import JOINT, NUM_BODY_JOINTS, FloatArray, IntArray

Doubles = NDArray[np.float64]

MOST = 400  # points
LEAST_WEIGHT = 0.6  # of the joint that moves a point; less is near a joint, where skin bends
LEFT_OUT = ("left_foot", "right_foot", "jaw", "left_eye", "right_eye")


class SurfacePoints:
    """About MOST points, spread evenly over trunk, limbs and head; not over fingers and toes."""

    def __init__(self, assets: BodyAssets) -> None:
        template = assets.body_template.astype(np.float64)  # (V, 3) m
        rest = assets.body_joint_regressor.astype(np.float64) @ template  # (55, 3) m
        joint = assets.body_weights.argmax(1)  # (V,)
        is_used = assets.body_weights.max(1) >= LEAST_WEIGHT
        is_used &= joint < NUM_BODY_JOINTS
        is_used &= ~np.isin(joint, [JOINT[name] for name in LEFT_OUT])
        ids = np.flatnonzero(is_used)
        ids = ids[_spread(template[ids], MOST)]
        normals = _normals(template, assets.body_faces)
        # A point is a column that has its offset, and a 1 for the joint's place, in the four rows
        # of its joint; a normal is one with the normal. So posing is one product of matrices.
        self._count = count = len(ids)
        self._used, place = np.unique(joint[ids], return_inverse=True)  # joints
        columns = np.zeros((len(self._used), 4, 2 * count), np.float32)
        columns[place, :3, np.arange(count)] = template[ids] - rest[joint[ids]]
        columns[place, 3, np.arange(count)] = 1
        columns[place, :3, count + np.arange(count)] = normals[ids]
        self._columns = columns.reshape(-1, 2 * count)  # (4 J, 2 K)

    def __len__(self) -> int:
        return self._count

    def __call__(self, joints: FloatArray, rotations: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Points and outward normals (N, K, 3) of bodies.

        Args:
            joints: (N, 55, 3) m.
            rotations: (N, 55, 3, 3) of each joint, model axes to those of `joints`.
        """
        poses = np.concatenate(
            (rotations[:, self._used], joints[:, self._used, :, None]), -1
        )  # (N, J, 3, 4)
        rows = poses.transpose(0, 2, 1, 3).reshape(-1, len(self._columns))  # (3 N, 4 J)
        posed = (rows @ self._columns).reshape(-1, 3, 2, self._count)
        return posed[:, :, 0].swapaxes(1, 2), posed[:, :, 1].swapaxes(1, 2)


def _spread(points: Doubles, count: int) -> IntArray:
    """Indices of `count` points, each as far as possible from those before."""
    chosen = [int(np.argmax(points[:, 1]))]
    distance = np.linalg.norm(points - points[chosen[0]], axis=1)
    while len(chosen) < min(count, len(points)):
        chosen.append(int(np.argmax(distance)))
        distance = np.minimum(distance, np.linalg.norm(points - points[chosen[-1]], axis=1))
    return np.array(chosen)


def _normals(vertices: Doubles, faces: NDArray[Any]) -> Doubles:
    """Outward unit normals (V, 3), the mean of the faces' by area."""
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    of_faces = np.cross(b - a, c - a)
    normals = np.zeros_like(vertices)
    for corner in range(3):
        np.add.at(normals, faces[:, corner], of_faces)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
