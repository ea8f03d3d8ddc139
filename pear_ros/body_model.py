"""The body model EHM: SMPL-X body with a FLAME head, posed by linear blend skinning.

The steps are numbered as PEAR composes them: 1 pose the head alone; 2 shape the body at rest;
3 put the head on; 4 pose the whole. Joints are regressed from the mesh of step 3, yet only a few
vertices of the head carry a regressor's weight, so joints come without the mesh: linear maps of
the shape plus that handful of vertices.

Pavlakos et al., SMPL-X, CVPR 2019; Li et al., FLAME, SIGGRAPH Asia 2017.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pear_ros.assets import Array, BodyAssets
from pear_ros.people import JOINT, EhmParameters
from pear_ros.rotation import matrix_from_axis_angle

# FLAME's joints are global, neck, jaw, left eye, right eye.
HEAD_EYES = slice(3, 5)
BODY_EYES = [JOINT["left_eye"], JOINT["right_eye"]]


@dataclass(frozen=True)
class Bodies:
    """N posed bodies in the optical axes that `global_orient` turns into, not translated."""

    joints: Tensor  # (N, 55, 3) m
    rotations: Tensor  # (N, 55, 3, 3) model axes to optical, of each joint
    vertices: Tensor | None  # (N, V, 3) m


@dataclass(frozen=True)
class Shape:
    """What depends on the shape of N people alone, and is worth keeping while it stays."""

    joints: Tensor  # (N, 55, 3) the share of the vertices that are not the head's
    eyes: Tensor  # (N, 3) middle of SMPL-X's eye joints
    head_joints: Tensor  # (N, 5, 3)
    head_support: Tensor  # (N, K, 3) head vertices that the joint regressor weighs
    body_vertices: Tensor | None  # (N, B, 3) the mesh's vertices but the head's
    head_vertices: Tensor | None  # (N, P, 3) pasted head vertices


@dataclass(frozen=True)
class BlendShapes:
    """Rows of a template with its linear shape and expression directions."""

    template: Tensor  # (R, 3)
    # Columns first, (columns, R * 3): one matrix product a batch, its result contiguous.
    shapedirs: Tensor
    expressiondirs: Tensor

    @staticmethod
    def of(
        blends: Sequence[NDArray[np.float32]],  # (R, 3), (R, 3, shape), (R, 3, expression)
        device: torch.device,
    ) -> BlendShapes:
        template, shapedirs, expressiondirs = blends
        return BlendShapes(
            torch.as_tensor(template, device=device),
            _columns_first(shapedirs, device),
            _columns_first(expressiondirs, device),
        )

    def shaped(self, betas: Tensor) -> Tensor:  # (N, shape)
        return self.template + (betas @ self.shapedirs).unflatten(-1, (-1, 3))  # (N, R, 3)

    def expressed(self, shaped: Tensor, expression: Tensor) -> Tensor:  # (N, R, 3), (N, 50)
        return shaped + (expression @ self.expressiondirs).unflatten(-1, (-1, 3))  # (N, R, 3)


class Head:
    """Some rows of the FLAME head: as many as its user needs."""

    def __init__(self, assets: BodyAssets, rows: NDArray[np.int64], device: torch.device) -> None:
        self.blend = BlendShapes.of([blend[rows] for blend in head_blends(assets)], device)
        self.posedirs = _columns_first(assets.head_posedirs[rows], device)  # (36, R * 3)
        self.weights = torch.as_tensor(assets.head_weights[rows], device=device)  # (R, 5)
        eyelids = np.stack((assets.left_eyelid[rows], assets.right_eyelid[rows]))
        self.eyelids = torch.as_tensor(eyelids, device=device).flatten(1)  # (2, R * 3)

    def posed(
        self, shaped: Tensor, expression: Tensor, eyelids: Tensor, pose: HeadPose
    ) -> Tensor:  # (N, R, 3), (N, 50), (N, 2)
        """Step 1, before scaling: (N, R, 3) in FLAME's own frame."""
        vertices = self.blend.expressed(shaped, expression)
        vertices = vertices + (pose.feature @ self.posedirs).unflatten(-1, (-1, 3))
        vertices = skin(vertices, self.weights, pose.transforms)
        return vertices + (eyelids @ self.eyelids).unflatten(-1, (-1, 3))


@dataclass(frozen=True)
class HeadPose:
    """The pose of N heads: global and neck stay at identity, jaw and eyes move."""

    joints: Tensor  # (N, 5, 3) posed
    transforms: Tensor  # (N, 5, 3, 4)
    feature: Tensor  # (N, 36) of the pose blend shapes


class BodyModel:
    """EHM on one device, float32.

    `model(parameters)` gives joints alone, `model(parameters, mesh=True)` vertices too. With
    `vertex_ids` the mesh has those vertices alone, in their order, and the faces between them;
    joints are the same.
    """

    def __init__(
        self,
        assets: BodyAssets,
        device: torch.device | str = "cpu",
        vertex_ids: NDArray[np.int64] | None = None,
    ) -> None:
        device = torch.device(device)
        ids = np.arange(len(assets.body_template)) if vertex_ids is None else vertex_ids
        self.faces = _faces_between(ids, assets.body_faces)  # (F, 3), numpy
        self.num_vertices = len(ids)
        joints = np.flatnonzero(assets.body_parents >= 0)
        self.bones = np.stack((assets.body_parents[joints], joints), -1)  # (54, 2) of joints
        self._chain = KinematicChain(assets.body_parents)
        self._head_chain = KinematicChain(assets.head_parents)

        # A pasted vertex of the head takes the place of the body's.
        pasted = np.flatnonzero(assets.head_is_pasted)
        pasted_ids = assets.head_vertex_ids[pasted]
        head_row = np.full(len(assets.body_template), -1)  # of each of the body's vertices
        head_row[pasted_ids] = pasted
        is_body = head_row < 0

        # Joints as linear maps of the shape.
        regressor = assets.body_joint_regressor  # (55, V)
        support = pasted[(regressor[:, pasted_ids] != 0).any(0)]
        support_regressor = regressor[:, assets.head_vertex_ids[support]]
        self._support_regressor = torch.as_tensor(support_regressor, device=device)  # (55, K)
        body_blends = (assets.body_template, assets.body_shapedirs, assets.body_expressiondirs)
        eyes = regressor[BODY_EYES].mean(0, keepdims=True)  # (1, V)
        self._joints = BlendShapes.of(_regress(regressor * is_body, body_blends), device)
        self._eyes = BlendShapes.of(_regress(eyes, body_blends), device)
        self._head_joints = BlendShapes.of(
            _regress(assets.head_joint_regressor, head_blends(assets)), device
        )
        self._support = Head(assets, support, device)

        # The mesh.
        body, head = np.flatnonzero(is_body[ids]), np.flatnonzero(~is_body[ids])
        self._body_rows = torch.as_tensor(body, device=device)
        self._head_rows = torch.as_tensor(head, device=device)
        self._body = BlendShapes.of([blend[ids[body]] for blend in body_blends], device)
        self._head = Head(assets, head_row[ids[head]], device)
        rows = slice(None) if vertex_ids is None else vertex_ids  # a slice copies nothing
        self._posedirs = _columns_first(assets.body_posedirs[rows], device)  # (486, V * 3)
        self._weights = torch.as_tensor(assets.body_weights[rows], device=device)  # (V, 55)

    def shape(self, betas: Tensor, flame_betas: Tensor, mesh: bool = False) -> Shape:
        """The part that stays while a person's shape does. (N, 200) and (N, 300) coefficients."""
        return Shape(
            joints=self._joints.shaped(betas),
            eyes=self._eyes.shaped(betas)[:, 0],
            head_joints=self._head_joints.shaped(flame_betas),
            head_support=self._support.blend.shaped(flame_betas),
            body_vertices=self._body.shaped(betas) if mesh else None,
            head_vertices=self._head.blend.shaped(flame_betas) if mesh else None,
        )

    def __call__(
        self, parameters: EhmParameters, shape: Shape | None = None, mesh: bool = False
    ) -> Bodies:
        """Poses N bodies; `shape`, if given, is `self.shape` of the same people."""
        p = parameters
        if shape is None:
            shape = self.shape(p.betas, p.flame_betas, mesh)
        head_pose = self.pose_head(shape, p)
        body_from_head = (
            self._eyes.expressed(shape.eyes[:, None], p.expression)
            - head_pose.joints[:, HEAD_EYES].mean(1, keepdim=True)
        )  # (N, 1, 3) m, step 3: the eyes of both heads meet  # fmt: skip

        def pasted(head: Head, shaped: Tensor) -> Tensor:  # (N, R, 3)
            vertices = head.posed(shaped, p.flame_expression, p.flame_eyelids, head_pose)
            return vertices * p.head_scale[:, None] + body_from_head

        rest_joints = (
            self._joints.expressed(shape.joints, p.expression)
            + self._support_regressor @ pasted(self._support, shape.head_support)
        )  # (N, 55, 3)  # fmt: skip
        rotations = full_pose(p)  # (N, 55, 3, 3)
        joints, world, transforms = self._chain.pose(rest_joints, rotations)
        if not mesh:
            return Bodies(joints, world, None)

        assert shape.body_vertices is not None and shape.head_vertices is not None
        rest = joints.new_empty(len(joints), self.num_vertices, 3)
        rest[:, self._body_rows] = self._body.expressed(shape.body_vertices, p.expression)
        rest[:, self._head_rows] = pasted(self._head, shape.head_vertices)
        rest += (pose_feature(rotations) @ self._posedirs).unflatten(-1, (-1, 3))
        return Bodies(joints, world, skin(rest, self._weights, transforms))

    def pose_head(self, shape: Shape, parameters: EhmParameters) -> HeadPose:
        """Step 1's joints: global and neck rotation are zero, jaw and eyes as predicted."""
        jaw_eyes = torch.cat((parameters.flame_jaw_pose, parameters.flame_eye_pose), 1)  # (N, 9)
        moving = matrix_from_axis_angle(jaw_eyes.unflatten(1, (3, 3)))  # (N, 3, 3, 3)
        rotations = torch.cat((_identity(moving, 2), moving), 1)  # (N, 5, 3, 3)
        rest = self._head_joints.expressed(shape.head_joints, parameters.flame_expression)
        joints, _, transforms = self._head_chain.pose(rest, rotations)
        return HeadPose(joints, transforms, pose_feature(rotations))


class KinematicChain:
    """A tree of joints, posed level by level of its depth."""

    def __init__(self, parents: NDArray[np.int64]) -> None:  # (J,), -1 at the root
        depth = np.zeros(len(parents), int)
        for joint, parent in enumerate(parents):
            depth[joint] = 0 if parent < 0 else depth[parent] + 1
        levels = [np.flatnonzero(depth == d) for d in range(depth.max() + 1)]
        # Joints in the order of their depth; a level is a slice of it, its parents lie before it.
        order = np.concatenate(levels)
        place = np.argsort(order)
        self._order = order.tolist()
        self._place = place.tolist()
        self._parents = [max(parent, 0) for parent in parents.tolist()]
        stops = np.cumsum([len(level) for level in levels])
        self._levels = [
            (slice(stop - len(level), stop), place[parents[level]].tolist())
            for level, stop in zip(levels[1:], stops[1:], strict=True)
        ]

    def pose(self, rest: Tensor, rotations: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Joints at rest (N, J, 3) and their rotations (N, J, 3, 3) relative to their parents.

        Gives posed joints (N, J, 3), their rotations (N, J, 3, 3), transforms (N, J, 3, 4).
        """
        bones = rest - rest[:, self._parents]  # (N, J, 3), 0 at the root
        local = torch.cat((rotations, bones[..., None]), -1)[:, self._order]  # (N, J, 3, 4)
        root = torch.cat((rotations[:, :1], rest[:, :1, :, None]), -1)
        posed = [root]
        for level, parents in self._levels:
            parent = torch.cat(posed, 1)[:, parents] if len(posed) > 1 else root[:, parents]
            moved = parent[..., :3] @ local[:, level]  # (N, L, 3, 4)
            posed.append(torch.cat((moved[..., :3], moved[..., 3:] + parent[..., 3:]), -1))
        world = torch.cat(posed, 1)[:, self._place]  # (N, J, 3, 4)
        joints, turned = world[..., 3], world[..., :3]
        offset = joints - (turned @ rest[..., None])[..., 0]
        return joints, turned, torch.cat((turned, offset[..., None]), -1)


def full_pose(parameters: EhmParameters) -> Tensor:
    """(N, 55, 3, 3) in SMPL-X's order; jaw and eyes stay at identity, FLAME has posed them."""
    p = parameters
    return torch.cat(
        (
            p.global_orient,
            p.body_pose,
            _identity(p.global_orient, 3),
            p.left_hand_pose,
            p.right_hand_pose,
        ),
        dim=1,
    )


def pose_feature(rotations: Tensor) -> Tensor:
    """(N, J, 3, 3) -> (N, 9 (J - 1)): what pose blend shapes are linear in."""
    return (rotations[:, 1:] - _identity(rotations, 1)).flatten(1)


def skin(vertices: Tensor, weights: Tensor, transforms: Tensor) -> Tensor:
    """Linear blend skinning: (N, V, 3), (V, J), (N, J, 3, 4) -> (N, V, 3)."""
    blended = (weights @ transforms.flatten(2)).unflatten(-1, (3, 4))  # (N, V, 3, 4)
    return (blended[..., :3] * vertices[..., None, :]).sum(-1) + blended[..., 3]


def _identity(like: Tensor, count: int) -> Tensor:
    """(N, count, 3, 3) for a `like` of N rows."""
    identity = torch.eye(3, dtype=like.dtype, device=like.device)
    return identity.expand(len(like), count, 3, 3)


def _columns_first(directions: NDArray[np.float32], device: torch.device) -> Tensor:
    """(R, 3, columns) -> (columns, R * 3)."""
    flat = directions.reshape(-1, directions.shape[-1])
    return torch.as_tensor(np.ascontiguousarray(flat.T), device=device)


def _faces_between(ids: NDArray[np.int64], faces: Array) -> Array:
    """The faces whose corners are all among `ids`, as rows of it."""
    row = np.full(max(faces.max(initial=0), ids.max(initial=0)) + 1, -1, faces.dtype)
    row[ids] = np.arange(len(ids))
    faces = row[faces]
    return faces[(faces >= 0).all(1)]


def head_blends(assets: BodyAssets) -> tuple[NDArray[np.float32], ...]:
    """FLAME's template (U, 3) and its directions (U, 3, columns)."""
    return assets.head_template, assets.head_shapedirs, assets.head_expressiondirs


def _regress(
    regressor: NDArray[np.float32], blends: Sequence[NDArray[np.float32]]
) -> list[NDArray[np.float32]]:
    """(J, V) applied to each (V, ...) in float64."""
    wide = regressor.astype(np.float64)
    return [np.tensordot(wide, blend, axes=1).astype(np.float32) for blend in blends]
