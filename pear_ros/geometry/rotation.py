"""Conversions of rotations, with any leading shape: torch for the body, numpy for messages."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor


def matrix_from_6d(x: Tensor) -> Tensor:
    """(..., 6) -> (..., 3, 3). The first two columns are the two 3-vectors, orthonormalised.

    Zhou et al., On the Continuity of Rotation Representations in Neural Networks, CVPR 2019.
    """
    a1, a2 = x[..., :3], x[..., 3:]
    b1 = F.normalize(a1, dim=-1)
    # Gram-Schmidt: b2 = normalize(a2 - (b1 . a2) b1)
    b2 = F.normalize(torch.addcmul(a2, (b1 * a2).sum(-1, keepdim=True), b1, value=-1), dim=-1)
    b3 = torch.linalg.cross(b1, b2)
    return torch.stack((b1, b2, b3), dim=-1)


def matrix_from_axis_angle(axis_angle: Tensor) -> Tensor:
    """(..., 3) rad -> (..., 3, 3) by Rodrigues' formula; exact and differentiable at zero."""
    identity = torch.eye(3, dtype=axis_angle.dtype, device=axis_angle.device)
    columns = identity.expand(*axis_angle.shape, 3)
    cross = torch.linalg.cross(axis_angle[..., None], columns, dim=-2)  # (..., 3, 3)
    # Small enough that the sine equals the angle, large enough that its square is not 0.
    tiny = torch.finfo(axis_angle.dtype).tiny ** 0.5
    half = torch.linalg.vector_norm(axis_angle, dim=-1)[..., None, None].clamp(min=tiny) / 2
    sinc, cos = half.sin() / half, half.cos()
    # Rodrigues: R = I + sin(a)/a K + (1 - cos(a))/a^2 K^2, where K v is the cross product of the
    # axis-angle and v. With the half angle h = a/2 the factors are sinc(h) cos(h) and sinc(h)^2/2.
    first_order = torch.addcmul(identity, sinc * cos, cross)
    return torch.addcmul(first_order, sinc * sinc, cross @ cross, value=0.5)


def quaternion_from_matrix(matrices: NDArray[Any]) -> NDArray[np.float64]:
    """Rotation matrices (..., 3, 3) -> quaternions (..., 4) x, y, z, w with w >= 0.

    scipy takes several times as long, because it first makes the matrices orthogonal; those of
    bodies already are.
    """
    m = matrices.reshape(-1, 3, 3).astype(np.float64)
    four_w_squared = 1 + m[:, 0, 0] + m[:, 1, 1] + m[:, 2, 2]
    two_w = np.sqrt(np.maximum(four_w_squared, 1e-12))
    quat_xyzw = np.empty((len(m), 4))
    quat_xyzw[:, 0] = m[:, 2, 1] - m[:, 1, 2]
    quat_xyzw[:, 1] = m[:, 0, 2] - m[:, 2, 0]
    quat_xyzw[:, 2] = m[:, 1, 0] - m[:, 0, 1]
    quat_xyzw[:, :3] *= (0.5 / two_w)[:, None]
    quat_xyzw[:, 3] = 0.5 * two_w
    large = np.flatnonzero(four_w_squared < 1)  # more than 120 degrees: w is small, or 0
    if len(large):
        quat_xyzw[large] = _by_largest_product(m[large])
    quat_xyzw /= np.sqrt(np.einsum("ni,ni->n", quat_xyzw, quat_xyzw))[:, None]
    return quat_xyzw.reshape(*matrices.shape[:-2], 4)


def _by_largest_product(matrices: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotation matrices (N, 3, 3) -> quaternions (N, 4) x, y, z, w with w >= 0, not normalised.

    The result is the column of q q^T with the largest diagonal element, which avoids a division by
    a small number: Shepperd, Quaternion from Rotation Matrix, 1978.
    """
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = np.moveaxis(matrices, 0, -1)  # (3, 3, N)
    products = np.array(
        [
            [1 + xx - yy - zz, xy + yx, xz + zx, zy - yz],
            [xy + yx, 1 - xx + yy - zz, yz + zy, xz - zx],
            [xz + zx, yz + zy, 1 - xx - yy + zz, yx - xy],
            [zy - yz, xz - zx, yx - xy, 1 + xx + yy + zz],
        ]
    )  # (4, 4, N), 4 q q^T
    largest = products.diagonal().argmax(1)  # (N,)
    quat_xyzw: NDArray[np.float64] = products[largest, :, np.arange(len(largest))]
    return quat_xyzw * np.copysign(1, quat_xyzw[:, 3])[:, None]


def axis_angle_from_matrix(matrices: NDArray[Any]) -> NDArray[np.float64]:
    """Rotation matrices (..., 3, 3) -> axis-angle (..., 3) rad, of length pi or less."""
    quat_xyzw = quaternion_from_matrix(matrices)
    axis, cos = quat_xyzw[..., :3], quat_xyzw[..., 3]
    sin = np.linalg.norm(axis, axis=-1)
    angle = 2 * np.arctan2(sin, cos)
    # Below 1e-12 the axis is undetermined, and sin(angle / 2) equals angle / 2.
    factor = np.where(sin > 1e-12, angle / np.maximum(sin, 1e-12), 2)
    scaled: NDArray[np.float64] = axis * factor[..., None]
    return scaled


# --- Quaternions (..., 4) x, y, z, w --------------------------------------------------------------


def quaternion_from_rotvec(rotvec: NDArray[Any]) -> NDArray[np.float64]:
    """Axis-angle vectors (..., 3) rad -> quaternions (..., 4)."""
    angle = _length(rotvec)
    # np.sinc(x) is sin(pi x) / (pi x), which is 1 at 0.
    return np.concatenate((rotvec * (0.5 * np.sinc(angle / (2 * np.pi))), np.cos(angle / 2)), -1)


def rotvec_from_quaternion(quat_xyzw: NDArray[Any]) -> NDArray[np.float64]:
    """Unit quaternions (..., 4) -> axis-angle vectors (..., 3) rad, of length pi or less."""
    xyz, w = quat_xyzw[..., :3], quat_xyzw[..., 3:]
    sin = _length(xyz)
    angle = 2 * np.arctan2(sin, np.abs(w))
    # Below 1e-12 the axis is undetermined, and sin(angle / 2) equals angle / 2.
    factor = np.where(sin > 1e-12, angle / np.maximum(sin, 1e-12), 2)
    rotvec: NDArray[np.float64] = np.copysign(factor, w) * xyz
    return rotvec


def multiplied(a_xyzw: NDArray[Any], b_xyzw: NDArray[Any]) -> NDArray[np.float64]:
    """The product of quaternions (..., 4): the rotation b, then a."""
    ax, ay, az, aw = (a_xyzw[..., i] for i in range(4))
    bx, by, bz, bw = (b_xyzw[..., i] for i in range(4))
    product = np.empty(np.broadcast_shapes(a_xyzw.shape, b_xyzw.shape))
    product[..., 0] = aw * bx + ax * bw + ay * bz - az * by
    product[..., 1] = aw * by - ax * bz + ay * bw + az * bx
    product[..., 2] = aw * bz + ax * by - ay * bx + az * bw
    product[..., 3] = aw * bw - ax * bx - ay * by - az * bz
    return product


def conjugated(quat_xyzw: NDArray[Any]) -> NDArray[np.float64]:
    """The inverses of unit quaternions (..., 4)."""
    inverse: NDArray[np.float64] = quat_xyzw * (-1.0, -1.0, -1.0, 1.0)
    return inverse


def interpolated(
    a_xyzw: NDArray[Any], b_xyzw: NDArray[Any], weight: NDArray[Any]
) -> NDArray[np.float64]:
    """Unit quaternions (..., 4) on the shortest way from a to b: a at weight (..., 1) 0, b at 1.

    Shoemake, Animating Rotation with Quaternion Curves, SIGGRAPH 1985 (slerp).
    """
    cos = np.einsum("...i,...i->...", a_xyzw, b_xyzw)[..., None]
    angle = np.arccos(np.minimum(np.abs(cos), 1))  # half of the rotation between them
    sin = np.maximum(np.sin(angle), 1e-12)
    is_near = angle < 1e-6  # there the ratios of sines are those of the angles
    of_a = np.where(is_near, 1 - weight, np.sin((1 - weight) * angle) / sin)
    of_b = np.where(is_near, weight, np.sin(weight * angle) / sin)
    return of_a * a_xyzw + np.copysign(of_b, cos) * b_xyzw


def matrix_from_quaternion(quat_xyzw: NDArray[Any]) -> NDArray[np.float64]:
    """Unit quaternions (..., 4) -> rotation matrices (..., 3, 3)."""
    x, y, z, w = (quat_xyzw[..., i] for i in range(4))
    matrix = np.empty((*quat_xyzw.shape[:-1], 3, 3))
    for i, row in enumerate(
        (
            (1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)),
            (2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)),
            (2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)),
        )
    ):
        for k, values in enumerate(row):
            matrix[..., i, k] = values
    return matrix


def _length(vectors: NDArray[Any]) -> NDArray[np.float64]:
    """(..., 3) -> (..., 1). einsum is several times as fast as a sum over an axis this short."""
    length: NDArray[np.float64] = np.sqrt(np.einsum("...i,...i->...", vectors, vectors))[..., None]
    return length
