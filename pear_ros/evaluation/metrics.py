"""Error metrics for N people: functions on arrays.

Points are (N, J, 3), m; joints are in SMPL-X's order. Row i of one array is compared with row i of
the other. Metrics are defined as in the literature: MPJPE and PVE after aligning the pelvis,
PA-MPJPE after the best similarity transform (Procrustes: rotation, translation, scale). Errors in
an image are shares of the longer side of a person's box: their median, and PCK@0.1, the share of
points that are within a tenth of it.
"""

from __future__ import annotations

from collections.abc import Sequence

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
PCK_SHARE = 0.1  # of the longer side of a person's box


def distances(points: Points, truth: Points) -> Array:
    """Distances without alignment: two arrays (N, J, 3) m -> (N, J) m."""
    difference = np.asarray(points, np.float64) - truth
    return np.asarray(np.linalg.norm(difference, axis=-1), np.float64)


def mpjpe(joints: Points, truth: Points) -> Array:
    """MPJPE: two arrays (N, 55, 3) m -> (N,) m, mean over the 22 body joints, pelvis-aligned."""
    return root_aligned_error(joints[:, BODY], truth[:, BODY], joints[:, 0], truth[:, 0])


def pa_mpjpe(joints: Points, truth: Points) -> Array:
    """PA-MPJPE: two arrays (N, 55, 3) m -> (N,) m, mean over the 22 body joints."""
    return procrustes_error(joints[:, BODY], truth[:, BODY])


def hands_pa(joints: Points, truth: Points) -> Array:
    """PA-MPJPE of the hands: two arrays (N, 55, 3) m -> (N, 2) m, left and right.

    Each hand is aligned separately; the mean is over 16 joints, including the wrist.
    """
    sides = [procrustes_error(joints[:, hand], truth[:, hand]) for hand in (LEFT_HAND, RIGHT_HAND)]
    return np.stack(sides, -1)


def pve(vertices: Points, truth: Points, root: Points, true_root: Points) -> Array:
    """PVE: vertices (N, V, 3) and roots (N, 3), each twice, m -> (N,) m, mean, root-aligned."""
    return root_aligned_error(vertices, truth, root, true_root)


def root_aligned_error(points: Points, truth: Points, root: Points, true_root: Points) -> Array:
    """Points (N, J, 3) and roots (N, 3), each twice, m -> (N,) m, mean, root-aligned."""
    from_root = np.asarray(points, np.float64) - root[:, None]
    return distances(from_root, np.asarray(truth, np.float64) - true_root[:, None]).mean(1)


def procrustes_error(points: Points, truth: Points) -> Array:
    """Two arrays (N, J, 3) m -> (N,) m, mean after `procrustes`."""
    return distances(procrustes(points, truth), truth).mean(1)


def image_errors(shares: Sequence[float], missed: int = 0) -> dict[str, float | int | None]:
    """Summarizes errors in an image.

    Args:
        shares: Distances, each divided by the longer side of the person's box.
        missed: Number of points of people without an estimate.

    Returns:
        `points`, the number of `shares`; their `median_percent` and `p90_percent`; `pck`, the share
        of `shares` below PCK_SHARE; `pck_all`, the same where missed points count as wrong. A value
        is None if there is nothing to compute it from.
    """
    values = np.asarray(shares, np.float64)
    near = int((values < PCK_SHARE).sum())
    median, p90 = 100 * np.percentile(values, (50, 90)) if len(values) else (None, None)
    return {
        "points": len(values),
        "median_percent": None if median is None else float(median),
        "p90_percent": None if p90 is None else float(p90),
        "pck": near / len(values) if len(values) else None,
        "pck_all": near / (len(values) + missed) if len(values) + missed else None,
    }


def rotation_angle_deg(rotations: Points, truth: Points) -> Array:
    """Angle between two rotations (N, 3, 3) -> (N,) deg, 0 to 180."""
    difference = np.asarray(rotations, np.float64) @ np.swapaxes(truth, -1, -2)  # (N, 3, 3)
    # arctan2 with the sine from the antisymmetric part: arccos alone is inaccurate near 0 and 180.
    sine = np.linalg.norm(difference - np.swapaxes(difference, -1, -2), axis=(-2, -1)) / np.sqrt(8)
    cosine = (np.trace(difference, axis1=-2, axis2=-1) - 1) / 2
    return np.asarray(np.degrees(np.arctan2(sine, cosine)), np.float64)


def projected_error_px(points: Points, truth: Points, camera: Camera) -> Array:
    """Distances in the image: two arrays (N, J, 3) m, optical frame -> (N, J) px."""
    return distances(project(np.asarray(points), camera), project(np.asarray(truth), camera))


def procrustes(points: Points, truth: Points) -> Array:
    """Aligns `points` to `truth`, both (N, J, 3), by the least-squares similarity transform.

    Returns the rotated, scaled and translated points (N, J, 3). Reflections are excluded. If all
    points of a person coincide, they move to the centroid of the truth.
    """
    points = np.asarray(points, np.float64)
    truth = np.asarray(truth, np.float64)
    centroid, true_centroid = points.mean(1, keepdims=True), truth.mean(1, keepdims=True)
    centred, true_centred = points - centroid, truth - true_centroid
    covariance = np.swapaxes(true_centred, 1, 2) @ centred  # (N, 3, 3)
    u, singular, vt = np.linalg.svd(covariance)
    signs = np.ones_like(singular)  # (N, 3)
    signs[:, 2] = np.where(np.linalg.det(u @ vt) < 0, -1, 1)
    rotation = (u * signs[:, None]) @ vt  # (N, 3, 3)
    size = (centred**2).sum((1, 2))  # (N,) m^2
    scale = np.divide((singular * signs).sum(1), size, out=np.zeros_like(size), where=size > 0)
    rotated = centred @ np.swapaxes(rotation, 1, 2)
    return np.asarray(scale[:, None, None] * rotated + true_centroid, np.float64)
