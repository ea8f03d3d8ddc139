"""The losses of both stages: parameters, joints in 3D, joints in the crop.

The published losses supervise the global orientation and the camera only by projected joints,
because labels of real images are estimates. The ground truth of rendered people is exact, so here
the orientation has its own loss.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from pear_ros.body.body_model import BodyModel
from pear_ros.body.landmarks import Landmarks
from pear_ros.geometry.crop_camera import CROP_FOCAL, CROP_SIZE
from pear_ros.geometry.rotation import matrix_from_6d
from pear_ros.people import JOINT, NUM_BODY_JOINTS, EhmParameters
from training.data import BACKGROUND, Batch
from training.labelled import LabelledBatch
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
# Of real people, whose labels are estimates: what is marked in the picture counts most.
LABELLED_WEIGHTS: dict[str, float] = {
    "real_landmarks": 10.0,
    "real_hand_landmarks": 5.0,
    "real_joints_3d": 4.0,
    "real_orientation": 1.5,
    "real_body_pose": 1.5,
    "real_hands": 1.0,
    "real_face": 0.1,
}
# Projected by the true camera, joints in the crop no longer contradict joints in 3D.
STAGE_2_WEIGHTS = WEIGHTS | {"joints_2d": 20.0, "hands_2d": 10.0}
HEAD = JOINT["head"]
WRISTS = [JOINT["left_wrist"], JOINT["right_wrist"]]
# Bones of arms, legs and spine: their lengths measure a person's size in any pose.
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
OUTSIDE = 0.2  # weight of joints that are outside of the crop, and can only be guessed
LEAST_SEEN = 0.25  # least fraction of a token that shows the person, for losses of its part
# Of some forty tokens that show a person, three show mostly the head and one a hand. With equal
# weights these would hardly affect the loss (training/README.md).
TOKEN_WEIGHTS = torch.ones(BACKGROUND)  # (55,) by the joint of the part that a token shows
TOKEN_WEIGHTS[[HEAD, JOINT["jaw"], JOINT["left_eye"], JOINT["right_eye"]]] = 8.0
TOKEN_WEIGHTS[[*WRISTS, *range(JOINT["left_index1"], BACKGROUND)]] = 3.0


@dataclass(frozen=True)
class TokenPredictions:
    """Auxiliary predictions of K of a crop's tokens, which are used only to train the backbone."""

    kept: Tensor  # (N, K) indices of the tokens
    heatmaps: Tensor  # (N, K, 55) logits: which token each joint is in
    parts: Tensor  # (N, K, 56) logits: which part of the body a token shows, or background
    turns: Tensor  # (N, K, 6) rotation of that part, 6D
    places: Tensor  # (N, K, 3) m, joint of that part relative to the pelvis
    surface: Tensor  # (N, K, 48) point of the body that each of the token's 16 pixels shows


def stage_1(
    predicted: EhmParameters,
    batch: Batch,
    body_model: BodyModel,
    tokens: TokenPredictions | None,
    through_true_camera: bool = False,
) -> dict[str, Tensor]:
    """Losses by name, each a mean over the batch.

    Args:
        predicted: Parameters of N people, in the crop camera's axes.
        batch: The ground truth of the same people.
        body_model: Its vertices are compared.
        tokens: Auxiliary predictions, if their losses are wanted.
        through_true_camera: Projects joints with the true camera, as in stage 2, instead of the
            crop camera.
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
    # Errors of more than half of the crop are clamped, as they would outweigh all others.
    error_2d = F.smooth_l1_loss(uv, batch.joints_uv, beta=0.02, reduction="none").clamp(max=1)
    error_3d = (relative - batch.joints).abs()
    weights = joint_weights(batch.joints_uv)  # (N, 55)
    body, fingers = weights[:, :NUM_BODY_JOINTS], weights[:, NUM_BODY_JOINTS:]
    rotation_error = (bodies.rotations - true_bodies.rotations).abs().mean((-2, -1))  # (N, 55)
    hand_errors = [
        (getattr(predicted, name) - getattr(truth, name)).abs().mean((-3, -2, -1))  # (N,)
        for name in ("left_hand_pose", "right_hand_pose")
    ]
    # Vertices count as much as the nearest joint.
    nearest = torch.cdist(true_bodies.vertices, true_bodies.joints).argmin(-1)  # (N, V)
    losses = {
        "joints_2d": _mean(error_2d[:, :NUM_BODY_JOINTS].mean(-1), body),
        "hands_2d": _mean(error_2d[:, NUM_BODY_JOINTS:].mean(-1), fingers),
        "joints_3d": _mean(error_3d[:, :NUM_BODY_JOINTS].mean(-1), body),
        # relative to the wrist, so that the pose of the arm has no effect
        "hands_3d": _mean(
            (_from_wrists(relative) - _from_wrists(batch.joints)).abs().mean(-1), fingers
        ),
        "orientation": _difference(predicted.global_orient, truth.global_orient),
        "turned_head": _mean(rotation_error[:, HEAD], weights[:, HEAD]),
        "turned_wrists": _mean(rotation_error[:, WRISTS], weights[:, WRISTS]),
        "body_pose": _mean(
            (predicted.body_pose - truth.body_pose).abs().mean((-2, -1)),
            weights[:, 1 : 1 + predicted.body_pose.shape[1]],
        ),
        "hands": 2 * _mean(torch.stack(hand_errors, -1), weights[:, WRISTS]),
        "face": sum(
            (
                (getattr(predicted, name) - getattr(truth, name)).abs().mean()
                for name in ("flame_expression", "expression", "flame_jaw_pose", "flame_eye_pose",
                             "flame_eyelids")
            ),
            start=torch.zeros((), device=joints.device),
        ),
        "vertices": _mean(
            (
                (bodies.vertices - joints[:, :1])
                - (true_bodies.vertices - true_bodies.joints[:, :1])
            ).abs().mean(-1),
            weights.gather(1, nearest),
        ),
        "shape": (predicted.betas - truth.betas).square().sum(1).mean()
        + (predicted.flame_betas - truth.flame_betas).square().sum(1).mean(),
        # The distance of a person follows from this and the size in the crop.
        "size": (_bone_length_m(joints) / _bone_length_m(batch.joints)).log().abs().mean(),
        "head_scale": (predicted.head_scale - truth.head_scale).abs().mean(),
    }  # fmt: skip
    if tokens is not None:
        losses |= token_losses(tokens, batch, true_bodies.rotations)
    return losses


def labelled(
    predicted: EhmParameters, batch: LabelledBatch, body_model: BodyModel, landmarks: Landmarks
) -> dict[str, Tensor]:
    """Losses of real people by name, each a mean weighted by the confidence of the labels.

    Args:
        predicted: Parameters of N people, in the crop camera's axes.
        batch: Their labels.
        body_model: With the vertices `landmarks.vertex_ids`.
        landmarks: The points that are marked in the pictures.
    """
    bodies = body_model(predicted, mesh=True)
    assert bodies.vertices is not None
    uv = to_crop(landmarks(bodies.joints, bodies.vertices), predicted.camera_t)  # (N, 133, 2)
    error_2d = F.smooth_l1_loss(uv, batch.landmarks_uv, beta=0.02, reduction="none").clamp(max=1)
    known = torch.from_numpy(landmarks.available).to(uv.device)
    weights = batch.landmark_confidence * known  # (N, 133)
    relative = bodies.joints - bodies.joints[:, :1]
    error_3d = (relative - batch.joints).abs().mean(-1)  # (N, 55)
    truth = batch.parameters
    body = batch.body_confidence
    supported = body[:, None] * batch.joint_confidence  # (N, 55)
    hand_errors = [
        (getattr(predicted, name) - getattr(truth, name)).abs().mean((-3, -2, -1))  # (N,)
        for name in ("left_hand_pose", "right_hand_pose")
    ]
    face = (
        (predicted.flame_jaw_pose - truth.flame_jaw_pose).abs().mean(-1)
        + (predicted.flame_expression - truth.flame_expression).abs().mean(-1)
        + (predicted.flame_eyelids - truth.flame_eyelids).abs().mean(-1)
    )  # (N,)
    return {
        "real_landmarks": _mean(error_2d[:, :91].mean(-1), weights[:, :91]),
        "real_hand_landmarks": _mean(error_2d[:, 91:].mean(-1), weights[:, 91:]),
        "real_joints_3d": _mean(error_3d[:, :NUM_BODY_JOINTS], supported[:, :NUM_BODY_JOINTS]),
        "real_orientation": _mean(
            (predicted.global_orient - truth.global_orient).abs().mean((-3, -2, -1)), body
        ),
        "real_body_pose": _mean(
            (predicted.body_pose - truth.body_pose).abs().mean((-2, -1)),
            supported[:, 1 : 1 + truth.body_pose.shape[1]],
        ),
        "real_hands": 2 * _mean(torch.stack(hand_errors, -1), batch.hand_confidence),
        "real_face": _mean(face, batch.face_confidence),
    }


def token_losses(tokens: TokenPredictions, batch: Batch, rotations: Tensor) -> dict[str, Tensor]:
    """Auxiliary losses of single tokens, by name.

    Args:
        tokens: Predictions of N crops.
        batch: The ground truth.
        rotations: (N, 55, 3, 3) true rotations of the parts, in the crop camera's axes.
    """
    rows = tokens.kept[..., None]  # (N, K, 1)
    parts = batch.parts.gather(1, rows.expand(-1, -1, batch.parts.shape[-1])).long()
    seen = torch.zeros_like(tokens.parts).scatter_add_(
        2, parts, torch.ones_like(parts, dtype=tokens.parts.dtype)
    )  # (N, K, 56) number of pixels of each part
    seen_parts = seen[..., :BACKGROUND]
    part = seen_parts.argmax(-1)  # (N, K) the part with the most pixels of a token
    is_seen = seen_parts.sum(-1) >= LEAST_SEEN * parts.shape[-1]  # (N, K)
    weights = is_seen * TOKEN_WEIGHTS.to(part.device)[part]  # (N, K)
    person = torch.arange(len(part), device=part.device)[:, None]
    rotation_error = matrix_from_6d(tokens.turns) - rotations[person, part]  # (N, K, 3, 3)
    place_error = tokens.places - batch.joints[person, part]  # (N, K, 3)
    points = batch.surface.flatten(2).gather(1, rows.expand(-1, -1, tokens.surface.shape[-1]))
    point_error = (tokens.surface - points).unflatten(-1, (-1, 3)).abs().mean(-1)  # (N, K, 16)
    pixel_weights = (parts != BACKGROUND) * weights[..., None]
    return {
        "heatmap": heatmap_loss(tokens.heatmaps, batch.joints_uv, tokens.kept),
        "parts": -(seen * tokens.parts.log_softmax(-1)).sum(-1).mean() / parts.shape[-1],
        "part_turns": _mean(rotation_error.abs().mean((-2, -1)), weights),
        "part_places": _mean(place_error.abs().mean(-1), weights),
        "surface": _mean(point_error, pixel_weights),
    }


def total(losses: Mapping[str, Tensor], weights: Mapping[str, float] = WEIGHTS) -> Tensor:
    """The weighted sum of the losses.

    Raises:
        KeyError: If a loss has no weight.
    """
    return torch.stack([weights[name] * loss for name, loss in losses.items()]).sum()


def joint_weights(joints_uv: Tensor) -> Tensor:
    """Weights (N, J) of joints at (N, J, 2), half crop sides from the centre: 1, or OUTSIDE.

    Where the legs of a person at a desk are can only be guessed, so their errors teach little.
    """
    limits = joints_uv.new_tensor((0.8, 1.05))  # the network sees 0.75 to the sides, 1 up and down
    inside = (joints_uv.abs() <= limits).all(-1)
    return torch.where(inside, 1.0, OUTSIDE)


def to_crop(joints: Tensor, camera_t: Tensor) -> Tensor:
    """Projects joints (N, J, 3) m by crop cameras (N, 3) -> (N, J, 2), half crop sides from centre.

    The depth is at least NEAREST_TZ.
    """
    depth = (joints[..., 2:] + camera_t[:, None, 2:]).clamp(min=NEAREST_TZ)
    return CROP_FOCAL * (joints[..., :2] - camera_t[:, None, :2]) / depth


def heatmap_loss(
    logits: Tensor, joints_uv: Tensor, kept: Tensor, rows: int = 16, columns: int = 12
) -> Tensor:
    """Cross entropy over the tokens `kept` of the token that each joint is in.

    The target is spread over the four tokens around a joint with the weights of bilinear
    interpolation. Joints outside of the network's input are ignored.

    Args:
        logits: (N, K, J).
        joints_uv: (N, J, 2) in half sides of the crop from its centre.
        kept: (N, K) indices of tokens.
        rows: Rows of tokens in a crop.
        columns: Columns of tokens in a crop.
    """
    column = joints_uv[..., 0] * rows / 2 + columns / 2 - 0.5  # (N, J); tokens are square
    row = joints_uv[..., 1] * rows / 2 + rows / 2 - 0.5
    inside = (column >= 0) & (column <= columns - 1) & (row >= 0) & (row <= rows - 1)
    row_distance = (row[:, None] - (kept // columns)[..., None]).abs()  # (N, K, J)
    column_distance = (column[:, None] - (kept % columns)[..., None]).abs()
    target = (1 - row_distance).clamp(min=0) * (1 - column_distance).clamp(min=0)
    loss = -(target * logits.log_softmax(1)).sum(1)  # (N, J)
    return (loss * inside).sum() / inside.sum().clamp(min=1)


def _difference(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference of rotation matrices."""
    return (a - b).abs().mean()


def _bone_length_m(joints: Tensor) -> Tensor:
    """(N, 55, 3) m -> (N,) the sum of the lengths of BONES."""
    upper, lower = zip(*BONES, strict=True)
    return (joints[:, upper] - joints[:, lower]).norm(dim=-1).sum(1)


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    """The weighted mean; 0 if all weights are 0."""
    return (values * weights).sum() / weights.sum().clamp(min=1)


def _from_wrists(joints: Tensor) -> Tensor:
    """(N, 55, 3) -> (N, 30, 3) finger joints relative to their wrists."""
    left, right = joints[:, 25:40] - joints[:, 20:21], joints[:, 40:55] - joints[:, 21:22]
    return torch.cat((left, right), 1)
