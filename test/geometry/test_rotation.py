"""Rotations: identities on random float64 input."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from pear_ros.geometry.rotation import (
    axis_angle_from_matrix,
    conjugated,
    matrix_from_6d,
    matrix_from_axis_angle,
    matrix_from_quaternion,
    multiplied,
    quaternion_from_matrix,
    quaternion_from_rotvec,
    rotvec_from_quaternion,
)

SHAPES = [(), (0,), (7,), (2, 0, 3), (4, 5)]
EXACT = {"rtol": 0, "atol": 1e-12}


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


def assert_rotations(matrices: Tensor) -> None:
    identity = torch.eye(3, dtype=torch.float64).expand(matrices.shape)
    torch.testing.assert_close(matrices @ matrices.mT, identity, **EXACT)
    determinants = torch.linalg.det(matrices)
    torch.testing.assert_close(determinants, torch.ones_like(determinants), **EXACT)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_6d_gives_rotations(shape: tuple[int, ...]) -> None:
    matrices = matrix_from_6d(normal(*shape, 6))
    assert matrices.shape == (*shape, 3, 3)
    assert_rotations(matrices)


def test_6d_is_gram_schmidt() -> None:
    x = normal(50, 6)
    matrices = matrix_from_6d(x)
    # The first vector is parallel to the first column. The second vector lies in the plane of the
    # first two columns, on the side of the second.
    first, second = x[:, :3], x[:, 3:]
    scaled = matrices[..., 0] * first.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(scaled, first, **EXACT)
    in_columns = (matrices.mT @ second[..., None])[..., 0]
    torch.testing.assert_close(in_columns[:, 2], torch.zeros(50).double(), **EXACT)
    assert (in_columns[:, 1] > 0).all()


def test_6d_of_a_rotation_is_itself() -> None:
    rotations = torch.from_numpy(Rotation.random(50, 1).as_matrix())
    columns = torch.cat((rotations[..., 0], rotations[..., 1]), -1)
    torch.testing.assert_close(matrix_from_6d(columns), rotations, **EXACT)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_axis_angle_gives_rotations(shape: tuple[int, ...]) -> None:
    matrices = matrix_from_axis_angle(3 * normal(*shape, 3))
    assert matrices.shape == (*shape, 3, 3)
    assert_rotations(matrices)


@pytest.mark.parametrize(
    "angle",
    [0.0, 1e-300, 1e-12, 1e-8, 1e-4, 1.0, math.pi - 1e-9, math.pi, math.pi + 1e-9, 6.2, 20.0],
    ids="{} rad".format,
)
def test_axis_angle_agrees_with_scipy(angle: float) -> None:
    axes = torch.nn.functional.normalize(normal(20, 3), dim=-1)
    vectors = angle * axes
    expected = Rotation.from_rotvec(vectors.numpy()).as_matrix()
    np.testing.assert_allclose(matrix_from_axis_angle(vectors).numpy(), expected, atol=1e-12)


def test_zero_angle_is_exactly_the_identity() -> None:
    assert torch.equal(matrix_from_axis_angle(torch.zeros(2, 3)), torch.eye(3).expand(2, 3, 3))


@pytest.mark.parametrize("angle", [0.0, 1e-10, 1e-3, math.pi], ids="{} rad".format)
def test_axis_angle_gradient(angle: float) -> None:
    vector = angle * torch.nn.functional.normalize(normal(3), dim=-1)
    step = 1e-5
    offsets = step * torch.eye(3, dtype=torch.float64)
    moved = matrix_from_axis_angle(vector + offsets) - matrix_from_axis_angle(vector - offsets)
    expected = moved.movedim(0, -1) / (2 * step)  # (3, 3, 3)
    gradient = torch.autograd.functional.jacobian(matrix_from_axis_angle, vector)
    # 1e-8: the central difference is exact to step^2 and to 1e-16 / step.
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-8)


def test_axis_angle_float32() -> None:
    vectors = 2 * normal(200, 3)
    narrow = matrix_from_axis_angle(vectors.float())
    assert narrow.dtype == torch.float32
    # 2e-6: an angle of up to 8 has a rounding error of 5e-7.
    torch.testing.assert_close(narrow.double(), matrix_from_axis_angle(vectors), rtol=0, atol=2e-6)


# --- Axis-angles and quaternions of matrices ------------------------------------------------------


def turns() -> np.ndarray:
    """(N, 3, 3): random ones, and ones with quaternion components of 0, 1, or almost so."""
    angles = [0, 1e-300, 1e-13, 1e-11, 1e-8, 1e-4, 1, *(math.pi - e for e in (1e-4, 1e-9, 0))]
    axes = [*np.eye(3), *-np.eye(3), (1, 1, 0), (0, 1, -1), (1, 2, 3), (-3, 1e-7, 1e-9)]
    vectors = [angle * np.array(axis) / np.linalg.norm(axis) for angle in angles for axis in axes]
    return np.concatenate((Rotation.from_rotvec(vectors).as_matrix(), ANY.as_matrix()))


ANY = Rotation.random(2000, np.random.default_rng(7))


def test_quaternions_agree_with_scipy() -> None:
    matrices = turns()
    found = quaternion_from_matrix(matrices)
    assert (found[:, 3] >= 0).all()
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=0, atol=1e-15)
    np.testing.assert_allclose(Rotation.from_quat(found).as_matrix(), matrices, rtol=0, atol=1e-14)
    expected = Rotation.from_matrix(ANY.as_matrix()).as_quat(canonical=True)
    np.testing.assert_allclose(found[-len(expected) :], expected, rtol=0, atol=1e-14)


def test_axis_angles_agree_with_scipy() -> None:
    matrices = turns()
    found = axis_angle_from_matrix(matrices)
    assert (np.linalg.norm(found, axis=1) <= math.pi + 1e-15).all()
    np.testing.assert_allclose(
        Rotation.from_rotvec(found).as_matrix(), matrices, rtol=0, atol=1e-14
    )
    np.testing.assert_allclose(found[-len(ANY) :], ANY.as_rotvec(), rtol=0, atol=1e-12)


def test_axis_angles_of_matrices_of_axis_angles() -> None:
    vectors = normal(50, 3)  # few are longer than pi
    vectors = vectors[vectors.norm(dim=1) < math.pi]
    found = axis_angle_from_matrix(matrix_from_axis_angle(vectors).numpy())
    np.testing.assert_allclose(found, vectors.numpy(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shapes_of_axis_angles_and_quaternions(shape: tuple[int, ...]) -> None:
    matrices = matrix_from_axis_angle(normal(*shape, 3)).numpy()
    quaternions, vectors = quaternion_from_matrix(matrices), axis_angle_from_matrix(matrices)
    assert quaternions.shape == (*shape, 4)
    assert vectors.shape == (*shape, 3)
    for i in np.ndindex(*shape):
        np.testing.assert_array_equal(quaternions[i], quaternion_from_matrix(matrices[i]))
        np.testing.assert_array_equal(vectors[i], axis_angle_from_matrix(matrices[i]))


def test_axis_angles_of_float32_matrices() -> None:
    found = axis_angle_from_matrix(ANY.as_matrix().astype(np.float32))
    # Rotations are compared, not vectors: near pi the axis may flip.
    turned = (Rotation.from_rotvec(found) * ANY.inv()).magnitude()
    assert turned.max() < 1e-6


# --- Quaternions ----------------------------------------------------------------------------------


def quaternions() -> np.ndarray:
    """(N, 4): those of `turns`, with both signs."""
    canonical = Rotation.from_matrix(turns()).as_quat(canonical=True)
    return np.concatenate((canonical, -canonical))


def test_quaternions_of_axis_angles_agree_with_scipy() -> None:
    vectors = np.concatenate((ANY.as_rotvec(), 3 * ANY.as_rotvec(), 1e-9 * ANY.as_rotvec()))
    found = quaternion_from_rotvec(vectors)
    expected = Rotation.from_rotvec(vectors).as_quat()
    same_sign = found * np.sign((found * expected).sum(1, keepdims=True))
    np.testing.assert_allclose(same_sign, expected, rtol=0, atol=1e-14)


def test_small_axis_angles_are_not_rounded() -> None:
    vectors = np.array([(0, 0, 0), (1e-300, 0, 0), (0, -1e-20, 0), (1e-9, 1e-9, 1e-9)])
    found = quaternion_from_rotvec(vectors)
    np.testing.assert_allclose(found[:, :3], vectors / 2, rtol=1e-15)
    np.testing.assert_array_equal(found[:, 3], 1)
    np.testing.assert_allclose(rotvec_from_quaternion(found), vectors, rtol=1e-15)


def test_axis_angles_of_quaternions_agree_with_scipy() -> None:
    """Near half a turn the axis may flip, so rotations are compared; else vectors, too."""
    quat_xyzw = quaternions()
    found, expected = rotvec_from_quaternion(quat_xyzw), Rotation.from_quat(quat_xyzw)
    length = np.linalg.norm(found, axis=1)
    assert (length <= math.pi + 1e-15).all()
    np.testing.assert_allclose(
        Rotation.from_rotvec(found).as_matrix(), expected.as_matrix(), rtol=0, atol=1e-14
    )
    is_clear = length < 3.14
    assert is_clear.sum() > 3000
    np.testing.assert_allclose(found[is_clear], expected.as_rotvec()[is_clear], rtol=0, atol=1e-12)


def test_products_agree_with_scipy() -> None:
    a, b = quaternions(), np.random.default_rng(1).permutation(quaternions())
    found = Rotation.from_quat(multiplied(a, b))
    expected = Rotation.from_quat(a) * Rotation.from_quat(b)
    np.testing.assert_allclose(found.as_matrix(), expected.as_matrix(), rtol=0, atol=1e-14)
    np.testing.assert_allclose(np.linalg.norm(multiplied(a, b), axis=1), 1, rtol=0, atol=1e-14)


def test_one_quaternion_multiplies_many() -> None:
    one, many = quaternions()[7], quaternions()
    expected = multiplied(np.broadcast_to(one, many.shape), many)
    np.testing.assert_array_equal(multiplied(one, many), expected)


def test_conjugated_quaternions_are_the_inverses() -> None:
    quat_xyzw = quaternions()
    expected = Rotation.from_quat(quat_xyzw).inv().as_matrix()
    found = Rotation.from_quat(conjugated(quat_xyzw)).as_matrix()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14)
    identity = np.broadcast_to((0.0, 0.0, 0.0, 1.0), quat_xyzw.shape)
    product = multiplied(conjugated(quat_xyzw), quat_xyzw)
    np.testing.assert_allclose(product, identity, rtol=0, atol=1e-14)


def test_matrices_of_quaternions_agree_with_scipy() -> None:
    quat_xyzw = quaternions()
    expected = Rotation.from_quat(quat_xyzw).as_matrix()
    np.testing.assert_allclose(matrix_from_quaternion(quat_xyzw), expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shapes_of_quaternions(shape: tuple[int, ...]) -> None:
    vectors = normal(*shape, 3).numpy()
    quat_xyzw = quaternion_from_rotvec(vectors)
    assert quat_xyzw.shape == conjugated(quat_xyzw).shape == (*shape, 4)
    assert multiplied(quat_xyzw, quat_xyzw).shape == (*shape, 4)
    assert matrix_from_quaternion(quat_xyzw).shape == (*shape, 3, 3)
    assert rotvec_from_quaternion(quat_xyzw).shape == (*shape, 3)
    for i in np.ndindex(*shape):
        np.testing.assert_array_equal(quat_xyzw[i], quaternion_from_rotvec(vectors[i]))
        matrix = matrix_from_quaternion(quat_xyzw[i])
        np.testing.assert_array_equal(matrix_from_quaternion(quat_xyzw)[i], matrix)
