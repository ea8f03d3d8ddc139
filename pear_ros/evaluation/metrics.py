"""How far found people are from the true ones: functions on arrays, row by row.

Points are (N, J, 3), m, joints in SMPL-X's order; row i of one array is compared with row i of the
other. Errors are the literature's: MPJPE after moving the pelvis onto the true one, PA- after the
best similarity (Procrustes: turn, move, scale).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pear_ros.geometry.camera import project
from pear_ros.people import JOINT, NUM_JOINTS, Camera

Array = NDArray[np.float64]
Points = NDArray[np.floating]

BODY = slice(JOINT["pelvis"], JOINT["right_wrist"] + 1)  # 22 joints
_FIRST_OF_RIGHT_HAND = JOINT["right_index1"]
LEFT_HAND = [JOINT["left_wrist"], *range(JOINT["left_index1"], _FIRST_OF_RIGHT_HAND)]  # 16 joints
RIGHT_HAND = [JOINT["right_wrist"], *range(_FIRST_OF_RIGHT_HAND, NUM_JOINTS)]


def distances(points: Points, truth: Points) -> Array:
    """(N, J, 3) twice -> (N, J) m, as they are."""
    difference = np.asarray(points, np.float64) - truth
    return np.asarray(np.linalg.norm(difference, axis=-1), np.float64)


def mpjpe(joints: Points, truth: Points) -> Array:
    """(N, 55, 3) twice -> (N,) m: mean over the body's 22 joints, pelvis on pelvis."""
    return pve(joints[:, BODY], truth[:, BODY], joints[:, 0], truth[:, 0])


def pa_mpjpe(joints: Points, truth: Points) -> Array:
    """(N, 55, 3) twice -> (N,) m: mean over the body's 22 joints, aligned."""
    return _aligned_error(joints[:, BODY], truth[:, BODY])


def hands_pa(joints: Points, truth: Points) -> Array:
    """(N, 55, 3) twice -> (N, 2) m: of the left and the right hand, each aligned on its own.

    Mean over 16 joints, the wrist among them.
    """
    sides = [_aligned_error(joints[:, hand], truth[:, hand]) for hand in (LEFT_HAND, RIGHT_HAND)]
    return np.stack(sides, -1)


def pve(vertices: Points, truth: Points, root: Points, true_root: Points) -> Array:
    """(N, V, 3) twice and roots (N, 3) twice -> (N,) m: mean over vertices, root on root."""
    from_root = np.asarray(vertices, np.float64) - root[:, None]
    return distances(from_root, np.asarray(truth, np.float64) - true_root[:, None]).mean(1)


def rotation_angle_deg(rotations: Points, truth: Points) -> Array:
    """(N, 3, 3) twice -> (N,) degrees, 0 to 180, from one to the other."""
    turn = np.asarray(rotations, np.float64) @ np.swapaxes(truth, -1, -2)  # (N, 3, 3)
    # Of the angle: its sine from the antisymmetric part, which is exact where arccos is not.
    sine = np.linalg.norm(turn - np.swapaxes(turn, -1, -2), axis=(-2, -1)) / np.sqrt(8)
    cosine = (np.trace(turn, axis1=-2, axis2=-1) - 1) / 2
    return np.asarray(np.degrees(np.arctan2(sine, cosine)), np.float64)


def projected_error_px(points: Points, truth: Points, camera: Camera) -> Array:
    """(N, J, 3) twice, m in the camera's optical frame -> (N, J) px between their images."""
    return distances(project(np.asarray(points), camera), project(np.asarray(truth), camera))


def procrustes(points: Points, truth: Points) -> Array:
    """(N, J, 3) twice -> (N, J, 3): `points` turned, scaled and moved onto `truth`, least squares.

    Without mirroring. Points that all coincide end in the middle of the truth.
    """
    points = np.asarray(points, np.float64)
    truth = np.asarray(truth, np.float64)
    middle, true_middle = points.mean(1, keepdims=True), truth.mean(1, keepdims=True)
    centred, true_centred = points - middle, truth - true_middle
    covariance = np.swapaxes(true_centred, 1, 2) @ centred  # (N, 3, 3)
    u, spread, vt = np.linalg.svd(covariance)
    signs = np.ones_like(spread)  # (N, 3)
    signs[:, 2] = np.where(np.linalg.det(u @ vt) < 0, -1, 1)
    turn = (u * signs[:, None]) @ vt  # (N, 3, 3)
    size = (centred**2).sum((1, 2))  # (N,)
    scale = np.divide((spread * signs).sum(1), size, out=np.zeros_like(size), where=size > 0)
    turned = centred @ np.swapaxes(turn, 1, 2)
    return np.asarray(scale[:, None, None] * turned + true_middle, np.float64)


def _aligned_error(points: Points, truth: Points) -> Array:
    return distances(procrustes(points, truth), truth).mean(1)
