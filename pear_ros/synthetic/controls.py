"""A person's pose as a few dozen named controls, and their conversion to EHM's rotations.

SMPL-X's rest pose is a T-pose: x to the person's left, y up, z forward; rotations are about these
axes. Angles are in degrees. The same value on the other side is the mirrored movement. Limits are
approximately those of healthy adults.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from pear_ros.people import JOINT

Array = NDArray[np.float64]

FINGERS = ("index", "middle", "pinky", "ring")
FINGER_FLEXION_DEG = (80.0, 95.0, 60.0)  # of a finger's three joints in a fist

_SIDE_LIMITS = {
    # Direction of the upper arm. raise: 0 down, 90 level, 180 up; forward: 0 sideways, 90 forward.
    "arm_raise": (5, 165), "arm_forward": (-40, 120),
    "arm_twist": (-100, 60),  # about its own axis; at -90 the forearm of a level arm points up
    "shrug": (-5, 25), "elbow": (0, 145),
    "forearm_roll": (-80, 80), "wrist_flex": (-60, 60), "wrist_side": (-20, 30),
    "hip_flex": (-25, 110), "hip_side": (-10, 40), "hip_twist": (-25, 40),
    "knee": (0, 130), "ankle": (-30, 25),
    # Relative to a fist, which is 1; the thumb lies over the fingers if both are 1.
    "thumb_oppose": (0, 1), "thumb_curl": (0, 1),
    **{f"{finger}_curl": (0, 1) for finger in FINGERS},
    "spread": (-0.3, 1),
    "lid": (0, 1),
}  # fmt: skip
LIMITS: dict[str, tuple[float, float]] = {
    "bend": (-15, 55), "lean": (-20, 20), "twist": (-40, 40),  # sum over the spine
    "nod": (-40, 40), "turn": (-70, 70), "tilt": (-25, 25),  # sum over neck and head
    "jaw": (0, 22), "gaze_side": (-25, 25), "gaze_down": (-15, 20),
    **{f"{side}_{name}": limits
       for side in ("left", "right") for name, limits in _SIDE_LIMITS.items()},
}  # fmt: skip
"""Lowest and highest value of each control; angles in degrees."""
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
"""Hanging arms and relaxed hands; all other controls are 0."""


@dataclass(frozen=True)
class Rotations:
    """Rotations of N people, named as in EhmParameters."""

    body_pose: Array  # (N, 21, 3, 3)
    left_hand_pose: Array  # (N, 15, 3, 3)
    right_hand_pose: Array  # (N, 15, 3, 3)
    flame_jaw_pose: Array  # (N, 3) rad
    flame_eye_pose: Array  # (N, 6) rad, left, right
    flame_eyelids: Array  # (N, 2) left, right; 0 open, 1 closed


def vector(values: dict[str, float]) -> Array:
    """(C,) controls from named values; the others are 0.

    Raises:
        KeyError: If a name is not in CONTROLS.
    """
    controls = np.zeros(len(CONTROLS))
    for name, value in values.items():
        controls[INDEX[name]] = value
    return controls


def limited(controls: Array) -> Array:
    """Clips controls (..., C) to LIMITS."""
    low, high = np.array([LIMITS[name] for name in CONTROLS], float).T
    return np.clip(controls, low, high)


def rotations(controls: Array) -> Rotations:
    """Converts the controls (N, C) of N people to rotations."""
    c = dict(zip(CONTROLS, controls.T, strict=True))  # each (N,)
    zero = np.zeros(len(controls))
    pose = np.tile(np.eye(3), (len(controls), len(JOINT), 1, 1))  # by SMPL-X's joints

    for joint, share in (("spine1", 0.35), ("spine2", 0.35), ("spine3", 0.3)):
        pose[:, JOINT[joint]] = _euler("yxz", c["twist"], c["bend"], c["lean"], share=share)
    for joint, share in (("neck", 0.45), ("head", 0.55)):
        pose[:, JOINT[joint]] = _euler("yxz", c["turn"], c["nod"], c["tilt"], share=share)

    for side, mirror in (("left", 1), ("right", -1)):
        s = {name: c[f"{side}_{name}"] for name in _SIDE_LIMITS}  # each (N,)
        # A quarter of an arm's elevation above 70 degrees comes from the collar.
        shrug = s["shrug"] + 0.25 * np.maximum(s["arm_raise"] - 70, 0)
        by_joint = {
            "collar": _euler("z", shrug),
            "shoulder": _arm(s["arm_raise"] - shrug, s["arm_forward"]) @ _euler(
                "x", s["arm_twist"]
            ),
            "elbow": _euler("yx", -s["elbow"], 0.5 * s["forearm_roll"]),
            "wrist": _euler(
                "xzy", 0.5 * s["forearm_roll"], -s["wrist_flex"], s["wrist_side"]
            ),
            "hip": _euler("xzy", -s["hip_flex"], s["hip_side"], s["hip_twist"]),
            "knee": _euler("x", s["knee"]),
            "ankle": _euler("x", s["ankle"]),
            "thumb1": _euler("xy", 55 * s["thumb_oppose"], 15 * s["thumb_curl"]),
            "thumb2": _euler("y", 35 * s["thumb_curl"]),
            "thumb3": _euler("y", 65 * s["thumb_curl"]),
        }  # fmt: skip
        for k, finger in enumerate(("index", "middle", "ring", "pinky")):
            abduction = (1, 0.15, -0.6, -1.3)[k] * 9 * s["spread"]
            for i, flexion in enumerate(FINGER_FLEXION_DEG):
                bent = -flexion * s[f"{finger}_curl"]
                by_joint[f"{finger}{i + 1}"] = _euler("yz", -abduction if i == 0 else zero, bent)
        for name, rotation in by_joint.items():
            pose[:, JOINT[f"{side}_{name}"]] = rotation if mirror > 0 else _mirrored(rotation)

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
    """(N, 3, 3): intrinsic rotations about the named axes, one after the other."""
    angles = share * np.stack(angles_deg, -1)
    matrix: Array = Rotation.from_euler(axes.upper(), angles, degrees=True).as_matrix()
    return matrix


def _arm(raise_deg: Array, forward_deg: Array) -> Array:
    """(N, 3, 3): the smallest rotation of the left arm from its rest direction x to a direction."""
    up, front = np.radians(raise_deg), np.radians(forward_deg)
    direction = np.stack(
        (np.sin(up) * np.cos(front), -np.cos(up), np.sin(up) * np.sin(front)), -1
    )  # (N, 3)
    axis = np.cross((1.0, 0, 0), direction)
    sine = np.linalg.norm(axis, axis=-1, keepdims=True)
    angle = np.arctan2(sine, direction[:, :1])
    matrix: Array = Rotation.from_rotvec(axis / np.maximum(sine, 1e-9) * angle).as_matrix()
    return matrix


def _mirrored(rotation: Array) -> Array:
    """(N, 3, 3): the same movement on the other side of the body, mirrored in x."""
    flip = np.array((-1.0, 1, 1))
    return flip[:, None] * rotation * flip
