"""The coordinate frames of a person."""

from __future__ import annotations

import numpy as np
import pytest
from samples import random_parameters
from scipy.spatial.transform import Rotation

from pear_ros.body.frames import Poses, body_frames
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
