"""How tall a body is when it stands upright, from its shape coefficients."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pear_ros.assets.body_assets import BodyAssets
from pear_ros.people import JOINT, EhmParameters

Doubles = NDArray[np.float64]

CANDIDATES = 20  # vertices that may be the highest, and as many that may be the lowest
FLAME_EYES = slice(3, 5)


class Stature:
    """The height of N bodies at rest, from the soles to the top of the head, m.

    A body vertex is linear in `betas`, a head vertex in `flame_betas`. The head is scaled, and its
    eyes are put onto the body's eyes, as in `BodyModel`. Expressions are left out.
    """

    def __init__(self, assets: BodyAssets) -> None:
        eyes = assets.body_joint_regressor[[JOINT["left_eye"], JOINT["right_eye"]]].mean(0)  # (V,)
        head_eyes = assets.head_joint_regressor[FLAME_EYES].mean(0)  # (U,)
        highest = np.argsort(assets.head_template[:, 1])[-CANDIDATES:]
        lowest = np.argsort(assets.body_template[:, 1])[:CANDIDATES]
        self._eyes = _upward(assets.body_template, assets.body_shapedirs, eyes[None])
        self._soles = _upward(assets.body_template[lowest], assets.body_shapedirs[lowest])
        above_eyes = -head_eyes[None].repeat(CANDIDATES, 0)  # (C, U)
        above_eyes[np.arange(CANDIDATES), highest] += 1
        self._head = _upward(assets.head_template, assets.head_shapedirs, above_eyes)

    def __call__(self, parameters: EhmParameters) -> Doubles:
        """(N,) m."""
        betas = parameters.betas.numpy().astype(np.float64)
        head = _at(self._head, parameters.flame_betas.numpy().astype(np.float64)).max(1)
        scale = parameters.head_scale.numpy()[:, 1].astype(np.float64)
        height: Doubles = (
            _at(self._eyes, betas)[:, 0] + scale * head - _at(self._soles, betas).min(1)
        )
        return height


def _upward(
    rest: NDArray[np.float32],
    shapedirs: NDArray[np.float32],
    regressor: NDArray[np.float32] | None = None,
) -> Doubles:
    """(R, 1 + shape) the y coordinate of points at rest, and how it changes with coefficients."""
    columns = np.concatenate((rest[:, 1:2], shapedirs[:, 1]), 1).astype(np.float64)
    return columns if regressor is None else regressor.astype(np.float64) @ columns


def _at(upward: Doubles, coefficients: Doubles) -> Doubles:
    heights: Doubles = upward[:, 0] + coefficients @ upward[:, 1:].T  # (N, R)
    return heights
