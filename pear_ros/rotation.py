"""Rotations of bodies: batched, any leading shape."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def matrix_from_6d(x: Tensor) -> Tensor:
    """(..., 6) -> (..., 3, 3). Two 3-vectors, orthonormalised, are the first two columns.

    Zhou et al., On the Continuity of Rotation Representations in Neural Networks, CVPR 2019.
    """
    a1, a2 = x[..., :3], x[..., 3:]
    b1 = F.normalize(a1, dim=-1)
    b2 = F.normalize(a2 - (b1 * a2).sum(-1, keepdim=True) * b1, dim=-1)
    b3 = torch.linalg.cross(b1, b2)
    return torch.stack((b1, b2, b3), dim=-1)


def matrix_from_axis_angle(axis_angle: Tensor) -> Tensor:
    """(..., 3) radians -> (..., 3, 3), by Rodrigues' formula; exact and smooth at zero."""
    x, y, z = axis_angle.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack((zero, -z, y, z, zero, -x, -y, x, zero), -1).unflatten(-1, (3, 3))
    angle = torch.linalg.vector_norm(axis_angle, dim=-1)[..., None, None]
    identity = torch.eye(3, dtype=axis_angle.dtype, device=axis_angle.device)
    return identity + _sinc(angle) * cross + 0.5 * _sinc(angle / 2) ** 2 * (cross @ cross)


def _sinc(x: Tensor) -> Tensor:
    """sin(x) / x, 1 at 0. torch.sinc is compiled on a GPU when it is first used; this is not."""
    is_zero = x == 0
    return torch.where(is_zero, 1, x.sin() / torch.where(is_zero, 1, x))
