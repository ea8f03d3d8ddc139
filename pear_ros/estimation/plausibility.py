"""How plausible an estimate is as a person, whatever the detector said.

The network returns a body for any picture. Three facts that a real person obeys are checked: enough
joints lie inside of the crop, the real camera can see the joints where the crop's camera saw them,
and no joint is turned further than joints turn.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pear_ros.estimation.crop_cameras import CropCameras
from pear_ros.geometry.crop_camera import CROP_FOCAL
from pear_ros.people import JOINT, JOINT_NAMES, NUM_BODY_JOINTS, EhmParameters

# A person who is cut by the image's edge has few joints in the crop: head and shoulders, at least.
ENOUGH_INSIDE = 0.2  # share of the body's joints
# Root mean square, of the crop's side. A real person near the camera and far from its axis has up
# to 0.15: the crop's camera and the real one see different perspectives.
RESIDUAL_SCALE = 0.2
# Largest turn of a joint against its parent, degrees, with room for the estimate's error.
LIMITS_DEG = {
    "hip": 150, "spine1": 80, "knee": 175, "spine2": 80, "ankle": 100, "spine3": 80, "foot": 90,
    "neck": 90, "collar": 80, "head": 90, "shoulder": 175, "elbow": 175, "wrist": 120,
}  # fmt: skip
EXCESS_SCALE_DEG = 20.0


def plausibility(
    parameters: EhmParameters,
    joints: Tensor,
    translation: Tensor,
    cameras: CropCameras,
) -> Tensor:
    """Scores the estimates of N people from 0, impossible, to 1.

    Args:
        parameters: Estimated parameters of N people.
        joints: (N, 55, 3) m, of the bodies.
        translation: (N, 3) m, to the optical frame.
        cameras: The crops that the network saw, and their cameras.

    Returns:
        (N,) 0 where one of these values is NaN.
    """
    body = joints[:, :NUM_BODY_JOINTS]
    seen = seen_by_crop(body, parameters.camera_t, cameras.camera_from_crop)  # (N, 25, 2)
    inside = (seen.abs() <= 1).all(-1).float().mean(1)  # (N,)
    pixels = cameras.project(body + translation[:, None])
    half = cameras.xywh[:, None, 2:] / 2
    expected = cameras.xywh[:, None, :2] + half * (1 + seen)
    residual = ((pixels - expected) / (2 * half)).square().sum(-1)  # (N, 25) of the crop's side
    weight = seen.abs().amax(-1).clamp(min=1) ** -8  # as in the placement
    residual = ((weight * residual).sum(1) / weight.sum(1)).sqrt()
    excess_deg = (turns_deg(parameters.body_pose) - _LIMITS_DEG).clamp(min=0).amax(1)
    score = (
        (inside / ENOUGH_INSIDE).clamp(max=1)
        * torch.exp(-((residual / RESIDUAL_SCALE) ** 2))
        * torch.exp(-((excess_deg / EXCESS_SCALE_DEG) ** 2))
    )
    return score.nan_to_num(0.0)


def seen_by_crop(joints: Tensor, camera_t: Tensor, camera_from_crop: Tensor) -> Tensor:
    """Where the crop's camera sees joints (N, J, 3) m: (N, J, 2) half crops from its centre."""
    pelvis = joints[:, :1]
    # Row vectors times a rotation are rotated by its transpose: into the crop camera's axes.
    in_crop = (joints - pelvis) @ camera_from_crop + pelvis
    tx_ty, tz = camera_t[:, None, :2], camera_t[:, None, 2:]
    return CROP_FOCAL * (in_crop[..., :2] - tx_ty) / (in_crop[..., 2:] + tz)


def turns_deg(matrices: Tensor) -> Tensor:
    """The angles (...), degrees, of rotations (..., 3, 3)."""
    trace = matrices.diagonal(dim1=-2, dim2=-1).sum(-1)
    return torch.rad2deg(torch.acos(((trace - 1) / 2).clamp(-1, 1)))


def _limit_deg(joint: str) -> int:
    return LIMITS_DEG[joint.removeprefix("left_").removeprefix("right_")]


_LIMITS_DEG = torch.tensor(
    [_limit_deg(name) for name in JOINT_NAMES[1 : JOINT["jaw"]]], dtype=torch.float32
)  # (21,) of body_pose
