"""The height of a body from its shape, compared with its mesh."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from pear_ros.assets.body_assets import BodyAssets
from pear_ros.body.body_model import BodyModel
from pear_ros.body.measures import FEET, BodyMeasures
from pear_ros.body.stature import Stature
from pear_ros.people import neutral_parameters


def test_it_is_the_height_of_the_mesh(standin: BodyAssets) -> None:
    count, draw = 20, torch.Generator().manual_seed(1)
    body, head = torch.zeros(count, 200), torch.zeros(count, 300)
    body[:, :10] = 0.8 * torch.randn(count, 10, generator=draw)
    head[:, :20] = 0.8 * torch.randn(count, 20, generator=draw)
    parameters = dataclasses.replace(
        neutral_parameters(count),
        betas=body,
        flame_betas=head,
        head_scale=1 + 0.1 * torch.randn(count, 3, generator=draw),
    )
    with torch.inference_mode():
        vertices = BodyModel(standin)(parameters, mesh=True).vertices
    assert vertices is not None
    expected = vertices[..., 1].max(1).values - vertices[..., 1].min(1).values
    assert expected.std() > 0.05
    np.testing.assert_allclose(Stature(standin)(parameters), expected, atol=0.002)


def test_soles_are_below_the_joints_of_the_feet(standin: BodyAssets) -> None:
    measures = BodyMeasures(standin)
    with torch.inference_mode():
        bodies = BodyModel(standin)(neutral_parameters(1), mesh=True)
    assert bodies.vertices is not None
    heights = bodies.joints[0, list(FEET), 1] - bodies.vertices[0, :, 1].min()
    np.testing.assert_allclose(measures.soles_m, heights, atol=1e-4)
