"""What poses people take: a Gaussian of the synthetic motions, and limits of each joint.

So the prior is ours: it needs no motion capture, whose licences do not allow its use here.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pear_ros.geometry.rotation import axis_angle_from_matrix
from pear_ros.synthetic.controls import rotations
from pear_ros.synthetic.held_out import REPERTOIRES
from pear_ros.synthetic.motion import Motion

Array = NDArray[np.float64]

MOTIONS, POSES = 96, 40  # of each repertoire; poses of each motion
STEP_S = 0.9  # between two poses of a motion
# Poses of real people are more varied than the synthetic ones: these are added to each standard
# deviation and to each limit.
EXTRA_SPREAD_RAD = np.radians(8)
EXTRA_LIMIT_RAD = np.radians(20)
NUM_BODY, NUM_HAND = 21, 15  # joints that rotate


@dataclass(frozen=True)
class Gaussian:
    """Rotations of J joints as axis-angle vectors: mean, spread, and limits."""

    mean: Tensor  # (3 J,) rad
    whitening: Tensor  # (3 J, 3 J): whitening @ (x - mean) has the covariance I
    low: Tensor  # (3 J,) rad
    high: Tensor  # (3 J,) rad

    def distance(self, rotvecs: Tensor) -> Tensor:
        """(N, J, 3) rad -> (N,) squared Mahalanobis distance over its expectation, 1 on average."""
        white = (rotvecs.flatten(1) - self.mean) @ self.whitening.mT
        return white.square().mean(1)

    def beyond(self, rotvecs: Tensor) -> Tensor:
        """(N, J, 3) rad -> (N, J) how far a joint's vector is outside of its limits, rad."""
        flat = rotvecs.flatten(1)
        outside = (flat - self.high).relu() + (self.low - flat).relu()
        return outside.unflatten(1, (-1, 3)).norm(dim=-1)


@dataclass(frozen=True)
class PosePrior:
    """The Gaussians of body and hands; a hand's joints do not depend on the body's."""

    body: Gaussian  # 21 joints
    left_hand: Gaussian  # 15 joints
    right_hand: Gaussian  # 15 joints

    @staticmethod
    def of_motions(seed: int = 0) -> PosePrior:
        """Fits the prior to poses of all actions; takes a second or two."""
        controls = []
        for stream, repertoire in zip(
            np.random.default_rng(seed).spawn(2 * MOTIONS),
            chain.from_iterable([repertoire] * MOTIONS for repertoire in REPERTOIRES.values()),
            strict=True,
        ):
            motion = Motion(repertoire, stream)
            controls += [motion(i * STEP_S) for i in range(POSES)]
        pose = rotations(np.stack(controls))
        return PosePrior(
            _gaussian(pose.body_pose), _gaussian(pose.left_hand_pose),
            _gaussian(pose.right_hand_pose),
        )  # fmt: skip


def _gaussian(matrices: Array) -> Gaussian:
    """Fits a Gaussian to the rotations (P, J, 3, 3) of P poses."""
    rotvecs = axis_angle_from_matrix(matrices).reshape(len(matrices), -1)  # (P, 3 J)
    covariance = np.cov(rotvecs.T) + EXTRA_SPREAD_RAD**2 * np.eye(rotvecs.shape[1])
    whitening = np.linalg.inv(np.linalg.cholesky(covariance))
    low, high = np.quantile(rotvecs, (0.001, 0.999), axis=0)
    values = rotvecs.mean(0), whitening, low - EXTRA_LIMIT_RAD, high + EXTRA_LIMIT_RAD
    return Gaussian(*(torch.from_numpy(value.astype(np.float32)) for value in values))
