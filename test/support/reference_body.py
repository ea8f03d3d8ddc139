"""A reference of the body model: one person, float64, step by step as PEAR describes it."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from pear_ros.assets.body_assets import BodyAssets
from pear_ros.people import EhmParameters

Array = NDArray[np.float64]


@dataclass
class Skinned:
    """A posed mesh, m."""

    vertices: Array  # (V, 3)
    joints: Array  # (J, 3)
    rotations: Array  # (J, 3, 3)


def reference_skin(
    rest: Array, joints: Array, parents: Array, rotations: Array, weights: Array, posedirs: Array
) -> Skinned:
    """Poses the vertices `rest` (V, 3) by rotations (J, 3, 3) of the joints (J, 3)."""
    rest = rest + posedirs @ (rotations[1:] - np.eye(3)).ravel()
    world: list[Array] = []  # (4, 4) of each joint
    for joint, parent in enumerate(parents):
        local = np.eye(4)
        local[:3, :3] = rotations[joint]
        local[:3, 3] = joints[joint] - (joints[parent] if parent >= 0 else 0)
        world.append(world[parent] @ local if parent >= 0 else local)
    vertices = np.zeros_like(rest)
    for joint, transform in enumerate(world):
        moved = (rest - joints[joint]) @ transform[:3, :3].T + transform[:3, 3]
        vertices += weights[:, joint, None] * moved
    posed = np.stack(world)
    return Skinned(vertices, posed[:, :3, 3], posed[:, :3, :3])


def reference(assets: BodyAssets, parameters: EhmParameters, row: int) -> Skinned:
    """Poses one person: a row of the parameters."""
    a = {
        f.name: getattr(assets, f.name).astype(np.float64)
        if getattr(assets, f.name).dtype == np.float32
        else getattr(assets, f.name)
        for f in fields(assets)
    }
    p = {f.name: getattr(parameters, f.name)[row].double().numpy() for f in fields(parameters)}

    # 1. Head: shape, then jaw and eyes, then eyelids, then scale.
    head = a["head_template"] + a["head_shapedirs"] @ p["flame_betas"]
    head = head + a["head_expressiondirs"] @ p["flame_expression"]
    turned = [np.zeros(3), np.zeros(3), p["flame_jaw_pose"], *p["flame_eye_pose"].reshape(2, 3)]
    flame = reference_skin(
        head,
        a["head_joint_regressor"] @ head,
        a["head_parents"],
        Rotation.from_rotvec(turned).as_matrix(),
        a["head_weights"],
        a["head_posedirs"],
    )
    left, right = p["flame_eyelids"]
    head = flame.vertices + right * a["right_eyelid"] + left * a["left_eyelid"]
    head = head * p["head_scale"]

    # 2. Body at rest.
    body = a["body_template"] + a["body_shapedirs"] @ p["betas"]
    body = body + a["body_expressiondirs"] @ p["expression"]
    joints = a["body_joint_regressor"] @ body

    # 3. The head moves to the eyes of the body and replaces the body's vertices.
    head = head + joints[[23, 24]].mean(0) - flame.joints[[3, 4]].mean(0)
    for vertex, body_vertex in enumerate(a["head_vertex_ids"]):
        if a["head_is_pasted"][vertex]:
            body[body_vertex] = head[vertex]

    # 4. Pose.
    still = np.eye(3)[None].repeat(3, 0)  # jaw and eyes
    names = ("global_orient", "body_pose", "", "left_hand_pose", "right_hand_pose")
    rotations = np.concatenate([p[name] if name else still for name in names])
    return reference_skin(
        body,
        a["body_joint_regressor"] @ body,
        a["body_parents"],
        rotations,
        a["body_weights"],
        a["body_posedirs"],
    )
