"""Which sighting is which followed person: a cost for each pair, and the optimal assignment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from pear_ros.people import FloatArray

Array = NDArray[np.float64]
Rows = NDArray[np.int64]

# Each term of the cost is half a squared deviation in standard deviations, as in a negative
# log-likelihood, and limited, so that one wrong measurement does not exclude a pair.
SHAPE_WEIGHT = 2.7  # of how much more a shape differs than the person's usual estimates do
SHAPE_LIMIT = 14.0
POSE_SPREAD_M = 0.05  # of the joints' mean distance, relative to the pelvis, at once
POSE_SPREAD_M_S = 0.3  # its growth with time
POSE_LIMIT = 3.0
BOX_WEIGHT = 5.0  # cost of boxes without overlap
BOX_MEMORY_S = 0.36  # after this time, overlap tells less
POSITION_GATE = 5.0  # standard deviations
OVERLAP, OVERLAP_MEMORY_S = 0.45, 0.3
DISTANCE_LIMIT = 7.5  # of the term for the position, if the boxes overlap by OVERLAP
SAME_PLACE = 0.7
BODY_LIMIT = 11.0  # of the terms for position, shape and pose, for boxes at the same place
DEAREST = 13.0  # pairs with a higher cost do not match


@dataclass(frozen=True)
class Likeness:
    """How P sightings deviate from P expected people: pairs that are close enough to compare."""

    position: Array  # (P,) squared distance in standard deviations
    volume: Array  # (P,) of the uncertainty of each person's position
    iou: Array  # (P,) of the boxes
    shape: Array  # (P,) squared distance of the body shape, relative to its usual noise
    pose_m: Array  # (P,) mean distance of the joints relative to the pelvis
    unseen_s: Array  # (P,) time since each person was seen


def costs(likeness: Likeness) -> Array:
    """The cost (P,) of each pair; infinite if it cannot match."""
    unseen_s = likeness.unseen_s
    pose_spread = POSE_SPREAD_M + POSE_SPREAD_M_S * unseen_s
    overlap_weight = BOX_WEIGHT * np.exp(-unseen_s / BOX_MEMORY_S)
    is_recent = unseen_s < OVERLAP_MEMORY_S
    is_overlap = is_recent & (likeness.iou > OVERLAP)
    is_same_place = is_recent & (likeness.iou > SAME_PLACE)
    # When a person comes out from behind something, the estimated distance jumps; a network that
    # does not know a view misjudges the whole body. So boxes that overlap count more than these.
    distance = 0.5 * likeness.position
    body = (
        np.where(is_overlap, np.minimum(distance, DISTANCE_LIMIT), distance)
        + np.clip(SHAPE_WEIGHT * (likeness.shape - 1), 0, SHAPE_LIMIT)
        + np.minimum(0.5 * (likeness.pose_m / pose_spread) ** 2, POSE_LIMIT)
    )
    cost = (
        np.where(is_same_place, np.minimum(body, BODY_LIMIT), body)
        + np.log(likeness.volume)
        + overlap_weight * (1 - likeness.iou)
    )
    is_near = is_overlap | (likeness.position < POSITION_GATE**2)
    is_possible = is_near & (cost < DEAREST + overlap_weight)
    return np.where(is_possible, cost, np.inf)


def assigned(cost: Array) -> tuple[Rows, Rows]:
    """The rows and columns of the pairs with the least total cost; infinite costs never match.

    Costs are 0 or more. As many pairs match as possible: leaving one unmatched costs more than all.
    """
    finite = np.isfinite(cost)
    if not finite.any():
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    unmatched = cost[finite].max() * min(cost.shape) + 1
    rows, columns = linear_sum_assignment(np.where(finite, cost, unmatched))
    matched = finite[rows, columns]
    return rows[matched], columns[matched]


def shape_distances(a: FloatArray, b: FloatArray) -> Array:
    """Mean squared difference (P,) of shape coefficients (P, K)."""
    difference = a - b
    distances: Array = np.einsum("pk,pk->p", difference, difference) / a.shape[1]
    return distances


def pose_distances(a: FloatArray, b: FloatArray) -> Array:
    """Mean distance (P,), m, of joints (P, J, 3), m."""
    difference = a - b
    distances: Array = np.sqrt(np.einsum("pji,pji->pj", difference, difference)).mean(-1)
    return distances
