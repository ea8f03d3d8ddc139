"""What stage 1 teaches: parameters, joints in space, joints in the crop.

The published losses leave the global orientation and the camera to the projected joints, as labels
of real pictures are guesses; the truth of rendered people is exact, so the orientation is taught
directly, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pear_ros.body_model import BodyModel
from pear_ros.decoder import CROP_FOCAL
from pear_ros.people import JOINT, EhmParameters
from training.data import Batch

WEIGHTS: dict[str, float] = {
    "joints_2d": 10.0,
    "hands_2d": 10.0,
    "joints_3d": 10.0,
    "hands_3d": 20.0,
    "orientation": 4.0,
    "turned_ends": 4.0,
    "body_pose": 4.0,
    "hands": 2.0,
    "face": 0.3,
    "shape": 0.03,
    "head_scale": 5.0,
    "heatmap": 0.5,
    "parts": 1.0,
}
ENDS = [JOINT[name] for name in ("head", "left_wrist", "right_wrist")]  # what TF has frames of
BODY_JOINTS = 25  # of the 55; the others are the hands'
NEAREST_TZ = 1.0  # m; a camera that is nearer is no answer, and would divide by almost nothing


@dataclass(frozen=True)
class TokenLogits:
    """What helps the backbone to learn, and is thrown away: what each token sees."""

    heatmaps: Tensor  # (N, T, 55) which token each joint is in
    parts: Tensor  # (N, T, 56) which part of the body a token shows


def stage_1(
    predicted: EhmParameters, batch: Batch, body_model: BodyModel, tokens: TokenLogits | None
) -> dict[str, Tensor]:
    """Losses by name, each a mean over the batch."""
    truth = batch.parameters
    bodies = body_model(predicted)
    with torch.no_grad():
        true_turns = body_model(truth).rotations[:, ENDS]
    joints = bodies.joints  # (N, 55, 3)
    uv = to_crop(joints, predicted.camera_t)
    relative = joints - joints[:, :1]
    # A joint that is off by more than half of the crop pulls no more: it would outweigh the others.
    off_2d = F.smooth_l1_loss(uv, batch.joints_uv, beta=0.02, reduction="none").clamp(max=1)
    off_3d = (relative - batch.joints).abs()
    losses = {
        "joints_2d": off_2d[:, :BODY_JOINTS].mean(),
        "hands_2d": off_2d[:, BODY_JOINTS:].mean(),
        "joints_3d": off_3d[:, :BODY_JOINTS].mean(),
        # from the wrist: the hand's own pose, not the arm's
        "hands_3d": (_from_wrists(relative) - _from_wrists(batch.joints)).abs().mean(),
        "orientation": _apart(predicted.global_orient, truth.global_orient),
        "turned_ends": _apart(bodies.rotations[:, ENDS], true_turns),
        "body_pose": _apart(predicted.body_pose, truth.body_pose),
        "hands": _apart(predicted.left_hand_pose, truth.left_hand_pose)
        + _apart(predicted.right_hand_pose, truth.right_hand_pose),
        "face": sum(
            (
                (getattr(predicted, name) - getattr(truth, name)).abs().mean()
                for name in ("flame_expression", "expression", "flame_jaw_pose", "flame_eye_pose",
                             "flame_eyelids")
            ),
            start=torch.zeros((), device=joints.device),
        ),
        "shape": (predicted.betas - truth.betas).square().sum(1).mean()
        + (predicted.flame_betas - truth.flame_betas).square().sum(1).mean(),
        "head_scale": (predicted.head_scale - truth.head_scale).abs().mean(),
    }  # fmt: skip
    if tokens is not None:
        losses["heatmap"] = heatmap_loss(tokens.heatmaps, batch.joints_uv)
        losses["parts"] = parts_loss(tokens.parts, batch.parts)
    return losses


def total(losses: Mapping[str, Tensor], weights: Mapping[str, float] = WEIGHTS) -> Tensor:
    return torch.stack([weights[name] * loss for name, loss in losses.items()]).sum()


def to_crop(joints: Tensor, camera_t: Tensor) -> Tensor:
    """(N, J, 3) m, (N, 3) -> (N, J, 2) in half sides of the crop from its centre."""
    depth = (joints[..., 2:] + camera_t[:, None, 2:]).clamp(min=NEAREST_TZ)
    return CROP_FOCAL * (joints[..., :2] - camera_t[:, None, :2]) / depth


def parts_loss(logits: Tensor, parts: Tensor) -> Tensor:
    """Cross entropy of logits (N, T, 56) and the parts (N, T, S) that pixels of each token show."""
    log_p: Tensor = logits.log_softmax(-1)
    return -log_p.gather(-1, parts.long()).mean()


def heatmap_loss(logits: Tensor, joints_uv: Tensor, rows: int = 16, columns: int = 12) -> Tensor:
    """Cross entropy of where each joint is, among the tokens (N, rows * columns, J).

    The truth is spread over the four tokens around the joint, as by bilinear interpolation, which
    places it between them. Joints outside of what the network sees teach nothing.
    """
    column = joints_uv[..., 0] * rows / 2 + columns / 2 - 0.5  # (N, J); tokens are square
    row = joints_uv[..., 1] * rows / 2 + rows / 2 - 0.5
    inside = (column >= 0) & (column <= columns - 1) & (row >= 0) & (row <= rows - 1)
    column, row = column.clamp(0, columns - 1), row.clamp(0, rows - 1)
    log_p = logits.log_softmax(1)
    loss = torch.zeros_like(row)
    for r in (row.floor(), row.floor() + 1):
        for c in (column.floor(), column.floor() + 1):
            share = (1 - (row - r).abs()) * (1 - (column - c).abs())
            token = (r.clamp(max=rows - 1) * columns + c.clamp(max=columns - 1)).long()
            loss = loss - share * log_p.gather(1, token[:, None])[:, 0]
    return (loss * inside).sum() / inside.sum().clamp(min=1)


def _apart(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference of rotation matrices."""
    return (a - b).abs().mean()


def _from_wrists(joints: Tensor) -> Tensor:
    """(N, 55, 3) -> (N, 30, 3) finger joints relative to their wrists."""
    left, right = joints[:, 25:40] - joints[:, 20:21], joints[:, 40:55] - joints[:, 21:22]
    return torch.cat((left, right), 1)
