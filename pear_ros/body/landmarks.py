"""The points of a body that keypoint detectors mark, in the order of COCO-WholeBody.

A point is a weighted sum of joints and vertices. Hips, ears and ankles are where detectors mark
them, which is not where SMPL-X has them; the constants below were measured with MediaPipe's pose on
rendered people. The vertices are found on the body at rest by its
geometry, so any BodyAssets will do: the tip of a finger, for example, is the vertex moved by its
last joint that lies farthest along the bone. Of the 68 points of the face only those that this
finds reliably are available: corners of the eyes, nose, corners of the mouth, chin.

SMPL-X's rest pose is a T-pose: x to the person's left, y up, z forward.

Jin et al., Whole-Body Human Pose Estimation in the Wild, ECCV 2020.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pear_ros.assets.body_assets import BodyAssets
from pear_ros.people import JOINT, NUM_JOINTS, IntArray

Array = NDArray[np.float64]

BODY = slice(0, 17)
FEET = slice(17, 23)
FACE = slice(23, 91)  # iBUG's 68 points, from the person's right to the left
LEFT_HAND = slice(91, 112)
RIGHT_HAND = slice(112, 133)
NUM_LANDMARKS = 133

_BODY_NAMES = ("nose", *(
    f"{side}_{name}"
    for name in ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
    for side in ("left", "right")
))  # fmt: skip
_FOOT_NAMES = ("big_toe", "small_toe", "heel")
FINGERS = ("thumb", "index", "middle", "ring", "pinky")
_HAND_NAMES = ("hand_wrist", *(f"{finger}{i}" for finger in FINGERS for i in (1, 2, 3, 4)))
LANDMARK_NAMES: tuple[str, ...] = (
    *_BODY_NAMES,
    *(f"{side}_{name}" for side in ("left", "right") for name in _FOOT_NAMES),
    *(f"face{i}" for i in range(68)),
    *(f"{side}_{name}" for side in ("left", "right") for name in _HAND_NAMES),
)
"""The 133 points in COCO-WholeBody's order; a finger's fourth point is its tip."""
LANDMARK: dict[str, int] = {name: i for i, name in enumerate(LANDMARK_NAMES)}

# iBUG's points of a mirrored face: rows of points from one side to the other, reversed.
_MIRRORED_FACE = (
    *range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1),
    45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
    *range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), *range(67, 64, -1),
)  # fmt: skip


def _mirrored(name: str) -> str:
    if name.startswith("face"):
        return f"face{_MIRRORED_FACE[int(name[4:])]}"
    side, _, rest = name.partition("_")
    other = {"left": "right_", "right": "left_"}
    return other[side] + rest if side in other else name


MIRRORED = np.array([LANDMARK[_mirrored(name)] for name in LANDMARK_NAMES])  # (133,)
"""`points[MIRRORED]` are the points of a picture's mirror image."""

# Where detectors mark a hip: across, as a share of the way from the middle to the outermost point
# of the body beside the joint; upwards, as a share of the way from the knees to the neck.
HIP_ACROSS, HIP_UP = 0.5, 0.437
EAR_ACROSS = 0.7  # share of the way from the middle of the head to the ear: where the face begins
ANKLE_UP = 0.06  # share of the way from the ankle to the knee


@dataclass(frozen=True, eq=False)
class Landmarks:
    """The 133 points of a body as weighted sums of its joints and of K vertices."""

    available: NDArray[np.bool_]  # (133,)
    vertex_ids: IntArray  # (K,) of the vertices, for BodyModel(assets, vertex_ids=...)
    from_joints: Tensor  # (133, 55) weights
    from_vertices: Tensor  # (133, K) weights

    @staticmethod
    def of(assets: BodyAssets) -> Landmarks:
        """Finds the points on the body of `assets`; those it does not find are not available."""
        return _combined(_Finder(assets).points())

    def __call__(self, joints: Tensor, vertices: Tensor) -> Tensor:
        """The points of N posed bodies; those that are not available are zeros.

        Args:
            joints: (N, 55, 3) m.
            vertices: (N, K, 3) m, the vertices `vertex_ids` of the same bodies.

        Returns:
            (N, 133, 3) m.
        """
        return self.from_joints @ joints + self.from_vertices @ vertices  # (N, 133, 3)

    def to(self, device: torch.device) -> Landmarks:
        """The same points on `device`."""
        weights = self.from_joints.to(device), self.from_vertices.to(device)
        return Landmarks(self.available, self.vertex_ids, *weights)


@dataclass(frozen=True)
class _Point:
    """A weighted sum."""

    joints: Mapping[str, float]
    vertices: Mapping[int, float]


def _joint(name: str) -> _Point:
    return _Point({name: 1.0}, {})


def _mean(vertices: Iterable[int]) -> _Point:
    ids = list(vertices)
    return _Point({}, {int(i): 1 / len(ids) for i in ids})


def _between(a: _Point, b: _Point, share: float) -> _Point:
    """The point on the line from `a` to `b`, both made of vertices only."""
    weights = {vertex: (1 - share) * weight for vertex, weight in a.vertices.items()}
    for vertex, weight in b.vertices.items():
        weights[vertex] = weights.get(vertex, 0.0) + share * weight
    return _Point({}, weights)


def _combined(points: Mapping[str, _Point]) -> Landmarks:
    used = sorted({i for point in points.values() for i in point.vertices})
    column = {vertex: k for k, vertex in enumerate(used)}
    from_joints = torch.zeros(NUM_LANDMARKS, NUM_JOINTS)
    from_vertices = torch.zeros(NUM_LANDMARKS, len(used))
    for name, point in points.items():
        for joint, weight in point.joints.items():
            from_joints[LANDMARK[name], JOINT[joint]] = weight
        for vertex, weight in point.vertices.items():
            from_vertices[LANDMARK[name], column[vertex]] = weight
    available = np.array([name in points for name in LANDMARK_NAMES])
    return Landmarks(available, np.array(used, np.int64), from_joints, from_vertices)


class _Finder:
    """Finds the points on a body at rest; distances on the head are in distances of the eyes."""

    def __init__(self, assets: BodyAssets) -> None:
        self._rest: Array = assets.body_template.astype(np.float64)
        self._joints: Array = assets.body_joint_regressor.astype(np.float64) @ self._rest
        self._mover = assets.body_weights.argmax(1)  # (V,) the joint with the largest weight
        self._jaw_weight = assets.body_weights[:, JOINT["jaw"]]  # (V,)

    def points(self) -> dict[str, _Point]:
        found: dict[str, _Point | None] = dict(self._face())
        for side in ("left", "right"):
            for name in ("shoulder", "elbow", "wrist", "knee"):
                found[f"{side}_{name}"] = _joint(f"{side}_{name}")
            found[f"{side}_ankle"] = _Point(
                {f"{side}_ankle": 1 - ANKLE_UP, f"{side}_knee": ANKLE_UP}, {}
            )
            found[f"{side}_hip"] = self._hip(side)
            found |= self._foot(side)
            found[f"{side}_hand_wrist"] = _joint(f"{side}_wrist")
            for finger in FINGERS:
                for i in (1, 2, 3):
                    found[f"{side}_{finger}{i}"] = _joint(f"{side}_{finger}{i}")
                found[f"{side}_{finger}4"] = self._fingertip(f"{side}_{finger}")
        return {name: point for name, point in found.items() if point is not None}

    def _at(self, joint: str) -> Array:
        return self._joints[JOINT[joint]]

    def _moved_by(self, *joints: str) -> IntArray:
        """Vertices whose largest weight is that of one of these joints."""
        return np.flatnonzero(np.isin(self._mover, [JOINT[name] for name in joints]))

    def _farthest(self, vertices: IntArray, direction: Array) -> _Point | None:
        if not len(vertices):
            return None
        return _mean([vertices[(self._rest[vertices] @ direction).argmax()]])

    def _fingertip(self, finger: str) -> _Point | None:
        along = self._at(f"{finger}3") - self._at(f"{finger}2")
        return self._farthest(self._moved_by(f"{finger}3"), along)

    def _hip(self, side: str) -> _Point:
        name = f"{side}_hip"
        at, knee = self._at(name), self._at(f"{side}_knee")
        sign = np.sign(at[0]) or 1.0
        trunk = self._moved_by(name, "pelvis")
        outward = sign * self._rest[trunk, 0]
        beside = (np.abs(self._rest[trunk, 1] - at[1]) < 0.02) & (outward > sign * at[0])
        if not beside.any():
            return _joint(name)
        vertex = trunk[beside][outward[beside].argmax()]
        inner, outer = sign * at[0], sign * self._rest[vertex, 0]
        across = float(np.clip((HIP_ACROSS * outer - inner) / (outer - inner), -0.5, 1))
        # Upwards along the lowest bone of the spine, so that the point moves with the trunk.
        rise = knee[1] + HIP_UP * (self._at("neck")[1] - knee[1]) - at[1]
        spine = float(self._at("spine1")[1] - self._at("pelvis")[1])
        up = float(np.clip(rise / spine, -1, 1)) if spine > 0.01 else 0.0
        joints = {name: 1 - across, "spine1": up, "pelvis": -up}
        return _Point(joints, {int(vertex): across})

    def _foot(self, side: str) -> dict[str, _Point | None]:
        foot = self._moved_by(f"{side}_ankle", f"{side}_foot")
        if not len(foot):
            return {}
        place = self._rest[foot]
        outward = place[:, 0] * (1 if side == "left" else -1)
        low, high = outward.min(), outward.max()
        across = (outward - low) / max(high - low, 1e-6)  # 0 at the inner side
        is_front = place[:, 2] > self._at(f"{side}_foot")[2]
        is_sole = place[:, 1] < place[:, 1].min() + 0.03
        return {
            f"{side}_big_toe": self._farthest(foot[is_front & (across < 0.5)], _FORWARD),
            f"{side}_small_toe": self._farthest(foot[is_front & (across > 0.8)], _FORWARD),
            f"{side}_heel": self._farthest(foot[is_sole], -_FORWARD),
        }

    def _face(self) -> dict[str, _Point | None]:
        head = self._moved_by("head", "jaw", "left_eye", "right_eye")
        eyes = (self._at("left_eye") + self._at("right_eye")) / 2
        unit = float(np.linalg.norm(self._at("left_eye") - self._at("right_eye")))
        if not len(head) or unit < 0.01:
            return {}
        place = (self._rest[head] - eyes) / unit  # (H, 3)
        found: dict[str, _Point | None] = {}
        ears = {
            "left": self._ear(head, place[:, 0], place[:, 1]),
            "right": self._ear(head, -place[:, 0], place[:, 1]),
        }
        for side, other in (("left", "right"), ("right", "left")):
            found[f"{side}_ear"] = _between(ears[other], ears[side], (1 + EAR_ACROSS) / 2)
            found[f"{side}_eye"] = self._farthest(self._moved_by(f"{side}_eye"), _FORWARD)
            found[f"{side}_eye"] = found[f"{side}_eye"] or _joint(f"{side}_eye")
        found |= self._eye_corners(head, place)

        is_middle = np.abs(place[:, 0]) < 0.12
        below = is_middle & (place[:, 1] < -0.15) & (place[:, 1] > -1.2)
        tip = self._farthest(head[below], _FORWARD)
        if tip is None:
            return found
        found["nose"] = found["face30"] = tip
        (tip_id,) = tip.vertices
        tip_height = float((self._rest[tip_id] - eyes)[1] / unit)
        for i, share in ((27, 0.0), (28, 1 / 3), (29, 2 / 3)):  # the bridge of the nose
            level = np.abs(place[:, 1] - share * tip_height) < 0.1
            found[f"face{i}"] = self._farthest(head[is_middle & level], _FORWARD)
        return found | self._mouth_and_chin(head, place)

    def _ear(self, head: IntArray, outward: Array, up: Array) -> _Point:
        """The ear sticks out of the head beside and below the eye."""
        outward = np.where((up > -0.9) & (up < 0.3), outward, 0)
        return _mean(head[outward > 0.93 * outward.max()])

    def _eye_corners(self, head: IntArray, place: Array) -> dict[str, _Point | None]:
        """The corners of adults' eyes are 0.24 distances of the eyes beside their middles."""
        found: dict[str, _Point | None] = {}
        skin = np.flatnonzero((self._mover[head] == JOINT["head"]) & (place[:, 2] > 0))
        for number, across in ((36, -0.74), (39, -0.26), (42, 0.26), (45, 0.74)):
            distance = np.hypot(place[skin, 0] - across, place[skin, 1])
            if distance.min(initial=np.inf) < 0.15:
                found[f"face{number}"] = _mean([head[skin[distance.argmin()]]])
        return found

    def _mouth_and_chin(self, head: IntArray, place: Array) -> dict[str, _Point | None]:
        """The mouth is where the face that follows the jaw meets the face that does not."""
        jaw = self._jaw_weight[head]
        front = place[:, 2] > 0
        upper, lower = np.flatnonzero(front & (jaw < 0.3)), np.flatnonzero(front & (jaw > 0.7))
        if not len(upper) or not len(lower):
            return {}
        gap = np.linalg.norm(place[upper][:, None] - place[lower], axis=-1)
        lips = np.concatenate((upper[gap.min(1) < 0.1], lower[gap.min(0) < 0.1]))
        if not len(lips):
            return {}
        sideways = place[lips, 0]
        at_seam = place[lips, 1]
        chin = front & (np.abs(place[:, 0]) < 0.12) & (place[:, 1] < at_seam.min())
        return {
            "face48": _mean([head[lips[sideways.argmin()]]]),
            "face54": _mean([head[lips[sideways.argmax()]]]),
            "face8": self._farthest(head[chin], np.array((0.0, -1.0, 1.0))),
        }


_FORWARD = np.array((0.0, 0.0, 1.0))
