"""Depth images: true where people and floor are, and as wrong as asked for."""

from __future__ import annotations

import numpy as np
import pytest

from pear_ros.geometry.camera import project
from pear_ros.people import FloatArray
from pear_ros.rendering.renderer import vertex_normals
from pear_ros.synthetic.base import inverse, moved
from pear_ros.synthetic.depth_sensor import WALL_M, DepthSensor
from pear_ros.synthetic.held_out import HELD_OUT
from pear_ros.synthetic.optics import LENSES, camera_with
from pear_ros.synthetic.scene import Cast, Scene, Shot

PERFECT = DepthSensor(noise=0, holes=0, flying=0)


def scene(cast: Cast, lens: str = "pinhole", base: str = "still") -> Scene:
    return Scene(cast, HELD_OUT, 3, people=2, camera=camera_with(lens, 90, 640, 480), base=base)


def at(depth_m: FloatArray, points: FloatArray, shot: Shot) -> tuple[FloatArray, FloatArray]:
    """The measured and the true depths of those points (N, 3), optical, that the image contains."""
    height, width = depth_m.shape
    column, row = np.rint(project(points, shot.camera)).astype(int).T
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height) & (points[:, 2] > 0.3)
    return depth_m[row[inside], column[inside]], points[inside, 2]


@pytest.mark.parametrize("lens", LENSES)
@pytest.mark.parametrize("base", ["still", "circle"])
def test_floor_and_wall_are_where_the_camera_sees_them(cast: Cast, lens: str, base: str) -> None:
    shot = scene(cast, lens, base).shot(1.3, visibility=False, sensor=PERFECT)
    assert shot.depth_m is not None
    across = np.linspace(-1.5, 1.5, 13)
    floor = np.stack(np.meshgrid((2.0, 3.0, 4.0), across, 0.0), -1).reshape(-1, 3)
    wall = np.stack(np.meshgrid(WALL_M, across, (1.0, 2.0)), -1).reshape(-1, 3)
    optical_from_world = inverse(shot.world_from_optical)
    for points in (floor, wall):
        measured, true = at(shot.depth_m, moved(optical_from_world, points), shot)
        assert len(true) >= 20
        is_free = measured > true * 0.9  # nobody stands in front
        assert is_free.mean() > 0.5
        np.testing.assert_allclose(measured[is_free], true[is_free], rtol=0.01)
    heights = moved(optical_from_world, floor) @ shot.floor[:3] + shot.floor[3]
    np.testing.assert_allclose(heights, 0, atol=1e-9)


@pytest.mark.parametrize("lens", LENSES)
def test_bodies_are_where_the_truth_is(cast: Cast, lens: str) -> None:
    """Joints are inside: the skin is nearer, by at most the thickness of a body."""
    shot = scene(cast, lens).shot(1.3, sensor=PERFECT)
    assert shot.depth_m is not None
    assert shot.people.vertices is not None
    for i in np.flatnonzero(shot.visible > 0.95):
        body = shot.people.vertices[i] + shot.people.translation[i]
        normals = vertex_normals(body[None], cast.faces)[0]
        facing = -(body * normals).sum(1) / np.linalg.norm(body, axis=1) > 0.7
        measured, true = at(shot.depth_m, body[facing], shot)
        # The rest is behind an arm, or inside of the head.
        assert np.mean(np.abs(measured - true) < 0.02) > 0.45
        assert np.mean(measured < true + 0.02) > 0.9
        pelvis = shot.people.joints[i, :1] + shot.people.translation[i]
        measured, true = at(shot.depth_m, pelvis, shot)
        assert 0.0 < true[0] - measured[0] < 0.3


def test_noise_and_holes_are_those_asked_for(cast: Cast) -> None:
    made = scene(cast)
    true_m = made.shot(1.3, sensor=PERFECT).depth_m
    shot = made.shot(1.3, sensor=DepthSensor(noise=0.02, holes=0.2, flying=0.5))
    assert true_m is not None
    assert shot.depth_m is not None
    is_hole = shot.depth_m == 0
    assert is_hole.mean() == pytest.approx(0.2, abs=0.01)
    relative = (shot.depth_m / true_m - 1)[~is_hole]
    assert 1.4826 * np.median(np.abs(relative)) == pytest.approx(0.02, rel=0.1)
    alone = ~is_hole[1:-1, 1:-1]
    for rows, columns in ((slice(2, None), slice(1, -1)), (slice(None, -2), slice(1, -1))):
        alone &= ~is_hole[rows, columns]
    assert alone.mean() > 0.7  # holes are blobs: pixels between two holes would be rarer


def test_flying_pixels_are_between_the_surfaces(cast: Cast) -> None:
    made = scene(cast)
    true_m = made.shot(1.3, sensor=PERFECT).depth_m
    flying = made.shot(1.3, sensor=DepthSensor(noise=0, holes=0, flying=1)).depth_m
    assert true_m is not None
    assert flying is not None
    changed = flying != true_m
    assert 0.001 < changed.mean() < 0.03
    assert ((flying[changed] > true_m.min()) & (flying[changed] < true_m.max())).all()


def test_a_seed_determines_the_noise(cast: Cast) -> None:
    first, second = (
        scene(cast).shot(1.3, visibility=False, sensor=DepthSensor()).depth_m for _ in range(2)
    )
    later = scene(cast).shot(1.4, visibility=False, sensor=DepthSensor()).depth_m
    np.testing.assert_array_equal(first, second)
    assert first is not None
    assert later is not None
    assert (first != later).mean() > 0.5
