"""The body model EHM: SMPL-X body with a FLAME head, posed by linear blend skinning.

The steps are numbered as PEAR composes them: 1 pose the head alone; 2 shape the body at rest;
3 put the head on; 4 pose the whole. Joints are regressed from the mesh of step 3, yet without it:
the body's share is linear in the coefficients, and the head's is, of the few joints that it has a
share in, a sum over FLAME's joints of what is linear and what turns.

On CUDA nothing waits for the device, is copied to it or depends on the data but the numbers.

Pavlakos et al., SMPL-X, CVPR 2019; Li et al., FLAME, SIGGRAPH Asia 2017.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pear_ros.assets.arrays import Array
from pear_ros.assets.body_assets import HEAD_STILL, BodyAssets
from pear_ros.body.kinematics import KinematicChain, about
from pear_ros.body.skinning import Surface, blended, columns_first
from pear_ros.geometry.rotation import matrix_from_axis_angle
from pear_ros.people import JOINT, EhmParameters, FloatArray

HEAD_EYES = slice(3, 5)  # of FLAME's joints
NUM_EXPRESSIONS = 50
BODY_EYES = [JOINT["left_eye"], JOINT["right_eye"]]
# SMPL-X's jaw and eyes never turn, so the pose blend shapes are the other joints' alone.
BODY_STILL = slice(JOINT["jaw"], JOINT["right_eye"] + 1)


@dataclass(frozen=True)
class Bodies:
    """N posed bodies in the optical axes that `global_orient` turns into, not translated."""

    joints: Tensor  # (N, 55, 3) m
    rotations: Tensor  # (N, 55, 3, 3) model axes to optical, of each joint
    vertices: Tensor | None  # (N, V, 3) m


@dataclass(frozen=True)
class BodyShape:
    """What depends on the shape of N people alone, and is worth keeping while it stays."""

    body_joints: Tensor  # (N, 1 + 55, 3) between the eyes, and of the joints the body's share
    head_joints: Tensor  # (N, 1 + 3 + I + I * 3, 3) likewise, jaw and eyes, the share's moments
    body_vertices: Tensor | None  # (N, B, 3) the mesh's vertices but the head's
    head_vertices: Tensor | None  # (N, P, 3) pasted head vertices


class Template:
    """R rows of a mesh at rest, or what is regressed from one, with its directions of shape."""

    def __init__(
        self, rest: FloatArray, shapedirs: FloatArray, device: torch.device
    ) -> None:  # (R, 3), (R, 3, shape)
        self._rest = torch.as_tensor(rest, device=device)
        self._shapedirs = torch.as_tensor(columns_first(shapedirs), device=device)

    def shaped(self, betas: Tensor) -> Tensor:  # (N, shape)
        return blended(self._rest, betas, self._shapedirs)  # (N, R, 3)


class FlameHead:
    """Some rows of the FLAME head: as many as its user needs."""

    def __init__(self, assets: BodyAssets, rows: NDArray[np.int64], device: torch.device) -> None:
        self.template = Template(assets.head_template[rows], assets.head_shapedirs[rows], device)
        directions = _head_directions(assets, rows)
        self._surface = Surface(directions, assets.head_weights[rows], device)
        self._still = torch.eye(3, 4, device=device).repeat(HEAD_STILL, 1, 1)
        eyelids = columns_first(_eyelids(assets, rows))
        self._eyelids = torch.as_tensor(eyelids, device=device)  # (2, R * 3)

    def posed(self, shaped: Tensor, pose: HeadPose) -> Tensor:  # (N, R, 3)
        """Step 1, before scaling: (N, R, 3) in FLAME's own frame."""
        still = self._still.expand(len(shaped), -1, -1, -1)
        transforms = torch.cat((still, pose.transforms), 1)  # (N, 5, 3, 4)
        skinned = self._surface(shaped, pose.coefficients, transforms)
        return blended(skinned, pose.eyelids, self._eyelids)


@dataclass(frozen=True)
class HeadPose:
    """The pose of N heads: global and neck stay at identity, jaw and eyes move."""

    eyes: Tensor  # (N, 1, 3) the middle between them
    transforms: Tensor  # (N, 3, 3, 4) of jaw and eyes
    coefficients: Tensor  # (N, 50 + 27) of expressions and pose blend shapes
    eyelids: Tensor  # (N, 2) left, right
    share: Tensor  # (N, I, 3) in the body's joints, before scaling


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
        self._device = device = torch.device(device)
        ids = np.arange(len(assets.body_template)) if vertex_ids is None else vertex_ids
        self.faces = _faces_between(ids, assets.body_faces)  # (F, 3), numpy
        self.num_vertices = len(ids)
        joints = np.flatnonzero(assets.body_parents >= 0)
        self.bones = np.stack((assets.body_parents[joints], joints), -1)  # (54, 2) of joints
        self._chain = KinematicChain(assets.body_parents, device)
        self._identity = torch.eye(3, device=device)

        # A pasted vertex of the head takes the place of the body's.
        pasted = np.flatnonzero(assets.head_is_pasted)
        head_row = np.full(len(assets.body_template), -1)  # of each of the body's vertices
        head_row[assets.head_vertex_ids[pasted]] = pasted

        self._joint_terms(assets, is_body=head_row < 0)
        self._head_terms(assets, pasted)
        self._mesh_terms(assets, ids, head_row)

    def _joint_terms(self, assets: BodyAssets, is_body: NDArray[np.bool_]) -> None:
        """The middle of the eyes, and the 55 joints' share of the vertices that are not the head's.

        1 + 55 rows, linear in shape and expression.
        """
        regressor = assets.body_joint_regressor  # (55, V)
        middle = regressor[BODY_EYES].mean(0, keepdims=True)  # (1, V)
        rest, shapedirs, expressiondirs = _regress(
            np.concatenate((middle, regressor * is_body)),
            (assets.body_template, assets.body_shapedirs, assets.body_expressiondirs),
        )
        self._body_joints = Template(rest, shapedirs, self._device)
        self._body_joint_dirs = self._constant(columns_first(expressiondirs))

    def _head_terms(self, assets: BodyAssets, pasted: NDArray[np.int64]) -> None:
        """FLAME's joints, and the share of the pasted head vertices in I of the body's joints.

        That share is the sum over the head's vertices v, each with its regressor's factor r, and
        over FLAME's joints j, of R_j @ (sum of r w_j v) + t_j * (sum of r w_j). Where j never
        turns this is the moment (sum of r w_j v) itself. 1 + 3 + I + 3 I rows: the middle of the
        eyes, jaw and eyes, moments of the joints that never turn, moments of those that do.
        """
        body_rows = assets.body_joint_regressor[:, assets.head_vertex_ids]  # (55, U)
        support = pasted[(body_rows[:, pasted] != 0).any(0)]
        factors = body_rows[:, support]  # (55, K)
        sharing = np.flatnonzero(factors.any(1))  # (I,)
        masses = factors[sharing, None] * assets.head_weights[support].T  # (I, 5, K)
        still, turning = masses[:, :HEAD_STILL].sum(1), masses[:, HEAD_STILL:]  # (I, K), (I, 3, K)

        head = (assets.head_template, assets.head_shapedirs, _head_directions(assets, slice(None)))
        regressor = assets.head_joint_regressor  # (5, U)
        middle = regressor[HEAD_EYES].mean(0, keepdims=True)  # (1, U)
        joint_parts = _regress(np.concatenate((middle, regressor[HEAD_STILL:])), head)
        joint_parts[2][..., NUM_EXPRESSIONS:] = 0  # pose blend shapes come after the joints
        moment_parts = _regress(
            np.concatenate((still, turning.reshape(3 * len(sharing), len(support)))),
            [part[support] for part in head],
        )
        rest, shapedirs, directions = map(
            np.concatenate, zip(joint_parts, moment_parts, strict=True)
        )
        self._head_joints = Template(rest, shapedirs, self._device)
        self._head_joint_rows = [1, 3, len(sharing), 3 * len(sharing)]
        self._head_joint_dirs = self._constant(columns_first(directions))
        (eyelids,) = _regress(factors[sharing], [_eyelids(assets, support)])
        self._sharing_eyelids = self._constant(columns_first(eyelids))  # (2, I * 3)
        self._sharing_masses = self._constant(turning.sum(-1))  # (I, 3)
        self._sharing_factors = self._constant(factors[sharing].sum(-1)[:, None])  # (I, 1)
        is_sharing = np.eye(len(factors), dtype=np.float32)[:, sharing]
        self._sharing = self._constant(is_sharing)  # (55, I)

    def _mesh_terms(
        self, assets: BodyAssets, ids: NDArray[np.int64], head_row: NDArray[np.int64]
    ) -> None:
        """The vertices `ids`: first the body's, then the head's; `_order` restores their order."""
        is_body = head_row[ids] < 0
        of_body, of_head = np.flatnonzero(is_body), np.flatnonzero(~is_body)
        self._order = self._constant(np.argsort(np.concatenate((of_body, of_head))))
        body, head = ids[of_body], ids[of_head]
        shapedirs = assets.body_shapedirs[body]
        self._body = Template(assets.body_template[body], shapedirs, self._device)
        self._head = FlameHead(assets, head_row[head], self._device)
        directions = np.concatenate(
            (assets.body_expressiondirs[body], _body_posedirs(assets, body)), -1
        )
        self._body_surface = Surface(directions, assets.body_weights[body], self._device)
        self._head_surface = Surface(
            _body_posedirs(assets, head), assets.body_weights[head], self._device
        )

    def _constant(self, values: NDArray[Any]) -> Tensor:
        return torch.as_tensor(values, device=self._device)

    def shape(self, betas: Tensor, flame_betas: Tensor, mesh: bool = False) -> BodyShape:
        """The part that stays while a person's shape does. (N, 200) and (N, 300) coefficients."""
        return BodyShape(
            body_joints=self._body_joints.shaped(betas),
            head_joints=self._head_joints.shaped(flame_betas),
            body_vertices=self._body.shaped(betas) if mesh else None,
            head_vertices=self._head.template.shaped(flame_betas) if mesh else None,
        )

    def __call__(
        self, parameters: EhmParameters, shape: BodyShape | None = None, mesh: bool = False
    ) -> Bodies:
        """Poses N bodies; `shape`, if given, is `self.shape` of the same people."""
        p = parameters
        if shape is None:
            shape = self.shape(p.betas, p.flame_betas, mesh)
        head_pose = self.pose_head(shape, p)
        body_share = blended(shape.body_joints, p.expression, self._body_joint_dirs)
        eyes, body_share = body_share[:, :1], body_share[:, 1:]  # (N, 1, 3), (N, 55, 3)
        # Step 3: the eyes of both heads meet.
        body_from_head = eyes - head_pose.eyes  # (N, 1, 3) m
        scale = p.head_scale[:, None]

        head_share = torch.addcmul(
            head_pose.share * scale, self._sharing_factors, body_from_head
        )  # (N, I, 3)
        rest_joints = _added_product(body_share, self._sharing, head_share)  # (N, 55, 3)
        joints, world = self._chain.pose(rest_joints, self._full_pose(p))  # (N, 55, 3), (.., 3, 3)
        if not mesh:
            return Bodies(joints, world, None)

        assert shape.body_vertices is not None and shape.head_vertices is not None
        transforms = about(rest_joints, world, joints)  # (N, 55, 3, 4)
        moving = torch.cat((p.body_pose, p.left_hand_pose, p.right_hand_pose), 1)  # (N, 51, 3, 3)
        feature = (moving - self._identity).flatten(1)  # (N, 459) of the pose blend shapes
        body = self._body_surface(
            shape.body_vertices, torch.cat((p.expression, feature), 1), transforms
        )  # (N, B, 3)
        pasted = self._head.posed(shape.head_vertices, head_pose) * scale + body_from_head
        head = self._head_surface(pasted, feature, transforms)  # (N, P, 3)
        return Bodies(joints, world, torch.cat((body, head), 1).index_select(1, self._order))

    def pose_head(self, shape: BodyShape, parameters: EhmParameters) -> HeadPose:
        """Step 1's joints: global and neck rotation are zero, jaw and eyes as predicted."""
        p = parameters
        jaw_eyes = torch.cat((p.flame_jaw_pose, p.flame_eye_pose), 1)  # (N, 9)
        moving = matrix_from_axis_angle(jaw_eyes.unflatten(1, (3, 3)))  # (N, 3, 3, 3)
        feature = (moving - self._identity).flatten(1)  # (N, 27) of the pose blend shapes
        coefficients = torch.cat((p.flame_expression, feature), 1)
        regressed = blended(shape.head_joints, coefficients, self._head_joint_dirs)
        eyes, pivots, still, moments = regressed.split(self._head_joint_rows, 1)
        # Their parents never turn, so jaw and eyes stay where they are.
        transforms = about(pivots, moving, pivots)  # (N, 3, 3, 4)
        turning = moments.unflatten(1, (-1, 3)).flatten(2)  # (N, I, 9)
        share = torch.baddbmm(still, turning, moving.mT.flatten(1, 2))  # (N, I, 3)
        share = _added_product(share, self._sharing_masses, transforms[..., 3])
        share = blended(share, p.flame_eyelids, self._sharing_eyelids)
        return HeadPose(eyes, transforms, coefficients, p.flame_eyelids, share)

    def _full_pose(self, parameters: EhmParameters) -> Tensor:
        """(N, 55, 3, 3) in SMPL-X's order. Jaw and eyes stay at identity, FLAME has posed them."""
        p = parameters
        count = len(p.body_pose)
        still = self._identity.expand(count, BODY_STILL.stop - BODY_STILL.start, 3, 3)
        hands = p.left_hand_pose, p.right_hand_pose
        return torch.cat((p.global_orient, p.body_pose, still, *hands), 1)


def _added_product(summand: Tensor, matrix: Tensor, rows: Tensor) -> Tensor:
    """(N, A, 3) + (A, B) @ (N, B, 3)."""
    return torch.baddbmm(summand, matrix.expand(len(rows), -1, -1), rows)


def _faces_between(ids: NDArray[np.int64], faces: Array) -> Array:
    """The faces whose corners are all among `ids`, as rows of it."""
    row = np.full(max(faces.max(initial=0), ids.max(initial=0)) + 1, -1, faces.dtype)
    row[ids] = np.arange(len(ids))
    faces = row[faces]
    return faces[(faces >= 0).all(1)]


def _body_posedirs(assets: BodyAssets, rows: NDArray[np.int64]) -> FloatArray:
    """(R, 3, 459) of the joints that turn."""
    still = slice(9 * (BODY_STILL.start - 1), 9 * (BODY_STILL.stop - 1))  # the root has none
    return np.delete(assets.body_posedirs[rows], still, -1)


def _head_directions(assets: BodyAssets, rows: NDArray[np.int64] | slice) -> FloatArray:
    """(R, 3, 50 + 27) of expressions and of the pose of the joints that turn."""
    posedirs = assets.head_posedirs[rows, :, 9 * (HEAD_STILL - 1) :]  # the root has none
    return np.concatenate((assets.head_expressiondirs[rows], posedirs), -1)


def _eyelids(assets: BodyAssets, rows: NDArray[np.int64]) -> FloatArray:
    """(R, 3, 2) left, right."""
    return np.stack((assets.left_eyelid[rows], assets.right_eyelid[rows]), -1)


def _regress(regressor: FloatArray, parts: Sequence[FloatArray]) -> list[FloatArray]:
    """(J, V) applied to each (V, ...) in float64."""
    wide = regressor.astype(np.float64)
    return [np.tensordot(wide, part, axes=1).astype(np.float32) for part in parts]
