"""Cameras with lenses: their field of view, and that no ray of the image is folded."""

from __future__ import annotations

import numpy as np
import pytest

from pear_ros.geometry.camera import project
from pear_ros.geometry.lens import limit, slopes_of
from pear_ros.synthetic.optics import LENSES, MOST_FOV_DEG, camera_with

SIZES = [(640, 480), (1280, 720)]


@pytest.mark.parametrize("lens", LENSES)
@pytest.mark.parametrize("fov_deg", [60, 90, 120, MOST_FOV_DEG])
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_the_edges_see_the_field_of_view(
    lens: str, fov_deg: float, width: int, height: int
) -> None:
    camera = camera_with(lens, fov_deg, width, height)
    middle = height / 2 - 0.5
    edges = slopes_of(np.array(((-0.5, middle), (width - 0.5, middle))), camera)
    angles = np.degrees(np.arctan(edges[:, 0]))
    np.testing.assert_allclose(angles, (-fov_deg / 2, fov_deg / 2), atol=0.3)


@pytest.mark.parametrize("lens", LENSES[1:])
@pytest.mark.parametrize("fov_deg", [60, 90, 120])
def test_corners_are_within_the_limit_of_the_lens(lens: str, fov_deg: float) -> None:
    camera = camera_with(lens, fov_deg, 640, 480)
    assert camera.lens is not None
    corner = slopes_of(np.array((639.5, 479.5)), camera)
    assert np.hypot(*corner) < limit(camera.lens)


@pytest.mark.parametrize("lens", LENSES[1:])
def test_lenses_draw_the_border_nearer_to_the_centre(lens: str) -> None:
    """Barrel distortion: a pinhole with the same focal length would see the point outside."""
    camera = camera_with(lens, 120, 640, 480)
    point = np.array((4 * np.tan(np.radians(55)), 0.0, 4.0))
    column = project(point, camera)[0]
    assert column < 640
    assert camera.fx * point[0] / point[2] + camera.cx > 640
