"""The motion model: constant velocity, and Kalman's identities."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.spatial.distance import mahalanobis
from scipy.spatial.transform import Rotation

from pear_ros.tracking import motion
from pear_ros.tracking.motion import Motion

PEOPLE = np.array([(0.0, 0.0, 4.0), (-2.0, 0.5, 3.0), (1.5, -0.3, 8.0), (0.1, 0.1, 0.4)])
VELOCITY = np.array([(1.0, 0.0, -0.5), (0.0, 0.2, 1.0), (-0.7, 0.1, 0.3), (0.0, 0.0, 0.0)])


def all_times(value: float) -> np.ndarray:
    return np.full(len(PEOPLE), value)


def followed(intervals_s: list[float]) -> Motion:
    """The motion of PEOPLE who walk with VELOCITY, after exact sightings."""
    state, t = motion.started(PEOPLE), 0.0
    for elapsed_s in intervals_s:
        t += elapsed_s
        state = motion.predicted(state, all_times(elapsed_s))
        state = motion.corrected(state, PEOPLE + t * VELOCITY)
    return state


def assert_covariances(matrices: np.ndarray) -> None:
    """Symmetric, and positive definite for numerical purposes."""
    np.testing.assert_allclose(matrices, np.swapaxes(matrices, 1, 2), rtol=0, atol=1e-9)
    eigenvalues = np.linalg.eigvalsh(matrices)
    assert (eigenvalues > 0).all()
    assert np.isfinite(eigenvalues).all()


# --- Prediction -----------------------------------------------------------------------------------


@pytest.mark.parametrize("elapsed_s", [0.0, 0.03, 0.5, 2.0], ids="{} s".format)
def test_constant_velocity_is_predicted_exactly(elapsed_s: float) -> None:
    start = motion.started(PEOPLE)
    walking = Motion(np.concatenate((PEOPLE, VELOCITY), 1), start.covariance, start.noise)
    after = motion.predicted(walking, all_times(elapsed_s))
    np.testing.assert_allclose(after.position, PEOPLE + elapsed_s * VELOCITY, atol=1e-12)
    np.testing.assert_array_equal(after.mean[:, 3:], VELOCITY)


def test_each_person_has_a_time_of_their_own() -> None:
    state = followed([0.1, 0.1])
    elapsed_s = np.array([0.0, 0.1, 0.5, 2.0])
    after = motion.predicted(state, elapsed_s)
    for i, time_s in enumerate(elapsed_s):
        alone = motion.predicted(state[np.array([i])], np.array([time_s]))
        np.testing.assert_allclose(after.mean[i], alone.mean[0], atol=1e-12)
        np.testing.assert_allclose(after.covariance[i], alone.covariance[0], atol=1e-12)


def test_no_time_changes_nothing() -> None:
    state = followed([0.1, 0.2])
    after = motion.predicted(state, all_times(0))
    np.testing.assert_array_equal(after.mean, state.mean)
    np.testing.assert_allclose(after.covariance, state.covariance, rtol=0, atol=1e-15)


def test_uncertainty_grows_while_nobody_is_seen() -> None:
    state = followed([0.1] * 10)
    spread = [motion.predicted(state, all_times(t)).covariance for t in (0, 0.1, 0.5, 2.0)]
    for before, after in itertools.pairwise(spread):
        assert (np.linalg.eigvalsh(after[:, :3, :3] - before[:, :3, :3]) > 0).all()


# --- Sightings ------------------------------------------------------------------------------------


def test_an_unknown_acceleration_makes_places_and_speeds_uncertain() -> None:
    """A constant acceleration a for a time t moves by a t^2 / 2 and changes the speed by a t."""
    certain = Motion(np.zeros((1, 6)), np.zeros((1, 6, 6)), np.ones(1))
    covariance = motion.predicted(certain, np.array([2.0])).covariance[0]
    moved, faster = motion.ACCELERATION_M_S2 * 2.0**2 / 2, motion.ACCELERATION_M_S2 * 2.0
    effect = np.kron([[moved**2, moved * faster], [moved * faster, faster**2]], np.eye(3))
    np.testing.assert_allclose(covariance, effect)


@pytest.mark.parametrize(
    "intervals_s",
    [[1 / 30] * 90, [0.1] * 30, [0.5] * 6, [0.03, 0.3, 0.1, 0.6, 0.03] * 4],
    ids=["30 Hz", "10 Hz", "2 Hz", "uneven"],
)
def test_exact_sightings_of_a_walk_are_predicted(intervals_s: list[float]) -> None:
    """It needs some sightings to know the speed, which is 0 at first."""
    state = followed(intervals_s)
    np.testing.assert_allclose(state.mean[:, 3:], VELOCITY, atol=0.08)
    after = motion.predicted(state, all_times(0.2)).position
    np.testing.assert_allclose(after, PEOPLE + (sum(intervals_s) + 0.2) * VELOCITY, atol=0.03)


def test_noise_is_larger_along_the_ray() -> None:
    rays = PEOPLE / np.linalg.norm(PEOPLE, axis=1, keepdims=True)
    noise = motion.sighting_noise(PEOPLE)
    assert_covariances(noise)
    variances, axes = np.linalg.eigh(noise)  # ascending
    assert (variances[:, 2] > 4 * variances[:, 1]).all()
    np.testing.assert_allclose(variances[:, 0], variances[:, 1], rtol=1e-9)
    np.testing.assert_allclose(np.abs((axes[:, :, 2] * rays).sum(1)), 1, atol=1e-9)


def test_noise_grows_with_the_distance() -> None:
    noise = motion.sighting_noise(PEOPLE[:1] * [[1], [2]])
    np.testing.assert_allclose(noise[1], 4 * noise[0], atol=1e-12)


def test_nobody_is_certain_at_the_camera() -> None:
    assert_covariances(motion.sighting_noise(np.array([(0, 0, 1e-6), (1e-3, 0, 1e-3)])))


def test_a_correction_is_the_product_of_two_normal_distributions() -> None:
    state = motion.predicted(followed([0.1, 0.2]), all_times(0.3))
    seen = state.position + np.random.default_rng(0).normal(0, 0.2, (len(PEOPLE), 3))
    after = motion.corrected(state, seen)
    # Information adds up.
    observed = np.zeros((len(PEOPLE), 6, 6))
    observed[:, :3, :3] = np.linalg.inv(motion.sighting_noise(seen))
    information = np.linalg.inv(state.covariance) + observed
    padded = np.concatenate((seen, np.zeros_like(seen)), 1)[..., None]
    vector = np.linalg.solve(state.covariance, state.mean[..., None]) + observed @ padded
    np.testing.assert_allclose(after.covariance, np.linalg.inv(information), atol=1e-9)
    np.testing.assert_allclose(after.mean, (after.covariance @ vector)[..., 0], atol=1e-8)


def test_distances_are_those_of_mahalanobis() -> None:
    state = motion.predicted(followed([0.1] * 5), all_times(0.1))
    seen = np.random.default_rng(1).normal((0, 0, 4), 1, (5, 3))
    squared, volume = motion.squared_distances(state, seen)
    assert squared.shape == (4, 5)
    noise = motion.sighting_noise(state.position)
    for t in range(4):
        spread = state.covariance[t, :3, :3] + noise[t]
        ratio = np.linalg.det(spread) / np.linalg.det(noise[t])
        assert volume[t] == pytest.approx(ratio**0.5)
        for n in range(5):
            expected = mahalanobis(seen[n], state.position[t], np.linalg.inv(spread))
            assert squared[t, n] == pytest.approx(expected**2)


@pytest.mark.parametrize(
    "intervals_s",
    [(1 / 60,), (0.1,), (0.5,), (1.4,), (0.0, 1e-3, 0.03, 0.1, 1.5)],
    ids=["60 Hz", "10 Hz", "2 Hz", "0.7 Hz", "uneven"],
)
def test_covariances_stay_symmetric_and_positive(intervals_s: tuple[float, ...]) -> None:
    """For 2,000 images: small errors must not grow."""
    random = np.random.default_rng(6)
    state = motion.started(PEOPLE)
    for _ in range(2000):
        state = motion.predicted(state, all_times(random.choice(intervals_s)))
        state = motion.corrected(state, PEOPLE * random.normal(1, 0.05, (len(PEOPLE), 1)))
    assert np.isfinite(state.mean).all()
    assert_covariances(state.covariance)


# --- Sets of people -------------------------------------------------------------------------------


def test_parts_are_joined_again() -> None:
    state = followed([0.1])
    parts = [state[np.array(rows, np.int64)] for rows in ([0, 1], [], [2, 3])]
    joined = motion.joined(parts)
    np.testing.assert_array_equal(joined.mean, state.mean)
    np.testing.assert_array_equal(joined.covariance, state.covariance)


def test_nobody() -> None:
    state = motion.predicted(motion.started(np.zeros((0, 3))), np.zeros(0))
    state = motion.corrected(state, np.zeros((0, 3)))
    assert len(state) == 0
    squared, volume = motion.squared_distances(state, PEOPLE)
    assert squared.shape == (0, 4)
    assert volume.shape == (0,)
    assert motion.squared_distances(motion.started(PEOPLE), np.zeros((0, 3)))[0].shape == (4, 0)


def test_noise_of_sightings_is_learned() -> None:
    """A person whose sightings scatter five times as much is expected in a larger place."""
    random = np.random.default_rng(0)
    state = motion.started(PEOPLE)
    scatter = np.ones((len(PEOPLE), 1))
    scatter[0] = 5
    for _ in range(40):
        state = motion.predicted(state, np.full(len(PEOPLE), 0.1))
        spread = np.linalg.cholesky(motion.sighting_noise(PEOPLE))
        error = (spread @ random.standard_normal((len(PEOPLE), 3, 1)))[..., 0]
        state = motion.corrected(state, PEOPLE + scatter * error)
    assert state.noise[0] > 5
    assert (state.noise[1:] < 3).all()


# --- A camera that moves --------------------------------------------------------------------------


def test_a_moved_state_is_the_same_in_other_axes() -> None:
    """Moving, then predicting and correcting is the other way round: axes do not matter.

    The camera turns about itself: the noise of sightings depends on where the camera is.
    """
    rotation = Rotation.from_euler("yx", (70, -20), degrees=True).as_matrix()
    state = followed([0.1, 0.2, 0.1])
    after = all_times(0.3)
    sighting = PEOPLE + 0.1
    moved_first = motion.moved(state, rotation, np.zeros(3))
    moved_first = motion.corrected(motion.predicted(moved_first, after), sighting @ rotation.T)
    moved_last = motion.corrected(motion.predicted(state, after), sighting)
    moved_last = motion.moved(moved_last, rotation, np.zeros(3))
    np.testing.assert_allclose(moved_first.mean, moved_last.mean, atol=1e-9)
    np.testing.assert_allclose(moved_first.covariance, moved_last.covariance, atol=1e-9)
    np.testing.assert_allclose(moved_first.noise, moved_last.noise)
    assert_covariances(moved_first.covariance)


def test_moving_moves_places_and_turns_velocities() -> None:
    rotation = Rotation.from_euler("y", 90, degrees=True).as_matrix()  # z to x, x to -z
    moved = motion.moved(followed([0.1] * 20), rotation, np.array((0.0, 0.0, 10.0)))
    x, y, z = (PEOPLE + 2 * VELOCITY).T
    np.testing.assert_allclose(moved.position, np.stack((z, y, 10 - x), 1), atol=0.1)
    vx, vy, vz = VELOCITY.T
    np.testing.assert_allclose(moved.mean[:, 3:], np.stack((vz, vy, -vx), 1), atol=0.5)
