"""The square crop that the network sees, and the camera that would see it.

The crop is seen by a pinhole camera of focal length 24 in half crop sides, so a point (X, Y, Z) of
the body appears at u = c_u + L/2 * 24 * (X - tx) / (Z + tz), and likewise v, where L is the side
of the square box in pixels and c its centre. Posed bodies are in optical axes already.

That camera looks straight at the crop's centre, the real one past it. So a body is rotated from the
axes of the first into those of the second (`camera_from_crop`), then moved to where the real camera
sees its joints as the crop's camera did (`placement/reprojection.py`). docs/frames.md has the
measurements.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from pear_ros.people import EhmParameters

CROP_SIZE = 256  # px, side of the square that is cut
CROP_MARGIN = 1.25  # side of the square over the longer side of the box
CROP_FOCAL = 24.0  # focal length of the crop camera, in half crop sides


def camera_from_crop(crop_xywh: Tensor, intrinsics: Tensor) -> Tensor:
    """(N, 4) px and (N, 4) fx, fy, cx, cy px -> (N, 3, 3), crop camera's axes to the camera's.

    The smallest rotation that takes the optical axis onto the ray through the square's centre.
    """
    centre = crop_xywh[:, :2] + crop_xywh[:, 2:] / 2
    slope = (centre - intrinsics[:, 2:]) / intrinsics[:, :2]  # (N, 2) of the ray, by depth
    z = torch.rsqrt(1 + (slope * slope).sum(-1))
    x, y = (slope * z[:, None]).unbind(-1)  # (x, y, z) has length 1
    k = 1 / (1 + z)
    xy = -k * x * y
    rows = (1 - k * x * x, xy, x, xy, 1 - k * y * y, y, -x, -y, z)
    return torch.stack(rows, -1).unflatten(-1, (3, 3))


def rotated(parameters: EhmParameters, turn: Tensor) -> EhmParameters:
    """Parameters of N people turned about their pelvis by (N, 3, 3)."""
    global_orient = turn[:, None] @ parameters.global_orient  # (N, 1, 3, 3)
    return dataclasses.replace(parameters, global_orient=global_orient)
