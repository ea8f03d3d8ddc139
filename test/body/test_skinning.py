"""Blend shapes and skinning in torch and in C."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pear_ros.body.skinning import Surface

TOLERANCE_M = 1e-5


def surface_inputs(count: int, rows: int, columns: int) -> tuple[torch.Tensor, ...]:
    """Vertices at rest (N, R, 3), coefficients (N, columns), transforms (N, 6, 3, 4)."""
    random = torch.Generator().manual_seed(count)
    shapes = (count, rows, 3), (count, columns), (count, 6, 3, 4)
    return tuple(torch.randn(shape, generator=random) for shape in shapes)


def random_surface(rows: int, columns: int) -> Surface:
    random = np.random.default_rng(rows)
    directions = random.standard_normal((rows, 3, columns)).astype(np.float32)
    directions[..., 1::7] = 0
    weights = random.dirichlet(np.ones(6), rows).astype(np.float32)
    weights[:, ::2] = 0
    return Surface(directions, weights, torch.device("cpu"))


@pytest.mark.parametrize("columns", [0, 1, 5, 24], ids="{} columns".format)
@pytest.mark.parametrize("rows", [0, 1, 64, 150], ids="{} vertices".format)
@pytest.mark.parametrize("count", [0, 1, 3], ids="{} people".format)
def test_c_agrees_with_torch(count: int, rows: int, columns: int) -> None:
    surface, inputs = random_surface(rows, columns), surface_inputs(count, rows, columns)
    expected = surface(*(tensor.requires_grad_() for tensor in inputs))  # in torch
    assert expected.requires_grad
    with torch.no_grad():
        found = surface(*inputs)  # in C
    assert not found.requires_grad
    torch.testing.assert_close(found, expected.detach(), rtol=0, atol=TOLERANCE_M)


def test_surfaces_take_any_strides() -> None:
    surface, inputs = random_surface(150, 24), surface_inputs(3, 150, 24)
    strided = [tensor.mT.contiguous().mT for tensor in inputs]
    assert not any(tensor.is_contiguous() for tensor in strided)
    assert torch.equal(surface(*strided), surface(*inputs))


@pytest.mark.parametrize("name", ["rest", "coefficients", "transforms"])
def test_surfaces_refuse_other_sizes(name: str) -> None:
    rest, coefficients, transforms = surface_inputs(2, 150, 24)
    inputs = {"rest": rest, "coefficients": coefficients, "transforms": transforms}
    inputs[name] = inputs[name][:, 1:]
    with pytest.raises((ValueError, RuntimeError), match=r"expected|out of DATA bounds"):
        random_surface(150, 24)(*inputs.values())


def test_surfaces_refuse_other_types() -> None:
    with pytest.raises(ValueError, match="expected float32"):
        random_surface(150, 24)(*(tensor.double() for tensor in surface_inputs(2, 150, 24)))
