"""From MakeHuman's vertices and bones to SMPL-X's joints."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pear_ros.people import JOINT, JOINT_NAMES, NUM_JOINTS
from training.standin.makehuman import MESH_GROUPS, Array, Ints, Mesh, Rig
from training.standin.tpose import diffused

# SMPL-X's joints on the left and in the middle, and the MakeHuman bones that begin there.
BONES = {
    "pelvis": "spine05", "spine1": "spine03", "spine2": "spine02", "spine3": "spine01",
    "neck": "neck01", "head": "head", "jaw": "jaw",
    "left_hip": "upperleg01.L", "left_knee": "lowerleg01.L", "left_ankle": "foot.L",
    "left_foot": "toe2-1.L", "left_collar": "clavicle.L", "left_shoulder": "upperarm01.L",
    "left_elbow": "lowerarm01.L", "left_wrist": "wrist.L", "left_eye": "eye.L",
    **{
        f"left_{finger}{i}": f"finger{number}-{i}.L"
        for number, finger in enumerate(("thumb", "index", "middle", "ring", "pinky"), 1)
        for i in (1, 2, 3)
    },
}  # fmt: skip
# Bones that would fold into their nearest mapped ancestor, but belong elsewhere.
ELSEWHERE = {"root": "pelvis", **{f"toe{i}-1.L": "left_foot" for i in (1, 3, 4, 5)}}

WRIST_ROUNDS = 10  # of diffusion
REGRESSED = 150  # vertices that give a joint, of those that it or its parent moves
REGRESSOR_RIDGE = 1e-6  # m^2 of squared error for squared weight


@dataclass(frozen=True)
class Surface:
    """The vertices that are kept of MakeHuman's, skinned to SMPL-X's joints."""

    ids: Ints  # (V,) of MakeHuman's vertices
    faces: Ints  # (F, 3)
    weights: Array  # (V, 55)
    areas: Array  # (V,) m^2
    is_eye: NDArray[np.bool_]  # (V,) of an eyeball


def bone_of_joints() -> list[str]:
    """The bone that begins at each of SMPL-X's joints, in their order."""
    return [
        BONES[name] if name in BONES else BONES[name.replace("right", "left")][:-1] + "R"
        for name in JOINT_NAMES
    ]


def joint_of_bones(rig: Rig) -> Ints:
    """(B,) SMPL-X's joint that moves each bone: its own or its nearest mapped ancestor's."""
    owners = {bone: j for j, bone in enumerate(bone_of_joints())}
    for bone, joint in ELSEWHERE.items():
        owners[bone] = JOINT[joint]
        owners[bone.replace(".L", ".R")] = JOINT[joint.replace("left", "right")]
    joints = np.zeros(len(rig.names), int)
    for i, (name, parent) in enumerate(zip(rig.names, rig.parents, strict=True)):
        joints[i] = owners.get(name, joints[parent])
    return joints


def surface_of(mesh: Mesh, rig: Rig) -> Surface:
    triangles = np.concatenate([mesh.triangles[name] for name in MESH_GROUPS])
    ids, faces = np.unique(triangles, return_inverse=True)
    weights = np.zeros((len(ids), NUM_JOINTS))
    np.add.at(weights.T, joint_of_bones(rig), rig.weights[ids].T.astype(float))

    # An eye turns as a whole, and nothing turns with it: FLAME's lids have blend shapes.
    eyes = [JOINT["left_eye"], JOINT["right_eye"]]
    weights[:, JOINT["head"]] += weights[:, eyes].sum(1)
    weights[:, eyes] = 0
    is_eye = np.zeros(len(ids), bool)
    for eye, group in zip(eyes, ("helper-l-eye", "helper-r-eye"), strict=True):
        of_eye = np.isin(ids, mesh.triangles[group])
        weights[of_eye] = np.eye(NUM_JOINTS)[eye]
        is_eye |= of_eye
    faces = faces.reshape(-1, 3)
    for side in ("left", "right"):
        weights = _soft_wrist(weights, faces, side)
    areas = _vertex_areas(mesh.vertices[ids], faces)
    return Surface(ids, faces, rounded_shares(weights), areas, is_eye)


def _soft_wrist(weights: Array, faces: Ints, side: str) -> Array:
    """Spread the twist of a hand along the forearm, which has a joint at each end only."""
    pair = [JOINT[f"{side}_elbow"], JOINT[f"{side}_wrist"]]
    total = weights[:, pair].sum(1, keepdims=True)
    share = np.divide(
        weights[:, pair], total, out=np.zeros_like(total.repeat(2, 1)), where=total > 0
    )
    soft = diffused(np.concatenate([share, total > 0], 1), faces, WRIST_ROUNDS)
    weights = weights.copy()
    weights[:, pair] = total * soft[:, :2] / np.maximum(soft[:, 2:], 1e-9)
    return weights


def rounded_shares(weights: Array) -> Array:
    """To 1/256, which compresses; each row still sums to what it did, 1 for the whole body."""
    rounded = np.round(weights * 256) / 256
    rows = np.arange(len(weights))
    rounded[rows, weights.argmax(1)] += np.round(weights.sum(1) * 256) / 256 - rounded.sum(1)
    return rounded


def _vertex_areas(vertices: Array, faces: Ints) -> Array:
    a, b, c = np.moveaxis(vertices[faces], 1, 0)
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2
    areas = np.zeros(len(vertices))
    np.add.at(areas, faces, area[:, None] / 3)
    return areas


def fit_regressor(
    places: Array,  # (N, J, 3)
    vertices: Array,  # (N, V, 3)
    weights: Array,  # (V, J) of skinning
    parents: Ints,
    jaw: int,  # no joint may rest on what this one moves
) -> Array:
    """(J, V): each joint as a weighted sum of vertices around it, for people of every shape.

    Of all rows that sum to 1 the one of least error and small weights.
    """
    rows = np.zeros((places.shape[1], vertices.shape[1]))
    middle = vertices.mean(0)
    for j, row in enumerate(rows):
        near = weights[:, j] + (weights[:, parents[j]] if parents[j] >= 0 else 0)
        allowed = (near > 0.3) & (weights[:, jaw] < 0.02)
        distance = np.where(allowed, np.linalg.norm(middle - places[:, j].mean(0), axis=1), np.inf)
        ids = _spread(middle, np.argsort(distance)[: allowed.sum()])
        offsets = (vertices[:, ids] - places[:, j, None]).transpose(0, 2, 1).reshape(-1, len(ids))
        gram = offsets.T @ offsets / len(places) + REGRESSOR_RIDGE * np.eye(len(ids))
        share = np.linalg.solve(gram, np.ones(len(ids)))
        row[ids] = share / share.sum()
    return rows


def _spread(vertices: Array, candidates: Ints) -> Ints:
    """REGRESSED of the candidates, each the farthest from those before."""
    chosen = [int(candidates[0])]
    distance = np.full(len(candidates), np.inf)
    while len(chosen) < min(REGRESSED, len(candidates)):
        step = np.linalg.norm(vertices[candidates] - vertices[chosen[-1]], axis=1)
        distance = np.minimum(distance, step)
        chosen.append(int(candidates[distance.argmax()]))
    return np.array(chosen)


def touching(faces: Ints, chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(V,) of a triangle with a chosen vertex."""
    touched = np.zeros(len(chosen), bool)
    touched[faces[chosen[faces].any(1)]] = True
    return touched


def calm_near(surface: Surface, fixed: NDArray[np.bool_], rings: int) -> Array:
    """(V,) from 0 at the fixed vertices smoothly to 1, so many edges away."""
    steps = np.full(len(fixed), rings)
    reached = fixed.copy()
    for step in range(rings):
        steps[reached] = np.minimum(steps[reached], step)
        reached |= touching(surface.faces, reached)
    x = steps / rings
    return x * x * (3 - 2 * x)
