"""The cameras in whose images crops were cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from pear_ros.geometry.camera import intrinsics_of
from pear_ros.geometry.crop_camera import camera_from_ray
from pear_ros.geometry.lens import distorted, lens_rows, undistorted
from pear_ros.images.crop import Squares
from pear_ros.people import Frame


@dataclass(frozen=True)
class CropCameras:
    """N square crops and their cameras, on the CPU."""

    xywh: Tensor  # (N, 4) px
    intrinsics: Tensor  # (N, 4) px: fx, fy, cx, cy
    lenses: Tensor | None = None  # (N, 10) of `geometry.lens.lens_rows`; None: pinholes

    @classmethod
    def of(cls, frames: Sequence[Frame], squares: Squares) -> CropCameras:
        """Those of N squares of the frames."""
        cameras = [frames[i].camera for i in squares.frame_index]
        return cls(torch.from_numpy(squares.xywh), intrinsics_of(cameras), lens_rows(cameras))

    @cached_property
    def camera_from_crop(self) -> Tensor:
        """Rotations (N, 3, 3) from the axes of the crops' cameras to those of the real ones."""
        centres = self.xywh[:, :2] + self.xywh[:, 2:] / 2
        slopes = (centres - self.intrinsics[:, 2:]) / self.intrinsics[:, :2]
        if self.lenses is not None:
            undone = undistorted(slopes.double().numpy(), self.lenses.numpy())
            slopes = torch.from_numpy(undone).to(slopes.dtype)
        return camera_from_ray(slopes)

    def project(self, points: Tensor) -> Tensor:
        """Points (N, J, 3) m, in the optical frames -> (N, J, 2) px."""
        slopes = points[..., :2] / points[..., 2:]
        if self.lenses is not None:
            bent = distorted(slopes.double().numpy(), self.lenses.numpy())
            slopes = torch.from_numpy(bent).to(slopes.dtype)
        return self.intrinsics[:, None, :2] * slopes + self.intrinsics[:, None, 2:]
