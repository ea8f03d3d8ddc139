"""Bends legs at the hips, so that feet come to other places."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from pear_ros.body.body_model import Bodies
from pear_ros.geometry.rotation import matrix_from_axis_angle
from pear_ros.people import JOINT, EhmParameters
from pear_ros.tracking.contacts import BALL

HIPS = [JOINT["left_hip"], JOINT["right_hip"]]
FEET = BALL.tolist()  # left, right
HIPS_IN_POSE = [hip - 1 for hip in HIPS]  # `body_pose` begins behind the pelvis


def with_moved_feet(parameters: EhmParameters, bodies: Bodies, offsets: Tensor) -> EhmParameters:
    """The parameters of M people whose balls of the feet are elsewhere.

    Each leg turns about its hip, from the direction of its foot to that of the place where the foot
    should be. So the foot gets there but for the part of the offset along the leg, which is small
    for a leg that stands and a horizontal offset.

    Args:
        parameters: Of the people.
        bodies: Posed with them.
        offsets: (M, 2, 3) m, of the left and the right foot, in the axes of the joints.
    """
    legs = bodies.joints[:, FEET] - bodies.joints[:, HIPS]  # (M, 2, 3)
    turns = _turns(legs, legs + offsets)  # (M, 2, 3, 3)
    pelvis = bodies.rotations[:, None, 0]  # (M, 1, 3, 3)
    pose = parameters.body_pose.clone()
    pose[:, HIPS_IN_POSE] = pelvis.mT @ turns @ pelvis @ pose[:, HIPS_IN_POSE]
    return replace(parameters, body_pose=pose)


def _turns(before: Tensor, after: Tensor) -> Tensor:
    """The smallest rotations (..., 3, 3) that turn directions (..., 3) into others."""
    axis = torch.linalg.cross(before, after)
    sine = torch.linalg.vector_norm(axis, dim=-1, keepdim=True)
    angle = torch.atan2(sine, (before * after).sum(-1, keepdim=True))
    return matrix_from_axis_angle(axis * (angle / sine.clamp(min=1e-12)))
