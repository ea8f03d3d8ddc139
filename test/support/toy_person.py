"""A body in SMPL-X's rest pose made of few points: joints with a cross of vertices around each.

It has the topology of no published body, and everything that is recognised by its place: tips of
fingers and toes, heels, eyes, nose, ears, lips and chin.
"""

from __future__ import annotations

import numpy as np
from make_assets import FLAME_PARENTS, SMPLX_PARENTS

from pear_ros.assets.body_assets import BodyAssets, checked
from pear_ros.people import JOINT, JOINT_NAMES

LEFT = {
    "hip": (0.06, -0.09, 0.0), "knee": (0.1, -0.47, 0.0), "ankle": (0.09, -0.88, -0.03),
    "foot": (0.11, -0.94, 0.09), "collar": (0.05, 0.42, 0.0), "shoulder": (0.17, 0.45, -0.02),
    "elbow": (0.43, 0.44, -0.03), "wrist": (0.69, 0.44, -0.03), "eye": (0.032, 0.62, 0.07),
}  # fmt: skip
MIDDLE = {
    "pelvis": (0.0, 0.0, 0.0), "spine1": (0.0, 0.11, -0.01), "spine2": (0.0, 0.25, -0.01),
    "spine3": (0.0, 0.31, 0.01), "neck": (0.0, 0.47, -0.02), "head": (0.0, 0.55, 0.0),
    "jaw": (0.0, 0.57, 0.02),
}  # fmt: skip
FINGER_Z = {"index": 0.03, "middle": 0.0, "ring": -0.02, "pinky": -0.04}

# Vertices of the left half: the joint that moves them, and their place. Those with x = 0 are not
# mirrored.
FEATURES = [
    ("left_eye", (0.032, 0.62, 0.085)), ("head", (0.08, 0.61, 0.0)), ("head", (0.0, 0.75, 0.0)),
    ("head", (0.0, 0.62, 0.09)), ("head", (0.0, 0.607, 0.1)), ("head", (0.0, 0.593, 0.11)),
    ("head", (0.0, 0.58, 0.12)),  # bridge and tip of the nose
    ("head", (0.046, 0.62, 0.074)), ("head", (0.018, 0.62, 0.074)),  # corners of the eye
    ("head", (0.025, 0.552, 0.085)), ("jaw", (0.025, 0.548, 0.085)),  # lips
    ("head", (0.0, 0.552, 0.1)), ("jaw", (0.0, 0.546, 0.1)), ("jaw", (0.0, 0.51, 0.09)),  # chin
    ("left_foot", (0.08, -0.97, 0.17)), ("left_foot", (0.14, -0.97, 0.14)),  # toes
    ("left_ankle", (0.09, -0.97, -0.09)), ("left_hip", (0.17, -0.09, 0.0)),
]  # fmt: skip


def toy_person() -> BodyAssets:
    """The body; its head is the vertices that move with head, jaw and eyes."""
    places = _joints()
    owners, vertices = [], []
    for name, place in places.items():
        for offset in 0.01 * np.concatenate((np.eye(3), -np.eye(3))):
            owners.append(JOINT[name])
            vertices.append(place + offset)
    for side, sign in (("left", 1), ("right", -1)):
        for name, place in FEATURES:
            if side == "right" and place[0] == 0:
                continue
            owners.append(JOINT[name.replace("left", side)])
            vertices.append(np.multiply(place, (sign, 1, 1)))
        for finger in ("index", "middle", "ring", "pinky", "thumb"):
            tip = places[f"{side}_{finger}3"] + (0.022 * sign, 0, 0)
            owners.append(JOINT[f"{side}_{finger}3"])
            vertices.append(tip)
    return _assets(np.array(vertices, np.float32), np.array(owners))


def _joints() -> dict[str, np.ndarray]:
    places = {name: np.array(place) for name, place in MIDDLE.items()}
    for side, sign in (("left", 1), ("right", -1)):
        for name, (x, y, z) in LEFT.items():
            places[f"{side}_{name}"] = np.array((sign * x, y, z))
        for i in (1, 2, 3):
            for finger, z in FINGER_Z.items():
                x = 0.69 + 0.09 + 0.025 * (i - 1)
                places[f"{side}_{finger}{i}"] = np.array((sign * x, 0.44, z))
            x = 0.69 + 0.02 + 0.028 * (i - 1)
            places[f"{side}_thumb{i}"] = np.array((sign * x, 0.42, 0.03 + 0.015 * i))
    return {name: places[name] for name in JOINT_NAMES}


def _assets(vertices: np.ndarray, owners: np.ndarray) -> BodyAssets:
    count = len(vertices)
    head = np.flatnonzero(
        np.isin(owners, [JOINT[n] for n in ("head", "jaw", "left_eye", "right_eye")])
    )
    size = len(head)
    of_head = {JOINT["head"]: 1, JOINT["jaw"]: 2, JOINT["left_eye"]: 3, JOINT["right_eye"]: 4}
    head_owners = np.array([of_head[owner] for owner in owners[head]])
    # The first six vertices of each joint are the cross around it.
    regressor = np.zeros((55, count), np.float32)
    for joint in range(55):
        regressor[joint, np.flatnonzero(owners == joint)[:6]] = 1 / 6
    head_regressor = np.zeros((5, size), np.float32)
    for joint, owner in ((0, 1), (1, 1), (2, 2), (3, 3), (4, 4)):
        head_regressor[joint, np.flatnonzero(head_owners == owner)[:6]] = 1 / 6
    faces = np.zeros((1, 3), np.int32)
    arrays = {
        "body_template": vertices,
        "body_faces": faces,
        "body_shapedirs": np.zeros((count, 3, 200), np.float32),
        "body_expressiondirs": np.zeros((count, 3, 50), np.float32),
        "body_posedirs": np.zeros((count, 3, 9 * 54), np.float32),
        "body_joint_regressor": regressor,
        "body_weights": np.eye(55, dtype=np.float32)[owners],
        "body_parents": np.array(SMPLX_PARENTS),
        "head_template": vertices[head],
        "head_faces": faces,
        "head_shapedirs": np.zeros((size, 3, 300), np.float32),
        "head_expressiondirs": np.zeros((size, 3, 50), np.float32),
        "head_posedirs": np.zeros((size, 3, 36), np.float32),
        "head_joint_regressor": head_regressor,
        "head_weights": np.eye(5, dtype=np.float32)[head_owners],
        "head_parents": np.array(FLAME_PARENTS),
        "head_vertex_ids": head.astype(np.int64),
        "head_is_pasted": np.ones(size, bool),
        "left_eyelid": np.zeros((size, 3), np.float32),
        "right_eyelid": np.zeros((size, 3), np.float32),
    }
    return checked(arrays)
