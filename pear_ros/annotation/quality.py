"""The gate: which fitted people may teach a network, and why the others may not.

Keypoints of people who are rejected can still be used; their confidence is the experts'. A person's
hands and face are judged separately, so that a body counts although a hand is hidden.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pear_ros.annotation.evidence import Observed, joint_support
from pear_ros.annotation.fitting import Fit
from pear_ros.body.landmarks import BODY, FACE, LANDMARK, LEFT_HAND, RIGHT_HAND
from pear_ros.people import FloatArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

CONFIDENT = 0.5  # confidence from which on a keypoint is compared
LEAST_POINTS = 6  # confident keypoints of the body
LEAST_INSIDE = 0.8  # share of these that lie in the box, enlarged by BOX_MARGIN of its longer side
BOX_MARGIN = 0.1
LEAST_EXTENT = 0.3  # extent of these over the box's longer side
# Distances of projected landmarks from keypoints: of bodies relative to the box's longer side, of
# hands and faces relative to their own size.
MEDIAN_ERROR, LARGE_ERROR = 0.03, 0.08  # the second is that of the 90 % quantile
PART_ERROR = 0.15  # median
LEAST_PART_POINTS = 0.7  # share of a hand's or a face's points that are confident
SAME_WRIST = 0.35  # of a hand's size: the two experts agree on the wrist
SAME_NOSE = 0.2  # of a face's size
LIMIT_RAD = np.radians(15)  # beyond the limits of a joint

REASONS = {
    "not_finite": "the fit failed: a number is not finite",
    "few_points": f"fewer than {LEAST_POINTS} confident keypoints of the body, or no shoulder",
    "another_person": "the keypoints lie outside of the box or fill a small part of it",
    "large_error": "the fitted body is not where the keypoints are",
    "impossible_pose": "a joint is bent beyond its limits",
}
"""Why a person is rejected, in the order in which it is checked."""


@dataclass(frozen=True)
class Verdicts:
    """What the gate says of N people."""

    rejection: NDArray[np.str_]  # (N,) a key of REASONS, or empty: accepted
    body: FloatArray  # (N,) confidence of the body's parameters, 0 to 1; 0: rejected
    left_hand: FloatArray  # (N,)
    right_hand: FloatArray  # (N,)
    face: FloatArray  # (N,)
    joints: FloatArray  # (N, 55) how far keypoints tell where a joint is

    @property
    def is_accepted(self) -> Mask:
        """(N,) whether the gate lets them pass."""
        return self.rejection == ""


def judged(observed: Observed, fit: Fit, available: Mask) -> Verdicts:
    """Judges N people.

    Args:
        observed: What the experts saw.
        fit: What was fitted to it.
        available: (133,) which landmarks the body model has.
    """
    keypoints = observed.keypoints.numpy().astype(float)  # (N, 133, 3)
    size = observed.size_px.numpy().astype(float)  # (N,) px
    distance = np.linalg.norm(fit.points_px.numpy() - keypoints[..., :2], axis=-1)  # (N, 133) px
    is_confident = keypoints[..., 2] > CONFIDENT  # (N, 133)
    compared = is_confident & available

    median, large = _errors(distance[:, BODY] / size[:, None], compared[:, BODY])  # (N,), (N,)
    shoulders = [LANDMARK["left_shoulder"], LANDMARK["right_shoulder"]]
    beyond = fit.beyond_limits.numpy().max(1, initial=0)  # (N,)
    is_finite = np.isfinite(distance).all(1) & np.isfinite(beyond)
    failed: dict[str, Mask] = {
        "not_finite": ~is_finite,
        "few_points": (is_confident[:, BODY].sum(1) < LEAST_POINTS)
        | ~is_confident[:, shoulders].any(1),
        "another_person": ~_fills_box(
            keypoints[:, BODY], is_confident[:, BODY], observed.boxes_xyxy.numpy()
        ),
        "large_error": ~((median <= MEDIAN_ERROR) & (large <= LARGE_ERROR)),
        "impossible_pose": ~(beyond <= LIMIT_RAD),
    }
    rejection = np.full(len(keypoints), "", dtype=f"<U{max(map(len, REASONS))}")
    for reason in reversed(REASONS):
        rejection[failed[reason]] = reason

    is_accepted = rejection == ""
    sure = _mean_confidence(keypoints[:, BODY, 2], is_confident[:, BODY])
    body = is_accepted * sure * _fit_quality(median, MEDIAN_ERROR)
    wrists = [
        (LEFT_HAND, keypoints[:, LANDMARK["left_wrist"]], LEFT_HAND.start, SAME_WRIST),
        (RIGHT_HAND, keypoints[:, LANDMARK["right_wrist"]], RIGHT_HAND.start, SAME_WRIST),
        (FACE, keypoints[:, LANDMARK["nose"]], LANDMARK["face30"], SAME_NOSE),
    ]
    parts = [
        _part(keypoints, distance, compared, available, part, other, own, allowed) * is_accepted
        for part, other, own, allowed in wrists
    ]
    joints = joint_support(observed.keypoints).numpy() * is_accepted[:, None]
    left, right, face = (part.astype(np.float32) for part in parts)
    return Verdicts(rejection, body.astype(np.float32), left, right, face, joints)


def _part(
    keypoints: Array,
    distance: Array,
    compared: Mask,
    available: Mask,
    part: slice,
    other: Array,
    own: int,
    allowed: float,
) -> Array:
    """(N,) confidence of a hand or a face.

    `other` (N, 3) is what the expert for bodies says about the keypoint `own`; they may differ by
    `allowed` times the part's size.
    """
    extent = np.maximum(np.ptp(keypoints[:, part, :2], axis=1).max(1), 1)  # (N,) px
    enough = compared[:, part].sum(1) >= LEAST_PART_POINTS * available[part].sum()
    median, _ = _errors(distance[:, part] / extent[:, None], compared[:, part])
    apart = np.linalg.norm(other[:, :2] - keypoints[:, own, :2], axis=1) / extent
    agree = (apart <= allowed) | (other[:, 2] < CONFIDENT)
    sure = _mean_confidence(keypoints[:, part, 2], compared[:, part])
    good = enough & agree & (median <= PART_ERROR)
    return good * sure * _fit_quality(median, PART_ERROR)


def _errors(errors: Array, rows: Mask) -> tuple[Array, Array]:
    """Medians and 90 % quantiles (N,) of those `rows` of errors (N, P); infinite if none."""
    median, large = np.full(len(errors), np.inf), np.full(len(errors), np.inf)
    for i, row in enumerate(rows):
        if row.any():
            median[i], large[i] = np.quantile(errors[i, row], (0.5, 0.9))
    return median, large


def _fills_box(points: Array, is_confident: Mask, boxes: FloatArray) -> Mask:
    """(N,) whether confident points (N, P, 3) lie in the box and are spread over it."""
    size = (boxes[:, 2:] - boxes[:, :2]).max(1)
    margin = BOX_MARGIN * size[:, None, None]
    xy = points[..., :2]
    first, last = boxes[:, None, :2], boxes[:, None, 2:]
    inside = ((xy >= first - margin) & (xy <= last + margin)).all(-1) & is_confident
    count = is_confident.sum(1)
    low = np.where(is_confident[..., None], xy, np.inf).min(1)
    high = np.where(is_confident[..., None], xy, -np.inf).max(1)
    fills: Mask = (inside.sum(1) >= LEAST_INSIDE * count) & (
        (high - low).max(1) >= LEAST_EXTENT * size
    )
    return fills


def _mean_confidence(confidence: Array, rows: Mask) -> Array:
    """(N, P) and (N, P) -> (N,); 0 without any."""
    mean: Array = (confidence * rows).sum(1) / np.maximum(rows.sum(1), 1)
    return mean


def _fit_quality(error: Array, allowed: float) -> Array:
    """1 for no error, 0.37 at the allowed one, 0 if it is not finite."""
    quality: Array = np.exp(-((np.where(np.isnan(error), np.inf, error) / allowed) ** 2))
    return quality
