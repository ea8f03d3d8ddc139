"""The optimizer in float32 agrees with torch's, which rounds to bfloat16."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from training.muon import Float32Muon, orthogonal

SHAPES = ((8, 24), (8, 24), (24, 8), (16, 16))


def test_singular_values_become_about_one() -> None:
    for shape in SHAPES:
        matrices = torch.randn(3, *shape, generator=torch.Generator().manual_seed(1))
        values = torch.linalg.svdvals(orthogonal(matrices))
        assert values.min() > 0.6
        assert values.max() < 1.3


def test_steps_agree_with_torch() -> None:
    generator = torch.Generator().manual_seed(2)
    start = [torch.randn(shape, generator=generator) for shape in SHAPES]
    gradients = [[torch.randn(s, generator=generator) for s in SHAPES] for _ in range(3)]
    ends = []
    for kind in (Float32Muon, torch.optim.Muon):
        weights = [nn.Parameter(w.clone()) for w in start]
        optimizer = kind(weights, lr=0.1, weight_decay=0.05)
        for step in gradients:
            for weight, gradient in zip(weights, step, strict=True):
                weight.grad = gradient.clone()
            optimizer.step()
        ends.append(weights)
    for ours, torchs, before in zip(*ends, start, strict=True):
        assert (ours - before).norm() > 0.5
        assert (ours - torchs).norm() < 0.03 * (ours - before).norm()


def test_vectors_are_refused() -> None:
    with pytest.raises(ValueError, match="matrices"):
        Float32Muon([nn.Parameter(torch.zeros(3))], lr=0.1, weight_decay=0.0)
