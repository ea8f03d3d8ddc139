"""Velocities: how fast people who walk are said to be."""

from __future__ import annotations

import numpy as np
import pytest
import steps
from scipy.spatial.transform import Rotation

from pear_ros.people import JOINT
from pear_ros.tracking import velocity
from pear_ros.tracking.camera_motion import CameraMotion

RIGHT, AWAY = np.array((1.0, 0.0, 0.0)), np.array((0.0, 0.0, 1.0))
START_M = np.array((0.0, 0.0, 3.0))
TRIALS = 100


def followed(
    true_m: np.ndarray, rate_hz: float, lateral_m: float = 0.003, depth_m: float = 0.04
) -> np.ndarray:
    """Velocities (I, TRIALS, 3), m/s, of people at `true_m` (I, 3), m, seen with noise."""
    random = np.random.default_rng(0)
    elapsed_s = np.full(TRIALS, 1 / rate_hz)
    state, found = None, []
    for place in true_m:
        ray = place / np.linalg.norm(place)
        noise = lateral_m * random.standard_normal((TRIALS, 3))
        seen = place + noise + depth_m * random.standard_normal((TRIALS, 1)) * ray
        if state is None:
            state = velocity.started_pelvis(seen)
        else:
            state = velocity.filtered_pelvis(state, seen, elapsed_s)
        found.append(state.velocity)
    return np.stack(found)


def rms(errors: np.ndarray) -> float:
    """Of vectors (..., 3)."""
    return float(np.sqrt((errors**2).sum(-1).mean()))


@pytest.mark.parametrize("rate_hz", [15.0, 30.0], ids="{} Hz".format)
@pytest.mark.parametrize("direction", [RIGHT, AWAY], ids=["right", "away"])
def test_a_walk_is_known_after_half_a_second(direction: np.ndarray, rate_hz: float) -> None:
    """1 m/s, 3 m away, with the noise of the demo network."""
    stamps_s = np.arange(0, 3, 1 / rate_hz)
    found = followed(START_M + np.outer(stamps_s, direction), rate_hz)
    assert rms(found[round(0.5 * rate_hz)] - direction) < 0.1
    assert rms(found[stamps_s > 1] - direction) < 0.07


def test_the_noise_is_learned() -> None:
    """A depth camera's distances are better than those of one image: so are the velocities."""
    stamps_s = np.arange(0, 3, 1 / 30)
    walk = START_M + np.outer(stamps_s, AWAY)
    errors = [rms(followed(walk, 30, depth_m=noise)[45:] - AWAY) for noise in (0.01, 0.04, 0.09)]
    assert errors[0] < 0.04
    assert errors[0] < errors[1] < errors[2] < 0.1


def test_who_stops_is_known_to_stand() -> None:
    stamps_s = np.arange(0, 4, 1 / 30)
    walk = START_M + np.outer(np.minimum(stamps_s, 2), RIGHT)
    found = followed(walk, 30)
    assert rms(found[round(2.5 * 30)]) < 0.15


def test_one_sighting_means_rest() -> None:
    np.testing.assert_array_equal(velocity.started_pelvis(np.ones((2, 3))).velocity, 0)
    np.testing.assert_array_equal(velocity.started_joints(np.ones((2, 55, 3))).velocity, 0)


def test_nobody() -> None:
    nobody, elapsed_s = np.zeros((0, 3)), np.zeros(0)
    pelvis = velocity.filtered_pelvis(velocity.started_pelvis(nobody), nobody, elapsed_s)
    assert pelvis.velocity.shape == (0, 3)
    joints = np.zeros((0, 55, 3))
    moving = velocity.filtered_joints(velocity.started_joints(joints), joints, elapsed_s)
    assert moving.velocity.shape == (0, 55, 3)


@pytest.mark.parametrize("elapsed_s", [0.0, 1e-9, 100.0], ids="{} s".format)
def test_any_time_between_images(elapsed_s: float) -> None:
    """Stamps may stand still, and an image may come late."""
    places = np.random.default_rng(0).uniform((-2, -1, 2), (2, 1, 9), (5, 3))
    times = np.full(5, elapsed_s)
    pelvis, joints = velocity.started_pelvis(places), velocity.started_joints(places[:, None])
    for _ in range(10):
        pelvis = velocity.filtered_pelvis(pelvis, places, times)
        joints = velocity.filtered_joints(joints, places[:, None], times)
    np.testing.assert_allclose(pelvis.velocity, 0, atol=1e-6)
    np.testing.assert_allclose(joints.velocity, 0, atol=1e-6)
    assert np.isfinite(pelvis.covariance).all()
    assert (joints.covariance[..., (0, 2)] >= 0).all()


def test_constant_velocities_of_joints_are_found() -> None:
    random = np.random.default_rng(0)
    start, speed = random.normal(0, 0.5, (3, 55, 3)), random.normal(0, 1, (3, 55, 3))
    state = velocity.started_joints(start)
    for i in range(1, 40):
        state = velocity.filtered_joints(state, start + speed * i / 30, np.full(3, 1 / 30))
    np.testing.assert_allclose(state.velocity, speed, atol=0.01)


def test_a_camera_that_turns_turns_velocities() -> None:
    """In other axes, the filters give the same velocities in these axes."""
    random = np.random.default_rng(0)
    turn = CameraMotion(Rotation.from_euler("yx", (1.0, 0.3)).as_matrix(), np.zeros(3))
    places = random.normal((0, 0, 4), 0.05, (6, 5, 3))
    relative = random.normal(0, 0.5, (6, 5, 55, 3))
    elapsed_s = np.full(5, 0.1)

    def run(turned_at: int) -> tuple[np.ndarray, np.ndarray]:
        for i in range(6):
            seen = [turn.vectors(x[i]) if i >= turned_at else x[i] for x in (places, relative)]
            if i == 0:
                pelvis = velocity.started_pelvis(seen[0])
                joints = velocity.started_joints(seen[1])
                continue
            if i == turned_at:
                pelvis = velocity.moved_pelvis(pelvis, turn)
                joints = velocity.moved_joints(joints, turn)
            pelvis = velocity.filtered_pelvis(pelvis, seen[0], elapsed_s)
            joints = velocity.filtered_joints(joints, seen[1], elapsed_s)
        return pelvis.velocity, joints.velocity

    for turned, still in zip(run(3), run(9), strict=True):
        np.testing.assert_allclose(turned, turn.vectors(still), atol=1e-9)


def test_joints_of_a_walk_move_with_the_body_and_relative_to_it() -> None:
    """By the follower, with noise: the head goes with the body, a foot that swings overtakes it."""
    true = steps.steps(1.0)
    found = steps.follow(steps.with_noise(true, np.random.default_rng(0)))
    late = true.stamps_s > 0.5
    assert rms(found.velocity[late] - RIGHT) < 0.1
    assert rms(found.joint_velocity[late, JOINT["head"]] - RIGHT) < 0.35
    true_velocity = np.gradient(true.joints, 1 / 30, axis=0)
    ball = JOINT["left_foot"]
    swings = late & (true_velocity[:, ball, 0] > 2)
    assert np.median(found.joint_velocity[swings, ball, 0]) > 2
