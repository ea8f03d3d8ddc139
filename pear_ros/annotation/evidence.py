"""What is known of people before a body is fitted to them, and how far each point is trusted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pear_ros.body.landmarks import (
    BODY,
    FACE,
    FEET,
    LANDMARK,
    LEFT_HAND,
    NUM_LANDMARKS,
    RIGHT_HAND,
)
from pear_ros.people import JOINT_NAMES, IntArray

# Standard deviation of a keypoint: a share of the person's or of the hand's or face's size.
SIGMA_BODY, SIGMA_PART = 0.015, 0.05
SIGMA_LEAST_PX = 1.0
STRIDE = 4  # images of a video from one that is tried from all starts to the next
NEIGHBOURS = 7  # of these images whose costs are added: nobody turns around for one image


@dataclass(frozen=True)
class Observed:
    """What is known of N people in images; `px` are pixels of the image."""

    keypoints: Tensor  # (N, 133, 3) x, y, px, confidence
    boxes_xyxy: Tensor  # (N, 4) px, around what is visible of the person
    image_size: Tensor  # (N, 2) width, height, px
    intrinsics: Tensor  # (N, 4) fx, fy, cx, cy, px
    track: IntArray  # (N,) people of one number are one person, whose shape is the same
    stamp_s: Tensor  # (N,) images of a person are in order of time

    def rows(self, rows: Tensor) -> Observed:
        """Some of the people; tracks are numbered again, without gaps."""
        return Observed(
            keypoints=self.keypoints[rows],
            boxes_xyxy=self.boxes_xyxy[rows],
            image_size=self.image_size[rows],
            intrinsics=self.intrinsics[rows],
            track=np.unique(self.track[rows.numpy()], return_inverse=True)[1].astype(np.int64),
            stamp_s=self.stamp_s[rows],
        )

    @property
    def size_px(self) -> Tensor:
        """(N,) longer sides of the boxes."""
        return (self.boxes_xyxy[:, 2:] - self.boxes_xyxy[:, :2]).amax(1)


def point_weights() -> Tensor:
    """(133,) by how well the detectors' idea of a point agrees with the landmark."""
    weights = torch.zeros(NUM_LANDMARKS)
    weights[BODY] = 1.0
    weights[FEET] = 0.3
    weights[FACE] = 0.1
    weights[LEFT_HAND] = weights[RIGHT_HAND] = 0.25
    for name, weight in (("hip", 0.6), ("ear", 0.3), ("eye", 0.5)):
        for side in ("left", "right"):
            weights[LANDMARK[f"{side}_{name}"]] = weight
    return weights


def sigma_px(keypoints: Tensor, size_px: Tensor) -> Tensor:
    """(N, 133) the standard deviations of keypoints (N, 133, 3)."""
    sigma = (SIGMA_BODY * size_px)[:, None].repeat(1, NUM_LANDMARKS)
    for part in (FACE, LEFT_HAND, RIGHT_HAND):
        points, confidence = keypoints[:, part, :2], keypoints[:, part, 2:]
        low = points.where(confidence > 0, torch.inf).amin(1)
        high = points.where(confidence > 0, -torch.inf).amax(1)
        extent = (high - low).amax(1)  # (N,) px; not finite without points
        extent = torch.where(extent.isfinite(), extent, size_px)
        sigma[:, part] = torch.minimum(SIGMA_PART * extent, SIGMA_BODY * size_px)[:, None]
    return sigma.clamp(min=SIGMA_LEAST_PX)


def joint_support(keypoints: Tensor) -> Tensor:
    """(N, 133, 3) -> (N, 55) how far keypoints tell where a joint is, 0 to 1.

    A joint with a keypoint of its own has its confidence, others the mean of those around.
    """
    confidence = keypoints[..., 2]  # (N, 133)
    support = [confidence[:, [LANDMARK[name] for name in SUPPORT[joint]]].mean(1)
               for joint in JOINT_NAMES]  # fmt: skip
    return torch.stack(support, 1)


def _supporting() -> dict[str, tuple[str, ...]]:
    """The landmarks that tell where each joint is."""
    hips, shoulders = ("left_hip", "right_hip"), ("left_shoulder", "right_shoulder")
    around: dict[str, tuple[str, ...]] = {"pelvis": hips, "spine1": hips}
    around |= dict.fromkeys(("spine2", "spine3"), (*hips, *shoulders))
    around |= dict.fromkeys(("neck", "left_collar", "right_collar"), shoulders)
    around |= {"head": ("nose", "left_ear", "right_ear"), "jaw": ("nose", "face8")}
    around |= {"left_foot": ("left_big_toe",), "right_foot": ("right_big_toe",)}
    return {name: around.get(name, (name,)) for name in JOINT_NAMES}


SUPPORT = _supporting()


def triples(track: IntArray) -> tuple[Tensor, Tensor, Tensor]:
    """Rows of three images in a row of one person: before, now, after."""
    before, now, after = [], [], []
    for number in np.unique(track):
        rows = np.flatnonzero(track == number)
        before += rows[:-2].tolist()
        now += rows[1:-1].tolist()
        after += rows[2:].tolist()
    return torch.tensor(before).long(), torch.tensor(now).long(), torch.tensor(after).long()


def strided(track: IntArray) -> tuple[Tensor, Tensor]:
    """Every STRIDE-th row of each track (M,), and for each row (N,) the nearest of these M."""
    tried: list[int] = []
    nearest = np.zeros(len(track), np.int64)
    for number in np.unique(track):
        rows = np.flatnonzero(track == number)
        some = np.arange(0, len(rows), STRIDE)
        near = np.abs(np.arange(len(rows))[:, None] - some).argmin(1)  # (rows,)
        nearest[rows] = len(tried) + near
        tried += rows[some].tolist()
    return torch.tensor(tried), torch.from_numpy(nearest)


def averaged(costs: Tensor, track: IntArray) -> Tensor:
    """Costs (S, N) as means over the NEIGHBOURS images of the same person."""
    smooth = costs.clone()
    for number in np.unique(track):
        rows = torch.from_numpy(np.flatnonzero(track == number))
        for i, row in enumerate(rows):
            near = rows[max(i - NEIGHBOURS // 2, 0) : i + NEIGHBOURS // 2 + 1]
            smooth[:, row] = costs[:, near].mean(1)
    return smooth
