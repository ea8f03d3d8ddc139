"""The probability that a foot stands on the floor, from its speed and its height.

A foot stands if it is slow and low: both must hold. It is low if it is not much higher than the
other foot and, where the floor is known, not high above the floor.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pear_ros.people import JOINT, FloatArray

Array = NDArray[np.float64]

# (2, 2) left and right, ankle and ball. At the heel's landing only the ankle is slow, before the
# toe lifts off only the ball: the slower and the lower one count.
FEET = np.array(
    [[JOINT[f"{side}_{name}"] for name in ("ankle", "foot")] for side in ("left", "right")]
)
BALL = FEET[:, 1]  # (2,)
# A foot that swings is 2.5 times as fast as the body. One that stands shows the noise of the
# estimates: 90 % are slower than 0.3 m/s with that of the demo network.
SPEED_M_S, SPEED_SPREAD_M_S = 0.5, 0.08
# The ball's joint is 1 to 3 cm above the sole. A swinging foot may pass the floor at 2 cm, so speed
# decides there; height tells a foot that hangs or is lifted, by more than the error of the floor.
HEIGHT_M, HEIGHT_SPREAD_M = 0.10, 0.015
# The error of a person's distance, as a fraction: who is placed too near has feet above the floor,
# by this fraction of the camera's height.
DISTANCE_ERROR = 0.05
HYSTERESIS = 1.0  # of the logit: how much more it takes to lift or to land
MOST_SURE = 5.0  # largest logit, so that a change does not take long; a probability of 0.7 %
RESPONSE_S = 0.05  # time constant of the filter


def logits(speed_m_s: Array, height_m: Array) -> Array:
    """The log odds (N, 2) that feet stand, from speeds and heights in an image."""
    slow = (SPEED_M_S - speed_m_s) / SPEED_SPREAD_M_S
    low = (HEIGHT_M - height_m) / HEIGHT_SPREAD_M
    limited: Array = np.clip(np.minimum(slow, low), -MOST_SURE, MOST_SURE)
    return limited


def filtered(before: Array, now: Array, elapsed_s: Array) -> Array:
    """The log odds (N, 2) after an image `elapsed_s` (N,) after the last, with hysteresis."""
    weight = 1 - np.exp(-elapsed_s / RESPONSE_S)[:, None]
    now = now + HYSTERESIS * np.sign(before)
    return before + weight * (np.clip(now, -MOST_SURE, MOST_SURE) - before)


def probability(log_odds: Array) -> Array:
    """Of log odds."""
    likely: Array = 1 / (1 + np.exp(-log_odds))
    return likely


def heights(joints: FloatArray, up: Array, floor: Array | None) -> Array:
    """The heights (N, 2), m, of the feet of N people, that of the lower joint of each.

    That above the lower foot; that above the floor, with an allowance for the error of the person's
    distance, if it is more.

    Args:
        joints: (N, 55, 3) m, optical.
        up: (N, 3) unit vectors upwards.
        floor: (4,) as in `Frame`; None: not known.
    """
    feet = joints[:, FEET]  # (N, 2, 2, 3)
    along = np.einsum("nfji,ni->nfj", feet, up).min(-1)  # (N, 2)
    above: Array = along - along.min(1, keepdims=True)
    if floor is not None:
        above_floor = (feet @ floor[:3] + floor[3]).min(-1)
        above = np.maximum(above, above_floor - DISTANCE_ERROR * abs(floor[3]))
    return above


def speeds(joint_velocity: Array) -> Array:
    """The speeds (N, 2), m/s, of the feet, that of the slower joint, from velocities (N, 55, 3)."""
    feet = joint_velocity[:, FEET]
    slower: Array = np.sqrt(np.einsum("nfji,nfji->nfj", feet, feet)).min(-1)
    return slower
