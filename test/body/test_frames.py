"""The coordinate frames of a person."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from crowd import some_people
from samples import random_parameters
from scipy.spatial.transform import Rotation

from pear_ros.body.body_model import BodyModel
from pear_ros.body.frames import Poses, body_frames, moved
from pear_ros.people import JOINT, Boxes, People, seen_now

LEFT, UP, FORWARD = np.eye(3)  # a person's directions at rest, in SMPL-X's axes
X, Y, Z = np.eye(3)


def people(count: int) -> People:
    random = np.random.default_rng(9)
    rotations = Rotation.random(count * 55 + 1, random).as_matrix()[1:].reshape(count, 55, 3, 3)
    return People(
        ids=tuple(f"p{i}" for i in range(count)),
        boxes=Boxes(np.zeros((count, 4), np.float32), np.ones(count, np.float32)),
        crop_xywh=np.zeros((count, 4), np.float32),
        parameters=random_parameters(count),
        translation=random.standard_normal((count, 3)).astype(np.float32),
        joints=random.standard_normal((count, 55, 3)).astype(np.float32),
        rotations=rotations.astype(np.float32),
        vertices=None,
        is_metric=True,
        **seen_now(count),
    )


def posed(people: People) -> dict[str, Poses]:
    return {poses.name: poses for poses in body_frames(people)}


# Name -> the joint whose rotation it has, its axes at rest, the joints whose mean is its origin.
TABLE = {
    "body": ("pelvis", (FORWARD, LEFT, UP), ("left_hip", "right_hip")),
    "head": ("head", (FORWARD, LEFT, UP), ("left_eye", "right_eye")),
    "left_hand": ("left_wrist", (LEFT, -FORWARD, UP), ("left_wrist",)),
    "right_hand": ("right_wrist", (-LEFT, FORWARD, UP), ("right_wrist",)),
}


def test_names() -> None:
    assert list(posed(people(1))) == list(TABLE)


@pytest.mark.parametrize("name", TABLE)
def test_axes_follow_the_joint(name: str) -> None:
    joint, axes, _ = TABLE[name]
    group = people(4)
    optical_from_frame = Rotation.from_quat(posed(group)[name].quat_xyzw)
    for axis, at_rest in zip((X, Y, Z), axes, strict=True):
        expected = group.rotations[:, JOINT[joint]] @ at_rest
        np.testing.assert_allclose(optical_from_frame.apply(axis), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", TABLE)
def test_origins(name: str) -> None:
    group = people(4)
    origin = [JOINT[joint] for joint in TABLE[name][2]]
    expected = np.mean([group.joints[:, joint] for joint in origin], 0) + group.translation
    np.testing.assert_allclose(posed(group)[name].position, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("count", [0, 1, 3], ids="{} people".format)
def test_counts(count: int) -> None:
    for poses in body_frames(people(count)):
        assert poses.position.shape == (count, 3)
        assert poses.quat_xyzw.shape == (count, 4)
        assert poses.quat_xyzw.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(poses.quat_xyzw, axis=1), 1, atol=1e-6)


def test_axes_are_right_handed() -> None:
    for _, axes, _ in TABLE.values():
        assert np.linalg.det(np.stack(axes, -1)) == 1


def test_a_person_who_faces_the_camera() -> None:
    """The person's forward is towards the camera, the person's left is right in the image."""
    group = people(1)
    facing = np.diag([1, -1, -1]).astype(np.float32)  # model axes (y up) to optical (y down)
    group.rotations[:] = facing
    body = Rotation.from_quat(posed(group)["body"].quat_xyzw[0])
    np.testing.assert_allclose(body.apply(X), -Z, atol=1e-6)
    np.testing.assert_allclose(body.apply(Y), X, atol=1e-6)
    np.testing.assert_allclose(body.apply(Z), -Y, atol=1e-6)


# --- People in another frame ---------------------------------------------------------------------


def a_pose(seed: int, metres: float) -> np.ndarray:
    random = np.random.default_rng(seed)
    pose = np.eye(4)
    pose[:3, :3] = Rotation.random(random_state=random).as_matrix()
    pose[:3, 3] = random.normal(size=3) * metres
    return pose


def applied(pose: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ pose[:3, :3].T + pose[:3, 3]


@pytest.mark.parametrize("ids", [(), ("p1",), ("p1", "p2", "p3")], ids=["nobody", "one", "three"])
@pytest.mark.parametrize("metres", [0, 1, 20])
def test_moved_people_agree_with_the_body_model(
    ids: tuple[str, ...], metres: float, small_body_model: BodyModel
) -> None:
    """The body model for the new parameters, at the new translation, is the old body, moved."""
    crowd = some_people(ids)
    bodies = small_body_model(crowd.parameters, mesh=True)
    before = dataclasses.replace(
        crowd,
        joints=bodies.joints.numpy(),
        rotations=bodies.rotations.numpy(),
        vertices=bodies.vertices.numpy(),
    )
    pose = a_pose(len(ids), metres)
    after = moved(before, pose)
    again = small_body_model(after.parameters, mesh=True)
    for name in ("joints", "vertices"):
        points = getattr(before, name) + before.translation[:, None]
        expected = applied(pose, points.astype(np.float64))
        found = getattr(after, name) + after.translation[:, None]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
        by_model = getattr(again, name).numpy() + after.translation[:, None]
        np.testing.assert_allclose(by_model, expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(again.rotations, after.rotations, rtol=0, atol=1e-5)


def test_what_moves_with_people() -> None:
    before = dataclasses.replace(some_people(("p1", "p2")), vertices=None)
    pose = a_pose(0, 5)
    after = moved(before, pose)

    turn = pose[:3, :3]
    for i in range(2):
        np.testing.assert_allclose(after.velocity[i], turn @ before.velocity[i], atol=1e-6)
        turned = before.joint_velocity[i] @ turn.T
        np.testing.assert_allclose(after.joint_velocity[i], turned, atol=1e-6)
        spread = turn @ before.covariance[i] @ turn.T
        np.testing.assert_allclose(after.covariance[i], spread, atol=2e-6)
        turned = turn @ before.rotations[i]
        np.testing.assert_allclose(after.rotations[i], turned, atol=1e-6)
    for frame, poses in zip(body_frames(before), body_frames(after), strict=True):
        np.testing.assert_allclose(poses.position, applied(pose, frame.position), atol=1e-5)
    assert after.vertices is None
    for field in dataclasses.fields(People):
        kind = getattr(after, field.name)
        if isinstance(kind, np.ndarray):
            assert kind.dtype == np.float32, field.name
    moving = {"parameters", "translation", "joints", "rotations", "vertices"}
    moving |= {"velocity", "joint_velocity", "covariance"}
    for name in {field.name for field in dataclasses.fields(People)} - moving:
        assert getattr(after, name) is getattr(before, name), name
