"""Random people for EHM: shapes of the body and of the head that belong to each other.

EHM takes the head from another model than the body, so their coefficients have to agree where the
head is put on. Works on any `BodyAssets`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pear_ros.assets import BodyAssets
from pear_ros.body_model import BODY_EYES, HEAD_EYES

Array = NDArray[np.float64]

SEAM_SIGMA_M = 0.0003  # how well the head shall fit the neck ...
HEAD_SIGMA_M = 0.005  # ... and look like the head that the body's own shape implies
ROUNDS = 3  # scale and shape in turns


@dataclass(frozen=True)
class Shapes:
    """What stays the same of N people, named as in EhmParameters."""

    betas: Array  # (N, 200)
    flame_betas: Array  # (N, 300)
    head_scale: Array  # (N, 3)


class ShapeSampler:
    """Draws shapes; the head is fitted to the body by weighted least squares."""

    def __init__(self, assets: BodyAssets) -> None:
        ids = assets.head_vertex_ids
        # Coefficients that move nothing are left at zero.
        self._used_betas = np.flatnonzero(assets.body_shapedirs.any((0, 1)))
        self._used = np.flatnonzero(assets.head_shapedirs.any((0, 1)))
        self._num_betas = assets.body_shapedirs.shape[2]
        self._num_flame_betas = assets.head_shapedirs.shape[2]

        body = _affine(assets.body_template, assets.body_shapedirs, self._used_betas)
        eyes = assets.body_joint_regressor[BODY_EYES].mean(0).astype(float)  # (V,)
        self._body_from_eyes = body[ids] - np.tensordot(eyes, body, 1)  # (U, 3, 1 + B)
        self._head = _affine(assets.head_template, assets.head_shapedirs, self._used)
        eyes = assets.head_joint_regressor[HEAD_EYES].mean(0).astype(float)  # (U,)
        self._head_eyes = np.tensordot(eyes, self._head, 1)  # (3, 1 + K)
        self._seam = seam(assets)  # (S,) of the head

        self._sigma = np.full(len(ids), HEAD_SIGMA_M)
        self._sigma[self._seam] = SEAM_SIGMA_M
        self._sigma[~assets.head_is_pasted] = np.inf  # hidden under the body's own

    def sample(
        self, count: int, random: np.random.Generator, spread: float = 1, own: float = 0.5
    ) -> Shapes:
        """Bodies of `spread` times normal coefficients, heads of their own by `own`.

        The latter: how much of the variation that the seam leaves free is added to the head that
        the body's own shape implies.
        """
        betas = np.zeros((count, self._num_betas))
        betas[:, self._used_betas] = spread * random.standard_normal((count, len(self._used_betas)))
        fitted = [self._fit(b) for b in betas]
        flame_betas = np.zeros((count, self._num_flame_betas))
        free = random.standard_normal((count, len(self._used))) @ self._free().T
        flame_betas[:, self._used] = np.reshape([f for f, _ in fitted], free.shape) + own * free
        return Shapes(betas, flame_betas, np.reshape([s for _, s in fitted], (count, 3)))

    def seam_gaps(self, shapes: Shapes) -> Array:
        """(N, S) m between the head and the body, where they meet."""
        gaps = []
        for betas, flame_betas, scale in zip(
            shapes.betas, shapes.flame_betas, shapes.head_scale, strict=True
        ):
            offsets = self._placed(flame_betas[self._used], scale) - self._wanted(betas)
            gaps.append(np.linalg.norm(offsets[self._seam], axis=1))
        return np.reshape(gaps, (len(shapes.betas), len(self._seam)))

    def _wanted(self, betas: Array) -> Array:
        """(U, 3) the head that the body's own shape implies, seen from its eyes."""
        return self._body_from_eyes @ np.append(1, betas[self._used_betas])

    def _placed(self, coefficients: Array, scale: Array) -> Array:
        """(U, 3) the head as EHM puts it on, seen from the body's eyes."""
        one = np.append(1, coefficients)
        return scale * (self._head @ one) - self._head_eyes @ one

    def _fit(self, betas: Array) -> tuple[Array, Array]:
        """Coefficients (K,) and scale (3,) of the head for a body."""
        wanted = self._wanted(betas)
        weight = (1 / self._sigma**2)[:, None]
        coefficients, scale = np.zeros(len(self._used)), np.ones(3)
        for _ in range(ROUNDS):
            one = np.append(1, coefficients)
            head, place = self._head @ one, wanted + self._head_eyes @ one
            scale = (weight * head * place).sum(0) / (weight * head**2).sum(0)
            moved = (scale[:, None] * self._head - self._head_eyes) / self._sigma[:, None, None]
            misfit = (wanted / self._sigma[:, None] - moved[..., 0]).ravel()
            matrix = moved[..., 1:].reshape(len(misfit), -1)
            normal = matrix.T @ matrix + np.eye(matrix.shape[1])  # coefficients are normal
            coefficients = np.linalg.solve(normal, matrix.T @ misfit)
        return coefficients, scale

    def _free(self) -> Array:
        """(K, K) a root of the covariance that normal coefficients keep when the seam is given."""
        moved = (self._head - self._head_eyes)[self._seam, :, 1:].reshape(-1, len(self._used))
        precision = np.eye(len(self._used)) + moved.T @ moved / SEAM_SIGMA_M**2
        root: Array = np.linalg.inv(np.linalg.cholesky(precision)).T
        return root


def seam(assets: BodyAssets) -> NDArray[np.int64]:
    """The head's pasted vertices that share an edge with one that the body keeps."""
    is_pasted = np.zeros(len(assets.body_template), bool)
    is_pasted[assets.head_vertex_ids[assets.head_is_pasted]] = True
    pasted_corners = is_pasted[assets.body_faces]
    at_seam = assets.body_faces[pasted_corners.any(1) & ~pasted_corners.all(1)]
    touched = np.zeros(len(is_pasted), bool)
    touched[at_seam] = True
    return np.flatnonzero((touched & is_pasted)[assets.head_vertex_ids])


def _affine(
    template: NDArray[np.float32], directions: NDArray[np.float32], used: NDArray[np.int64]
) -> Array:
    """(V, 3, 1 + K): template, then directions."""
    return np.concatenate([template[..., None], directions[..., used]], -1).astype(float)
