"""What a depth camera that is registered to the image would measure.

The true depth is that of the people, of the floor, and of a wall behind them. A sensor adds noise,
has holes, and measures depths between those of two surfaces where one ends.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pear_ros.geometry.lens import slopes_of
from pear_ros.people import Camera, FloatArray, ImageArray

Array = NDArray[np.float64]
Random = np.random.Generator

WALL_M = 8.0  # x of the wall in the world
EDGE_M = 0.15  # step of the depth, between neighbours, that counts as an edge
BLOB_PX = 16  # size of holes, and of the part of the noise that neighbours share


@dataclass(frozen=True)
class DepthSensor:
    """The errors of a depth camera."""

    noise: float = 0.02  # standard deviation, of the depth
    holes: float = 0.2  # fraction of the pixels without a value
    flying: float = 0.5  # fraction of the pixels at edges with a depth between both surfaces
    most_m: float = 10.0  # nothing is measured beyond

    def measured(self, true_m: FloatArray, image: ImageArray, random: Random) -> FloatArray:
        """True depths (H, W) m and the image (H, W, 3) -> measured depths; 0: no value.

        Holes are blobs; most are at edges and on dark surfaces. Half of the noise's variance is
        shared by neighbours.
        """
        true_m = np.minimum(true_m, 2 * self.most_m)
        around = np.ones((3, 3), np.uint8)
        near, far = cv2.erode(true_m, around), cv2.dilate(true_m, around)
        is_edge = np.abs(near + far - 2 * true_m) > EDGE_M  # 0 on a plane, however steep
        is_flying = is_edge & (random.random(true_m.shape) < self.flying)
        share = random.random(true_m.shape)
        depth = np.where(is_flying, near + share * (far - near), true_m)
        noise = (_blobs(true_m.shape, random) + random.standard_normal(true_m.shape)) / 2**0.5
        depth *= 1 + self.noise * noise
        at_edges = cv2.GaussianBlur(is_edge.astype(np.float32), (0, 0), 2.0)
        darkness = 1 - cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) / 255.0
        score = _blobs(true_m.shape, random) + 4 * at_edges + 2 * darkness**2
        score += 0.3 * random.standard_normal(true_m.shape)
        is_hole = score > np.quantile(score, 1 - self.holes)
        measured: FloatArray = np.where(is_hole | (depth > self.most_m), 0, depth)
        return measured.astype(np.float32)


def _blobs(shape: tuple[int, ...], random: Random) -> Array:
    """(H, W) smooth noise with mean 0 and standard deviation 1."""
    height, width = shape
    coarse = random.standard_normal((height // BLOB_PX + 2, width // BLOB_PX + 2))
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    blobs: Array = (smooth - smooth.mean()) / max(float(smooth.std()), 1e-9)
    return blobs


class Room:
    """The floor and the wall, as one camera sees them."""

    def __init__(self, camera: Camera, width: int, height: int) -> None:
        columns, rows = np.meshgrid(np.arange(width), np.arange(height))
        slopes = slopes_of(np.stack((columns, rows), -1).astype(np.float64), camera)
        self._rays = np.concatenate((slopes, np.ones((height, width, 1))), -1)  # (H, W, 3) optical

    def depth_m(self, world_from_optical: Array) -> FloatArray:
        """(H, W) m along the optical axis; infinite in directions that meet neither."""
        rays = self._rays @ world_from_optical[:3, :3].T
        camera = world_from_optical[:3, 3]
        with np.errstate(divide="ignore"):
            floor = np.where(rays[..., 2] < 0, -camera[2] / rays[..., 2], np.inf)
            wall = np.where(rays[..., 0] > 0, (WALL_M - camera[0]) / rays[..., 0], np.inf)
        depth: FloatArray = np.minimum(floor, wall).astype(np.float32)
        return depth
