"""MakeHuman's people stand with hanging, bent arms and legs apart; SMPL-X's rest pose is a T."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

from training.standin.makehuman import Array, Ints, Mesh, Rig

# The shoulder girdle takes a share of the arm's rotation, as it does when a person lifts the arm;
# it also spreads the bend, so that skinning does not fold the shoulder.
GIRDLE_SHARES = {"clavicle": 0.12, "shoulder01": 0.45}
UPPER_ARM = ("upperarm01", "upperarm02")
FOREARM = ("lowerarm01", "lowerarm02")
# The left leg as in SMPL-X's rest pose: about where it carries the body, feet flat.
LEG_WAYS = {
    ("upperleg01", "upperleg02"): ("lowerleg01", np.array([0.08, -1, 0])),
    ("lowerleg01", "lowerleg02"): ("foot", np.array([-0.02, -1, -0.1])),
}
SMOOTHING_ROUNDS = 8


def t_pose(vertices: Array, rig: Rig, weights: NDArray[np.float32]) -> tuple[Array, Array]:
    """Vertices (19158, 3) as MakeHuman has them -> the same and bone heads (B, 3) in a T-pose.

    Arms along x, thumbs forward, palms down; elbows flex forward. weights: `smooth_weights`.
    """
    heads = rig.heads(vertices)
    turned = _rotations(heads, rig)  # (B, 3, 3)
    placed = heads.copy()
    for bone, parent in enumerate(rig.parents):
        if parent >= 0:
            placed[bone] = placed[parent] + turned[parent] @ (heads[bone] - heads[parent])
    offsets = placed - (turned @ heads[..., None])[..., 0]
    transforms = np.concatenate([turned, offsets[..., None]], -1)  # (B, 3, 4)
    blended = (weights @ transforms.reshape(-1, 12)).reshape(-1, 3, 4)  # (19158, 3, 4)
    return (blended[..., :3] @ vertices[..., None])[..., 0] + blended[..., 3], placed


def smooth_weights(rig: Rig, mesh: Mesh) -> NDArray[np.float32]:
    """(19158, B) skinning that bends softly, as it bends every person once and far.

    The skin behind an elbow wrinkles otherwise when the arm is straightened.
    """
    triangles = np.concatenate(list(mesh.triangles.values()))
    return np.asarray(diffused(rig.weights, triangles, SMOOTHING_ROUNDS), np.float32)


def diffused(values: NDArray[Any], triangles: Ints, rounds: int) -> NDArray[Any]:
    """(V, C) values, replaced so many times by the means with their neighbours'."""
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    count = len(values)
    linked = scipy.sparse.coo_matrix((np.ones(len(edges)), edges.T), (count, count)).tocsr()
    linked = ((linked + linked.T) > 0).astype(values.dtype)
    linked = linked + scipy.sparse.identity(count, values.dtype)
    mean_of_ring = scipy.sparse.diags(1 / np.asarray(linked.sum(1)).ravel()) @ linked
    for _ in range(rounds):
        values = mean_of_ring @ values
    return values


def _rotations(heads: Array, rig: Rig) -> Array:
    """(B, 3, 3) from MakeHuman's pose to the T-pose, of each bone in the body's axes."""
    turned = np.tile(np.eye(3), (len(rig.names), 1, 1))
    for side, sign in (("L", 1), ("R", -1)):
        place = dict(zip(rig.names, heads, strict=True))

        def to(name: str, begin: str, place: dict[str, Array] = place, side: str = side) -> Array:
            return place[f"{name}.{side}"] - place[f"{begin}.{side}"]

        upper_arm = to("lowerarm01", "upperarm01")
        forearm = to("wrist", "lowerarm01")
        elbow = np.cross(upper_arm, forearm)  # its axis, on the left pointing down after the turn
        hand = to("finger3-1", "wrist")
        thumbwards = to("finger2-1", "finger5-1")
        by_bone = {
            **dict.fromkeys(UPPER_ARM, _turn(sign * upper_arm, -sign * elbow)),
            **dict.fromkeys(FOREARM, _turn(sign * forearm, -sign * elbow)),
        }
        arm = Rotation.from_matrix(by_bone[UPPER_ARM[0]]).as_rotvec()
        for bone, share in GIRDLE_SHARES.items():
            by_bone[bone] = Rotation.from_rotvec(share * arm).as_matrix()
        of_hand = _turn(sign * hand, np.cross(thumbwards, sign * hand))
        for bones, (end, way) in LEG_WAYS.items():
            bone_way = to(end, bones[0])
            by_bone.update(dict.fromkeys(bones, _between(bone_way, way * (sign, 1, 1))))
        for i, name in enumerate(rig.names):
            bone, _, bone_side = name.partition(".")
            if bone_side == side:
                turned[i] = by_bone.get(bone, turned[i])
                if bone.startswith(("wrist", "metacarpal", "finger")):
                    turned[i] = of_hand
    return turned


def _between(before: ArrayLike, after: ArrayLike) -> Array:
    """The shortest rotation of one direction to another."""
    a, b = (np.asarray(v) / np.linalg.norm(v) for v in (before, after))
    axis = np.cross(a, b)
    sine = np.linalg.norm(axis)
    return Rotation.from_rotvec(axis / sine * np.arctan2(sine, a @ b)).as_matrix()


def _turn(to_x: ArrayLike, to_y: ArrayLike) -> Array:
    """The rotation that brings a direction to x and another, made orthogonal to it, to y."""
    x = np.asarray(to_x) / np.linalg.norm(to_x)
    y = np.asarray(to_y) - x * (x @ np.asarray(to_y))
    y /= np.linalg.norm(y)
    return np.stack([x, y, np.cross(x, y)])
