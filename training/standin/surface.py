"""Converts MakeHuman's mesh and bones to a surface that is skinned to SMPL-X's joints."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pear_ros.people import JOINT, JOINT_NAMES, NUM_JOINTS
from training.standin.makehuman import MESH_GROUPS, Array, Ints, Mesh, Rig
from training.standin.tpose import diffused

# SMPL-X's joints in the middle and on the left, and the MakeHuman bones that begin there.
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
# Bones that do not belong to the joint of their nearest mapped ancestor.
EXCEPTIONS = {"root": "pelvis", **{f"toe{i}-1.L": "left_foot" for i in (1, 3, 4, 5)}}

WRIST_ROUNDS = 10  # of diffusion
REGRESSED = 150  # vertices from which a joint is regressed
REGRESSOR_RIDGE = 1e-6  # m^2, weight of the squared regressor in the least squares


@dataclass(frozen=True)
class Surface:
    """The vertices of MakeHuman that are used, skinned to SMPL-X's joints."""

    ids: Ints  # (V,) of MakeHuman's vertices
    faces: Ints  # (F, 3)
    weights: Array  # (V, 55)
    areas: Array  # (V,) m^2, of the surface around each vertex
    is_eye: NDArray[np.bool_]  # (V,) of an eyeball


def bone_of_joints() -> list[str]:
    """The names of the bones that begin at SMPL-X's joints, in the order of the joints."""
    return [
        BONES[name] if name in BONES else BONES[name.replace("right", "left")][:-1] + "R"
        for name in JOINT_NAMES
    ]


def joint_of_bones(rig: Rig) -> Ints:
    """(B,) the SMPL-X joint of each bone: its own or that of the nearest mapped ancestor."""
    owners = {bone: j for j, bone in enumerate(bone_of_joints())}
    for bone, joint in EXCEPTIONS.items():
        owners[bone] = JOINT[joint]
        owners[bone.replace(".L", ".R")] = JOINT[joint.replace("left", "right")]
    joints = np.zeros(len(rig.names), int)
    for i, (name, parent) in enumerate(zip(rig.names, rig.parents, strict=True)):
        joints[i] = owners.get(name, joints[parent])
    return joints


def surface_of(mesh: Mesh, rig: Rig) -> Surface:
    """Skins the mesh to SMPL-X's joints."""
    triangles = np.concatenate([mesh.triangles[name] for name in MESH_GROUPS])
    ids, faces = np.unique(triangles, return_inverse=True)
    weights = np.zeros((len(ids), NUM_JOINTS))
    np.add.at(weights.T, joint_of_bones(rig), rig.weights[ids].T.astype(float))

    # An eyeball rotates rigidly, and nothing else moves with it: eyelids have blend shapes.
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
    """Spreads the twist of a hand along the forearm, which has joints only at its ends."""
    pair = [JOINT[f"{side}_elbow"], JOINT[f"{side}_wrist"]]
    total = weights[:, pair].sum(1, keepdims=True)
    share = np.divide(
        weights[:, pair], total, out=np.zeros_like(total.repeat(2, 1)), where=total > 0
    )
    smooth = diffused(np.concatenate([share, total > 0], 1), faces, WRIST_ROUNDS)
    weights = weights.copy()
    weights[:, pair] = total * smooth[:, :2] / np.maximum(smooth[:, 2:], 1e-9)
    return weights


def rounded_shares(weights: Array) -> Array:
    """Rounds weights (V, J) to multiples of 1/256, which compress well.

    The sum of each row is kept, up to this rounding.
    """
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
    places: Array,  # (N, J, 3) m, joints
    vertices: Array,  # (N, V, 3) m
    weights: Array,  # (V, J) of skinning
    parents: Ints,  # (J,)
    jaw: int,  # vertices that this joint moves are not used
) -> Array:
    """Fits a joint regressor (J, V) to N people.

    Each joint is a weighted sum of nearby vertices that it or its parent moves. A row sums to 1 and
    minimises the squared error plus a ridge term.
    """
    rows = np.zeros((places.shape[1], vertices.shape[1]))
    mean = vertices.mean(0)
    for j, row in enumerate(rows):
        near = weights[:, j] + (weights[:, parents[j]] if parents[j] >= 0 else 0)
        allowed = (near > 0.3) & (weights[:, jaw] < 0.02)
        distance = np.where(allowed, np.linalg.norm(mean - places[:, j].mean(0), axis=1), np.inf)
        ids = _farthest(mean, np.argsort(distance)[: allowed.sum()])
        offsets = (vertices[:, ids] - places[:, j, None]).transpose(0, 2, 1).reshape(-1, len(ids))
        gram = offsets.T @ offsets / len(places) + REGRESSOR_RIDGE * np.eye(len(ids))
        solution = np.linalg.solve(gram, np.ones(len(ids)))
        row[ids] = solution / solution.sum()
    return rows


def _farthest(vertices: Array, candidates: Ints) -> Ints:
    """Farthest point sampling of REGRESSED of the candidates, starting from the first."""
    chosen = [int(candidates[0])]
    distance = np.full(len(candidates), np.inf)
    while len(chosen) < min(REGRESSED, len(candidates)):
        step = np.linalg.norm(vertices[candidates] - vertices[chosen[-1]], axis=1)
        distance = np.minimum(distance, step)
        chosen.append(int(candidates[distance.argmax()]))
    return np.array(chosen)


def touching(faces: Ints, chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(V,) whether a vertex belongs to a triangle with a chosen vertex."""
    touched = np.zeros(len(chosen), bool)
    touched[faces[chosen[faces].any(1)]] = True
    return touched


def fade_to(surface: Surface, fixed: NDArray[np.bool_], rings: int) -> Array:
    """(V,) factors: 0 at the `fixed` vertices (V,), rising smoothly to 1 `rings` edges away."""
    steps = np.full(len(fixed), rings)
    reached = fixed.copy()
    for step in range(rings):
        steps[reached] = np.minimum(steps[reached], step)
        reached |= touching(surface.faces, reached)
    x = steps / rings
    return x * x * (3 - 2 * x)
