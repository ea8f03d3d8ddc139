"""The cameras that a perfect network would predict for rendered people."""

from __future__ import annotations

import dataclasses

import torch

from pear_ros.body.body_model import BodyModel
from pear_ros.people import EhmParameters
from training.data import Batch
from training.losses import to_crop


@torch.no_grad()
def fitted(batch: Batch, model: BodyModel, through_true_camera: bool = False) -> EhmParameters:
    """The ground truth with the crop camera that projects the joints best, by Gauss-Newton."""
    joints = model(batch.parameters).joints

    def projected(camera_t: torch.Tensor) -> torch.Tensor:
        """(N, 110) half crops."""
        if through_true_camera:
            uv = batch.cameras.project(batch.cameras.placed(joints, joints, camera_t)) / 128 - 1
        else:
            uv = to_crop(joints, camera_t)
        return uv.flatten(1)

    # From farther away the first step would lead past a camera that sees a face only.
    camera_t = torch.tensor((0.0, 0, 12)).repeat(len(joints), 1)
    for _ in range(15):
        steps_m = 0.01 * torch.eye(3)
        slopes = [(projected(camera_t + d) - projected(camera_t - d)) / 0.02 for d in steps_m]
        error = batch.joints_uv.flatten(1) - projected(camera_t)
        change = torch.linalg.lstsq(torch.stack(slopes, -1), error[..., None]).solution[..., 0]
        camera_t += change.clamp(-5, 5)
    return dataclasses.replace(batch.parameters, camera_t=camera_t)
