"""The coordinate frames of a person: body, head and hands, with axes that follow REP-103.

docs/concepts/frames.md has the table. SMPL-X's rest pose is a T-pose: x to the person's left, y up,
z forward.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

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
    """One frame of N people in the optical frame of their camera."""

    name: str
    position: FloatArray  # (N, 3) m
    quat_xyzw: FloatArray  # (N, 4)


def body_frames(people: People) -> list[Poses]:
    """The poses of BODY_FRAMES for N people, in that order."""
    joints = people.joints + people.translation[:, None]  # (N, 55, 3) m, optical
    optical_from_frame = people.rotations[:, _JOINTS] @ _MODEL_FROM_FRAMES  # (N, 4, 3, 3)
    quat_xyzw = quaternion_from_matrix(optical_from_frame).astype(np.float32)  # (N, 4, 4)
    return [
        Poses(frame.name, joints[:, list(frame.origin)].mean(1), quat_xyzw[:, i])
        for i, frame in enumerate(BODY_FRAMES)
    ]
