"""The body model EHM: SMPL-X body with a FLAME head, posed by linear blend skinning.

PEAR composes the body in these steps: 1 pose the head alone; 2 shape the body at rest; 3 put the
head on the body; 4 pose the whole. The joints are those that would be regressed from the mesh of
step 3, but they are computed without that mesh. The body's contribution to the joints is linear in
the coefficients. The head contributes to a few joints only: a sum over FLAME's joints of terms
that are linear in the coefficients and, for jaw and eyes, rotated with the joint.

A CUDA graph can capture a call: nothing waits for the device or is copied to it, and the sequence
of operations does not depend on the values of tensors.

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
from pear_ros.assets.body_assets import NUM_FIXED_HEAD_JOINTS, BodyAssets
from pear_ros.body.kinematics import KinematicChain, about
from pear_ros.body.skinning import Surface, blended, columns_first
from pear_ros.geometry.rotation import matrix_from_axis_angle
from pear_ros.people import JOINT, EhmParameters, FloatArray

HEAD_EYES = slice(3, 5)  # of FLAME's joints
NUM_EXPRESSIONS = 50
BODY_EYES = [JOINT["left_eye"], JOINT["right_eye"]]
# SMPL-X's jaw and eyes never rotate: FLAME poses them. They need no pose blend shapes.
FIXED_BODY_JOINTS = slice(JOINT["jaw"], JOINT["right_eye"] + 1)


@dataclass(frozen=True)
class Bodies:
    """N posed bodies in the optical axes of `global_orient`, not translated."""

    joints: Tensor  # (N, 55, 3) m
    rotations: Tensor  # (N, 55, 3, 3) of each joint, model axes to optical
    vertices: Tensor | None  # (N, V, 3) m; None without mesh


@dataclass(frozen=True)
class BodyShape:
    """The terms that depend only on the shape of N people, for reuse while the shape is the same.

    The rows of the first two are explained in `BodyModel._joint_terms` and `_head_terms`.
    """

    body_joints: Tensor  # (N, 1 + 55, 3) m, midpoint of the eyes, the body's part of the joints
    head_joints: Tensor  # (N, 1 + 3 + I + 3 I, 3) m, midpoint of the eyes, jaw and eyes, moments
    body_vertices: Tensor | None  # (N, B, 3) m, the mesh's vertices without those of the head
    head_vertices: Tensor | None  # (N, P, 3) m, pasted head vertices


class Template:
    """R points at rest, m, vertices or points regressed from them, with their shape directions."""

    def __init__(
        self, rest: FloatArray, shapedirs: FloatArray, device: torch.device
    ) -> None:  # (R, 3), (R, 3, shape)
        self._rest = torch.as_tensor(rest, device=device)
        self._shapedirs = torch.as_tensor(columns_first(shapedirs), device=device)

    def shaped(self, betas: Tensor) -> Tensor:  # (N, shape)
        return blended(self._rest, betas, self._shapedirs)  # (N, R, 3)


class FlameHead:
    """The vertices `rows` (R,) of the FLAME head."""

    def __init__(self, assets: BodyAssets, rows: NDArray[np.int64], device: torch.device) -> None:
        self.template = Template(assets.head_template[rows], assets.head_shapedirs[rows], device)
        directions = _head_directions(assets, rows)
        self._surface = Surface(directions, assets.head_weights[rows], device)
        self._fixed = torch.eye(3, 4, device=device).repeat(NUM_FIXED_HEAD_JOINTS, 1, 1)
        eyelids = columns_first(_eyelids(assets, rows))
        self._eyelids = torch.as_tensor(eyelids, device=device)  # (2, R * 3)

    def posed(self, shaped: Tensor, pose: HeadPose) -> Tensor:
        """Step 1, before scaling: shaped vertices (N, R, 3) m -> posed, in FLAME's own frame."""
        fixed = self._fixed.expand(len(shaped), -1, -1, -1)
        transforms = torch.cat((fixed, pose.transforms), 1)  # (N, 5, 3, 4)
        skinned = self._surface(shaped, pose.coefficients, transforms)
        return blended(skinned, pose.eyelids, self._eyelids)


@dataclass(frozen=True)
class HeadPose:
    """The pose of N heads: global and neck rotation are identity, jaw and eyes rotate."""

    eyes: Tensor  # (N, 1, 3) m, the midpoint of the eyes
    transforms: Tensor  # (N, 3, 3, 4) of jaw and eyes
    coefficients: Tensor  # (N, 50 + 27) of expressions and pose blend shapes
    eyelids: Tensor  # (N, 2) left, right
    joint_part: Tensor  # (N, I, 3) m, contribution to I of the body's joints, before scaling


class BodyModel:
    """EHM on one device, in float32.

    `model(parameters)` computes joints only, `model(parameters, mesh=True)` vertices as well. With
    `vertex_ids` (K,) the mesh has only those vertices, in that order, and the faces between them.
    The joints are the same.
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

        # A pasted head vertex replaces a vertex of the body.
        pasted = np.flatnonzero(assets.head_is_pasted)
        head_row = np.full(len(assets.body_template), -1)  # (V,) the head vertex that replaces it
        head_row[assets.head_vertex_ids[pasted]] = pasted

        self._joint_terms(assets, is_body=head_row < 0)
        self._head_terms(assets, pasted)
        self._mesh_terms(assets, ids, head_row)

    def _joint_terms(self, assets: BodyAssets, is_body: NDArray[np.bool_]) -> None:
        """The midpoint of the eyes, and the contribution of the body's own vertices to 55 joints.

        1 + 55 rows, linear in shape and expression.
        """
        regressor = assets.body_joint_regressor  # (55, V)
        midpoint = regressor[BODY_EYES].mean(0, keepdims=True)  # (1, V)
        rest, shapedirs, expressiondirs = _regress(
            np.concatenate((midpoint, regressor * is_body)),
            (assets.body_template, assets.body_shapedirs, assets.body_expressiondirs),
        )
        self._body_joints = Template(rest, shapedirs, self._device)
        self._body_joint_dirs = self._constant(columns_first(expressiondirs))

    def _head_terms(self, assets: BodyAssets, pasted: NDArray[np.int64]) -> None:
        """FLAME's joints, and the contribution of the pasted head vertices to I of the 55 joints.

        A body joint is a sum over vertices v with the regressor's factors r. A head vertex is
        skinned with weights w_j by FLAME's joints j, which have rotations R_j and translations
        t_j. So the head's contribution is the sum over j of R_j @ M_j + t_j * W_j, with the moments
        M_j = sum of r w_j v and W_j = sum of r w_j. For a joint j that never rotates it is M_j.
        1 + 3 + I + 3 I rows: the midpoint of the eyes, jaw and eyes, the moments of the joints
        that never rotate (summed), the moments of jaw and eyes.
        """
        body_rows = assets.body_joint_regressor[:, assets.head_vertex_ids]  # (55, U)
        support = pasted[(body_rows[:, pasted] != 0).any(0)]
        factors = body_rows[:, support]  # (55, K)
        affected = np.flatnonzero(factors.any(1))  # (I,)
        weights = factors[affected, None] * assets.head_weights[support].T  # (I, 5, K)
        fixed = weights[:, :NUM_FIXED_HEAD_JOINTS].sum(1)  # (I, K)
        rotating = weights[:, NUM_FIXED_HEAD_JOINTS:]  # (I, 3, K)

        head = (assets.head_template, assets.head_shapedirs, _head_directions(assets, slice(None)))
        regressor = assets.head_joint_regressor  # (5, U)
        midpoint = regressor[HEAD_EYES].mean(0, keepdims=True)  # (1, U)
        joint_parts = _regress(np.concatenate((midpoint, regressor[NUM_FIXED_HEAD_JOINTS:])), head)
        joint_parts[2][..., NUM_EXPRESSIONS:] = 0  # pose blend shapes do not move the joints
        moment_parts = _regress(
            np.concatenate((fixed, rotating.reshape(3 * len(affected), len(support)))),
            [part[support] for part in head],
        )
        rest, shapedirs, directions = map(
            np.concatenate, zip(joint_parts, moment_parts, strict=True)
        )
        self._head_joints = Template(rest, shapedirs, self._device)
        self._head_joint_rows = [1, 3, len(affected), 3 * len(affected)]
        self._head_joint_dirs = self._constant(columns_first(directions))
        (eyelids,) = _regress(factors[affected], [_eyelids(assets, support)])
        self._affected_eyelids = self._constant(columns_first(eyelids))  # (2, I * 3)
        self._affected_weights = self._constant(rotating.sum(-1))  # (I, 3)
        self._affected_factors = self._constant(factors[affected].sum(-1)[:, None])  # (I, 1)
        is_affected = np.eye(len(factors), dtype=np.float32)[:, affected]
        self._all_from_affected = self._constant(is_affected)  # (55, I)

    def _mesh_terms(
        self, assets: BodyAssets, ids: NDArray[np.int64], head_row: NDArray[np.int64]
    ) -> None:
        """The vertices `ids`, first the body's, then the head's; `_order` restores their order."""
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
        """Computes the terms that depend on the shape only.

        Args:
            betas: (N, 200) coefficients of the body.
            flame_betas: (N, 300) coefficients of the head.
            mesh: Computes the terms of the vertices as well.
        """
        return BodyShape(
            body_joints=self._body_joints.shaped(betas),
            head_joints=self._head_joints.shaped(flame_betas),
            body_vertices=self._body.shaped(betas) if mesh else None,
            head_vertices=self._head.template.shaped(flame_betas) if mesh else None,
        )

    def __call__(
        self, parameters: EhmParameters, shape: BodyShape | None = None, mesh: bool = False
    ) -> Bodies:
        """Poses N bodies.

        Args:
            parameters: Parameters of N people; `camera_t` is not used.
            shape: Result of `self.shape` for the same people and `mesh`, if it is known already.
            mesh: Computes the vertices as well.
        """
        p = parameters
        if shape is None:
            shape = self.shape(p.betas, p.flame_betas, mesh)
        head_pose = self.pose_head(shape, p)
        body_part = blended(shape.body_joints, p.expression, self._body_joint_dirs)
        eyes, body_part = body_part[:, :1], body_part[:, 1:]  # (N, 1, 3), (N, 55, 3)
        # Step 3: the eyes of the FLAME head are moved to the eyes of the body.
        body_from_head = eyes - head_pose.eyes  # (N, 1, 3) m
        scale = p.head_scale[:, None]

        head_part = torch.addcmul(
            head_pose.joint_part * scale, self._affected_factors, body_from_head
        )  # (N, I, 3)
        rest_joints = _added_product(body_part, self._all_from_affected, head_part)  # (N, 55, 3)
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
        """Step 1 for the joints: global and neck rotation are identity, jaw and eyes as predicted.

        Of `parameters` it uses jaw and eye pose, eyelids and FLAME's expression.
        """
        p = parameters
        jaw_eyes = torch.cat((p.flame_jaw_pose, p.flame_eye_pose), 1)  # (N, 9)
        moving = matrix_from_axis_angle(jaw_eyes.unflatten(1, (3, 3)))  # (N, 3, 3, 3)
        feature = (moving - self._identity).flatten(1)  # (N, 27) of the pose blend shapes
        coefficients = torch.cat((p.flame_expression, feature), 1)
        regressed = blended(shape.head_joints, coefficients, self._head_joint_dirs)
        eyes, pivots, fixed, moments = regressed.split(self._head_joint_rows, 1)
        # The parents of jaw and eyes never rotate, so these joints do not move.
        transforms = about(pivots, moving, pivots)  # (N, 3, 3, 4)
        rotating = moments.unflatten(1, (-1, 3)).flatten(2)  # (N, I, 9)
        part = torch.baddbmm(fixed, rotating, moving.mT.flatten(1, 2))  # (N, I, 3)
        part = _added_product(part, self._affected_weights, transforms[..., 3])
        part = blended(part, p.flame_eyelids, self._affected_eyelids)
        return HeadPose(eyes, transforms, coefficients, p.flame_eyelids, part)

    def _full_pose(self, parameters: EhmParameters) -> Tensor:
        """(N, 55, 3, 3) in SMPL-X's order. Jaw and eyes are identity, as FLAME has posed them."""
        p = parameters
        count = len(p.body_pose)
        num_fixed = FIXED_BODY_JOINTS.stop - FIXED_BODY_JOINTS.start
        fixed = self._identity.expand(count, num_fixed, 3, 3)
        hands = p.left_hand_pose, p.right_hand_pose
        return torch.cat((p.global_orient, p.body_pose, fixed, *hands), 1)


def _added_product(summand: Tensor, matrix: Tensor, rows: Tensor) -> Tensor:
    """(N, A, 3) + (A, B) @ (N, B, 3)."""
    return torch.baddbmm(summand, matrix.expand(len(rows), -1, -1), rows)


def _faces_between(ids: NDArray[np.int64], faces: Array) -> Array:
    """The faces whose corners are all in `ids`, as indices into `ids`."""
    row = np.full(max(faces.max(initial=0), ids.max(initial=0)) + 1, -1, faces.dtype)
    row[ids] = np.arange(len(ids))
    faces = row[faces]
    return faces[(faces >= 0).all(1)]


def _body_posedirs(assets: BodyAssets, rows: NDArray[np.int64]) -> FloatArray:
    """(R, 3, 459) pose blend shapes of the joints that rotate."""
    fixed = FIXED_BODY_JOINTS
    columns = slice(9 * (fixed.start - 1), 9 * (fixed.stop - 1))  # the root has none
    return np.delete(assets.body_posedirs[rows], columns, -1)


def _head_directions(assets: BodyAssets, rows: NDArray[np.int64] | slice) -> FloatArray:
    """(R, 3, 50 + 27) expressions, and pose blend shapes of the joints that rotate."""
    posedirs = assets.head_posedirs[rows, :, 9 * (NUM_FIXED_HEAD_JOINTS - 1) :]  # root has none
    return np.concatenate((assets.head_expressiondirs[rows], posedirs), -1)


def _eyelids(assets: BodyAssets, rows: NDArray[np.int64]) -> FloatArray:
    """(R, 3, 2) blend shapes of the left and the right eyelid."""
    return np.stack((assets.left_eyelid[rows], assets.right_eyelid[rows]), -1)


def _regress(regressor: FloatArray, parts: Sequence[FloatArray]) -> list[FloatArray]:
    """(J, V) applied to each (V, ...) in float64."""
    wide = regressor.astype(np.float64)
    return [np.tensordot(wide, part, axes=1).astype(np.float32) for part in parts]
