"""Blend shapes and linear blend skinning.

Two implementations: torch, which has gradients and runs on any device, and `src/skinning.c` for
CPUs, which needs one pass over the vertices and skips joints of weight zero.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pear_ros.people import FloatArray
from pear_ros.system.native import load_library, require


class Surface:
    """R vertices with blend shapes (R, 3, columns), m, and skinning weights (R, J)."""

    def __init__(self, directions: FloatArray, weights: FloatArray, device: torch.device) -> None:
        used = np.flatnonzero(directions.any((0, 1)))
        # Blend shapes that move none of these vertices are left out, such as those of the pose if
        # the body model has none.
        self._columns = (
            None if len(used) == directions.shape[2] else torch.as_tensor(used, device=device)
        )
        # With the columns first, a batch needs one matrix product, whose result is contiguous.
        flat = columns_first(directions if self._columns is None else directions[..., used])
        self._directions = torch.as_tensor(flat, device=device)  # (columns, R * 3)
        self._weights = torch.as_tensor(weights, device=device)  # (R, J)
        self._native = _Native(self._directions, weights) if device.type == "cpu" else None

    def __call__(self, rest: Tensor, coefficients: Tensor, transforms: Tensor) -> Tensor:
        """Deforms and skins the vertices of N people.

        Args:
            rest: (N, R, 3) m, vertices at rest.
            coefficients: (N, columns) of the blend shapes.
            transforms: (N, J, 3, 4) of the joints.

        Returns:
            (N, R, 3) m.

        Raises:
            ValueError: On a CPU without gradients, if the shapes do not fit or the tensors are not
                float32.
        """
        if self._columns is not None:
            coefficients = coefficients.index_select(1, self._columns)
        inputs = rest, coefficients, transforms
        needs_grad = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs)
        if self._native is not None and not needs_grad:
            return self._native(*inputs)
        return skin(blended(rest, coefficients, self._directions), self._weights, transforms)


def blended(rest: Tensor, coefficients: Tensor, directions: Tensor) -> Tensor:
    """Adds linear directions: rest + coefficients @ directions.

    (R, 3) or (N, R, 3) m, (N, columns), (columns, R * 3) m -> (N, R, 3) m.
    """
    return torch.addmm(rest.flatten(-2), coefficients, directions).unflatten(-1, (-1, 3))


def skin(vertices: Tensor, weights: Tensor, transforms: Tensor) -> Tensor:
    """Linear blend skinning: (N, V, 3) m, (V, J), (N, J, 3, 4) -> (N, V, 3) m."""
    blended = (weights @ transforms.flatten(2)).unflatten(-1, (3, 4))  # (N, V, 3, 4)
    return (blended[..., :3] * vertices[..., None, :]).sum(-1) + blended[..., 3]


def columns_first(directions: FloatArray) -> FloatArray:
    """(R, 3, columns) -> (columns, R * 3)."""
    num_rows, _, num_columns = directions.shape
    return np.ascontiguousarray(directions.reshape(3 * num_rows, num_columns).T)


# --- The C library --------------------------------------------------------------------------------


class _Struct(ctypes.Structure):
    _fields_ = (
        ("num_vertices", ctypes.c_int32),
        ("num_columns", ctypes.c_int32),
        ("num_joints", ctypes.c_int32),
        ("directions", ctypes.c_void_p),
        ("first", ctypes.c_void_p),
        ("joints", ctypes.c_void_p),
        ("weights", ctypes.c_void_p),
    )


class _Native:
    """`Surface` in C, for directions (columns, R * 3) and weights (R, J)."""

    def __init__(self, directions: Tensor, weights: FloatArray) -> None:
        vertices, joints = np.nonzero(weights)  # by vertex
        first = np.searchsorted(vertices, np.arange(len(weights) + 1))
        self._parts: tuple[NDArray[Any], ...] = (
            directions.numpy(),
            first.astype(np.int32),
            joints.astype(np.int32),
            np.ascontiguousarray(weights[vertices, joints], np.float32),
        )  # kept alive, as the struct points into them
        addresses = (part.ctypes.data for part in self._parts)
        self._struct = _Struct(len(weights), len(directions), weights.shape[1], *addresses)

    def __call__(self, rest: Tensor, coefficients: Tensor, transforms: Tensor) -> Tensor:
        count, s = len(rest), self._struct
        require(rest.shape == (count, s.num_vertices, 3), f"{s.num_vertices} vertices each")
        require(coefficients.shape == (count, s.num_columns), f"{s.num_columns} numbers each")
        require(transforms.shape == (count, s.num_joints, 3, 4), f"{s.num_joints} joints each")
        inputs = [tensor.contiguous() for tensor in (rest, coefficients, transforms)]
        is_float32 = all(tensor.dtype == torch.float32 and tensor.is_cpu for tensor in inputs)
        require(is_float32, "float32 on the CPU")
        posed = torch.empty_like(inputs[0])
        addresses = [tensor.data_ptr() for tensor in (*inputs, posed)]
        _LIBRARY.pear_pose_surface(s, count, *addresses)
        return posed


_LIBRARY = load_library("_skinning")
_LIBRARY.pear_pose_surface.argtypes = (
    *(ctypes.POINTER(_Struct), ctypes.c_int32),
    *[ctypes.c_void_p] * 4,
)
_LIBRARY.pear_pose_surface.restype = None
