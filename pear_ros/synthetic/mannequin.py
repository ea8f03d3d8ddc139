"""A mannequin of simple shapes: what a body model needs, with none of SMPL-X's or FLAME's data.

Rest pose as SMPL-X's: a T, x to the person's left, y up, z forward; metres, the pelvis at zero.
Every part is a closed tube of elliptic rings around a line. Parts overlap; where two meet at a
joint they share its skinning weights, so that no gap opens when the joint bends.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import PchipInterpolator

from pear_ros.people import JOINT, JOINT_NAMES, NUM_JOINTS

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
Vector = tuple[float, float, float]
Bumps = Sequence[tuple[Vector, float, Vector]]
X, Y, Z = np.eye(3)

# Joint: parent, place. Left and middle; the right side is the mirror image.
SKELETON: dict[str, tuple[str, Vector]] = {
    "pelvis": ("", (0, 0, 0)),
    "left_hip": ("pelvis", (0.09, -0.06, 0)),
    "left_knee": ("left_hip", (0.1, -0.47, 0.01)),
    "left_ankle": ("left_knee", (0.1, -0.855, -0.02)),
    "left_foot": ("left_ankle", (0.112, -0.905, 0.09)),
    "spine1": ("pelvis", (0, 0.1, -0.01)),
    "spine2": ("spine1", (0, 0.22, -0.01)),
    "spine3": ("spine2", (0, 0.3, 0)),
    "neck": ("spine3", (0, 0.475, -0.015)),
    "head": ("neck", (0, 0.56, 0)),
    "jaw": ("head", (0, 0.61, 0.015)),
    "left_eye": ("head", (0.032, 0.655, 0.0735)),
    "left_collar": ("spine3", (0.05, 0.41, -0.01)),
    "left_shoulder": ("left_collar", (0.165, 0.4, -0.015)),
    "left_elbow": ("left_shoulder", (0.43, 0.4, -0.025)),
    "left_wrist": ("left_elbow", (0.675, 0.4, -0.015)),
}
# Finger: first joint seen from the wrist, direction, lengths of its bones, radius at the base.
FINGERS: dict[str, tuple[Vector, Vector, Vector, float]] = {
    "index": ((0.092, 0.001, 0.027), (1, -0.04, 0.1), (0.038, 0.024, 0.021), 0.0095),
    "middle": ((0.095, 0.002, 0.006), (1, -0.04, 0.02), (0.042, 0.027, 0.022), 0.0097),
    "pinky": ((0.08, -0.002, -0.034), (1, -0.04, -0.16), (0.029, 0.019, 0.018), 0.008),
    "ring": ((0.09, 0.001, -0.015), (1, -0.04, -0.06), (0.039, 0.025, 0.021), 0.0092),
    "thumb": ((0.024, -0.006, 0.024), (0.7, -0.2, 0.68), (0.045, 0.03, 0.024), 0.0135),
}
FINGER_TIP_RADIUS = 0.72  # of the radius at the base

REGRESSED = 32  # vertices that give most of a joint
SOLE_Y, NECK_Y, MOUTH_Y, BROW_Y = -0.93, 0.44, 0.588, 0.683
EYE_RADIUS = 0.0125
EYELIDS = ("left_eyelid", "right_eyelid")
EYELID_OPEN = np.array([0, 0.0075, -0.002])  # from closed, where it lies around the eye
# Neck and skull from below: y, centre's z, half width, half depth.
SKULL = (
    (NECK_Y, -0.02, 0.058, 0.055), (0.5, -0.0165, 0.049, 0.0515), (0.535, -0.009, 0.047, 0.059),
    (0.552, 0.01, 0.045, 0.08), (0.575, 0.011, 0.056, 0.086), (0.61, 0.006, 0.067, 0.091),
    (0.66, 0.0015, 0.074, 0.0965), (0.69, -0.002, 0.077, 0.099), (0.73, -0.004, 0.067, 0.086),
    (0.75, -0.004, 0.051, 0.066), (0.763, -0.004, 0.032, 0.041), (0.7685, -0.004, 0.015, 0.019),
)  # fmt: skip
# Gaussian bumps: centre, radius, displacement; the right side is the mirror image.
FACE: Bumps = (
    ((0.033, 0.655, 0.09), 0.014, (0, 0, -0.012)),  # eye socket
    ((0.045, 0.625, 0.08), 0.016, (0.003, 0, 0.005)),  # cheek
    ((0, 0.56, 0.095), 0.013, (0, 0, 0.006)),  # chin
)
EXPRESSIONS: tuple[Bumps, ...] = (
    (  # smile
        ((0.024, MOUTH_Y, 0.085), 0.011, (0.006, 0.009, -0.003)),
        ((0.045, 0.615, 0.08), 0.014, (0.001, 0.004, 0.003)),
    ),
    (  # brows up
        ((0.02, BROW_Y + 0.008, 0.09), 0.012, (0, 0.006, 0)),
        ((0.045, BROW_Y + 0.008, 0.085), 0.012, (0, 0.006, 0)),
    ),
    (  # pout
        ((0.024, MOUTH_Y, 0.085), 0.009, (-0.009, 0, 0.003)),
        ((0, MOUTH_Y, 0.1), 0.013, (0, 0, 0.006)),
    ),
)


@dataclass(frozen=True)
class Part:
    """A closed surface, its triangles anticlockwise as seen from outside."""

    name: str
    vertices: Array  # (n, 3) m
    faces: Ints  # (m, 3)
    axis: Array  # (n, 3) m, the point of the centre line that a vertex lies around
    weights: Array  # (n, 55) of the joints, each row sums to 1
    is_head: bool = False  # a part of what FLAME's head replaces


@dataclass(frozen=True)
class Mannequin:
    """All parts as one mesh of V vertices, and the directions in which its shape varies."""

    names: tuple[str, ...]  # of the parts
    part: Ints  # (V,) the number of a vertex's part
    vertices: Array  # (V, 3) m
    faces: Ints  # (F, 3)
    weights: Array  # (V, 55)
    joints: Array  # (55, 3) m
    parents: Ints  # (55,) -1 for the root
    head: Ints  # (H,) the vertices that FLAME's head replaces
    shape: Array  # (V, 3, 3) m: taller, stouter, longer arms; the head only moves along
    head_shape: Array  # (V, 3, 2) m: wider head, deeper head
    expression: Array  # (V, 3, 3) m: smile, raised brows, pout
    eyelids: Array  # (2, V, 3) m: from open to closed, left and right


def build_mannequin() -> Mannequin:
    joints, parents = skeleton()
    left = _left_parts(joints)
    parts = [*_middle_parts(joints), *left, *(mirrored(part) for part in left)]
    counts = [len(part.vertices) for part in parts]
    starts = np.cumsum([0, *counts[:-1]])
    names = tuple(part.name for part in parts)
    part = np.repeat(np.arange(len(parts)), counts)
    vertices = np.concatenate([p.vertices for p in parts])
    is_head = np.repeat([p.is_head for p in parts], counts)
    around = vertices - np.concatenate([p.axis for p in parts])
    return Mannequin(
        names=names,
        part=part,
        vertices=vertices,
        faces=np.concatenate([p.faces + start for p, start in zip(parts, starts, strict=True)]),
        weights=np.concatenate([p.weights for p in parts]),
        joints=joints,
        parents=parents,
        head=np.flatnonzero(is_head),
        shape=_shape(vertices, around, is_head, joints[JOINT["left_shoulder"], 0]),
        head_shape=_head_shape(vertices, is_head, joints[JOINT["head"]]),
        expression=np.stack([is_head[:, None] * _bumps(vertices, b) for b in EXPRESSIONS], -1),
        eyelids=np.stack([-EYELID_OPEN * (part == names.index(name))[:, None] for name in EYELIDS]),
    )


def skeleton() -> tuple[Array, Ints]:
    """Places (55, 3) m and parents (55,) of the joints in SMPL-X's order."""
    bones = dict(SKELETON)
    wrist = np.array(SKELETON["left_wrist"][1])
    for finger, (base, direction, lengths, _) in FINGERS.items():
        reach = np.cumsum([0.0, *lengths[:2]])[:, None]
        places = wrist + base + reach * _unit(direction)
        chain = ["left_wrist", *(f"left_{finger}{i}" for i in (1, 2, 3))]
        for parent, name, (x, y, z) in zip(chain, chain[1:], places, strict=False):
            bones[name] = parent, (x, y, z)
    for name, (parent, (x, y, z)) in list(bones.items()):
        if name.startswith("left_"):
            bones[_other_side(name)] = _other_side(parent), (-x, y, z)
    parents = [JOINT.get(bones[name][0], -1) for name in JOINT_NAMES]
    return np.array([bones[name][1] for name in JOINT_NAMES], float), np.array(parents)


def regressor(vertices: Array, weights: Array, joints: Array, parents: Ints) -> Array:
    """(J, V), sparse: each joint as a weighted mean of the vertices around it, to rounding exact.

    Of all weights that hit the joint, those nearest to a bump around it, over vertices that
    the joint or its parent moves.
    """
    rows = np.zeros((len(joints), len(vertices)))
    for j, row in enumerate(rows):
        near = weights[:, j] + (0.2 * weights[:, parents[j]] if parents[j] >= 0 else 0)
        distance = np.linalg.norm(vertices - joints[j], axis=1)
        radius = 1.15 * np.sort(distance[near > 0])[REGRESSED]
        near = near * np.maximum(1 - (distance / radius) ** 2, 0)
        homogeneous = np.concatenate([vertices - joints[j], np.ones((len(vertices), 1))], 1)
        moments = homogeneous.T @ (near[:, None] * homogeneous)  # (4, 4)
        row[:] = near * (homogeneous @ np.linalg.solve(moments, [0, 0, 0, 1]))
    return rows


def mirrored(part: Part) -> Part:
    """The same part on the other side of the body."""
    flip = np.array([-1, 1, 1])
    return dataclasses.replace(
        part,
        name=_other_side(part.name),
        vertices=part.vertices * flip,
        faces=part.faces[:, ::-1],
        axis=part.axis * flip,
        weights=part.weights[:, [JOINT[_other_side(name)] for name in JOINT_NAMES]],
    )


def signed_volume(vertices: Array, faces: Ints) -> float:
    """m^3; positive where the triangles are anticlockwise as seen from outside."""
    a, b, c = np.moveaxis(vertices[faces], 1, 0)
    return float(np.einsum("fi,fi->", a, np.cross(b, c)) / 6)


def _other_side(name: str) -> str:
    side, _, rest = name.partition("_")
    return {"left": f"right_{rest}", "right": f"left_{rest}"}.get(side, name)


def _unit(v: ArrayLike) -> Array:
    array = np.asarray(v, float)
    return array / np.linalg.norm(array, axis=-1, keepdims=True)


def _smooth(x: Array) -> Array:
    """From 0 at -0.5 to 1 at 0.5."""
    x = np.clip(x + 0.5, 0, 1)
    return x * x * (3 - 2 * x)


def _bumps(vertices: Array, bumps: Bumps) -> Array:
    """(V, 3) displacements, mirrored on the right."""
    across = vertices[:, 0]
    folded = np.column_stack([np.abs(across), vertices[:, 1:]])
    moved = np.zeros_like(vertices)
    for centre, radius, move in bumps:
        distance = np.linalg.norm(folded - centre, axis=1) / radius
        moved += np.outer(np.exp(-0.5 * distance**2), move)
    moved[:, 0] *= np.clip(across / 0.01, -1, 1)  # no step in the middle
    return moved


def _shape(vertices: Array, around: Array, is_head: NDArray[np.bool_], shoulder: float) -> Array:
    x, y, _ = vertices.T
    taller = 0.04 * np.minimum(y, NECK_Y)[:, None] * Y
    stouter = np.where(is_head[:, None], 0.0, 0.12 * around)
    beyond = np.maximum(np.abs(x) - shoulder, 0) * (y > 0.3) * ~is_head
    longer_arms = (0.04 * np.sign(x) * beyond)[:, None] * X
    return np.stack([taller, stouter, longer_arms], -1)


def _head_shape(vertices: Array, is_head: NDArray[np.bool_], centre: Array) -> Array:
    above = is_head * _smooth((vertices[:, 1] - centre[1]) / 0.08)
    wider, deeper = (np.outer(0.04 * above * ((vertices - centre) @ a), a) for a in (X, Z))
    return np.stack([wider, deeper], -1)


def _surface(centres: Array, radii: Array, poles: Array, u: Array, v: Array, n: int) -> Part:
    """R rings of n vertices and two poles; centres (R, 3), radii (R, 2) along u and v."""
    angle = 2 * np.pi * np.arange(n) / n
    if (u is X) and (v is Z):
        angle = angle + 0.4 * np.cos(angle)  # finer in front
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    rings = centres[:, None] + radii[:, None, :1] * cos * u + radii[:, None, 1:] * sin * v
    count = len(centres) * n
    i = np.arange(count - n)
    right = i - i % n + (i + 1) % n
    first, last = np.arange(n), np.arange(count - n, count)
    after = np.roll(first, -1)
    faces = np.concatenate([
        np.stack([i, right, right + n], 1),
        np.stack([i, right + n, i + n], 1),
        np.stack([np.full(n, count), after, first], 1),
        np.stack([np.full(n, count + 1), last, last[after]], 1),
    ])  # fmt: skip
    vertices = np.concatenate([rings.reshape(-1, 3), poles])
    if signed_volume(vertices - centres.mean(0), faces) < 0:
        faces = faces[:, ::-1]
    axis = np.concatenate([np.repeat(centres, n, axis=0), poles])
    return Part("", vertices, faces, axis, np.zeros((len(vertices), NUM_JOINTS)))


def _tube(stations: ArrayLike, u: Array, v: Array, rings: int, n: int, caps: ArrayLike) -> Part:
    """A smooth tube through stations (x, y, z, radius along u, along v), its ends rounded.

    caps: how far the ends reach beyond the first and the last station, m.
    """
    table = np.asarray(stations, float)
    along = np.append(0, np.cumsum(np.linalg.norm(np.diff(table, axis=0), axis=1)))
    sampled = PchipInterpolator(along, table)(np.linspace(0, along[-1], rings))
    centres, radii = sampled[:, :3], sampled[:, 3:]
    quarter = np.deg2rad([60, 30])
    head, tail = (
        reach * _unit(end - inner)
        for reach, end, inner in zip(
            np.asarray(caps, float), centres[[0, -1]], centres[[1, -2]], strict=True
        )
    )
    first, last = np.sin(quarter)[:, None], np.sin(quarter[::-1])[:, None]
    return _surface(
        np.concatenate([centres[0] + first * head, centres, centres[-1] + last * tail]),
        np.concatenate([
            np.cos(quarter)[:, None] * radii[0], radii, np.cos(quarter[::-1])[:, None] * radii[-1]
        ]),
        np.stack([centres[0] + head, centres[-1] + tail]),
        u, v, n,
    )  # fmt: skip


def _ball(centre: ArrayLike, radii: Vector, n: int = 12) -> Part:
    """An ellipsoid with its poles above and below."""
    angle = np.pi * np.arange(1, n // 2 + 1) / (n // 2 + 1)
    rx, ry, rz = radii
    centres = np.asarray(centre, float) + np.cos(angle)[:, None] * ry * Y
    poles = np.asarray(centre, float) + np.array([[ry], [-ry]]) * Y
    return _surface(centres, np.sin(angle)[:, None] * [rx, rz], poles, X, Z, n)


def _along(vertices: Array, joints: Array, chain: Sequence[str], way: Array, blend: float) -> Array:
    """Skinning weights (V, 55) of a chain of joints that follow each other the given way.

    blend: the length over which a joint takes over from the one before, m.
    """
    ids = [JOINT[name] for name in chain]
    taken = [_smooth((vertices - joints[j]) @ way / blend) for j in ids[1:]]
    share: Array = np.minimum.accumulate(np.stack([np.ones(len(vertices)), *taken]), axis=0)
    weights = np.zeros((len(vertices), NUM_JOINTS))
    weights[:, ids] = -np.diff(share, axis=0, append=0).T
    return weights


def _skinned(
    name: str, part: Part, joints: Array, chain: str, way: Array = Y, blend: float = 0.05
) -> Part:
    weights = _along(part.vertices, joints, chain.split(), way, blend)
    return dataclasses.replace(part, name=name, weights=weights)


def _middle_parts(joints: Array) -> list[Part]:
    torso = _tube(
        [(0, -0.1, 0, 0.115, 0.085), (0, -0.04, 0, 0.16, 0.108), (0, 0.05, 0, 0.145, 0.1),
         (0, 0.13, 0, 0.126, 0.09), (0, 0.25, 0, 0.146, 0.104), (0, 0.35, 0, 0.158, 0.107),
         (0, 0.41, -0.005, 0.145, 0.09), (0, 0.45, -0.012, 0.09, 0.068)],
        X, Z, 18, 24, (0.04, 0.02),
    )  # fmt: skip
    skull = _tube([(0, y, z, rx, rz) for y, z, rx, rz in SKULL], X, Z, 34, 32, (0.02, 0.0015))
    nose = _tube(
        [(0, 0.67, 0.092, 0.006, 0.004), (0, 0.64, 0.096, 0.008, 0.012),
         (0, 0.623, 0.097, 0.0125, 0.022), (0, 0.616, 0.097, 0.013, 0.021)],
        X, Z, 7, 10, (0.004, 0.004),
    )  # fmt: skip
    head = {"skull": skull, "nose": nose, "upper_lip": _lip(0.0036), "lower_lip": _lip(-0.0042)}
    return [
        _skinned("torso", torso, joints, "pelvis spine1 spine2 spine3", blend=0.1),
        *(_on_head(name, part, joints) for name, part in head.items()),
    ]


def _left_parts(joints: Array) -> list[Part]:
    place = {name: joints[j] for name, j in JOINT.items()}
    eye = place["left_eye"]
    open_eyelid = _ball(
        eye + EYELID_OPEN, (EYE_RADIUS + 0.003, EYE_RADIUS + 0.001, EYE_RADIUS + 0.001)
    )
    arm = _tube(
        [(0.12, 0.383, -0.012, 0.052, 0.05), (0.165, 0.393, -0.015, 0.057, 0.053),
         (0.25, 0.4, -0.018, 0.047, 0.046), (0.33, 0.4, -0.021, 0.042, 0.042),
         (0.43, 0.4, -0.025, 0.036, 0.035), (0.49, 0.4, -0.023, 0.038, 0.036),
         (0.6, 0.4, -0.018, 0.029, 0.025), (0.675, 0.4, -0.015, 0.026, 0.019)],
        Z, Y, 16, 14, (0.04, 0.015),
    )  # fmt: skip
    leg = _tube(
        [(0.088, -0.06, -0.004, 0.068, 0.085), (0.089, -0.12, -0.002, 0.08, 0.09),
         (0.093, -0.27, 0.004, 0.072, 0.079), (0.099, -0.42, 0.01, 0.054, 0.059),
         (0.1, -0.47, 0.008, 0.05, 0.055), (0.1, -0.52, -0.002, 0.048, 0.053),
         (0.101, -0.6, -0.014, 0.05, 0.057), (0.1, -0.75, -0.018, 0.036, 0.041),
         (0.1, -0.855, -0.02, 0.031, 0.038)],
        X, Z, 18, 16, (0.06, 0.03),
    )  # fmt: skip
    palm = place["left_wrist"] + np.array(
        [(0.0, 0, 0), (0.025, 0, 0), (0.06, 0, -0.002), (0.088, 0, -0.003)]
    )
    palm_radii = [(0.025, 0.018), (0.031, 0.0185), (0.04, 0.016), (0.041, 0.0125)]
    parts = [
        _skinned("left_arm", arm, joints, "left_collar left_shoulder left_elbow left_wrist", X),
        _skinned(
            "left_shoulder_top",
            _tube(
                [(0, 0.44, -0.014, 0.05, 0.034), (0.08, 0.425, -0.015, 0.05, 0.034),
                 (0.14, 0.405, -0.015, 0.048, 0.04)],
                Z, Y, 6, 14, (0.02, 0.03),
            ),
            joints, "spine3 left_collar", X,
        ),
        _skinned("left_leg", leg, joints, "pelvis left_hip left_knee left_ankle", -Y, 0.06),
        _skinned("left_foot", _foot(), joints, "left_ankle left_foot", Z, 0.04),
        _skinned(
            "left_palm", _tube(np.c_[palm, palm_radii], Z, Y, 6, 14, (0.015, 0.012)),
            joints, "left_elbow left_wrist", X, 0.03,
        ),
        *(_finger(joints, finger) for finger in FINGERS),
        _on_head("left_eye", _ball(eye, (EYE_RADIUS,) * 3), joints),
        _on_head("left_eyelid", open_eyelid, joints),
        _on_head("left_brow", _brow(), joints),
        _on_head("left_ear", _ball((0.078, 0.642, -0.008), (0.008, 0.031, 0.018)), joints),
        _on_head("left_nostril", _ball((0.0115, 0.6195, 0.102), (0.006, 0.0065, 0.009)), joints),
    ]  # fmt: skip
    return parts


def _foot() -> Part:
    foot = _tube(
        [(0.098, -0.9, -0.06, 0.03, 0.034), (0.1, -0.886, -0.02, 0.034, 0.046),
         (0.105, -0.897, 0.04, 0.037, 0.035), (0.112, -0.908, 0.09, 0.043, 0.024),
         (0.113, -0.915, 0.135, 0.036, 0.016)],
        X, Y, 12, 14, (0.022, 0.02),
    )  # fmt: skip
    x, y, z = foot.vertices.T
    return dataclasses.replace(foot, vertices=np.stack([x, np.maximum(y, SOLE_Y), z], 1))


def _finger(joints: Array, finger: str) -> Part:
    _, direction, lengths, radius = FINGERS[finger]
    way = _unit(direction)
    chain = [f"left_{finger}{i}" for i in (1, 2, 3)]
    places = joints[[JOINT[name] for name in chain]]
    places = np.append(places, places[-1:] + (lengths[2] - 0.006) * way, axis=0)
    radii = radius * np.linspace(1, FINGER_TIP_RADIUS, 4)
    side = _unit(np.cross(way, Y))
    tube = _tube(np.c_[places, radii, radii], side, np.cross(side, way), 8, 8, (0.008, 0.006))
    return _skinned(
        f"left_{finger}", tube, joints, " ".join(["left_wrist", *chain]), way, 0.6 * lengths[2]
    )


def _on_head(name: str, part: Part, joints: Array) -> Part:
    """Weights of neck, head, jaw and eyes; the face's bumps, which the eyes do not follow."""
    if name == "left_eye":
        part = _skinned(name, part, joints, name)
        return dataclasses.replace(part, is_head=True)
    part = _skinned(name, part, joints, "spine3 neck head", blend=0.06)
    y, z = part.axis[:, 1], part.vertices[:, 2]  # each lip as a whole, but for its corners
    chin = _smooth((MOUTH_Y - y) / 0.006) * _smooth((z - 0.045) / 0.06)
    chin *= _smooth((y - 0.54) / 0.015) * part.weights[:, JOINT["head"]]
    weights = part.weights + chin[:, None] * np.eye(NUM_JOINTS)[JOINT["jaw"]]
    weights[:, JOINT["head"]] -= chin
    moved = part.vertices + (0 if "eyelid" in name else _bumps(part.vertices, FACE))
    return dataclasses.replace(part, vertices=moved, weights=weights, is_head=True)


def _face_z(x: Array, y: Array) -> Array:
    """Where the front of the skull is, before the bumps."""
    table = np.array(SKULL)
    z, half_width, half_depth = np.moveaxis(PchipInterpolator(table[:, 0], table[:, 1:])(y), -1, 0)
    front: Array = z + half_depth * np.sqrt(1 - (x / half_width) ** 2)
    return front


def _lip(rise: float) -> Part:
    x = np.linspace(-0.024, 0.024, 7)
    bow = 1 - (x / 0.026) ** 2
    y = MOUTH_Y + rise * bow
    radii = np.stack([0.001 + 0.0035 * bow, 0.002 + 0.003 * bow], 1)
    return _tube(np.c_[x, y, _face_z(x, y) - 0.001, radii], Y, Z, 9, 8, (0.001, 0.001))


def _brow() -> Part:
    x = np.linspace(0.014, 0.05, 5)
    y = BROW_Y + 0.004 * np.sin(np.linspace(0.4, 3, 5))
    radii = np.stack([np.linspace(0.0036, 0.002, 5), np.full(5, 0.003)], 1)
    return _tube(np.c_[x, y, _face_z(x, y), radii], Y, Z, 6, 6, (0.002, 0.002))
