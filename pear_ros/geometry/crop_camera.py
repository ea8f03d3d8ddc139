"""The square crop that the network sees, and its virtual camera, the crop camera.

The crop camera is a pinhole camera with a focal length of 24 half crop sides. It projects a point
(X, Y, Z) of the posed body, in optical axes, to u = c_u + L/2 * 24 * (X - tx) / (Z + tz), and v
likewise, where L is the side of the square crop in pixels and c its centre.

The crop camera's optical axis passes through the centre of the crop, the real camera's does not in
general. So a body is rotated from the axes of the crop camera into those of the real camera
(`camera_from_crop`), then translated so that the real camera sees the joints where the crop camera
saw them (`placement/reprojection.py`). docs/concepts/frames.md has the measurements.
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
    """Rotations (N, 3, 3) from the crop camera's axes to the real camera's.

    Each is the smallest rotation that maps the optical axis to the ray through the crop's centre.

    Args:
        crop_xywh: (N, 4) px.
        intrinsics: (N, 4) px: fx, fy, cx, cy.
    """
    centre = crop_xywh[:, :2] + crop_xywh[:, 2:] / 2
    return camera_from_ray((centre - intrinsics[:, 2:]) / intrinsics[:, :2])


def camera_from_ray(slope: Tensor) -> Tensor:
    """`camera_from_crop` for crops whose centres are seen along rays with slopes (N, 2)."""
    z = torch.rsqrt(1 + (slope * slope).sum(-1))
    x, y = (slope * z[:, None]).unbind(-1)  # (x, y, z) has length 1
    k = 1 / (1 + z)
    xy = -k * x * y
    rows = (1 - k * x * x, xy, x, xy, 1 - k * y * y, y, -x, -y, z)
    return torch.stack(rows, -1).unflatten(-1, (3, 3))


def rotated(parameters: EhmParameters, rotation: Tensor) -> EhmParameters:
    """Parameters of N people, rotated about their pelvis by `rotation` (N, 3, 3)."""
    global_orient = rotation[:, None] @ parameters.global_orient  # (N, 1, 3, 3)
    return dataclasses.replace(parameters, global_orient=global_orient)
