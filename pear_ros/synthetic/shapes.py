"""Random shapes of people for EHM, with heads that fit their bodies.

EHM takes the head and the body from different models, so their coefficients have to agree at the
seam. Works with any `BodyAssets`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pear_ros.assets.body_assets import BodyAssets
from pear_ros.body.body_model import BODY_EYES, HEAD_EYES

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

SEAM_SIGMA_M = 0.0003  # standard deviation of the head's distance from the body at the seam
HEAD_SIGMA_M = 0.005  # and from the head that the body's own shape implies, elsewhere
ROUNDS = 3  # of alternating fits of scale and shape


@dataclass(frozen=True)
class BodyShapes:
    """The constant parameters of N people, named as in EhmParameters."""

    betas: Array  # (N, 200)
    flame_betas: Array  # (N, 300)
    head_scale: Array  # (N, 3)

    def repeated(self, rows: Ints) -> BodyShapes:
        """The shapes with these row indices, in this order."""
        return BodyShapes(self.betas[rows], self.flame_betas[rows], self.head_scale[rows])


class ShapeSampler:
    """Draws shapes; the head is fitted to the body by weighted least squares.

    The coefficients of the fit begin with a 1 for the template: 1 + B of the body, 1 + K of the
    head.
    """

    def __init__(self, assets: BodyAssets) -> None:
        ids = assets.head_vertex_ids
        # Coefficients that move no vertex stay zero.
        self._used_betas = np.flatnonzero(assets.body_shapedirs.any((0, 1)))
        self._used = np.flatnonzero(assets.head_shapedirs.any((0, 1)))
        self._num_betas = assets.body_shapedirs.shape[2]
        self._num_flame_betas = assets.head_shapedirs.shape[2]

        # The body's own head, relative to the midpoint of its eyes, and FLAME's head.
        body = _affine(assets.body_template, assets.body_shapedirs, self._used_betas)
        eyes = assets.body_joint_regressor[BODY_EYES].mean(0).astype(float)  # (V,)
        body = body[ids] - np.tensordot(eyes, body, 1)  # (U, 3, 1 + B)
        head = _affine(assets.head_template, assets.head_shapedirs, self._used)  # (U, 3, 1 + K)
        eyes = assets.head_joint_regressor[HEAD_EYES].mean(0).astype(float)  # (U,)
        self._eyes = np.tensordot(eyes, head, 1)  # (3, 1 + K), subtracted without the scale

        at_seam = seam(assets)  # (S,) of the head
        self._body_seam, self._head_seam = body[at_seam], head[at_seam]
        weight = np.where(assets.head_is_pasted, HEAD_SIGMA_M**-2, 0)  # (U,) others are not shown
        weight[at_seam] = SEAM_SIGMA_M**-2
        # Weighted sums over the vertices, for each axis.
        self._weight = weight.sum()
        self._head_sum = np.einsum("v,vik->ik", weight, head)  # (3, 1 + K)
        self._body_sum = np.einsum("v,vib->ib", weight, body)  # (3, 1 + B)
        weighted = weight * head.transpose(1, 2, 0)  # (3, 1 + K, U)
        self._head_head = weighted @ head.transpose(1, 0, 2)  # (3, 1 + K, 1 + K)
        self._head_body = weighted @ body.transpose(1, 0, 2)  # (3, 1 + K, 1 + B)

    def sample(
        self, count: int, random: np.random.Generator, spread: float = 1, own: float = 0.5
    ) -> BodyShapes:
        """Draws the shapes of `count` people.

        Args:
            count: Number of people.
            random: Source of random numbers.
            spread: Standard deviation of the body's coefficients.
            own: Factor of the random variation that is added to the head that fits the body. The
                variation is restricted to what the seam leaves free.
        """
        betas = np.zeros((count, self._num_betas))
        betas[:, self._used_betas] = spread * random.standard_normal((count, len(self._used_betas)))
        fitted, scale = self._fit(self._with_one(betas, self._used_betas))
        free = random.standard_normal((count, len(self._used))) @ self._free().T
        flame_betas = np.zeros((count, self._num_flame_betas))
        flame_betas[:, self._used] = fitted[:, 1:] + own * free
        return BodyShapes(betas, flame_betas, scale)

    def seam_gaps(self, shapes: BodyShapes) -> Array:
        """Distances (N, S) m between the head and the body at the S vertices of the seam."""
        wanted = np.einsum(
            "vib,nb->nvi", self._body_seam, self._with_one(shapes.betas, self._used_betas)
        )
        head = self._with_one(shapes.flame_betas, self._used)
        placed = shapes.head_scale[:, None] * np.einsum("vik,nk->nvi", self._head_seam, head)
        return np.linalg.norm(placed - (head @ self._eyes.T)[:, None] - wanted, axis=-1)

    def _with_one(self, coefficients: Array, used: Ints) -> Array:
        return np.concatenate([np.ones((len(coefficients), 1)), coefficients[:, used]], 1)

    def _fit(self, body: Array) -> tuple[Array, Array]:
        """Body coefficients (N, 1 + B) -> coefficients (N, 1 + K) and scales (N, 3) of heads."""
        head = np.zeros((len(body), len(self._used) + 1))
        head[:, 0] = 1
        scale = np.ones((len(body), 3))
        prior = np.eye(len(self._used))  # of the coefficients: standard normal
        for _ in range(ROUNDS):
            scale = self._fit_scale(body, head)
            # Normal equations: products of the scaled head with itself and with the body's head.
            cross = self._head_sum[:, :, None] * self._eyes[:, None]  # (3, 1 + K, 1 + K)
            normal = (
                np.einsum("ni,ikl->nkl", scale**2, self._head_head)
                - np.einsum("ni,ikl->nkl", scale, cross + cross.transpose(0, 2, 1))
                + self._weight * self._eyes.T @ self._eyes
            )  # (N, 1 + K, 1 + K)
            wanted = (
                np.einsum("ni,ikb,nb->nk", scale, self._head_body, body)
                - np.einsum("ik,ib,nb->nk", self._eyes, self._body_sum, body)
            )  # (N, 1 + K)  # fmt: skip
            residual = (wanted - normal[:, :, 0])[:, 1:, None]
            head[:, 1:] = np.linalg.solve(normal[:, 1:, 1:] + prior, residual)[..., 0]
        return head, self._fit_scale(body, head)

    def _fit_scale(self, body: Array, head: Array) -> Array:
        """Least-squares scales (N, 3) for given shapes."""
        eyes = head @ self._eyes.T  # (N, 3)
        along = np.einsum("nk,ikb,nb->ni", head, self._head_body, body)
        along += head @ self._head_sum.T * eyes
        return along / np.einsum("nk,ikl,nl->ni", head, self._head_head, head)

    def _free(self) -> Array:
        """(K, K) square root of the covariance of normal coefficients, given a fixed seam."""
        moved = (self._head_seam - self._eyes)[..., 1:].reshape(-1, len(self._used))
        precision = np.eye(len(self._used)) + moved.T @ moved / SEAM_SIGMA_M**2
        root: Array = np.linalg.inv(np.linalg.cholesky(precision)).T
        return root


def seam(assets: BodyAssets) -> Ints:
    """The head's pasted vertices (S,) that share a face with a vertex that the body keeps."""
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
    """(V, 3, 1 + K): the template, then the used directions."""
    return np.concatenate([template[..., None], directions[..., used]], -1).astype(float)
