"""The cameras that took the crops, and where they see a predicted body.

Stage 1 asks, as published, where the crop's own camera sees it, which has a long lens. A picture
has perspective: a lens as long as that sees hands 3 px of 256 from where they are (median of 392
people of the evaluation), so a network is right about the picture or about the pose, not both.
Stage 2 places bodies as the node does and looks at them through the real lens.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pear_ros.geometry.crop_camera import CROP_SIZE, camera_from_crop
from pear_ros.placement.reprojection import place_in_camera
from pear_ros.rendering.renderer import NEAR_PLANE_M

NEAREST_TZ = 1.0  # m; a crop's camera that is nearer is no answer, and gradients grow without end


@dataclass(frozen=True)
class TrueCameras:
    """Of N crops."""

    squares: Tensor  # (N, 4) xywh, px, of what was cut from the images
    intrinsics: Tensor  # (N, 4) fx, fy, cx, cy, px

    @property
    def turn(self) -> Tensor:
        """(N, 3, 3), from the axes in which the network answers to the camera's."""
        return camera_from_crop(self.squares, self.intrinsics)

    def placed(self, points: Tensor, joints: Tensor, camera_t: Tensor) -> Tensor:
        """Points (N, P, 3) of bodies with `joints` (N, 55, 3), as the network answers -> (N, P, 3).

        All m; the result in the camera's optical frame.
        """
        pelvis = joints[:, :1]

        def rotated(points: Tensor) -> Tensor:
            return (points - pelvis) @ self.turn.mT + pelvis

        near = torch.cat((camera_t[:, :2], camera_t[:, 2:].clamp(min=NEAREST_TZ)), 1)
        translation = place_in_camera(rotated(joints), near, self.squares, self.intrinsics)
        return rotated(points) + translation[:, None]

    def project(self, placed: Tensor) -> Tensor:
        """(N, P, 3) m -> (N, P, 2) px of the crop, whose first pixel has its centre at 0."""
        focal, centre = self.intrinsics[:, None].split(2, -1)  # (N, 1, 2)
        corner, side = self.squares[:, None, :2], self.squares[:, None, 2:]
        pixels = focal * placed[..., :2] / placed[..., 2:].clamp(min=NEAR_PLANE_M) + centre
        return (pixels - corner) * (CROP_SIZE / side)

    @property
    def focal_px(self) -> Tensor:
        """(N, 1) of the crop's pixels."""
        return self.intrinsics[:, :1] * CROP_SIZE / self.squares[:, 2:3]
