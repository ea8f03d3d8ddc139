"""Which feet stand on the floor."""

from __future__ import annotations

import numpy as np
import pytest
import steps

from pear_ros.people import JOINT
from pear_ros.tracking import contacts

UP = np.array((0.0, -1.0, 0.0))
CASES = {  # speed in m/s, height in m of the left foot
    "stands": (0.05, 0.03, True),
    "stands, noisy": (0.3, 0.05, True),
    "swings": (2.5, 0.05, False),
    "is lifted": (0.05, 0.2, False),
    "hangs": (0.0, 0.5, False),
    "is kicked high": (5.0, 0.8, False),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_foot_that_is_slow_and_low_stands(case: tuple[float, float, bool]) -> None:
    speed, height, stands = case
    log_odds = contacts.logits(np.array([[speed, 0.0]]), np.array([[height, 0.0]]))
    likely = contacts.probability(log_odds)
    assert (likely[0, 0] > 0.9) == stands
    assert (likely[0, 0] < 0.1) != stands
    assert likely[0, 1] > 0.9


def person(left_m: float, right_m: float) -> np.ndarray:
    """Joints (1, 55, 3), optical, whose feet are above a floor 1.2 m below the camera."""
    joints = np.zeros((1, 55, 3))
    joints[..., 2] = 3
    for side, height in (("left", left_m), ("right", right_m)):
        joints[:, JOINT[f"{side}_foot"], 1] = 1.2 - height
        joints[:, JOINT[f"{side}_ankle"], 1] = 1.2 - height - 0.06
    return joints


def test_heights_are_above_the_lower_foot() -> None:
    found = contacts.heights(person(0.3, 0.1), UP[None], None)
    np.testing.assert_allclose(found, [[0.2, 0]], atol=1e-9)


def test_who_jumps_does_not_stand_if_the_floor_is_known() -> None:
    floor = np.array((*UP, 1.2))
    found = contacts.heights(person(0.45, 0.4), UP[None], floor)
    allowance = contacts.DISTANCE_ERROR * 1.2
    np.testing.assert_allclose(found, np.array([[0.45, 0.4]]) - allowance, atol=1e-9)
    assert (contacts.logits(np.zeros((1, 2)), found) < 0).all()


def test_heights_follow_gravity() -> None:
    """The same person seen by a camera that is rolled by 90 degrees."""
    rolled = person(0.3, 0.1)[..., [1, 0, 2]] * (-1, 1, 1)
    found = contacts.heights(rolled, np.array([[1.0, 0, 0]]), None)
    np.testing.assert_allclose(found, [[0.2, 0]], atol=1e-9)


def test_a_moment_does_not_change_a_contact() -> None:
    """One image with a fast foot between others, at 30 Hz."""
    elapsed_s, sure = np.full(1, 1 / 30), np.full((1, 2), contacts.MOST_SURE)
    once = contacts.filtered(sure, -sure, elapsed_s)
    assert (contacts.probability(once) > 0.5).all()
    twice = contacts.filtered(once, -sure, elapsed_s)
    assert (contacts.probability(twice) < 0.5).all()


def test_a_contact_that_is_unclear_stays_as_it_is() -> None:
    elapsed_s = np.full(1, 1 / 30)
    unclear = np.full((1, 2), 0.5)
    lifted = landed = unclear
    lifted, landed = np.full((1, 2), -3.0), np.full((1, 2), 3.0)
    for _ in range(100):
        lifted = contacts.filtered(lifted, unclear, elapsed_s)
        landed = contacts.filtered(landed, -unclear, elapsed_s)
    assert (lifted < 0).all()
    assert (landed > 0).all()


@pytest.mark.parametrize("heading_deg", [90.0, 180.0], ids=["right", "away"])
@pytest.mark.parametrize("knows_floor", [False, True], ids=["no floor", "floor"])
def test_feet_of_a_walk(heading_deg: float, knows_floor: bool) -> None:
    """With the noise of the demo network. A contact is found a little late, and so is its end."""
    start_m = (-1.2, 3.5) if heading_deg == 90 else (0.0, 3.0)
    true = steps.steps(1.0, heading_deg=heading_deg, start_m=start_m)
    noisy = steps.with_noise(true, np.random.default_rng(0))
    found = steps.follow(noisy, knows_floor=knows_floor).contact
    late = true.stamps_s > 0.5
    stands, contact = true.stands[late], found[late] > 0.5
    assert contact[stands].mean() > 0.7
    assert (~contact[~stands]).mean() > 0.8


def test_feet_of_who_stands() -> None:
    true = steps.steps(0.0, start_m=(0.0, 3.5))
    found = steps.follow(steps.with_noise(true, np.random.default_rng(0))).contact
    assert (found[true.stamps_s > 0.5] > 0.5).mean() > 0.97


def test_after_one_image_a_low_foot_may_stand() -> None:
    true = steps.steps(0.0, duration_s=1 / 30)
    np.testing.assert_allclose(steps.follow(true).contact, [[0.5, 0.5]])
