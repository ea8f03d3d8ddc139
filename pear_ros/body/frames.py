"""The coordinate frames of a person, and people in another frame than the camera's.

Body, head and hands have axes that follow REP-103.
docs/concepts/frames.md has the table. SMPL-X's rest pose is a T-pose: x to the person's left, y up,
z forward.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from pear_ros.geometry.rotation import quaternion_from_matrix
from pear_ros.people import JOINT, FloatArray, People


@dataclass(frozen=True)
class BodyFrame:
    """A frame that rotates with one joint."""

    name: str
    joint: int  # whose rotation it follows
    origin: tuple[int, ...]  # the origin is the mean of these joints
    model_from_frame: FloatArray  # (3, 3) columns: the frame's x, y, z in the axes at rest


def _axes(x: str, y: str, z: str) -> FloatArray:
    """(3, 3) whose columns are these directions of a person at rest."""
    directions = {
        "left": (1, 0, 0), "up": (0, 1, 0), "forward": (0, 0, 1),
        "right": (-1, 0, 0), "down": (0, -1, 0), "backward": (0, 0, -1),
    }  # fmt: skip
    return np.array([directions[axis] for axis in (x, y, z)], np.float32).T


_UPRIGHT = _axes("forward", "left", "up")
BODY_FRAMES: tuple[BodyFrame, ...] = (
    BodyFrame("body", JOINT["pelvis"], (JOINT["left_hip"], JOINT["right_hip"]), _UPRIGHT),
    BodyFrame("head", JOINT["head"], (JOINT["left_eye"], JOINT["right_eye"]), _UPRIGHT),
    # Hands: x along the fingers, z out of the back of the hand. At rest the palms face down.
    BodyFrame(
        "left_hand", JOINT["left_wrist"], (JOINT["left_wrist"],), _axes("left", "backward", "up")
    ),
    BodyFrame(
        "right_hand", JOINT["right_wrist"], (JOINT["right_wrist"],), _axes("right", "forward", "up")
    ),
)
_JOINTS = [frame.joint for frame in BODY_FRAMES]
_MODEL_FROM_FRAMES = np.stack([frame.model_from_frame for frame in BODY_FRAMES])


@dataclass(frozen=True)
class Poses:
    """One frame of N people, in the frame that the people are in."""

    name: str
    position: FloatArray  # (N, 3) m
    quat_xyzw: FloatArray  # (N, 4)


def body_frames(people: People) -> list[Poses]:
    """The poses of BODY_FRAMES for N people, in that order."""
    joints = people.joints + people.translation[:, None]  # (N, 55, 3) m
    optical_from_frame = people.rotations[:, _JOINTS] @ _MODEL_FROM_FRAMES  # (N, 4, 3, 3)
    quat_xyzw = quaternion_from_matrix(optical_from_frame).astype(np.float32)  # (N, 4, 4)
    return [
        Poses(frame.name, joints[:, list(frame.origin)].mean(1), quat_xyzw[:, i])
        for i, frame in enumerate(BODY_FRAMES)
    ]


def moved(people: People, target_from_optical: NDArray[np.float64]) -> People:
    """People in the axes of another frame, whose pose (4, 4) is a rotation and a translation, m.

    All that is in optical axes is in those of the target then. The pelvis is where the body model
    puts it at rest, so `translation` is such that the body model for the new `parameters`, plus
    `translation`, gives the new joints and vertices. Speeds are only turned. `boxes`, `crop_xywh`
    and `camera_t` stay in the image.
    """
    rotation = target_from_optical[:3, :3]  # (3, 3)
    turn: FloatArray = rotation.astype(np.float32)
    pelvis = people.joints[:, :1]  # (N, 1, 3) m; the body rotates about it
    placed = (people.translation + pelvis[:, 0]).astype(np.float64)  # (N, 3) m, of the pelvis
    placed = placed @ rotation.T + target_from_optical[:3, 3]

    def turned(points: FloatArray) -> FloatArray:
        from_pelvis: FloatArray = points - pelvis
        from_pelvis = from_pelvis @ turn.T
        return from_pelvis + pelvis

    orient = torch.from_numpy(turn) @ people.parameters.global_orient  # (N, 1, 3, 3)
    half_turned: FloatArray = turn @ people.covariance  # (N, 3, 3)
    covariance: FloatArray = half_turned @ turn.T
    return replace(
        people,
        parameters=replace(people.parameters, global_orient=orient),
        translation=(placed - pelvis[:, 0]).astype(np.float32),
        joints=turned(people.joints),
        rotations=turn @ people.rotations,
        vertices=None if people.vertices is None else turned(people.vertices),
        velocity=people.velocity @ turn.T,
        joint_velocity=people.joint_velocity @ turn.T,
        covariance=covariance,
    )
