"""A mannequin of simple shapes, in SMPL-X's and FLAME's layouts but with none of their data.

Rest pose as SMPL-X's: a T, x to the person's left, y up, z forward; metres, the pelvis at zero.
Every part is a closed tube of elliptic rings around a line (`_loft`). Parts overlap; where two meet
at a joint they share its skinning weights, so the seams stay closed when the joint bends.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator  # type: ignore[import-untyped]

from pear_ros.people import JOINT, JOINT_NAMES, NUM_JOINTS

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
Vector = tuple[float, float, float]
X, Y, Z = np.eye(3)

# Joint: parent, place. Left and middle; the right side is the mirror image.
SKELETON: dict[str, tuple[str, Vector]] = {
    "pelvis": ("", (0, 0, 0)),
    "left_hip": ("pelvis", (0.09, -0.06, 0.0)),
    "left_knee": ("left_hip", (0.1, -0.47, 0.01)),
    "left_ankle": ("left_knee", (0.1, -0.855, -0.02)),
    "left_foot": ("left_ankle", (0.112, -0.905, 0.09)),
    "spine1": ("pelvis", (0, 0.1, -0.01)),
    "spine2": ("spine1", (0, 0.22, -0.01)),
    "spine3": ("spine2", (0, 0.3, 0.0)),
    "neck": ("spine3", (0, 0.475, -0.015)),
    "head": ("neck", (0, 0.56, 0.0)),
    "jaw": ("head", (0, 0.61, 0.015)),
    "left_eye": ("head", (0.032, 0.655, 0.076)),
    "left_collar": ("spine3", (0.05, 0.42, -0.01)),
    "left_shoulder": ("left_collar", (0.165, 0.425, -0.015)),
    "left_elbow": ("left_shoulder", (0.43, 0.425, -0.025)),
    "left_wrist": ("left_elbow", (0.675, 0.425, -0.015)),
}
# Finger: first joint from the wrist, direction, lengths of its three bones.
FINGERS: dict[str, tuple[Vector, Vector, Vector]] = {
    "index": ((0.092, 0.003, 0.026), (1, -0.04, 0.1), (0.036, 0.023, 0.022)),
    "middle": ((0.095, 0.004, 0.004), (1, -0.04, 0.02), (0.04, 0.026, 0.023)),
    "pinky": ((0.08, 0.0, -0.037), (1, -0.04, -0.16), (0.028, 0.018, 0.018)),
    "ring": ((0.09, 0.003, -0.017), (1, -0.04, -0.06), (0.037, 0.024, 0.022)),
    "thumb": ((0.024, -0.008, 0.026), (0.75, -0.2, 0.63), (0.042, 0.03, 0.026)),
}

# Heights of the head's parts.
MOUTH_Y, NOSE_Y, BROW_Y, NECK_TOP_Y = 0.59, 0.622, 0.681, 0.5
EYE_RADIUS = 0.0125
EYELID_CLOSES = np.array([0.0, -0.0085, 0.003])  # from open to closed
# y, centre's z, half width, half depth of neck and skull, from below.
SKULL = (
    (0.44, -0.02, 0.06, 0.058), (0.5, -0.014, 0.053, 0.055), (0.538, -0.002, 0.053, 0.062),
    (0.552, 0.018, 0.05, 0.076), (0.575, 0.015, 0.059, 0.083), (0.61, 0.008, 0.067, 0.089),
    (0.66, 0.002, 0.074, 0.096), (0.7, -0.002, 0.077, 0.099), (0.735, -0.004, 0.071, 0.09),
    (0.752, -0.004, 0.058, 0.073),
)  # fmt: skip
# Dents and bumps of the face: centre, radius, displacement; each also on the other side.
FACE = (
    ((0.033, 0.655, 0.09), 0.014, (0.0, 0.0, -0.011)),  # eye sockets
    ((0.045, 0.625, 0.08), 0.016, (0.003, 0.0, 0.005)),  # cheekbones
    ((0.0, 0.56, 0.095), 0.013, (0.0, 0.0, 0.006)),  # chin
    ((0.075, 0.7, 0.04), 0.025, (-0.004, 0.0, 0.0)),  # temples
)
SMILE = (
    ((0.024, MOUTH_Y, 0.085), 0.011, (0.006, 0.009, -0.003)),
    ((0.045, 0.615, 0.08), 0.014, (0.001, 0.004, 0.003)),
)
RAISED_BROWS = (((0.033, BROW_Y, 0.09), 0.013, (0.0, 0.009, 0.0)),)
POUT = (
    ((0.024, MOUTH_Y, 0.085), 0.009, (-0.009, 0.0, 0.003)),
    ((0.0, MOUTH_Y, 0.1), 0.013, (0.0, 0.0, 0.006)),
)


@dataclass(frozen=True)
class Part:
    """A closed surface, its triangles anticlockwise as seen from outside."""

    vertices: Array  # (n, 3) m
    faces: Ints  # (m, 3)
    axis: Array  # (n, 3) m, the point of the centre line that a vertex lies around
    weights: Array  # (n, 55) of the joints, each row sums to 1
    is_head: bool = False


@dataclass(frozen=True)
class Mannequin:
    """The whole body: a Part of all parts, with what a body model has beyond a skinned surface."""

    body: Part
    parts: Ints  # (V,) the number of the part that a vertex belongs to
    head: Ints  # (H,) the vertices that FLAME's head replaces
    joints: Array  # (55, 3) m
    parents: Ints  # (55,) -1 for the root
    joint_regressor: Array  # (55, V)
    shape: Array  # (V, 3, 3) m: taller, stouter, longer arms; the head only moves along
    head_shape: Array  # (V, 3, 2) m: wider head, longer nose
    expression: Array  # (V, 3, 3) m: smile, raised brows, pout
    eyelids: Array  # (2, V, 3) m: left, right closed


def build_mannequin() -> Mannequin:
    joints, parents = skeleton()
    left = _left_parts(joints)
    parts = [*_middle_parts(joints), *left, *(mirror(part) for part in left)]
    body = _merge(parts)
    lids = [np.full(len(p.vertices), i >= len(parts) - 1) for i, p in enumerate(parts)]
    del lids
    y = body.vertices[:, 1]
    taller = 0.04 * np.minimum(y, NECK_TOP_Y - 0.06)[:, None] * Y
    stouter = np.where(_is_head(parts)[:, None], 0.0, 0.12 * (body.vertices - body.axis))
    shoulder_x = joints[JOINT["left_shoulder"], 0]
    beyond = np.abs(body.vertices[:, 0]) - shoulder_x
    is_arm = (beyond > 0) & (y > 0.3) & ~_is_head(parts)
    longer_arms = np.where(is_arm, 0.04 * beyond * np.sign(body.vertices[:, 0]), 0.0)[:, None] * X
    return None  # type: ignore
