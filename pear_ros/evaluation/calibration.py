"""Stated against seen errors of positions: do 90 % lie inside the stated 90 % ellipsoids?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pear_ros.config import PlacementSettings

Array = NDArray[np.float64]

SHARE = 0.9
# The squared Mahalanobis distance that 90 % of errors are within: chi squared with 3, 2 and 1
# degrees of freedom.
CHI2_3, CHI2_2, CHI2_1 = 6.251, 4.605, 2.706
SETTING_OF = {
    "image": "size_sigma",
    "height": "image_sigma",
    "ground": "ground_sigma_deg",
    "depth": "depth_sigma",
}
"""The setting in `placement` that states most of the error of each source of the distance."""


@dataclass(frozen=True)
class Samples:
    """N estimated positions, in optical axes."""

    error: Array  # (N, 3) m, estimated minus true
    position: Array  # (N, 3) m, estimated
    covariance: Array  # (N, 3, 3) m^2, stated
    source: tuple[str, ...]  # N of DISTANCE_SOURCES

    def of(self, source: str) -> Samples:
        """Those whose distance comes mainly from this source."""
        rows = np.flatnonzero(np.array(self.source) == source)
        picked = tuple(self.source[row] for row in rows)
        return Samples(self.error[rows], self.position[rows], self.covariance[rows], picked)

    @property
    def stated(self) -> Samples:
        """Those with a covariance."""
        rows = np.flatnonzero(np.isfinite(self.covariance).all((1, 2)))
        picked = tuple(self.source[row] for row in rows)
        return Samples(self.error[rows], self.position[rows], self.covariance[rows], picked)

    def __len__(self) -> int:
        return len(self.error)


def joined(samples: Sequence[Samples]) -> Samples:
    """All of them."""
    return Samples(
        np.concatenate([part.error for part in samples]),
        np.concatenate([part.position for part in samples]),
        np.concatenate([part.covariance for part in samples]),
        tuple(source for part in samples for source in part.source),
    )


def mahalanobis(samples: Samples) -> Array:
    """(N,) squared, of the errors; they are within the 90 % ellipsoid up to CHI2_3."""
    solved = np.linalg.solve(samples.covariance, samples.error[..., None])[..., 0]
    squared: Array = (samples.error * solved).sum(1)
    return squared


def coverage(samples: Samples) -> float:
    """The share of errors inside the stated 90 % ellipsoid; NaN without samples."""
    return float((mahalanobis(samples) <= CHI2_3).mean()) if len(samples) else float("nan")


def factor(samples: Samples) -> float:
    """What to multiply all standard deviations by, so that the ellipsoids contain 90 %."""
    if not len(samples):
        return float("nan")
    return float(np.sqrt(np.quantile(mahalanobis(samples), SHARE) / CHI2_3))


def factors_by_axis(samples: Samples) -> tuple[float, float]:
    """The same for the standard deviation along the ray from the camera, and for that across."""
    if not len(samples):
        return float("nan"), float("nan")
    ray = samples.position / np.linalg.norm(samples.position, axis=1, keepdims=True)
    along = (samples.error * ray).sum(1)
    across_m2 = (samples.error**2).sum(1) - along**2  # of two axes
    along_m2 = np.einsum("ni,nij,nj->n", ray, samples.covariance, ray)
    of_each_m2 = (np.trace(samples.covariance, axis1=1, axis2=2) - along_m2) / 2
    ratios = (along**2 / along_m2, CHI2_1), (across_m2 / of_each_m2, CHI2_2)
    both = [float(np.sqrt(np.quantile(ratio, SHARE) / chi2)) for ratio, chi2 in ratios]
    return both[0], both[1]


def settings_to_use(samples: Samples, settings: PlacementSettings) -> Mapping[str, float]:
    """The settings in `placement` with which the stated errors would be those seen.

    Where several sources are fused, a setting states only a part of the error: use them and
    evaluate again.
    """
    suggested = {}
    if len(samples):
        suggested["lateral_sigma"] = settings.lateral_sigma * factors_by_axis(samples)[1]
    for source, name in SETTING_OF.items():
        of_source = samples.of(source)
        if len(of_source):
            suggested[name] = getattr(settings, name) * factors_by_axis(of_source)[0]
    return {name: float(f"{value:.2g}") for name, value in suggested.items()}
