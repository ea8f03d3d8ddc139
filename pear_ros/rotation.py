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
    b2 = F.normalize(torch.addcmul(a2, (b1 * a2).sum(-1, keepdim=True), b1, value=-1), dim=-1)
    b3 = torch.linalg.cross(b1, b2)
    return torch.stack((b1, b2, b3), dim=-1)


def matrix_from_axis_angle(axis_angle: Tensor) -> Tensor:
    """(..., 3) radians -> (..., 3, 3), by Rodrigues' formula; exact and smooth at zero."""
    identity = torch.eye(3, dtype=axis_angle.dtype, device=axis_angle.device)
    columns = identity.expand(*axis_angle.shape, 3)
    cross = torch.linalg.cross(axis_angle[..., None], columns, dim=-2)  # (..., 3, 3)
    # So far below 1 that its sine is itself.
    tiny = torch.finfo(axis_angle.dtype).tiny ** 0.5
    half = torch.linalg.vector_norm(axis_angle, dim=-1)[..., None, None].clamp(min=tiny) / 2
    sinc, cos = half.sin() / half, half.cos()
    turned = torch.addcmul(identity, sinc * cos, cross)
    return torch.addcmul(turned, sinc * sinc, cross @ cross, value=0.5)
