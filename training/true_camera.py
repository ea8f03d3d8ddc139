"""The real cameras of the crops, and the projections of predicted bodies by them.

Stage 1 projects joints with the crop camera, as published. Its focal length is so long that there
is hardly any perspective. It sees the hands of a true body 3 px of 256 from their place in the
image (median of 392 people of the evaluation), so a network can match the image or the pose, but
not both. Stage 2 places bodies as the node does and projects them with the real camera.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pear_ros.geometry.crop_camera import CROP_SIZE, camera_from_crop
from pear_ros.placement.reprojection import place_in_camera
from pear_ros.rendering.renderer import NEAR_PLANE_M

NEAREST_TZ = 1.0  # m; nearer crop cameras are implausible, and gradients would grow without limit


@dataclass(frozen=True)
class TrueCameras:
    """The cameras of N crops."""

    squares: Tensor  # (N, 4) xywh, px, the crops in their images
    intrinsics: Tensor  # (N, 4) fx, fy, cx, cy, px

    @property
    def camera_from_crop(self) -> Tensor:
        """Rotations (N, 3, 3) from the crop camera's axes, which the network uses, to the real."""
        return camera_from_crop(self.squares, self.intrinsics)

    def placed(self, points: Tensor, joints: Tensor, camera_t: Tensor) -> Tensor:
        """Moves points of predicted bodies to the optical frames of the real cameras.

        Args:
            points: (N, P, 3) m, in the crop camera's axes.
            joints: (N, 55, 3) m, likewise.
            camera_t: (N, 3) m, as predicted.

        Returns:
            (N, P, 3) m.
        """
        pelvis = joints[:, :1]

        def rotated(points: Tensor) -> Tensor:
            return (points - pelvis) @ self.camera_from_crop.mT + pelvis

        near = torch.cat((camera_t[:, :2], camera_t[:, 2:].clamp(min=NEAREST_TZ)), 1)
        translation = place_in_camera(rotated(joints), near, self.squares, self.intrinsics)
        return rotated(points) + translation[:, None]

    def project(self, placed: Tensor) -> Tensor:
        """Points (N, P, 3) m, optical -> (N, P, 2) px of the crop; pixel 0 has its centre at 0."""
        focal, centre = self.intrinsics[:, None].split(2, -1)  # (N, 1, 2)
        corner, side = self.squares[:, None, :2], self.squares[:, None, 2:]
        pixels = focal * placed[..., :2] / placed[..., 2:].clamp(min=NEAR_PLANE_M) + centre
        return (pixels - corner) * (CROP_SIZE / side)

    @property
    def focal_px(self) -> Tensor:
        """(N, 1) focal length in pixels of the crop."""
        return self.intrinsics[:, :1] * CROP_SIZE / self.squares[:, 2:3]
