"""Rotations of bodies: batched, any leading shape. Torch for the body, numpy for messages."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor


def matrix_from_6d(x: Tensor) -> Tensor:
    """(..., 6) -> (..., 3, 3). Two 3-vectors, orthonormalised, are the first two columns.

    Zhou et al., On the Continuity of Rotation Representations in Neural Networks, CVPR 2019.
    """
    a1, a2 = x[..., :3], x[..., 3:]
    b1 = F.normalize(a1, dim=-1)
    # Gram-Schmidt: b2 = normalize(a2 - (b1 . a2) b1)
    b2 = F.normalize(torch.addcmul(a2, (b1 * a2).sum(-1, keepdim=True), b1, value=-1), dim=-1)
    b3 = torch.linalg.cross(b1, b2)
    return torch.stack((b1, b2, b3), dim=-1)


def matrix_from_axis_angle(axis_angle: Tensor) -> Tensor:
    """(..., 3) radians -> (..., 3, 3), by Rodrigues' formula; exact and smooth at zero."""
    identity = torch.eye(3, dtype=axis_angle.dtype, device=axis_angle.device)
    columns = identity.expand(*axis_angle.shape, 3)
    cross = torch.linalg.cross(axis_angle[..., None], columns, dim=-2)  # (..., 3, 3)
    # At an angle so small the sine equals the angle, and its square can still be divided by.
    tiny = torch.finfo(axis_angle.dtype).tiny ** 0.5
    half = torch.linalg.vector_norm(axis_angle, dim=-1)[..., None, None].clamp(min=tiny) / 2
    sinc, cos = half.sin() / half, half.cos()
    # Rodrigues: R = I + sin(a)/a K + (1 - cos(a))/a^2 K^2, with K the cross product by the vector;
    # of the half angle h = a/2 these factors are sinc(h) cos(h) and sinc(h)^2 / 2.
    first_order = torch.addcmul(identity, sinc * cos, cross)
    return torch.addcmul(first_order, sinc * sinc, cross @ cross, value=0.5)


def quaternion_from_matrix(matrices: NDArray[Any]) -> NDArray[np.float64]:
    """(..., 3, 3) rotations -> (..., 4) x, y, z, w, the last not negative.

    Of the columns of q q^T the one with the largest diagonal is taken, so that nothing is divided
    by what is small: Shepperd, Quaternion from Rotation Matrix, 1978. scipy takes several times as
    long, as it first makes matrices orthogonal; those of bodies are.
    """
    by_entry = np.moveaxis(matrices.reshape(-1, 3, 3).astype(np.float64), 0, -1)  # (3, 3, N)
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = by_entry
    products = np.array(
        [
            [1 + xx - yy - zz, xy + yx, xz + zx, zy - yz],
            [xy + yx, 1 - xx + yy - zz, yz + zy, xz - zx],
            [xz + zx, yz + zy, 1 - xx - yy + zz, yx - xy],
            [zy - yz, xz - zx, yx - xy, 1 + xx + yy + zz],
        ]
    )  # (4, 4, N), 4 q q^T
    largest = products.diagonal().argmax(1)  # (N,)
    quat_xyzw = products[largest, :, np.arange(len(largest))]  # (N, 4)
    length = np.linalg.norm(quat_xyzw, axis=1)
    quat_xyzw /= np.copysign(length, quat_xyzw[:, 3])[:, None]
    return quat_xyzw.reshape(*matrices.shape[:-2], 4)


def axis_angle_from_matrix(matrices: NDArray[Any]) -> NDArray[np.float64]:
    """(..., 3, 3) rotations -> (..., 3) radians, at most pi long."""
    quat_xyzw = quaternion_from_matrix(matrices)
    axis, cos = quat_xyzw[..., :3], quat_xyzw[..., 3]
    sin = np.linalg.norm(axis, axis=-1)
    angle = 2 * np.arctan2(sin, cos)
    # Below 1e-12 the axis is undetermined, and the sine equals the angle.
    factor = np.where(sin > 1e-12, angle / np.maximum(sin, 1e-12), 2)
    scaled: NDArray[np.float64] = axis * factor[..., None]
    return scaled
