"""Meshes are drawn where a lens that distorts sees them."""

from __future__ import annotations

import numpy as np
import pytest

from pear_ros.geometry.camera import project
from pear_ros.people import Camera, Lens
from pear_ros.rendering.renderer import render


@pytest.mark.parametrize("is_fisheye", [True, False], ids=["fisheye", "barrel"])
def test_a_lens_moves_what_is_drawn(is_fisheye: bool) -> None:
    """Small squares in all directions are drawn where the lens projects their centres."""
    coefficients = (-0.02, 0.004, 0, 0) if is_fisheye else (-0.25, 0.08, 0.001, -0.0005)
    camera = Camera(200, 210, 160, 120, lens=Lens(is_fisheye, (*coefficients, 0, 0, 0, 0)))
    random = np.random.default_rng(2)
    centres = np.stack([*random.uniform(-2, 2, (2, 30)), random.uniform(3, 5, 30)], 1)
    corners = np.array([(-1, -1, 0), (-1, 1, 0), (1, 1, 0), (1, -1, 0)]) * 0.04
    faces = np.array([(0, 1, 2), (0, 2, 3)])
    for centre in centres:
        square = (centre + corners)[None].astype(np.float32)
        drawn = render(np.zeros((240, 320, 3), np.uint8), square, faces, np.ones((1, 1, 3)), camera)
        rows, columns = np.nonzero(drawn.people == 0)
        expected = project(centre, camera)
        if not (5 < expected[0] < 315 and 5 < expected[1] < 235):
            continue
        np.testing.assert_allclose((columns.mean(), rows.mean()), expected, rtol=0, atol=0.8)
        assert drawn.depth_m[rows, columns] == pytest.approx(centre[2], rel=1e-4)
