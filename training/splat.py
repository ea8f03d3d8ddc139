"""Draws bodies as Gaussian splats, so that an image's error has a gradient with respect to pose.

A mesh is replaced by some of its vertices, each drawn as an isotropic Gaussian whose mass is the
image area of the surface around it. A Gaussian is the product of a function of the row and one of
the column, so an image of P points is a matrix product, (H, P) times (P, W), without tiles or
sorting, on CPU and CUDA alike. The masses of visible points add up to about 1 inside the body and
to its blurred outline at the edges. Visibility is computed without gradient, from normals and a
z-buffer of the points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pear_ros.assets.body_assets import BodyAssets
from pear_ros.geometry.crop_camera import CROP_SIZE
from pear_ros.people import JOINT_NAMES
from pear_ros.rendering.renderer import NEAR_PLANE_M, vertex_normals
from training.true_camera import TrueCameras

Ints = NDArray[np.int64]
Array = NDArray[np.float32]

# --- Parts ----------------------------------------------------------------------------------------

_FINGERS = ("index", "middle", "pinky", "ring", "thumb")
# Parts and the joints that move them; a part whose name begins with `left_` has a right one.
_HAND = {
    "left_palm": ("left_wrist",),
    **{f"left_{finger}": tuple(f"left_{finger}{i}" for i in (1, 2, 3)) for finger in _FINGERS},
}
_LIMBS = {
    "left_upper_arm": ("left_shoulder",), "left_forearm": ("left_elbow",),
    "left_thigh": ("left_hip",), "left_shin": ("left_knee",),
    "left_foot": ("left_ankle", "left_foot"),
}  # fmt: skip
_HEAD = {name: (name,) for name in ("head", "jaw", "left_eye", "right_eye")} | {"face": ()}
_MIDDLE = {
    "neck": ("neck",),
    "torso": ("pelvis", "spine1", "spine2", "spine3", "left_collar", "right_collar"),
}


def _right(parts: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    return {
        name.replace("left", "right"): tuple(joint.replace("left", "right") for joint in joints)
        for name, joints in parts.items()
    }


_GROUPS = (_HAND, _right(_HAND), _HEAD, _MIDDLE | _LIMBS | _right(_LIMBS))
_PARTS = {name: joints for group in _GROUPS for name, joints in group.items()}
PARTS = tuple(_PARTS)
_STOPS = np.cumsum([0, *(len(group) for group in _GROUPS)]).tolist()
LEFT_HAND, RIGHT_HAND, HEAD = (slice(*_STOPS[i : i + 2]) for i in range(3))
PART_OF_JOINT = np.array(
    [next(k for k, joints in enumerate(_PARTS.values()) if name in joints) for name in JOINT_NAMES]
)

# Density of points relative to the other parts.
_DENSITY = {**dict.fromkeys([*_HAND, *_right(_HAND)], 12), **dict.fromkeys(_HEAD, 4)}
_FACES_FORWARD = 0.3  # least z of a normal on the face


def part_of_vertices(assets: BodyAssets, normals: Array) -> Ints:
    """(V,) the part of each vertex as an index into PARTS.

    The face consists of the pasted head vertices in the front half whose normals (V, 3) point
    forward.
    """
    part: Ints = PART_OF_JOINT[assets.body_weights.argmax(1)]
    pasted = np.zeros(len(part), bool)
    pasted[assets.head_vertex_ids[assets.head_is_pasted]] = True
    depth = assets.body_template[:, 2]
    is_face = pasted & (part == PARTS.index("head")) & (normals[:, 2] > _FACES_FORWARD)
    if pasted.any():
        is_face &= depth > depth[pasted].mean()
    part[is_face] = PARTS.index("face")
    return part


# --- Points ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Points:
    """P vertices spread over the body at rest, ordered by part."""

    ids: Ints  # (P,) of the vertices
    area_m2: Array  # (P,) of the surface around each point
    normals: Array  # (P, 3) outward
    weights: Array  # (P, 55) of skinning
    counts: tuple[int, ...]  # number of points of each part
    face: Ints  # (P,) a face of each point
    part_of_face: Ints  # (F,)
    face_normals: Array  # (F, 3)


def spread_points(assets: BodyAssets, count: int) -> Points:
    """Chooses about `count` points, denser on hands and head."""
    vertices, faces = assets.body_template, assets.body_faces
    normals = vertex_normals(vertices[None], faces)[0]
    part = part_of_vertices(assets, normals)
    a, b, c = np.moveaxis(vertices[faces], 1, 0)
    cross = np.cross(b - a, c - a)
    area = np.linalg.norm(cross, axis=1) / 2
    vertex_area = np.zeros(len(vertices), np.float32)
    np.add.at(vertex_area, faces, area[:, None].astype(np.float32) / 3)

    part_area = np.bincount(part, vertex_area, len(PARTS))
    share = part_area * [_DENSITY.get(name, 1) for name in PARTS]
    counts = np.ceil(count * share / share.sum()).astype(int).clip(1)
    chosen, areas = [], []
    for k, wanted in enumerate(counts):
        members = np.flatnonzero(part == k)
        picked, owner = _farthest(vertices[members], wanted)
        chosen.append(members[picked])
        areas.append(np.bincount(owner, vertex_area[members], len(picked)))
    ids = np.concatenate(chosen)
    face_of_vertex = np.zeros(len(vertices), np.int64)
    face_of_vertex[faces] = np.arange(len(faces))[:, None]
    return Points(
        ids=ids,
        area_m2=np.concatenate(areas).astype(np.float32),
        normals=normals[ids],
        weights=assets.body_weights[ids],
        counts=tuple(map(len, chosen)),
        face=face_of_vertex[ids],
        part_of_face=np.median(part[faces], axis=1).astype(np.int64),
        face_normals=(cross / np.maximum(2 * area, 1e-12)[:, None]).astype(np.float32),
    )


def _farthest(vertices: Array, count: int) -> tuple[Ints, Ints]:
    """Farthest point sampling of `count` rows of (V, 3); the nearest of them for each vertex."""
    chosen: list[int] = []
    distance = np.full(len(vertices), np.inf)
    owner = np.zeros(len(vertices), np.int64)
    while len(chosen) < min(count, len(vertices)):
        chosen.append(int(distance.argmax()))
        step = np.linalg.norm(vertices - vertices[chosen[-1]], axis=1)
        owner[step < distance] = len(chosen) - 1
        distance = np.minimum(distance, step)
    return np.array(chosen, np.int64), owner


# --- Drawing --------------------------------------------------------------------------------------

_FARTHEST_PX = 1e4  # coordinates are clamped to this


@dataclass(frozen=True)
class Projected:
    """P points of N people, projected to their crops. Only `uv` has a gradient."""

    uv: Tensor  # (N, P, 2) px of the crop; (0, 0) is the corner of the first pixel
    depth_m: Tensor  # (N, P)
    px_per_m: Tensor  # (N, P)
    is_in_front: Tensor  # (N, P) of the camera


def project_points(placed: Tensor, cameras: TrueCameras) -> Projected:
    """Projects points (N, P, 3) m in the cameras' optical frames."""
    depth = placed[..., 2].detach()
    clamped = depth.clamp(min=NEAR_PLANE_M)
    uv = cameras.project(placed) + 0.5
    return Projected(
        uv.clamp(-_FARTHEST_PX, _FARTHEST_PX),
        clamped,
        cameras.focal_px / clamped,
        depth > NEAR_PLANE_M,
    )


@torch.no_grad()
def not_hidden(
    projected: Projected,
    facing: Tensor,  # (N, P) -normal . ray, where the ray has depth 1: about the cosine
    cell_px: float,
    slack_m: float,
) -> Tensor:
    """(N, P) whether a point is visible.

    It must face the camera, and no point in its cell of the z-buffer may be nearer by more than
    `slack_m` plus the depth range of its surface within a cell.
    """
    margin = 2  # cells around the crop, for points outside of it
    cells = int(CROP_SIZE / cell_px) + 2 * margin
    front = projected.is_in_front & (facing > 0)
    depth = torch.where(front, projected.depth_m, torch.inf)
    place = (projected.uv / cell_px + margin - 0.5).clamp(0, cells - 2)
    nearest = depth.new_full((len(depth), cells * cells), torch.inf)
    for dy in (0, 1):  # a point covers its four nearest cells, so that there are no holes
        for dx in (0, 1):
            index = (place[..., 1].long() + dy) * cells + place[..., 0].long() + dx
            nearest.scatter_reduce_(1, index, depth, "amin")
    own = (projected.uv / cell_px + margin).clamp(0, cells - 1).long()
    nearest_depth = nearest.gather(1, own[..., 1] * cells + own[..., 0])
    slope = (1 - facing**2).clamp(min=0).sqrt() / facing.clamp(min=0.2)
    tolerance = slack_m + 1.5 * cell_px / projected.px_per_m * slope
    return front & (depth <= nearest_depth + tolerance)


def splat(
    position: Tensor,  # (N, P, 2) in cells; the first has its centre at 0.5
    sigma: Tensor,  # (N, P) cells
    mass: Tensor,  # (N, P) cells
    counts: Sequence[int],  # number of points of each of K parts
    colors: Tensor,  # (N, P, C)
    size: tuple[int, int],  # rows, columns
) -> tuple[Tensor, Tensor]:
    """Draws the mass of each part (N, K, H, W), and mass times colour (N, C, H, W)."""
    height, width = size

    def along(axis: int, cells: int) -> Tensor:  # (N, P, cells)
        centres = torch.arange(cells, device=position.device) + 0.5
        offset = (centres - position[..., axis, None]) / sigma[..., None]
        return torch.exp(-0.5 * offset.square())

    across = along(0, width)
    down = (along(1, height) * (mass / (2 * torch.pi * sigma.square()))[..., None]).mT
    pieces = zip(down.split(counts, 2), across.split(counts, 1), strict=True)
    parts = torch.stack([rows @ columns for rows, columns in pieces], 1)
    colored = [down @ (across * color[..., None]) for color in colors.unbind(-1)]
    return parts, torch.stack(colored, 1)
