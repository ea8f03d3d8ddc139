"""What both stages teach: parameters, joints in space, joints in the crop.

The published losses leave the global orientation and the camera to the projected joints, as labels
of real pictures are guesses; the truth of rendered people is exact, so the orientation is taught
directly, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from pear_ros.body.body_model import BodyModel
from pear_ros.geometry.crop_camera import CROP_FOCAL, CROP_SIZE
from pear_ros.geometry.rotation import matrix_from_6d
from pear_ros.people import JOINT, NUM_BODY_JOINTS, EhmParameters
from training.data import NOBODY, Batch
from training.true_camera import NEAREST_TZ

WEIGHTS: dict[str, float] = {
    "joints_2d": 10.0,
    "hands_2d": 5.0,
    "joints_3d": 10.0,
    "hands_3d": 20.0,
    "orientation": 4.0,
    "turned_head": 14.0,
    "turned_wrists": 3.0,
    "body_pose": 4.0,
    "hands": 2.0,
    "face": 0.3,
    "vertices": 15.0,
    "shape": 0.02,
    "size": 4.0,
    "head_scale": 5.0,
    "heatmap": 0.25,
    "parts": 1.0,
    "part_turns": 8.0,
    "part_places": 4.0,
    "surface": 8.0,
}
# Seen through the true camera, joints in the crop are no longer at odds with joints in space.
STAGE_2_WEIGHTS = WEIGHTS | {"joints_2d": 20.0, "hands_2d": 10.0}
HEAD = JOINT["head"]
WRISTS = [JOINT["left_wrist"], JOINT["right_wrist"]]
# Bones, whose lengths tell how tall somebody is in any pose: the arms', the legs', the spine's.
BONES = [
    (JOINT[f"{side}{upper}"], JOINT[f"{side}{lower}"])
    for sides, *chain in (
        (("left_", "right_"), "hip", "knee", "ankle"),
        (("left_", "right_"), "shoulder", "elbow", "wrist"),
        (("",), "pelvis", "spine1", "spine2", "spine3", "neck"),
    )
    for side in sides
    for upper, lower in pairwise(chain)
]
LEAST_SEEN = 0.25  # of a token, for it to know a part's pose
# Of the forty tokens that show a person three show mostly the head, one a hand: counted like the
# others they would hardly be heard (docs/training.md).
LOUDNESS = torch.ones(NOBODY)  # (55,) by the joint that a token shows
LOUDNESS[[HEAD, JOINT["jaw"], JOINT["left_eye"], JOINT["right_eye"]]] = 8.0
LOUDNESS[[*WRISTS, *range(JOINT["left_index1"], NOBODY)]] = 3.0


@dataclass(frozen=True)
class TokenAnswers:
    """What helps the backbone to learn, and is thrown away: what K of a crop's tokens see."""

    kept: Tensor  # (N, K) which tokens
    heatmaps: Tensor  # (N, K, 55) which token each joint is in
    parts: Tensor  # (N, K, 56) which part of the body a token shows
    turns: Tensor  # (N, K, 6) the rotation of that part, 6D
    places: Tensor  # (N, K, 3) m, its joint from the pelvis
    surface: Tensor  # (N, K, 48) the point of the body that each of its 16 pixels shows


def stage_1(
    predicted: EhmParameters,
    batch: Batch,
    body_model: BodyModel,
    tokens: TokenAnswers | None,
    through_true_camera: bool = False,
) -> dict[str, Tensor]:
    """Losses by name, each a mean over the batch; of the vertices that the body model has.

    Joints in the crop are where the crop's camera sees them or, as in stage 2, where the true one
    sees the body that is placed in it.
    """
    truth = batch.parameters
    bodies = body_model(predicted, mesh=True)
    with torch.no_grad():
        true_bodies = body_model(truth, mesh=True)
    assert bodies.vertices is not None
    assert true_bodies.vertices is not None
    joints = bodies.joints  # (N, 55, 3)
    if through_true_camera:
        placed = batch.cameras.placed(joints, joints, predicted.camera_t)
        uv = batch.cameras.project(placed) / (CROP_SIZE / 2) - 1
    else:
        uv = to_crop(joints, predicted.camera_t)
    relative = joints - joints[:, :1]
    # A joint that is off by more than half of the crop pulls no more: it would outweigh the others.
    off_2d = F.smooth_l1_loss(uv, batch.joints_uv, beta=0.02, reduction="none").clamp(max=1)
    off_3d = (relative - batch.joints).abs()
    losses = {
        "joints_2d": off_2d[:, :NUM_BODY_JOINTS].mean(),
        "hands_2d": off_2d[:, NUM_BODY_JOINTS:].mean(),
        "joints_3d": off_3d[:, :NUM_BODY_JOINTS].mean(),
        # from the wrist: the hand's own pose, not the arm's
        "hands_3d": (_from_wrists(relative) - _from_wrists(batch.joints)).abs().mean(),
        "orientation": _apart(predicted.global_orient, truth.global_orient),
        "turned_head": _apart(bodies.rotations[:, HEAD], true_bodies.rotations[:, HEAD]),
        "turned_wrists": _apart(bodies.rotations[:, WRISTS], true_bodies.rotations[:, WRISTS]),
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
        "vertices": (
            (bodies.vertices - joints[:, :1])
            - (true_bodies.vertices - true_bodies.joints[:, :1])
        ).abs().mean(),
        "shape": (predicted.betas - truth.betas).square().sum(1).mean()
        + (predicted.flame_betas - truth.flame_betas).square().sum(1).mean(),
        # How far away a person is, is its size in the crop by this.
        "size": (_bone_length_m(joints) / _bone_length_m(batch.joints)).log().abs().mean(),
        "head_scale": (predicted.head_scale - truth.head_scale).abs().mean(),
    }  # fmt: skip
    if tokens is not None:
        losses |= token_losses(tokens, batch, true_bodies.rotations)
    return losses


def token_losses(tokens: TokenAnswers, batch: Batch, rotations: Tensor) -> dict[str, Tensor]:
    """What single tokens are taught; the true rotations (N, 55, 3, 3) are those of the parts."""
    rows = tokens.kept[..., None]  # (N, K, 1)
    parts = batch.parts.gather(1, rows.expand(-1, -1, batch.parts.shape[-1])).long()
    seen = torch.zeros_like(tokens.parts).scatter_add_(
        2, parts, torch.ones_like(parts, dtype=tokens.parts.dtype)
    )  # (N, K, 56) pixels of each part
    seen_parts = seen[..., :NOBODY]
    part = seen_parts.argmax(-1)  # (N, K) the part that most of a token shows
    is_seen = seen_parts.sum(-1) >= LEAST_SEEN * parts.shape[-1]  # (N, K)
    weights = is_seen * LOUDNESS.to(part.device)[part]  # (N, K)
    person = torch.arange(len(part), device=part.device)[:, None]
    turns_off = matrix_from_6d(tokens.turns) - rotations[person, part]  # (N, K, 3, 3)
    places_off = tokens.places - batch.joints[person, part]  # (N, K, 3)
    points = batch.surface.flatten(2).gather(1, rows.expand(-1, -1, tokens.surface.shape[-1]))
    points_off = (tokens.surface - points).unflatten(-1, (-1, 3)).abs().mean(-1)  # (N, K, 16)
    pixel_weights = (parts != NOBODY) * weights[..., None]
    return {
        "heatmap": heatmap_loss(tokens.heatmaps, batch.joints_uv, tokens.kept),
        "parts": -(seen * tokens.parts.log_softmax(-1)).sum(-1).mean() / parts.shape[-1],
        "part_turns": _mean(turns_off.abs().mean((-2, -1)), weights),
        "part_places": _mean(places_off.abs().mean(-1), weights),
        "surface": _mean(points_off, pixel_weights),
    }


def total(losses: Mapping[str, Tensor], weights: Mapping[str, float] = WEIGHTS) -> Tensor:
    return torch.stack([weights[name] * loss for name, loss in losses.items()]).sum()


def to_crop(joints: Tensor, camera_t: Tensor) -> Tensor:
    """(N, J, 3) m, (N, 3) -> (N, J, 2) in half sides of the crop from its centre."""
    depth = (joints[..., 2:] + camera_t[:, None, 2:]).clamp(min=NEAREST_TZ)
    return CROP_FOCAL * (joints[..., :2] - camera_t[:, None, :2]) / depth


def heatmap_loss(
    logits: Tensor, joints_uv: Tensor, kept: Tensor, rows: int = 16, columns: int = 12
) -> Tensor:
    """Cross entropy of where each joint is, among the tokens `kept` (N, K); logits (N, K, J).

    The truth is spread over the four tokens around the joint, as by bilinear interpolation, which
    places it between them. Joints outside of what the network sees teach nothing.
    """
    column = joints_uv[..., 0] * rows / 2 + columns / 2 - 0.5  # (N, J); tokens are square
    row = joints_uv[..., 1] * rows / 2 + rows / 2 - 0.5
    inside = (column >= 0) & (column <= columns - 1) & (row >= 0) & (row <= rows - 1)
    rows_off = (row[:, None] - (kept // columns)[..., None]).abs()  # (N, K, J)
    columns_off = (column[:, None] - (kept % columns)[..., None]).abs()
    share = (1 - rows_off).clamp(min=0) * (1 - columns_off).clamp(min=0)
    loss = -(share * logits.log_softmax(1)).sum(1)  # (N, J)
    return (loss * inside).sum() / inside.sum().clamp(min=1)


def _apart(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference of rotation matrices."""
    return (a - b).abs().mean()


def _bone_length_m(joints: Tensor) -> Tensor:
    """(N, 55, 3) -> (N,): all of BONES, one after the other."""
    upper, lower = zip(*BONES, strict=True)
    return (joints[:, upper] - joints[:, lower]).norm(dim=-1).sum(1)


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    """Weighted; 0 of nothing."""
    return (values * weights).sum() / weights.sum().clamp(min=1)


def _from_wrists(joints: Tensor) -> Tensor:
    """(N, 55, 3) -> (N, 30, 3) finger joints relative to their wrists."""
    left, right = joints[:, 25:40] - joints[:, 20:21], joints[:, 40:55] - joints[:, 21:22]
    return torch.cat((left, right), 1)
