"""The tracker and the filters together: which values the people of an image have."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from samples import random_parameters

from pear_ros.config import PlacementSettings, SmoothingSettings, TrackingSettings
from pear_ros.geometry.boxes import square_boxes
from pear_ros.people import Boxes, Camera, EhmParameters
from pear_ros.tracking.body_size import Measured
from pear_ros.tracking.follower import Estimated, FollowedPeople, Follower

CAMERA = Camera(600, 600, 320, 240)
SIZE = 480, 640  # px
TRACKING = TrackingSettings(predict_s=1.0, timeout_s=1.5)
NOT_SMOOTHED = SmoothingSettings(
    rotation_cutoff_hz=0.0,
    position_cutoff_hz=0.0,
    depth_cutoff_hz=0.0,
    expression_cutoff_hz=0.0,
    shape=False,
)
PERIOD_S = 0.1


def estimated(*lefts: float, plausibility: float = 0.9, score: float = 0.95) -> Estimated:
    """People 4 m away whose pelvises are at x = lefts, m."""
    count = len(lefts)
    x = np.array(lefts, np.float32)[:, None]
    corners_m = np.concatenate((x - 0.3, np.full_like(x, -0.9), x + 0.3, np.full_like(x, 0.9)), 1)
    xyxy = 150 * corners_m + np.array((320, 240, 320, 240), np.float32)
    drawn = np.random.default_rng(0).uniform((-0.3, -0.9, -0.2), (0.3, 0.9, 0.2), (55, 3))
    joints = np.repeat((drawn - drawn[:1] + (0, 0.3, 0))[None], count, 0)  # pelvis below the origin
    translation = np.concatenate((x, np.full_like(x, -0.3), np.full_like(x, 4)), 1)
    return Estimated(
        boxes=Boxes(xyxy.astype(np.float32), np.full(count, score, np.float32)),
        parameters=random_parameters(count),
        translation=translation,
        joints=joints.astype(np.float32),
        plausibility=np.full(count, plausibility, np.float32),
        is_detected=True,
        measured=Measured.from_image(np.full(count, 1.7)),
    )


def follow(
    images: list[Estimated], smoothing: SmoothingSettings = NOT_SMOOTHED
) -> tuple[Follower, FollowedPeople]:
    """Returns the follower after some images, and the people of the last."""
    follower = Follower("p", TRACKING, smoothing, PlacementSettings())
    for i, image in enumerate(images):
        people = follower(image, CAMERA, SIZE, i * PERIOD_S)
    return follower, people


def assert_same_parameters(found: EhmParameters, expected: EhmParameters) -> None:
    for name in ("global_orient", "body_pose", "left_hand_pose", "betas", "expression", "camera_t"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), rtol=0, atol=2e-6)


def test_who_is_seen_has_the_values_of_the_estimate() -> None:
    image = estimated(-1, 0, 1)
    _, people = follow([image] * 4)
    assert len(people) == 3
    assert people.ids == ("p0001", "p0002", "p0003")
    assert people.visible == (True, True, True)
    np.testing.assert_array_equal(people.boxes.xyxy, image.boxes.xyxy)
    np.testing.assert_array_equal(people.boxes.scores, image.boxes.scores)
    np.testing.assert_array_equal(people.crop_xywh, square_boxes(image.boxes.xyxy, 640, 480))
    np.testing.assert_allclose(people.translation, image.translation, atol=1e-6)
    np.testing.assert_allclose(people.age_s, 3 * PERIOD_S, atol=1e-6)
    np.testing.assert_array_equal(people.plausibility, image.plausibility)
    assert_same_parameters(people.parameters, image.parameters)


def test_values_are_those_of_the_right_person() -> None:
    """In whatever order people are estimated."""
    image = estimated(-1, 1)
    order = np.array([1, 0])
    swapped = dataclasses.replace(
        image,
        boxes=image.boxes[order],
        parameters=EhmParameters(**{n: v.flip(0) for n, v in vars(image.parameters).items()}),
        translation=image.translation[order],
        plausibility=np.array([0.3, 0.6], np.float32),
    )
    _, people = follow([image, image, swapped])
    assert people.ids == ("p0002", "p0001")
    np.testing.assert_allclose(people.translation[:, 0], [1, -1], atol=1e-6)
    assert people.plausibility.tolist() == pytest.approx([0.3, 0.6])
    assert_same_parameters(people.parameters, swapped.parameters)


def test_who_is_not_seen_is_predicted_with_the_last_values() -> None:
    speed_m_s = 0.5
    walk = [
        estimated(-1 + speed_m_s * PERIOD_S * i, 1, plausibility=0.5 + 0.02 * i) for i in range(15)
    ]
    other = estimated(1, plausibility=0.8)
    _, people = follow([*walk, other])
    assert people.ids == ("p0002", "p0001")
    assert people.visible == (True, False)
    assert people.plausibility.tolist() == pytest.approx([0.8, 0.5 + 0.02 * 14])
    np.testing.assert_allclose(people.age_s, 15 * PERIOD_S, atol=1e-6)
    last = walk[-1]
    moved = np.array((speed_m_s * PERIOD_S, 0, 0))
    np.testing.assert_allclose(people.translation[1], last.translation[0] + moved, atol=0.01)
    expected_xyxy = last.boxes.xyxy[0] + 150 * moved[[0, 1, 0, 1]]
    np.testing.assert_allclose(people.boxes.xyxy[1], expected_xyxy, atol=3)
    np.testing.assert_array_equal(people.boxes.xyxy[0], other.boxes.xyxy[0])
    np.testing.assert_array_equal(people.crop_xywh, square_boxes(people.boxes.xyxy, 640, 480))
    assert torch.equal(people.parameters.expression[1], last.parameters.expression[0])


def test_boxes_are_those_that_the_network_saw() -> None:
    """Without a detector, the tracker places the next box around the joints, not this one."""
    image = estimated(0)
    moved = dataclasses.replace(image.boxes, xyxy=image.boxes.xyxy + 7)
    _, people = follow([image, dataclasses.replace(image, boxes=moved, is_detected=False)])
    np.testing.assert_array_equal(people.boxes.xyxy, moved.xyxy)


def test_who_returns_is_visible_again() -> None:
    follower, people = follow([estimated(0)] * 5 + [estimated()])
    assert people.visible == (False,)
    people = follower(estimated(0, plausibility=0.4), CAMERA, SIZE, 6 * PERIOD_S)
    assert people.ids == ("p0001",)
    assert people.visible == (True,)
    assert people.age_s.tolist() == pytest.approx([6 * PERIOD_S])
    assert people.plausibility.tolist() == pytest.approx([0.4])


def test_people_are_smoothed() -> None:
    random = np.random.default_rng(1)
    images = [estimated(x) for x in random.normal(0, 0.02, 60)]
    lefts = {}
    for name, smoothing in (("smooth", SmoothingSettings()), ("not", NOT_SMOOTHED)):
        follower = Follower("p", TRACKING, smoothing, PlacementSettings())
        lefts[name] = [
            follower(image, CAMERA, SIZE, i / 30).translation[0, 0]
            for i, image in enumerate(images)
        ]
    assert np.std(lefts["smooth"][15:]) < 0.7 * np.std(lefts["not"][15:])
    assert lefts["not"] == pytest.approx([image.translation[0, 0] for image in images], abs=1e-6)


def test_a_new_person_is_reported_when_it_is_certain() -> None:
    follower, people = follow([estimated(0, score=0.5)])
    assert len(people) == 0
    people = follower(estimated(0, score=0.5), CAMERA, SIZE, PERIOD_S)
    assert people.ids == ("p0001",)
    assert people.age_s.tolist() == pytest.approx([PERIOD_S])


def test_nobody() -> None:
    follower, people = follow([estimated(), estimated()])
    assert len(people) == 0
    assert people.boxes.xyxy.shape == people.crop_xywh.shape == (0, 4)
    assert people.translation.shape == (0, 3)
    assert people.parameters.body_pose.shape == (0, 21, 3, 3)
    assert people.visible == ()
    assert len(follower.expected(CAMERA, 0.2).xyxy) == 0


def test_who_was_forgotten_gets_a_new_id_and_is_not_smoothed_with_the_past() -> None:
    follower, _ = follow([estimated(0)] * 5, SmoothingSettings())
    follower.forget()
    assert len(follower.expected(CAMERA, 0).xyxy) == 0
    image = estimated(0.02)
    people = follower(image, CAMERA, SIZE, 0.0)  # time has jumped back
    assert people.ids == ("p0002",)
    assert people.age_s.tolist() == [0]
    np.testing.assert_allclose(people.translation, image.translation, atol=1e-6)


def test_who_is_followed_is_expected() -> None:
    follower, people = follow([estimated(-0.5, 0.5)] * 5)
    expected = follower.expected(CAMERA, 5 * PERIOD_S)
    np.testing.assert_allclose(expected.xyxy, people.boxes.xyxy, atol=1)
    assert expected.missed.tolist() == [0, 0]


def test_joints_behind_the_camera_do_no_harm() -> None:
    near = estimated(0)
    near = dataclasses.replace(near, translation=near.translation * (1, 1, 0.025))
    _, people = follow([near] * 3)
    assert np.isfinite(people.translation).all()
    assert np.isfinite(people.boxes.xyxy).all()


@pytest.mark.parametrize(
    ("camera", "size", "id_"),
    [
        pytest.param(Camera(602, 600, 320, 240), SIZE, "p0001", id="breathing lens"),
        pytest.param(Camera(700, 700, 320, 240), SIZE, "p0002", id="another focal length"),
        pytest.param(CAMERA, (240, 320), "p0002", id="another size"),
    ],
)
def test_another_camera_knows_nobody(camera: Camera, size: tuple[int, int], id_: str) -> None:
    image = estimated(0)
    follower, _ = follow([image] * 3)
    people = follower(image, camera, size, 0.4)
    assert people.ids == (id_,)
    assert people.visible == (True,)


def test_who_is_not_seen_keeps_velocity_and_contact() -> None:
    follower = Follower("p", TRACKING, NOT_SMOOTHED, PlacementSettings(foot_locking=True))
    for i in range(20):
        image = estimated(-1 + 0.05 * i, 1)
        people = follower(image, CAMERA, SIZE, i * PERIOD_S)
        before = follower.moving(people, image.joints)
    alone = estimated(1)
    after = follower(alone, CAMERA, SIZE, 20 * PERIOD_S)
    moving = follower.moving(after, image.joints)
    assert after.ids == ("p0002", "p0001")
    assert after.visible == (True, False)
    np.testing.assert_array_equal(after.velocity[1], people.velocity[0])
    np.testing.assert_array_equal(moving.joint_velocity[1], before.joint_velocity[0])
    np.testing.assert_array_equal(moving.contact[1], before.contact[0])
    np.testing.assert_allclose(after.velocity, [[0, 0, 0], [0.5, 0, 0]], atol=0.01)


def test_new_people_are_at_rest() -> None:
    follower = Follower(
        "p", dataclasses.replace(TRACKING, confirm_score=0.0), NOT_SMOOTHED, PlacementSettings()
    )
    image = estimated(0, 1)
    people = follower(image, CAMERA, SIZE, 0.0)
    moving = follower.moving(people, image.joints)
    np.testing.assert_array_equal(people.velocity, np.zeros((2, 3)))
    np.testing.assert_array_equal(moving.joint_velocity, np.zeros((2, 55, 3)))


def test_an_image_that_could_not_be_posed_does_no_harm() -> None:
    """A person seen in it alone has not been told to `moving`."""
    follower = Follower(
        "p", dataclasses.replace(TRACKING, confirm_score=0.0), NOT_SMOOTHED, PlacementSettings()
    )
    image, nobody = estimated(0), estimated()
    follower(image, CAMERA, SIZE, 0.0)  # and then an exception
    people = follower(nobody, CAMERA, SIZE, PERIOD_S)
    assert people.visible == (False,)
    moving = follower.moving(people, image.joints)
    np.testing.assert_array_equal(moving.joint_velocity, np.zeros((1, 55, 3)))
    assert (moving.contact <= 0.5).all()


def test_motion_of_nobody() -> None:
    follower = Follower("p", TRACKING, NOT_SMOOTHED, PlacementSettings(foot_locking=True))
    image = estimated()
    for i in range(3):
        people = follower(image, CAMERA, SIZE, i * PERIOD_S)
        moving = follower.moving(people, image.joints)
    assert people.velocity.shape == (0, 3)
    assert moving.joint_velocity.shape == (0, 55, 3)
    assert moving.contact.shape == (0, 2)
    assert moving.translation.shape == (0, 3)
