"""The distance of a person from a depth image that is registered to the camera's image.

The estimated body says where its skin should be. Along the rays of many points of the skin, the
measured depth is compared with the expected one. If the body is at a wrong distance, most of these
differences are alike; holes, edges, and what stands in front or behind give others. So the most
common difference is searched, and the body moved by it along its ray.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pear_ros.geometry.camera import project
from pear_ros.people import Camera, FloatArray

FACING = 0.3  # least cosine between a point's normal and its ray: the skin turns away beyond
MOST_WRONG = 0.5  # of the distance: the image alone is not wrong by more
IMAGE_RELATIVE = 0.2  # generous standard deviation of the image's distance, for choosing a peak
BIN_M = 0.01
# Width (one sigma) of the differences of one body: errors of shape and pose, and of the sensor
# relative to the distance.
WIDTH_M, WIDTH_RELATIVE = 0.035, 0.012
LEAST_POINTS, LEAST_SHARE = 12, 0.2  # agreeing points: at least, and of those in the image
INDEPENDENT = 8.0  # as many neighbouring points have the same error
ITERATIONS = 2  # moving the body changes which pixels its points meet


@dataclass(frozen=True)
class MeasuredDistance:
    """The translations of N people, corrected along their rays."""

    translation: FloatArray  # (N, 3) m
    sigma_m: FloatArray  # (N,) standard deviation of the distance; NaN if it was not measured

    @property
    def is_measured(self) -> NDArray[np.bool_]:
        return np.isfinite(self.sigma_m)


def measured_distance(
    points: FloatArray,
    normals: FloatArray,
    pelvis: FloatArray,
    translation: FloatArray,
    depth_m: FloatArray,
    camera: Camera,
) -> MeasuredDistance:
    """Moves each body along the ray to its pelvis to where the depth image sees its skin.

    Args:
        points: (N, K, 3) m, on the skin, without the translation.
        normals: (N, K, 3) outward.
        pelvis: (N, 3) m, without the translation.
        translation: (N, 3) m, optical, from the image alone.
        depth_m: (H, W) m along the optical axis; 0, NaN and infinite where nothing was measured.
        camera: Of both images.

    Returns:
        A person with too few agreeing points keeps the translation.
    """
    moved = translation.copy()
    sigma_m = np.full(len(translation), np.nan, np.float32)
    for i in range(len(translation)):
        for _ in range(ITERATIONS):
            found = _difference(points[i] + moved[i], normals[i], depth_m, camera)
            if found is None:
                moved[i], sigma_m[i] = translation[i], np.nan
                break
            difference_m, sigma_m[i] = found
            ray = pelvis[i] + moved[i]
            moved[i] += difference_m / max(ray[2], 1e-3) * ray
    return MeasuredDistance(moved, sigma_m)


def _difference(
    placed: FloatArray, normals: FloatArray, depth_m: FloatArray, camera: Camera
) -> tuple[float, float] | None:
    """Measured minus expected depth, m, and its standard deviation; None if it is unclear."""
    height, width = depth_m.shape
    facing = -(placed * normals).sum(1) / np.linalg.norm(placed, axis=1)
    seen = placed[(facing > FACING) & (placed[:, 2] > 0)]
    columns, rows = np.rint(project(seen, camera)).T
    is_inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    seen, columns, rows = seen[is_inside], columns[is_inside], rows[is_inside]
    measured = depth_m[rows.astype(np.int64), columns.astype(np.int64)]
    is_known = np.isfinite(measured) & (measured > 0)
    differences = (measured - seen[:, 2])[is_known].astype(np.float64)
    distance_m = float(np.median(seen[:, 2])) if len(seen) else 0.0
    differences = differences[np.abs(differences) < MOST_WRONG * distance_m]
    needed = max(LEAST_POINTS, LEAST_SHARE * is_known.sum())
    if len(differences) < needed:
        return None
    width_m = WIDTH_M + WIDTH_RELATIVE * distance_m
    middle = _mode(differences, width_m, IMAGE_RELATIVE * distance_m)
    for _ in range(3):
        agreeing = differences[np.abs(differences - middle) < 2.5 * width_m]
        if len(agreeing) < needed:
            return None
        middle = float(np.median(agreeing))
    spread = 1.48 * float(np.median(np.abs(agreeing - middle)))
    independent = max(len(agreeing) / INDEPENDENT, 1.0)
    return middle, float(np.hypot(1.25 * spread / independent**0.5, 0.01))


def _mode(values: NDArray[np.float64], width_m: float, expected_m: float) -> float:
    """The most common value, of a histogram blurred by `width_m`; of two, the one nearer to 0."""
    low = values.min() - 3 * width_m
    bins = int((values.max() + 3 * width_m - low) / BIN_M) + 1
    counts = np.bincount(((values - low) / BIN_M).astype(np.int64), minlength=bins)
    reach = int(3 * width_m / BIN_M)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) * BIN_M / width_m) ** 2)
    centres = low + (np.arange(bins) + 0.5) * BIN_M
    weight = np.exp(-0.5 * (centres / expected_m) ** 2)
    return float(centres[np.argmax(np.convolve(counts, kernel, "same") * weight)])
