"""MakeHuman's people stand with hanging, bent arms; here they are put into SMPL-X's T-pose."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.transform import Rotation

from training.makehuman import Array, Rig

# The shoulder girdle takes a share of the arm's rotation, as it does when a person lifts the arm;
# it also spreads the bend, so that skinning does not fold the shoulder.
GIRDLE_SHARES = {"clavicle": 0.12, "shoulder01": 0.45}
UPPER_ARM = ("upperarm01", "upperarm02")
FOREARM = ("lowerarm01", "lowerarm02")


def t_pose(vertices: Array, rig: Rig) -> tuple[Array, Array]:
    """Vertices (19158, 3) as MakeHuman has them -> the same and bone heads (B, 3) in a T-pose.

    Arms along x, thumbs forward, palms down; elbows flex forward.
    """
    heads = rig.heads(vertices)
    turned = _rotations(heads, rig)  # (B, 3, 3)
    placed = heads.copy()
    for bone, parent in enumerate(rig.parents):
        if parent >= 0:
            placed[bone] = placed[parent] + turned[parent] @ (heads[bone] - heads[parent])
    offsets = placed - (turned @ heads[..., None])[..., 0]
    transforms = np.concatenate([turned, offsets[..., None]], -1)  # (B, 3, 4)
    blended = (rig.weights @ transforms.reshape(-1, 12)).reshape(-1, 3, 4)  # (19158, 3, 4)
    return (blended[..., :3] @ vertices[..., None])[..., 0] + blended[..., 3], placed


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
        for i, name in enumerate(rig.names):
            bone, _, bone_side = name.partition(".")
            if bone_side == side:
                turned[i] = by_bone.get(bone, turned[i])
                if bone.startswith(("wrist", "metacarpal", "finger")):
                    turned[i] = of_hand
    return turned


def _turn(to_x: ArrayLike, to_y: ArrayLike) -> Array:
    """The rotation that brings a direction to x and another, made orthogonal to it, to y."""
    x = np.asarray(to_x) / np.linalg.norm(to_x)
    y = np.asarray(to_y) - x * (x @ np.asarray(to_y))
    y /= np.linalg.norm(y)
    return np.stack([x, y, np.cross(x, y)])
