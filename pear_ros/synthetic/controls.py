"""A person's pose as a few dozen angles with names, from which EHM's rotations follow.

SMPL-X rests in a T-pose, x to the person's left, y up, z forward; rotations are about these axes.
Angles are in degrees and the same number means the mirrored movement on the other side. Limits are
about those of healthy adults.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from pear_ros.people import JOINT

Array = NDArray[np.float64]

FINGERS = ("index", "middle", "pinky", "ring")
FINGER_FLEXION_DEG = (80.0, 95.0, 60.0)  # of its three joints, of a fist

_SIDE_LIMITS = {
    # The arm's direction: 0 hangs, 90 is level, 180 is up; forward 0 is sideways, 90 to the front.
    "arm_raise": (5, 165), "arm_forward": (-40, 120),
    "arm_twist": (-100, 60),  # about its own axis; -90 turns a level arm's forearm up
    "shrug": (-5, 25), "elbow": (0, 145),
    "forearm_roll": (-80, 80), "wrist_flex": (-60, 60), "wrist_side": (-20, 30),
    "hip_flex": (-25, 110), "hip_side": (-10, 40), "hip_twist": (-25, 40),
    "knee": (0, 130), "ankle": (-30, 25),
    # Of a fist's flexion; the thumb lies over the fingers at 1, 1.
    "thumb_oppose": (0, 1), "thumb_curl": (0, 1),
    **{f"{finger}_curl": (0, 1) for finger in FINGERS},
    "spread": (-0.3, 1),
    "lid": (0, 1),
}  # fmt: skip
LIMITS: dict[str, tuple[float, float]] = {
    "bend": (-15, 55), "lean": (-20, 20), "twist": (-40, 40),  # of the spine, in all
    "nod": (-40, 40), "turn": (-70, 70), "tilt": (-25, 25),  # of neck and head, in all
    "jaw": (0, 22), "gaze_side": (-25, 25), "gaze_down": (-15, 20),
    **{f"{side}_{name}": limits
       for side in ("left", "right") for name, limits in _SIDE_LIMITS.items()},
}  # fmt: skip
"""Lowest and highest value of each control; degrees where it is an angle."""
CONTROLS = tuple(LIMITS)
INDEX = {name: i for i, name in enumerate(CONTROLS)}

STANDING: dict[str, float] = {
    f"{side}_{name}": value
    for side in ("left", "right")
    for name, value in {
        "arm_raise": 12, "arm_forward": 10, "elbow": 15, "hip_side": 3, "hip_twist": 5,
        "index_curl": 0.2, "middle_curl": 0.25, "ring_curl": 0.3, "pinky_curl": 0.3,
        "thumb_oppose": 0.2, "thumb_curl": 0.2,
    }.items()
}  # fmt: skip
"""Arms hang, hands are relaxed; what is not named is 0."""


@dataclass(frozen=True)
class Rotations:
    """Of N people, named as in EhmParameters."""

    body_pose: Array  # (N, 21, 3, 3)
    left_hand_pose: Array  # (N, 15, 3, 3)
    right_hand_pose: Array  # (N, 15, 3, 3)
    flame_jaw_pose: Array  # (N, 3) rad
    flame_eye_pose: Array  # (N, 6) rad
    flame_eyelids: Array  # (N, 2)


def vector(values: dict[str, float]) -> Array:
    """(C,) of named controls; 0 where none is given."""
    controls = np.zeros(len(CONTROLS))
    for name, value in values.items():
        controls[INDEX[name]] = value
    return controls


def limited(controls: Array) -> Array:
    """(..., C) within the limits."""
    low, high = np.array([LIMITS[name] for name in CONTROLS], float).T
    return np.clip(controls, low, high)


def rotations(controls: Array) -> Rotations:
    """Of N people with controls (N, C)."""
    c = dict(zip(CONTROLS, controls.T, strict=True))  # each (N,)
    zero = np.zeros(len(controls))
    pose = np.tile(np.eye(3), (len(controls), len(JOINT), 1, 1))  # by SMPL-X's joints

    for joint, share in (("spine1", 0.35), ("spine2", 0.35), ("spine3", 0.3)):
        pose[:, JOINT[joint]] = _euler("yxz", c["twist"], c["bend"], c["lean"], share=share)
    for joint, share in (("neck", 0.45), ("head", 0.55)):
        pose[:, JOINT[joint]] = _euler("yxz", c["turn"], c["nod"], c["tilt"], share=share)

    for side, mirror in (("left", 1), ("right", -1)):
        of = {name: c[f"{side}_{name}"] for name in _SIDE_LIMITS}
        # The collar takes a part of what the arm is raised above the level.
        shrug = of["shrug"] + 0.25 * np.maximum(of["arm_raise"] - 70, 0)
        turns = {
            "collar": _euler("z", shrug),
            "shoulder": _arm(of["arm_raise"] - shrug, of["arm_forward"]) @ _euler(
                "x", of["arm_twist"]
            ),
            "elbow": _euler("yx", -of["elbow"], 0.5 * of["forearm_roll"]),
            "wrist": _euler(
                "xzy", 0.5 * of["forearm_roll"], -of["wrist_flex"], of["wrist_side"]
            ),
            "hip": _euler("xzy", -of["hip_flex"], of["hip_side"], of["hip_twist"]),
            "knee": _euler("x", of["knee"]),
            "ankle": _euler("x", of["ankle"]),
            "thumb1": _euler("xy", 55 * of["thumb_oppose"], 15 * of["thumb_curl"]),
            "thumb2": _euler("y", 35 * of["thumb_curl"]),
            "thumb3": _euler("y", 65 * of["thumb_curl"]),
        }  # fmt: skip
        for place, finger in enumerate(("index", "middle", "ring", "pinky")):
            fan = (1, 0.15, -0.6, -1.3)[place] * 9 * of["spread"]
            for i, flexion in enumerate(FINGER_FLEXION_DEG):
                bent = -flexion * of[f"{finger}_curl"]
                turns[f"{finger}{i + 1}"] = _euler("yz", -fan if i == 0 else zero, bent)
        for name, turn in turns.items():
            pose[:, JOINT[f"{side}_{name}"]] = turn if mirror > 0 else _mirrored(turn)

    gaze = np.radians(np.stack((c["gaze_down"], c["gaze_side"], zero), -1))
    return Rotations(
        body_pose=pose[:, 1:22],
        left_hand_pose=pose[:, 25:40],
        right_hand_pose=pose[:, 40:55],
        flame_jaw_pose=np.radians(np.stack((c["jaw"], zero, zero), -1)),
        flame_eye_pose=np.concatenate((gaze, gaze), 1),
        flame_eyelids=np.stack((c["left_lid"], c["right_lid"]), -1),
    )


def _euler(axes: str, *angles_deg: Array, share: float = 1) -> Array:
    """(N, 3, 3): rotations about the body's own axes, one after the other."""
    angles = share * np.stack(angles_deg, -1)
    matrix: Array = Rotation.from_euler(axes.upper(), angles, degrees=True).as_matrix()
    return matrix


def _arm(raise_deg: Array, forward_deg: Array) -> Array:
    """(N, 3, 3): the shortest turn of the left arm, at rest along x, to a direction."""
    up, front = np.radians(raise_deg), np.radians(forward_deg)
    direction = np.stack(
        (np.sin(up) * np.cos(front), -np.cos(up), np.sin(up) * np.sin(front)), -1
    )  # (N, 3)
    axis = np.cross((1.0, 0, 0), direction)
    sine = np.linalg.norm(axis, axis=-1, keepdims=True)
    angle = np.arctan2(sine, direction[:, :1])
    matrix: Array = Rotation.from_rotvec(axis / np.maximum(sine, 1e-9) * angle).as_matrix()
    return matrix


def _mirrored(turn: Array) -> Array:
    """(N, 3, 3): the same movement of the other side of the body, x being mirrored."""
    flip = np.array((-1.0, 1, 1))
    return flip[:, None] * turn * flip
