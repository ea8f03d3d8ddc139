"""Poses MakeHuman's people, who stand with bent arms down and legs apart, in SMPL-X's T-pose."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

from training.standin.makehuman import Array, Ints, Mesh, Rig

# The shoulder girdle takes a part of the arm's rotation, as when a person raises the arm. This
# spreads the bend, so that skinning does not fold the shoulder.
GIRDLE_SHARES = {"clavicle": 0.12, "shoulder01": 0.45}
UPPER_ARM = ("upperarm01", "upperarm02")
FOREARM = ("lowerarm01", "lowerarm02")
# Directions of the left leg's bones in SMPL-X's rest pose: feet approximately below the hips, flat.
LEG_DIRECTIONS = {
    ("upperleg01", "upperleg02"): ("lowerleg01", np.array([0.08, -1, 0])),
    ("lowerleg01", "lowerleg02"): ("foot", np.array([-0.02, -1, -0.1])),
}
SMOOTHING_ROUNDS = 8


def t_pose(vertices: Array, rig: Rig, weights: NDArray[np.float32]) -> tuple[Array, Array]:
    """Poses a person in the T-pose.

    Arms are along x, thumbs forward, palms down; elbows flex forward.

    Args:
        vertices: (19158, 3) m, in MakeHuman's rest pose.
        rig: The bones.
        weights: From `smooth_weights`.

    Returns:
        Vertices (19158, 3) and starts of the bones (B, 3), m, in the T-pose.
    """
    heads = rig.heads(vertices)
    rotations = _rotations(heads, rig)  # (B, 3, 3)
    posed = heads.copy()
    for bone, parent in enumerate(rig.parents):
        if parent >= 0:
            posed[bone] = posed[parent] + rotations[parent] @ (heads[bone] - heads[parent])
    offsets = posed - (rotations @ heads[..., None])[..., 0]
    transforms = np.concatenate([rotations, offsets[..., None]], -1)  # (B, 3, 4)
    blended = (weights @ transforms.reshape(-1, 12)).reshape(-1, 3, 4)  # (19158, 3, 4)
    return (blended[..., :3] @ vertices[..., None])[..., 0] + blended[..., 3], posed


def smooth_weights(rig: Rig, mesh: Mesh) -> NDArray[np.float32]:
    """(19158, B) skinning weights, smoothed because the rotations to the T-pose are large.

    Otherwise the skin behind an elbow would wrinkle when the arm is straightened.
    """
    triangles = np.concatenate(list(mesh.triangles.values()))
    return np.asarray(diffused(rig.weights, triangles, SMOOTHING_ROUNDS), np.float32)


def diffused(values: NDArray[Any], triangles: Ints, rounds: int) -> NDArray[Any]:
    """Smooths values (V, C): in each round, a value becomes the mean of itself and neighbours."""
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    count = len(values)
    adjacency = scipy.sparse.coo_matrix((np.ones(len(edges)), edges.T), (count, count)).tocsr()
    adjacency = ((adjacency + adjacency.T) > 0).astype(values.dtype)
    adjacency = adjacency + scipy.sparse.identity(count, values.dtype)
    mean = scipy.sparse.diags(1 / np.asarray(adjacency.sum(1)).ravel()) @ adjacency
    for _ in range(rounds):
        values = mean @ values
    return values


def _rotations(heads: Array, rig: Rig) -> Array:
    """(B, 3, 3) rotations of the bones from MakeHuman's rest pose to the T-pose."""
    rotations = np.tile(np.eye(3), (len(rig.names), 1, 1))
    for side, sign in (("L", 1), ("R", -1)):
        head = dict(zip(rig.names, heads, strict=True))

        def to(name: str, begin: str, head: dict[str, Array] = head, side: str = side) -> Array:
            return head[f"{name}.{side}"] - head[f"{begin}.{side}"]

        upper_arm = to("lowerarm01", "upperarm01")
        forearm = to("wrist", "lowerarm01")
        elbow_axis = np.cross(upper_arm, forearm)  # in the T-pose, the left one points down
        hand = to("finger3-1", "wrist")
        to_thumb = to("finger2-1", "finger5-1")
        by_bone = {
            **dict.fromkeys(UPPER_ARM, _aligning(sign * upper_arm, -sign * elbow_axis)),
            **dict.fromkeys(FOREARM, _aligning(sign * forearm, -sign * elbow_axis)),
        }
        arm = Rotation.from_matrix(by_bone[UPPER_ARM[0]]).as_rotvec()
        for bone, share in GIRDLE_SHARES.items():
            by_bone[bone] = Rotation.from_rotvec(share * arm).as_matrix()
        hand_rotation = _aligning(sign * hand, np.cross(to_thumb, sign * hand))
        for bones, (end, direction) in LEG_DIRECTIONS.items():
            current = to(end, bones[0])
            by_bone.update(dict.fromkeys(bones, _between(current, direction * (sign, 1, 1))))
        for i, name in enumerate(rig.names):
            bone, _, bone_side = name.partition(".")
            if bone_side == side:
                rotations[i] = by_bone.get(bone, rotations[i])
                if bone.startswith(("wrist", "metacarpal", "finger")):
                    rotations[i] = hand_rotation
    return rotations


def _between(before: ArrayLike, after: ArrayLike) -> Array:
    """The smallest rotation from one direction to another."""
    a, b = (np.asarray(v) / np.linalg.norm(v) for v in (before, after))
    axis = np.cross(a, b)
    sine = np.linalg.norm(axis)
    return Rotation.from_rotvec(axis / sine * np.arctan2(sine, a @ b)).as_matrix()


def _aligning(to_x: ArrayLike, to_y: ArrayLike) -> Array:
    """The rotation that maps one direction to x and another, orthogonalised to it, to y."""
    x = np.asarray(to_x) / np.linalg.norm(to_x)
    y = np.asarray(to_y) - x * (x @ np.asarray(to_y))
    y /= np.linalg.norm(y)
    return np.stack([x, y, np.cross(x, y)])
