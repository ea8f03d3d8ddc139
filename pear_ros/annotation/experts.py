"""Experts: functions that find the 133 points of COCO-WholeBody of each person in an image.

`MediaPipeExperts` asks a model for the body, one for hands and one for faces. Other experts are
used in the same way; keypoint_files.py reads points from a file.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pear_ros.annotation.landmark_models import (
    Found,
    LandmarkModels,
    Region,
    face_region,
    hand_regions,
)
from pear_ros.body.landmarks import FACE, LANDMARK, LEFT_HAND, NUM_LANDMARKS, RIGHT_HAND
from pear_ros.geometry.crop_camera import CROP_MARGIN
from pear_ros.people import FloatArray, ImageArray

Array = NDArray[np.float64]

# The 33 points of MediaPipe's pose that COCO-WholeBody has as well.
POSE_POINTS = {
    "nose": 0, "left_eye": 2, "right_eye": 5, "left_ear": 7, "right_ear": 8,
    "left_shoulder": 11, "right_shoulder": 12, "left_elbow": 13, "right_elbow": 14,
    "left_wrist": 15, "right_wrist": 16, "left_hip": 23, "right_hip": 24,
    "left_knee": 25, "right_knee": 26, "left_ankle": 27, "right_ankle": 28,
    "left_heel": 29, "right_heel": 30, "left_big_toe": 31, "right_big_toe": 32,
}  # fmt: skip
MIRRORED_POSE = (
    0, 4, 5, 6, 1, 2, 3, 8, 7, 10, 9,
    *(i + 1 - 2 * (i % 2 == 0) for i in range(11, 33)),
)  # fmt: skip
# Points of MediaPipe's face mesh that are iBUG's 68: outline, brows, nose, eyes, lips.
FACE_POINTS = (
    162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389,
    71, 63, 105, 66, 107, 336, 296, 334, 293, 301,
    168, 197, 5, 4, 75, 97, 2, 326, 305,
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181,
    78, 82, 13, 312, 308, 317, 14, 87,
)  # fmt: skip
SAME_POSE = 0.04  # of the box's longer side: two looks at a body that agree
SAME_HAND = 0.3  # of a hand's size: the two hands found are one


class Experts(Protocol):
    """Finds the points of people.

    Args:
        image: (H, W, 3) RGB.
        boxes_xyxy: (N, 4) px, boxes of people.
        name: Of the image's file.

    Returns:
        (N, 133, 3) x, y, px, and confidence, 0 to 1. Confidence 0: not known.
    """

    def __call__(self, image: ImageArray, boxes_xyxy: FloatArray, name: str) -> FloatArray: ...


class MediaPipeExperts:
    """MediaPipe's models, on the region of each person."""

    def __init__(self, models: LandmarkModels) -> None:
        self._models = models

    @staticmethod
    def load() -> MediaPipeExperts:
        """The experts with the models of the installed mediapipe.

        Raises:
            SettingError: If the models are not installed.
        """
        return MediaPipeExperts(LandmarkModels.load())

    def __call__(self, image: ImageArray, boxes_xyxy: FloatArray, name: str) -> FloatArray:
        """The points of N people, as `Experts` says; `name` is not used."""
        people = [self._person(image, box.astype(np.float64)) for box in boxes_xyxy]
        keypoints = np.array(people, np.float32).reshape(-1, NUM_LANDMARKS, 3)
        height, width, _ = image.shape
        return without_outside(keypoints, width, height)

    def _person(self, image: ImageArray, box: Array) -> Array:
        keypoints = np.zeros((NUM_LANDMARKS, 3))
        size = float((box[2:] - box[:2]).max())
        region = Region((box[:2] + box[2:]) / 2, CROP_MARGIN * size)
        pose = self._pose(image, region, size)
        for point, i in POSE_POINTS.items():
            keypoints[LANDMARK[point]] = (*pose.points[i], pose.score * pose.confidence[i])
        for rows, hand in zip((LEFT_HAND, RIGHT_HAND), self._hands(image, pose), strict=True):
            keypoints[rows, :2] = hand.points
            keypoints[rows, 2] = hand.confidence
        face = self._models.face.find(image, face_region(pose))
        keypoints[FACE, :2] = face.points[list(FACE_POINTS)]
        keypoints[FACE, 2] = face.score
        return keypoints

    def _pose(self, image: ImageArray, region: Region, size: float) -> Found:
        """Looks at the picture and at its mirror image, which is a second opinion.

        `size` is that of the person, px; points are less certain where the two do not agree.
        """
        pose = self._models.pose.find(image, region)
        width = image.shape[1]
        again = self._models.pose.once(
            np.ascontiguousarray(image[:, ::-1]), _mirrored(pose.region, width)
        )
        other = again.points[list(MIRRORED_POSE)] * (-1, 1) + (width - 1, 0)  # (33, 2) px
        distance = np.linalg.norm(pose.points - other, axis=1) / (SAME_POSE * size)
        confidence = np.minimum(pose.confidence, again.confidence[list(MIRRORED_POSE)])
        return Found(
            (pose.points + other) / 2,
            confidence * np.exp(-(distance**2)),
            min(pose.score, again.score),
            pose.region,
        )

    def _hands(self, image: ImageArray, pose: Found) -> tuple[Found, Found]:
        """The left and the right hand; where both are found at one place, it is one hand."""
        hands = []
        for side in ("left", "right"):
            hand = self._models.hand.find(image, *hand_regions(pose, side))
            fits = hand.is_right if side == "right" else 1 - hand.is_right
            hands.append(_less_certain(hand, min(1.0, 2 * fits)))
        left, right = hands
        apart = np.linalg.norm(left.points - right.points, axis=1).mean()
        if apart < SAME_HAND * np.ptp(left.points, axis=0).max():
            if left.confidence[0] > right.confidence[0]:
                right = _less_certain(right, 0)
            else:
                left = _less_certain(left, 0)
        return left, right


def without_outside(keypoints: FloatArray, width: int, height: int) -> FloatArray:
    """Points (..., 3) whose confidence is 0 outside of an image of this size, px."""
    x, y, confidence = np.moveaxis(keypoints, -1, 0)
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    return np.stack((x, y, np.where(inside, confidence, 0)), -1).astype(np.float32)


def _less_certain(found: Found, factor: float) -> Found:
    return Found(found.points, factor * found.confidence, found.score, found.region, found.is_right)


def _mirrored(region: Region, width: int) -> Region:
    """The same region in the mirror image of an image, px."""
    return Region(region.centre * (-1, 1) + (width - 1, 0), region.side, -region.angle)
