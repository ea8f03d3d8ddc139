"""The One Euro filter, on vectors, positions and rotations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from pear_ros.tracking import one_euro
from pear_ros.tracking.one_euro import SPEED_CUTOFF_HZ, Filtered, OneEuro

NONE = OneEuro(np.inf, 0.0)  # a filter that changes nothing
RATES = [15.0, 30.0, 60.0]


def outputs(step, measured: np.ndarray, stamps_s: np.ndarray, *filters: OneEuro) -> np.ndarray:
    """The filtered values (I, N, K, D) of measurements (I, N, K, D) at I stamps."""
    dimensions = 3 if step is one_euro.filtered_rotations else measured.shape[-1]
    state = one_euro.started(measured[0], dimensions)
    values = [state.value]
    for before_s, stamp_s, now in zip(stamps_s[:-1], stamps_s[1:], measured[1:], strict=True):
        elapsed_s = np.full(len(now), stamp_s - before_s)
        state = step(state, now, elapsed_s, *filters)
        values.append(state.value)
    return np.array(values)


def uneven_stamps(count: int) -> np.ndarray:
    return np.cumsum(np.random.default_rng(1).uniform(0.01, 0.2, count))


def defined(values: np.ndarray, stamps_s: np.ndarray, filter_: OneEuro) -> list[float]:
    """The definition of the filter for one scalar, Casiez et al. 2012, algorithm 1."""

    def alpha(cutoff_hz: float, elapsed_s: float) -> float:
        tau = 1 / (2 * math.pi * cutoff_hz)
        return 1 / (1 + tau / elapsed_s)

    smooth, speed = [float(values[0])], 0.0
    for i in range(1, len(values)):
        elapsed_s = stamps_s[i] - stamps_s[i - 1]
        weight = alpha(SPEED_CUTOFF_HZ, elapsed_s)
        speed = weight * (values[i] - values[i - 1]) / elapsed_s + (1 - weight) * speed
        weight = alpha(filter_.cutoff_hz + filter_.cutoff_per_speed * abs(speed), elapsed_s)
        smooth.append(weight * values[i] + (1 - weight) * smooth[-1])
    return smooth


# --- Vectors --------------------------------------------------------------------------------------


@pytest.mark.parametrize("filter_", [OneEuro(1, 0), OneEuro(0.5, 2), OneEuro(8, 0.1)], ids=str)
def test_scalars_agree_with_the_definition(filter_: OneEuro) -> None:
    values = np.random.default_rng(0).normal(size=(50, 2, 3, 1))
    stamps_s = uneven_stamps(50)
    found = outputs(one_euro.filtered, values, stamps_s, filter_)
    for n, k in np.ndindex(2, 3):
        expected = defined(values[:, n, k, 0], stamps_s, filter_)
        np.testing.assert_allclose(found[:, n, k, 0], expected, atol=1e-12)


def test_the_cutoff_of_a_vector_depends_on_its_length() -> None:
    """So that the filter does not depend on the axes."""
    values = np.random.default_rng(0).normal(size=(50, 1, 1, 3))
    turn = Rotation.random(rng=np.random.default_rng(2)).as_matrix()
    turned = values @ turn.T
    found = [
        outputs(one_euro.filtered, v, uneven_stamps(50), OneEuro(1, 2)) for v in (values, turned)
    ]
    np.testing.assert_allclose(found[0] @ turn.T, found[1], atol=1e-12)


def test_fast_motion_lags_less_with_a_cutoff_that_rises() -> None:
    stamps_s = np.arange(0, 2, 1 / 30)
    values = (3 * stamps_s)[:, None, None, None]
    lags = [
        (values - outputs(one_euro.filtered, values, stamps_s, OneEuro(1, per_speed)))[-1].item()
        for per_speed in (0.0, 0.5, 5.0)
    ]
    assert lags[0] > 2 * lags[1] > 4 * lags[2] > 0


@pytest.mark.parametrize(
    "step", [one_euro.filtered, one_euro.filtered_positions, one_euro.filtered_rotations]
)
def test_no_lag_at_an_infinite_cutoff(step) -> None:
    random = np.random.default_rng(3)
    values = random.normal(size=(20, 2, 1, 3))
    filters = [NONE, NONE] if step is one_euro.filtered_positions else [NONE]
    if step is one_euro.filtered_rotations:
        values = Rotation.random(40, random).as_quat().reshape(20, 2, 1, 4)
    found = outputs(step, values, uneven_stamps(20), *filters)
    if step is one_euro.filtered_rotations:
        found = found * np.sign((found * values).sum(-1, keepdims=True))
    np.testing.assert_allclose(found, values, atol=1e-12)


@pytest.mark.parametrize("rate_hz", RATES, ids="{} Hz".format)
def test_the_curve_does_not_depend_on_the_rate(rate_hz: float) -> None:
    def curve(rate: float) -> tuple[np.ndarray, np.ndarray]:
        stamps_s = np.arange(round(4 * rate)) / rate
        values = np.sin(2 * stamps_s)[:, None, None, None]
        found = outputs(one_euro.filtered, values, stamps_s, OneEuro(1, 0.3))
        every = round(rate / 15)  # the stamps that all rates have
        return values[::every].ravel(), found[::every].ravel()

    _, reference = curve(480)
    measured, found = curve(rate_hz)
    lag = np.abs(reference - measured).max()
    assert lag > 0.15
    # A step of the filter is of first order in the interval.
    assert np.abs(found - reference).max() < 0.6 * lag * 15 / rate_hz


def test_sightings_at_the_same_time_or_long_after() -> None:
    state = one_euro.started(np.zeros((2, 1, 3)), 3)
    new = np.ones((2, 1, 3))
    after = one_euro.filtered(state, new, np.array([0.0, 1e6]), OneEuro(1, 0))
    np.testing.assert_allclose(after.value[0], 0, atol=1e-6)
    np.testing.assert_allclose(after.value[1], 1, atol=1e-6)
    assert np.isfinite(after.velocity).all()


# --- Positions ------------------------------------------------------------------------------------


def test_depth_is_smoothed_more() -> None:
    """People at rest, in several directions; the noise is the same in all."""
    places = np.array([(0, 0, 4), (2, 0.5, 3), (-1, 0, 6)], np.float64)
    noise = np.random.default_rng(4).normal(0, 0.05, (300, 3, 1, 3))
    measured = places[:, None] + noise
    stamps_s = np.arange(300) / 30
    across, along = OneEuro(3, 0.1), OneEuro(0.5, 0.1)
    found = outputs(one_euro.filtered_positions, measured, stamps_s, across, along)
    rays = places / np.linalg.norm(places, axis=1, keepdims=True)
    errors = (found - places[:, None])[30:, :, 0]  # (I, N, 3)
    depth = (errors * rays).sum(-1)
    sideways = errors - depth[..., None] * rays
    spread_along, spread_across = depth.std(0), np.sqrt((sideways**2).sum(-1).mean(0) / 2)
    assert (spread_along < 0.6 * spread_across).all()
    assert (spread_across < 0.7 * 0.05).all()


def test_equal_filters_for_depth_and_sideways_are_one_filter() -> None:
    measured = np.random.default_rng(5).normal((0.5, 0, 4), 0.1, (50, 2, 1, 3))
    constant = OneEuro(1.5, 0)
    both = outputs(one_euro.filtered_positions, measured, uneven_stamps(50), constant, constant)
    one = outputs(one_euro.filtered, measured, uneven_stamps(50), constant)
    np.testing.assert_allclose(both, one, atol=1e-12)


def test_speed_to_the_camera_does_not_raise_the_cutoff_sideways() -> None:
    stamps_s = np.arange(90) / 30
    measured = np.zeros((90, 1, 1, 3))
    measured[..., 2] = 9 - 2 * stamps_s[:, None, None]
    jitter = np.random.default_rng(6).normal(0, 0.001, (90, 1, 1))
    measured[..., 0] = jitter
    walking = outputs(
        one_euro.filtered_positions, measured, stamps_s, OneEuro(0.5, 10), OneEuro(0.5, 0)
    )
    measured[..., 2] = 9
    at_rest = outputs(
        one_euro.filtered_positions, measured, stamps_s, OneEuro(0.5, 10), OneEuro(0.5, 0)
    )
    np.testing.assert_allclose(walking[..., 0], at_rest[..., 0], atol=5e-5)
    assert at_rest[30:, ..., 0].std() < 0.5 * jitter.std()


# --- Rotations ------------------------------------------------------------------------------------


def random_turns(images: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Rotations (I, count, 1, 4) that wander, and their stamps."""
    random = np.random.default_rng(7)
    stamps_s = uneven_stamps(images)
    steps = Rotation.from_rotvec(random.normal(0, 0.3, (images * count, 3))).as_quat()
    turns = [Rotation.random(count, random)]
    for now in steps.reshape(images, count, 4)[1:]:
        turns.append(turns[-1] * Rotation.from_quat(now))
    return np.stack([turn.as_quat() for turn in turns])[:, :, None], stamps_s


def assert_same_rotations(a_xyzw: np.ndarray, b_xyzw: np.ndarray) -> None:
    a, b = Rotation.from_quat(a_xyzw.reshape(-1, 4)), Rotation.from_quat(b_xyzw.reshape(-1, 4))
    assert (a * b.inv()).magnitude().max() < 1e-9


FILTER = OneEuro(1.0, 0.5)


def test_rotations_around_a_fixed_axis_are_a_filter_of_the_angle() -> None:
    """Also beyond half a turn and several turns, where quaternions change sign."""
    stamps_s = np.arange(120) / 30
    angles = 5 * stamps_s + np.sin(7 * stamps_s)  # 3 turns
    axis = np.array((2, -1, 2)) / 3
    measured = Rotation.from_rotvec(angles[:, None] * axis).as_quat(canonical=True)
    found = outputs(one_euro.filtered_rotations, measured[:, None, None], stamps_s, FILTER)
    expected = np.array(defined(angles, stamps_s, FILTER))
    assert_same_rotations(found, Rotation.from_rotvec(expected[:, None] * axis).as_quat())


def test_no_jump_across_half_a_turn() -> None:
    stamps_s = np.arange(90) / 30
    angles = math.pi + 0.02 * np.sin(2 * math.pi * stamps_s)  # back and forth
    measured = Rotation.from_rotvec(angles[:, None] * (0, 1, 0)).as_quat(canonical=True)[
        :, None, None
    ]
    found = outputs(one_euro.filtered_rotations, measured, stamps_s, FILTER)
    turned = Rotation.from_quat(found[:, 0, 0]) * Rotation.from_euler("y", math.pi).inv()
    assert turned.magnitude().max() < 0.02


def test_the_sign_of_quaternions_does_not_matter() -> None:
    measured, stamps_s = random_turns(40, 3)
    signs = np.random.default_rng(8).choice((-1, 1), (40, 3, 1, 1))
    found = outputs(one_euro.filtered_rotations, measured, stamps_s, FILTER)
    other = outputs(one_euro.filtered_rotations, signs * measured, stamps_s, FILTER)
    assert_same_rotations(found, other)


def test_the_axes_of_the_parent_do_not_matter() -> None:
    """All measurements turned by a rotation give the result turned by it."""
    measured, stamps_s = random_turns(40, 3)
    turn = Rotation.random(rng=np.random.default_rng(9))

    def turned(quat_xyzw: np.ndarray) -> np.ndarray:
        both = turn * Rotation.from_quat(quat_xyzw.reshape(-1, 4))
        return both.as_quat().reshape(quat_xyzw.shape)

    found = outputs(one_euro.filtered_rotations, measured, stamps_s, FILTER)
    other = outputs(one_euro.filtered_rotations, turned(measured), stamps_s, FILTER)
    assert_same_rotations(turned(found), other)


def test_rotations_stay_rotations_and_are_smoothed() -> None:
    random = np.random.default_rng(10)
    noise = Rotation.from_rotvec(random.normal(0, 0.05, (600, 3)))
    rest = Rotation.random(rng=random)
    measured = (rest * noise).as_quat()[:, None, None]
    found = outputs(one_euro.filtered_rotations, measured, np.arange(600) / 30, FILTER)
    np.testing.assert_allclose(np.linalg.norm(found, axis=-1), 1, atol=1e-12)
    errors = (rest.inv() * Rotation.from_quat(found[30:, 0, 0])).magnitude()
    assert np.sqrt((errors**2).mean()) < 0.5 * 0.05 * 3**0.5


def test_nobody() -> None:
    no_one = Filtered(np.zeros((0, 1, 4)), np.zeros((0, 1, 4)), np.zeros((0, 1, 3)))
    after = one_euro.filtered_rotations(no_one, np.zeros((0, 1, 4)), np.zeros(0), FILTER)
    assert after.value.shape == (0, 1, 4)
