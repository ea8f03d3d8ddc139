"""The distance of a person from a depth image that is registered to the camera's image.

The estimated body says where its skin should be. Along the rays of many points of the skin, the
measured depth is compared with the expected one. If the body is at a wrong distance, most of these
differences are alike; holes, edges, and what stands in front or behind give others. So the most
common difference is searched, and the body moved by it along its ray.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pear_ros.geometry.camera import project
from pear_ros.people import Camera, FloatArray

Doubles = NDArray[np.float64]

FACING = 0.3  # least cosine between a point's normal and its ray: the skin turns away beyond
MOST_WRONG = 0.5  # of the distance: the image alone is not wrong by more
IMAGE_RELATIVE = 0.2  # generous standard deviation of the image's distance, for choosing a peak
# Width (one sigma) of the differences of one body: errors of shape and pose, and of the sensor
# relative to the distance.
WIDTH_M, WIDTH_RELATIVE = 0.035, 0.012
LEAST_POINTS, LEAST_SHARE = 12, 0.2  # agreeing points: at least, and of those in the image
NEAR_WIDTHS = 1.5  # of them: where most differences are so near is the most common one
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
    is_seen = _facing(points + translation[:, None], normals)  # (N, K) hardly changes on the way
    for i in range(len(translation)):
        skin = points[i].T.compress(is_seen[i], 1)  # (3, S): numpy is faster along the longer axis
        for iteration in range(ITERATIONS):
            placed = skin + moved[i][:, None]
            found = _difference(placed, depth_m, camera, is_near=iteration > 0)
            if found is None:
                moved[i], sigma_m[i] = translation[i], np.nan
                break
            difference_m, sigma_m[i] = found
            ray = pelvis[i] + moved[i]
            moved[i] += difference_m / max(ray[2], 1e-3) * ray
            if pelvis[i, 2] + moved[i, 2] <= 0:  # behind the camera
                moved[i], sigma_m[i] = translation[i], np.nan
                break
    return MeasuredDistance(moved, sigma_m)


def _facing(placed: FloatArray, normals: FloatArray) -> NDArray[np.bool_]:
    """Which of the points (N, K, 3) are on the side of the body that the camera sees."""
    is_turned = -(placed * normals).sum(-1) > FACING * np.sqrt((placed * placed).sum(-1))
    seen: NDArray[np.bool_] = is_turned & (placed[..., 2] > 0)
    return seen


def _difference(
    placed: FloatArray, depth_m: FloatArray, camera: Camera, is_near: bool
) -> tuple[float, float] | None:
    """Measured minus expected depth, m, and its standard deviation; None if it is unclear.

    The points (3, S) face the camera. With `is_near` the difference is known to be about 0.
    """
    expected, measured = _depths(placed, depth_m, camera)
    distance_m = _median(np.sort(expected)) if len(expected) else 0.0
    is_known = (measured > 0) & (measured < np.inf)
    differences = np.sort((measured - expected)[is_known]).astype(np.float64)
    needed = max(LEAST_POINTS, LEAST_SHARE * len(differences))
    differences = _within(differences, 0.0, MOST_WRONG * distance_m)
    if len(differences) < needed:
        return None
    width_m = WIDTH_M + WIDTH_RELATIVE * distance_m
    middle = 0.0 if is_near else _mode(differences, width_m, IMAGE_RELATIVE * distance_m)
    for _ in range(3):
        agreeing = _within(differences, middle, 2.5 * width_m)
        if len(agreeing) < needed:
            return None
        middle = _median(agreeing)
    spread = 1.48 * _median(np.sort(np.abs(agreeing - middle)))
    independent = max(len(agreeing) / INDEPENDENT, 1.0)
    return middle, math.hypot(1.25 * spread / independent**0.5, 0.01)


def _depths(
    placed: FloatArray, depth_m: FloatArray, camera: Camera
) -> tuple[FloatArray, FloatArray]:
    """Expected and measured depth of the points (3, S) that are in the image."""
    height, width = depth_m.shape
    columns, rows = np.rint(project(placed.T, camera).T)
    is_inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    is_inside &= placed[2] > 0
    pixels = rows[is_inside].astype(np.int64), columns[is_inside].astype(np.int64)
    return placed[2, is_inside], depth_m[pixels]


def _within(values: Doubles, middle: float, reach: float) -> Doubles:
    """Those of the sorted values that differ from `middle` by less than `reach`."""
    return values[bisect_right(values, middle - reach) : bisect_left(values, middle + reach)]


def _median(values: NDArray[np.floating]) -> float:
    """Of sorted values."""
    count = len(values)
    return 0.5 * float(values[(count - 1) // 2] + values[count // 2])


def _mode(values: Doubles, width_m: float, expected_m: float) -> float:
    """The sorted value that most others are near to; of two such places, the one nearer to 0."""
    near_m = NEAR_WIDTHS * width_m
    counts = values.searchsorted(values + near_m) - values.searchsorted(values - near_m)
    weight = np.exp(values * values * (-0.5 / expected_m**2))
    return float(values[np.argmax(counts * weight)])
