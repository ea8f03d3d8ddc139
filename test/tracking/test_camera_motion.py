"""A camera that moves: people who stand still do so in the world."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from samples import random_parameters
from scipy.spatial.transform import Rotation

from pear_ros.config import PlacementSettings, SmoothingSettings, TrackingSettings
from pear_ros.geometry.camera import project
from pear_ros.people import Boxes, Camera, EhmParameters, Lens
from pear_ros.tracking.body_size import Measured
from pear_ros.tracking.camera_motion import MOST_GAP_S, CameraPath, relative_motion
from pear_ros.tracking.contacts import BALL, FEET
from pear_ros.tracking.follower import Estimated, FollowedPeople, Follower

CAMERA = Camera(400, 400, 320, 240)
SIZE = 480, 640  # px
# x forward, y left, z up; optical: x right, y down, z forward.
BASE_FROM_OPTICAL = np.array(((0.0, 0.0, 1.0), (-1.0, 0.0, 0.0), (0.0, -1.0, 0.0)))
JOINTS = np.random.default_rng(0).uniform((-0.3, -0.3, -0.9), (0.3, 0.3, 0.9), (55, 3))
PERSON_M = np.array((0.8, 0.5, 1.0))  # in the world


def pose(x: float, y: float, yaw_deg: float) -> np.ndarray:
    """The pose of a level camera 1 m above the ground."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("z", yaw_deg, degrees=True).as_matrix() @ BASE_FROM_OPTICAL
    matrix[:3, 3] = x, y, 1.0
    return matrix


def circle(stamp_s: float, speed_deg_s: float) -> np.ndarray:
    """A robot that drives in a circle of 3.5 m around a point near the person."""
    angle_deg = speed_deg_s * stamp_s
    angle = np.radians(angle_deg)
    return pose(-3.5 * np.cos(angle), -3.5 * np.sin(angle), angle_deg)


def turning(stamp_s: float, speed_deg_s: float) -> np.ndarray:
    """A robot that turns on the spot, left and right."""
    angle_deg = 20 * np.sin(np.radians(speed_deg_s * stamp_s) / np.radians(20))
    return pose(-3.5, 0, angle_deg)


def seen(
    world_from_optical: np.ndarray,
    person: EhmParameters,
    place_m: np.ndarray = PERSON_M,
    noise_m: np.ndarray | float = 0.0,
) -> Estimated:
    """A person, whose pose in the world is `person`, as an estimate in the camera's axes."""
    optical_from_world = np.linalg.inv(world_from_optical)
    turn = optical_from_world[:3, :3]
    root = torch.from_numpy(turn @ person.global_orient.numpy())
    pelvis = (turn @ place_m + optical_from_world[:3, 3] + noise_m)[None]
    joints = ((JOINTS - JOINTS[0]) @ turn.T)[None]
    pixels = project((joints + pelvis[:, None])[0].astype(np.float32), CAMERA)
    xyxy = np.concatenate((pixels.min(0), pixels.max(0)))[None]
    return Estimated(
        boxes=Boxes(xyxy, np.full(1, 0.95, np.float32)),
        parameters=replace(person, global_orient=root.to(torch.float32)),
        translation=pelvis.astype(np.float32),
        joints=joints.astype(np.float32),
        plausibility=np.ones(1, np.float32),
        is_detected=True,
        measured=Measured.from_image(np.full(1, 1.7)),
    )


def new_follower(confirm_score: float = TrackingSettings().confirm_score) -> Follower:
    tracking = TrackingSettings(confirm_score=confirm_score)
    return Follower("p", tracking, SmoothingSettings(), PlacementSettings())


def in_world(people: FollowedPeople, world_from_optical: np.ndarray) -> tuple[np.ndarray, Rotation]:
    """Places (M, 3), m, and root orientations of people in the world."""
    turn = world_from_optical[:3, :3]
    places = people.translation @ turn.T + world_from_optical[:3, 3]
    return places, Rotation.from_matrix(turn @ people.parameters.global_orient[:, 0].numpy())


def errors(rate_hz: float, drive: object, knows_poses: bool) -> tuple[float, float]:
    """Largest errors, m and degrees, of a person who stands, after the first image."""
    person = random_parameters(1)
    follower = new_follower()
    true_root = Rotation.from_matrix(person.global_orient[:, 0].numpy())
    worst = np.zeros(2)
    for i in range(int(6 * rate_hz)):
        camera_pose = drive(i / rate_hz, 20.0)  # type: ignore[operator]
        known = camera_pose if knows_poses else None
        people = follower(seen(camera_pose, person), CAMERA, SIZE, i / rate_hz, known)
        assert people.ids == ("p0001",)
        places, roots = in_world(people, camera_pose)
        error_m = np.linalg.norm(places - PERSON_M)
        error_deg = np.degrees((true_root.inv() * roots).magnitude())[0]
        worst = np.maximum(worst, (error_m, error_deg))
    return float(worst[0]), float(worst[1])


@pytest.mark.parametrize("rate_hz", [1.0, 10.0, 30.0], ids="{} Hz".format)
@pytest.mark.parametrize("drive", [circle, turning])
def test_a_person_who_stands_does_so_in_the_world(drive: object, rate_hz: float) -> None:
    error_m, error_deg = errors(rate_hz, drive, knows_poses=True)
    assert error_m < 1e-4
    assert error_deg < 0.1
    without_m, without_deg = errors(rate_hz, drive, knows_poses=False)
    assert without_m > 0.01  # lag: the filters see a person who moves
    assert without_deg > 1


@pytest.mark.parametrize("knows_all", [True, False], ids=["all poses", "one pose is unknown"])
def test_a_person_hidden_while_the_robot_turns_is_predicted_in_place(knows_all: bool) -> None:
    person, follower = random_parameters(1), new_follower()
    nobody = seen(pose(-3.5, 0, 0), person)
    nobody = replace(
        nobody,
        boxes=Boxes.empty(),
        parameters=random_parameters(0),
        **{n: getattr(nobody, n)[:0] for n in ("translation", "joints", "plausibility")},
    )
    for i in range(20):
        camera_pose = pose(-3.5, 0, 2.0 * i)
        image = seen(camera_pose, person) if i < 17 else nobody
        told = camera_pose if i != 18 or knows_all else None
        people = follower(image, CAMERA, SIZE, i / 15, told)
    assert people.visible == (False,)
    places, roots = in_world(people, camera_pose)
    np.testing.assert_allclose(places, PERSON_M[None], atol=1e-4)
    np.testing.assert_allclose(
        roots.as_matrix()[0], person.global_orient[0, 0].numpy(), rtol=0, atol=1e-4
    )
    true_xyxy = seen(camera_pose, person).boxes.xyxy
    np.testing.assert_allclose(people.boxes.xyxy, true_xyxy, atol=15)  # its perspective changes


def test_expected_boxes_are_where_the_moved_camera_sees_the_person() -> None:
    person, follower = random_parameters(1), new_follower()
    before, now = pose(-3.5, 0, 0), pose(-3.5, 0.1, 9)
    for i in range(5):
        follower(seen(before, person), CAMERA, SIZE, i / 10, before)
    true_xyxy = seen(now, person).boxes.xyxy
    expected_xyxy = follower.expected(CAMERA, 0.5, now).xyxy
    assert np.abs(seen(before, person).boxes.xyxy - true_xyxy).max() > 50
    np.testing.assert_allclose(expected_xyxy, true_xyxy, atol=5)
    np.testing.assert_array_equal(follower.expected(CAMERA, 0.5, now).xyxy, expected_xyxy)


BEFORE = pose(-3.5, 0, 0)
UNKNOWN = {
    "not a number": pose(np.nan, 0, 0),
    "infinite": pose(np.inf, 0, 0),
    "not a rotation": 2 * BEFORE,
    "zeros": np.zeros((4, 4)),
    "6 m/s": pose(-2.9, 0, 0),
    "400 deg/s": pose(-3.5, 0, 40),
}


@pytest.mark.parametrize("now", UNKNOWN.values(), ids=UNKNOWN.keys())
def test_motions_that_no_camera_makes_are_unknown(now: np.ndarray) -> None:
    assert relative_motion(BEFORE, now, 0.1) is None
    path = CameraPath()
    path.arrive(BEFORE, 1.0)
    assert path.motion_to(now, 1.1) is None


def test_an_image_without_a_pose() -> None:
    """The motion to the next pose is that since the last one."""
    path, now = CameraPath(), pose(-3.4, 0, 1)
    assert path.motion_to(BEFORE, 1.0) is None
    path.arrive(BEFORE, 1.0)
    assert path.motion_to(None, 1.1) is None
    path.arrive(None, 1.1)
    motion, expected = path.motion_to(now, 1.2), relative_motion(BEFORE, now, 0.2)
    assert motion is not None
    assert expected is not None
    np.testing.assert_array_equal(motion.translation, expected.translation)
    assert path.motion_to(now, 1.0 + MOST_GAP_S + 0.01) is None
    path.arrive(BEFORE, 5.0)  # a slow network: every image has a pose
    assert path.motion_to(now, 8.0) is not None


def test_a_reflection_is_no_motion() -> None:
    mirrored = BEFORE.copy()
    mirrored[:3, 0] *= -1
    assert relative_motion(BEFORE, mirrored, 10.0) is None


def test_motion_takes_points_into_the_new_axes() -> None:
    now = pose(-3.3, 0.2, 8)
    motion = relative_motion(BEFORE, now, 0.1)
    assert motion is not None
    world = np.random.default_rng(0).normal(0, 3, (4, 5, 3))
    in_before, in_now = (
        (world - p[:3, 3]) @ p[:3, :3] for p in (BEFORE, now)
    )  # R^T (p - t), as rows
    np.testing.assert_allclose(motion.points(in_before), in_now, atol=1e-12)
    np.testing.assert_allclose(motion.vectors(in_before), (world - BEFORE[:3, 3]) @ now[:3, :3])


@pytest.mark.parametrize("drive", [circle, turning])
def test_a_jump_of_the_localisation_moves_nobody(drive: object) -> None:
    """The person stays where the camera sees him: the frame has moved, not the robot."""
    person, follower = random_parameters(1), new_follower()
    jump = np.eye(4)
    jump[:3, 3] = 2, 1, 0
    for i in range(20):
        true_pose = drive(i / 10, 20.0)  # type: ignore[operator]
        told = jump @ true_pose if i >= 15 else true_pose
        people = follower(seen(true_pose, person), CAMERA, SIZE, i / 10, told)
        assert people.ids == ("p0001",)
    places, _ = in_world(people, true_pose)
    np.testing.assert_allclose(places, PERSON_M[None], atol=0.02)


def test_standing_poses_change_nothing() -> None:
    """The same as without poses, but for rounding."""
    person = random_parameters(1)
    results = []
    for known in (None, pose(5, -2, 77)):
        follower = new_follower()
        for i in range(10):
            image = seen(BEFORE, person, PERSON_M + np.array((0, 0.1 * i, 0)))
            people = follower(image, CAMERA, SIZE, i / 10, known)
        results.append(people)
    np.testing.assert_allclose(results[0].translation, results[1].translation, atol=1e-6)
    np.testing.assert_array_equal(results[0].boxes.xyxy, results[1].boxes.xyxy)


def test_another_lens_is_another_camera() -> None:
    person, follower = random_parameters(1), new_follower()
    follower(seen(BEFORE, person), CAMERA, SIZE, 0.0)
    other = replace(CAMERA, lens=Lens(coefficients=(0.01, *(0.0,) * 7)))
    assert len(follower.expected(other, 0.1).xyxy) == 0
    follower(seen(BEFORE, person), CAMERA, SIZE, 0.2)
    assert follower(seen(BEFORE, person), other, SIZE, 0.3).ids == ("p0003",)


@pytest.mark.parametrize("knows_poses", [True, False])
def test_velocities_are_those_over_the_ground(knows_poses: bool) -> None:
    """Of a person who stands; without poses they are those relative to the camera."""
    person, follower = random_parameters(1), new_follower()
    for i in range(60):
        camera_pose = turning(i / 15, 20.0)
        image = seen(camera_pose, person)
        known = camera_pose if knows_poses else None
        people = follower(image, CAMERA, SIZE, i / 15, known)
        moving = follower.moving(people, image.joints)
    speeds = np.linalg.norm(moving.joint_velocity[0], axis=1)
    assert (np.linalg.norm(people.velocity) < 0.001) == knows_poses
    assert (speeds.max() < 0.01) == knows_poses


def test_a_person_who_walks_while_the_robot_turns() -> None:
    person, follower = random_parameters(1), new_follower()
    for i in range(30):
        camera_pose = turning(i / 15, 20.0)
        place = PERSON_M + np.array((0.5, -1.0, 0)) * i / 15
        people = follower(seen(camera_pose, person, place), CAMERA, SIZE, i / 15, camera_pose)
    in_world = people.velocity[0] @ camera_pose[:3, :3].T
    np.testing.assert_allclose(in_world, (0.5, -1.0, 0), atol=0.02)


@pytest.mark.parametrize("knows_poses", [True, False])
def test_heights_of_feet_follow_the_worlds_up(knows_poses: bool) -> None:
    """A camera on its side and a person who lies: only the pose tells that a foot is lifted."""
    side = pose(-3.5, 0, 0)
    side[:3, :3] = side[:3, :3] @ Rotation.from_euler("z", 90, degrees=True).as_matrix()
    lying = replace(random_parameters(1), global_orient=torch.eye(3)[None, None])
    follower = new_follower(confirm_score=0.0)
    joints = np.zeros((1, 55, 3), np.float32)
    joints[0, BALL[0]] = (0.9, 0, 0)  # optical; x points down in the world
    joints[0, BALL[1]] = (0.4, 0, 0)
    joints[0, FEET[:, 0]] = joints[0, BALL] - (0.05, 0, 0)
    for i in range(10):
        people = follower(seen(side, lying), CAMERA, SIZE, i / 10, side if knows_poses else None)
        contact = follower.moving(people, joints).contact
    assert contact[0, 0] > 0.9
    assert (contact[0, 1] < 0.1) == knows_poses


@pytest.mark.parametrize("bad", [np.full((4, 4), np.nan), np.full((4, 4), np.inf)])
def test_poses_and_floors_that_are_not_finite_are_not_used(bad: np.ndarray) -> None:
    person, follower = random_parameters(1), new_follower()
    for i in range(10):
        image = seen(BEFORE, person)
        given = bad if i == 5 else BEFORE
        floor = bad[0] if i == 6 else np.array((0.0, -1.0, 0.0, 1.0))
        people = follower(image, CAMERA, SIZE, i / 10, given, floor)
        moving = follower.moving(people, image.joints)
    assert np.isfinite(people.velocity).all()
    assert np.isfinite(moving.contact).all()
    np.testing.assert_allclose(people.velocity, 0, atol=1e-5)
