"""A foot that stands stays where it is, and nobody who moves is held."""

from __future__ import annotations

import numpy as np
import pytest
import steps
from scipy.spatial.transform import Rotation

from pear_ros.people import JOINT
from pear_ros.tracking.camera_motion import CameraMotion
from pear_ros.tracking.contacts import BALL
from pear_ros.tracking.foot_lock import (
    MOST_BEND_M,
    MOST_M,
    SETTLE_M_S,
    FootLock,
    Locked,
)

UP = np.array((0.0, -1.0, 0.0))
LEFT_M, RIGHT_M = np.array((0.0, 1.0, 3.0)), np.array((0.3, 1.0, 3.0))
RATE_HZ = 30.0
LIMIT_CM_S = 1.0


def joints_at(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """(1, 55, 3) m: a person whose feet are there."""
    joints = np.zeros((1, 55, 3), np.float32)
    joints[0, JOINT["left_foot"]], joints[0, JOINT["right_foot"]] = left, right
    return joints


def locked(left: np.ndarray, right: np.ndarray, contact: np.ndarray) -> Locked:
    """Of a person whose feet are at `left` and `right` (I, 3), m, in I images: shift (I, 3) m."""
    lock = FootLock()
    images = zip(left, right, contact.astype(np.float32), strict=True)
    found = [
        lock(("a",), joints_at(*feet), now[None], UP, i / RATE_HZ)
        for i, (*feet, now) in enumerate(images)
    ]
    return Locked(
        np.concatenate([one.shift for one in found]), np.concatenate([one.bend for one in found])
    )


def shifts(left: np.ndarray, right: np.ndarray, contact: np.ndarray) -> np.ndarray:
    return locked(left, right, contact).shift


def speed_cm_s(places: np.ndarray) -> np.ndarray:
    """Horizontal, of places (I, 3), m."""
    return 100 * RATE_HZ * np.linalg.norm(np.diff(places, axis=0)[:, [0, 2]], axis=1)


def both(values: list[float], count: int) -> np.ndarray:
    return np.tile(values, (count, 1))


def test_a_foot_that_stands_stays() -> None:
    """The body comes back 2 cm, as by noise; heights are not changed."""
    random = np.random.default_rng(0)
    left = np.array((0.0, 1.0, 3.0)) + 0.01 * random.standard_normal((60, 3))
    right = left + np.array((0.3, -0.2, 0))
    shift = shifts(left, right, both([0.9, 0.1], 60))
    np.testing.assert_allclose(shift @ UP, 0, atol=1e-7)
    assert speed_cm_s(left).max() > 30
    assert speed_cm_s(left + shift)[1:].max() <= 100 * SETTLE_M_S + 0.01
    assert 100 * SETTLE_M_S < LIMIT_CM_S


def test_feet_take_turns_without_a_jump() -> None:
    steps_m = np.linspace(0, 0.04, 40)[:, None] * (1, 0, 0)  # both seem to slide
    left, right = LEFT_M + steps_m, RIGHT_M + steps_m
    contact = both([0.9, 0.9], 40)
    contact[:10, 1] = contact[20:, 0] = 0.1
    shift = shifts(left, right, contact)
    assert speed_cm_s(left + shift)[1:19].max() < LIMIT_CM_S
    assert speed_cm_s(right + shift)[20:].max() < LIMIT_CM_S
    assert np.abs(np.diff(shift, axis=0)).max() < 0.0015  # as much as the feet slide in an image


def test_both_feet_stay_if_both_stand() -> None:
    """Each is estimated with noise of its own."""
    random = np.random.default_rng(1)
    left, right = (foot + 0.005 * random.standard_normal((90, 3)) for foot in (LEFT_M, RIGHT_M))
    found = locked(left, right, both([0.9, 0.9], 90))
    np.testing.assert_allclose(found.bend @ UP, 0, atol=1e-7)
    for i, foot in enumerate((left, right)):
        assert speed_cm_s(foot).max() > 30
        published = foot + found.shift + found.bend[:, i]
        assert speed_cm_s(published)[1:].max() <= 2 * 100 * SETTLE_M_S + 0.01


def test_a_leg_that_was_bent_takes_over_without_a_jump() -> None:
    apart = np.linspace(0, 0.03, 30)[:, None] * (1, 0, 0)  # the right foot seems to slide
    left = np.tile(LEFT_M, (60, 1))
    right = RIGHT_M + np.concatenate((apart, np.tile(apart[-1], (30, 1))))
    contact = both([0.9, 0.9], 60)
    contact[30:, 0] = 0.1
    found = locked(left, right, contact)
    assert np.linalg.norm(found.bend[29, 1]) > 0.015
    assert np.linalg.norm(found.bend[-1, 1]) < 0.001  # the body follows instead
    assert np.abs(np.diff(found.shift, axis=0)).max() < 0.01
    assert speed_cm_s(right + found.shift + found.bend[:, 1])[1:].max() < LIMIT_CM_S + 0.1


def test_legs_whose_estimates_differ_much_are_not_bent_far() -> None:
    """The right foot is carried away, though its contact says that it stands."""
    slid = np.arange(60)[:, None] * (0.005, 0, 0)
    found = locked(np.tile(LEFT_M, (60, 1)), RIGHT_M + slid, both([0.9, 0.9], 60))
    assert np.linalg.norm(found.bend[:, 1], axis=1).max() == pytest.approx(MOST_BEND_M, abs=1e-3)
    np.testing.assert_allclose(found.shift, 0, atol=1e-6)


def test_a_bend_ends_with_the_contact() -> None:
    slid = np.minimum(np.arange(60), 20)[:, None] * (0.001, 0, 0)
    contact = both([0.9, 0.9], 60)
    contact[20:, 1] = 0.1
    bend = locked(np.tile(LEFT_M, (60, 1)), RIGHT_M + slid, contact).bend[:, 1]
    length = np.linalg.norm(bend, axis=1)
    assert length[19] > 0.012
    assert length[19 + 9] < 0.06 * length[19]  # 0.3 s later


def test_a_shift_ends_with_the_contact() -> None:
    slid = np.minimum(np.arange(60), 20)[:, None] * (0.002, 0, 0)
    contact = both([0.9, 0.1], 60)
    contact[20:] = 0.1
    shift = shifts(LEFT_M + slid, RIGHT_M + slid, contact)
    length = np.linalg.norm(shift, axis=1)
    assert length[19] > 0.03
    assert length[19 + 9] < 0.06 * length[19]  # 0.3 s later
    assert length[-1] < 1e-4


def test_who_really_moves_is_let_go() -> None:
    """The contact is wrong: the person slides at 0.5 m/s, as on a moving walkway."""
    slid = np.arange(90)[:, None] * (0.5 / RATE_HZ, 0, 0)
    shift = shifts(LEFT_M + slid, RIGHT_M + slid, both([0.9, 0.9], 90))
    length = np.linalg.norm(shift, axis=1)
    assert length.max() <= MOST_M
    assert (length[60:] < 0.02).any()  # it does not stay behind


def test_a_wrong_place_is_corrected_slowly() -> None:
    """The place at the first contact was 5 cm wrong."""
    left = np.tile((0.0, 1.0, 3.0), (300, 1))
    left[0] -= (0.05, 0, 0)
    left[1] -= (0.05, 0, 0)
    shift = shifts(left, left + RIGHT_M - LEFT_M, both([0.9, 0.1], 300))
    assert np.linalg.norm(shift[2]) > 0.045
    assert np.linalg.norm(shift[-1]) < 0.005


def test_shifts_are_those_of_the_right_person() -> None:
    lock = FootLock()
    where = joints_at(np.array((0, 1, 3.0)), np.array((0.3, 1, 3)))
    two = np.concatenate((where, where))
    contact = np.full((2, 2), 0.9, np.float32)
    lock(("a", "b"), two, contact, UP, 0.0)
    lock(("a", "b"), two, contact, UP, 0.1)
    moved = two + np.array((0.02, 0, 0), np.float32) * np.array((1, 0))[:, None, None]
    shift = lock(("b", "a"), moved[::-1], contact, UP, 0.2).shift
    np.testing.assert_allclose(shift[0], 0, atol=1e-7)
    np.testing.assert_allclose(shift[1], (-0.02, 0, 0), atol=1e-3)
    nobody = lock((), two[:0], contact[:0], UP, 0.3)
    assert (nobody.shift.shape, nobody.bend.shape) == ((0, 3), (0, 2, 3))
    assert np.abs(lock(("a",), two[:1], contact[:1], UP, 0.4).shift).max() == 0  # somebody new


@pytest.mark.parametrize("knows_motion", [True, False])
def test_a_foot_stays_in_the_world_when_the_camera_moves(knows_motion: bool) -> None:
    turn = CameraMotion(
        Rotation.from_euler("y", -2, degrees=True).as_matrix(), np.array((0.01, 0, 0.02))
    )
    lock, world = FootLock(), np.array((0.0, 1.0, 3.0))
    place, random, errors = world, np.random.default_rng(0), []
    for i in range(20):
        noise = 0.01 * random.standard_normal(3)
        if i:
            place = turn.points(place)
            if knows_motion:
                lock.move(turn)
        seen = place + noise
        feet = joints_at(seen, seen + RIGHT_M - LEFT_M)
        shift = lock(("a",), feet, np.full((1, 2), 0.9, np.float32), UP, i / RATE_HZ).shift[0]
        errors.append((seen + shift - place)[[0, 2]])
    # In the axes of the camera, which turn by 2 degrees an image: a foot held shows a small motion.
    slide = np.linalg.norm(np.diff(errors, axis=0), axis=1)[2:]
    assert (slide.max() < 0.001) == knows_motion


@pytest.mark.parametrize("seed", range(3))
def test_locking_on_a_person_who_stands(seed: int) -> None:
    """By the follower, with the noise of the demo network."""
    true = steps.steps(0.0, start_m=(0.0, 3.5))
    noisy = steps.with_noise(true, np.random.default_rng(seed))
    free, locked = (steps.follow(noisy, locking) for locking in (False, True))
    late = true.stamps_s > 0.5

    def slides(found: steps.Published) -> float:
        """Of the foot that slides less, the slowest 90 % of the images."""
        speeds = [speed_cm_s(found.joints[late][:, ball]) for ball in BALL]
        return min(float(np.quantile(speed, 0.9)) for speed in speeds)

    assert slides(free) > 10
    assert slides(locked) < LIMIT_CM_S
    error_m = np.linalg.norm(locked.joints[late][:, 0] - true.joints[late][:, 0], axis=1)
    assert error_m.max() < MOST_M


@pytest.mark.parametrize("seed", range(3))
def test_locking_on_a_person_who_walks(seed: int) -> None:
    """A foot that stands alone slides less, and the body is not held back."""
    true = steps.steps(1.0)
    noisy = steps.with_noise(true, np.random.default_rng(seed))
    free, locked = (steps.follow(noisy, locking) for locking in (False, True))
    late = true.stamps_s[1:] > 0.5
    alone = true.stands & ~true.stands[:, ::-1]

    def slides(found: steps.Published) -> float:
        """The median for feet that stand alone and are known to stand."""
        speeds = []
        for foot, ball in enumerate(BALL):
            stands = alone[:, foot] & (found.contact[:, foot] > 0.5)
            both_images = stands[1:] & stands[:-1] & late
            speeds.append(speed_cm_s(found.joints[:, ball])[both_images])
        return float(np.median(np.concatenate(speeds)))

    assert slides(free) > 10
    assert slides(locked) < LIMIT_CM_S
    lag_m = (true.joints - locked.joints)[1:][late][:, 0, 0]
    assert np.abs(lag_m).max() < MOST_M + 0.05
