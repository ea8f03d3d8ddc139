"""A base that drives: people stay where they are in the world, and their velocities are those."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from pear_ros.people import JOINT
from pear_ros.synthetic.actions import Action
from pear_ros.synthetic.actors import Cast, Route
from pear_ros.synthetic.base import BASES, SPEED_M_S, TURN_DEG_S, moved, world_from_base
from pear_ros.synthetic.held_out import HELD_OUT
from pear_ros.synthetic.scene import Scene, Shot

STANDS = (lambda random: Action(),)
TIMES_S = np.arange(0, 8, 0.5)


def pelvis_in_world(shot: Shot) -> NDArray[np.float64]:
    pelvis = shot.people.joints[:, 0] + shot.people.translation
    return moved(shot.world_from_optical, pelvis)


def test_the_base_drives_and_turns_as_fast_as_stated() -> None:
    times_s = np.arange(0, 12, 0.01)
    poses = np.stack([world_from_base("circle", t) for t in times_s])
    speed = np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1) / 0.01
    np.testing.assert_allclose(speed, SPEED_M_S, rtol=1e-3)
    angle = np.unwrap(np.arctan2(poses[:, 1, 0], poses[:, 0, 0]))
    assert np.degrees(np.abs(np.diff(angle)).max()) / 0.01 == pytest.approx(TURN_DEG_S, rel=1e-2)
    np.testing.assert_array_equal(poses[0], np.eye(4))


@pytest.mark.parametrize("base", BASES)
def test_standing_people_stay_where_they_are_in_the_world(cast: Cast, base: str) -> None:
    scene = Scene(cast, STANDS, 1, people=2, base=base, routes=[Route(-0.5, 4), Route(0.6, 3.5)])
    shots = [scene.shot(t, visibility=False) for t in TIMES_S]
    places = np.stack([pelvis_in_world(shot) for shot in shots])
    np.testing.assert_allclose(places[:, :, :2], [((4, 0.5), (3.5, -0.6))] * len(shots), atol=0.05)
    assert np.ptp(places, axis=0)[:, :2].max() < 1e-3
    assert np.ptp(places, axis=0).max() < 5e-3  # the pose varies a little
    in_camera = np.stack([shot.people.translation for shot in shots])
    assert np.ptp(in_camera, axis=0).max() > 0.5 if base == "circle" else True
    for shot in shots[::5]:
        assert shot.people.vertices is not None
        placed = shot.people.vertices + shot.people.translation[:, None]
        lowest = moved(shot.world_from_optical, placed)[..., 2].min(1)
        np.testing.assert_allclose(lowest, 0, atol=1e-4)


@pytest.mark.parametrize("base", BASES)
def test_velocities_are_relative_to_the_world(cast: Cast, base: str) -> None:
    """Two walk in known directions, one stands; the third axis is up."""
    routes = [Route(-0.8, 4, 90, 1.0), Route(0, 4), Route(0.5, 4, 0, 0.7)]
    scene = Scene(cast, STANDS, 1, people=3, base=base, routes=routes)
    for time_s in (0.0, 1.5):
        shot = scene.shot(time_s, visibility=False, motion=True)
        in_world = shot.people.velocity @ shot.world_from_optical[:3, :3].T
        expected = ((0, -1, 0), (0, 0, 0), (-0.7, 0, 0))
        np.testing.assert_allclose(in_world, expected, atol=2e-3)
        of_joints = shot.people.joint_velocity @ shot.world_from_optical[:3, :3].T
        legs = of_joints[:, [JOINT["left_ankle"], JOINT["right_knee"]]]
        np.testing.assert_allclose(legs, np.array(expected)[:, None] + 0 * legs, atol=2e-3)
        # Nobody lifts a foot here: the walker's slide.
        np.testing.assert_array_equal(shot.people.contact, ((0, 0), (1, 1), (0, 0)))


def test_velocities_are_the_slopes_of_the_positions(cast: Cast) -> None:
    scene = Scene(cast, HELD_OUT, 5, people=2, base="circle")
    step_s = 0.02
    for time_s in (1.0, 2.7):
        shots = [scene.shot(time_s + d, visibility=False) for d in (-step_s, step_s)]
        before, after = (
            moved(s.world_from_optical, s.people.joints + s.people.translation[:, None])
            for s in shots
        )
        shot = scene.shot(time_s, visibility=False, motion=True)
        velocity = shot.people.joint_velocity @ shot.world_from_optical[:3, :3].T
        np.testing.assert_allclose(velocity, (after - before) / (2 * step_s), atol=0.15)


def test_a_lifted_foot_does_not_touch_the_floor(cast: Cast) -> None:
    lifted = (lambda random: Action({"left_hip_flex": 50, "left_knee": 80}),)
    shot = Scene(cast, lifted, 1, people=1).shot(1.0, visibility=False, motion=True)
    assert shot.sole_height_m is not None
    assert shot.sole_height_m[0, 0] > 0.1 > 0.02 > shot.sole_height_m[0, 1]
    np.testing.assert_array_equal(shot.people.contact, ((0, 1),))


def test_what_was_not_asked_for_is_unknown(cast: Cast) -> None:
    shot = Scene(cast, HELD_OUT, 5, people=1).shot(0.5)
    assert np.isnan(shot.people.velocity).all()
    assert np.isnan(shot.people.contact).all()
    assert shot.depth_m is None
