"""Crops of real people with the labels of `pear-ros annotate`, varied anew for every batch.

A label is an estimate, so each part counts by its confidence. What is not known counts nothing.
Format of the labels: docs/reference/labels_file.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pear_ros.annotation.pseudo_labels import CROPS_FOLDER, Labels, read_labels
from pear_ros.body.landmarks import MIRRORED, NUM_LANDMARKS
from pear_ros.errors import LabelError
from pear_ros.geometry.crop_camera import CROP_MARGIN, CROP_SIZE, camera_from_crop, rotated
from pear_ros.people import (
    JOINT,
    JOINT_NAMES,
    EhmParameters,
    FloatArray,
    ImageArray,
    map_tensors,
)
from training.appearance import Pairs
from training.camera_effects import with_camera_effects
from training.true_camera import TrueCameras

Random = np.random.Generator

TOKEN_PX = 16
ROWS, COLUMNS = CROP_SIZE // TOKEN_PX, (CROP_SIZE - 64) // TOKEN_PX
NETWORK_COLUMNS = slice(32, -32)  # columns of the crop that the network sees
PAIR_FRAMES = (3, 30)  # between the frames of a pair
OUTSIDE = 0.2  # share of its confidence that a point keeps that was cut off
CUT = 0.5  # fraction of crops of which more is cut off than the camera did
CUT_HEIGHT = (0.3, 0.95)  # of the visible height that remains
BOX_JITTER = 0.06  # largest error of a detected box, relative to its size
TURN_DEG = 10.0  # standard deviation

MIRROR = torch.diag(torch.tensor((-1.0, 1.0, 1.0)))
_OTHER_SIDE = {"left": "right", "right": "left"}
MIRRORED_JOINTS = [
    JOINT[name.replace(side, _OTHER_SIDE[side]) if side in _OTHER_SIDE else name]
    for name in JOINT_NAMES
    for side in (name.partition("_")[0],)
]
"""`joints[MIRRORED_JOINTS]` are the joints of a picture's mirror image."""


@dataclass(frozen=True)
class LabelledBatch:
    """N crops of real people; confidences are from 0, not known, to 1."""

    crops: Tensor  # (N, 256, 192, 3) RGB, uint8
    is_near: Tensor  # (N, 192) whether a token shows a part of the person's box
    landmarks_uv: Tensor  # (N, 133, 2) in half sides of the crop from its centre
    landmark_confidence: Tensor  # (N, 133)
    parameters: EhmParameters  # in the crop camera's axes
    joints: Tensor  # (N, 55, 3) m, in the crop camera's axes, relative to the pelvis
    joint_confidence: Tensor  # (N, 55)
    body_confidence: Tensor  # (N,)
    hand_confidence: Tensor  # (N, 2) left, right
    face_confidence: Tensor  # (N,)

    def to(self, device: torch.device) -> LabelledBatch:
        """The batch on `device`."""
        values = {k: v.to(device) for k, v in vars(self).items() if isinstance(v, Tensor)}
        parameters = map_tensors(self.parameters, lambda tensor: tensor.to(device))
        return LabelledBatch(parameters=parameters, **values)


@dataclass(frozen=True)
class _Cut:
    """How one crop is cut from its picture."""

    crop_from_picture: FloatArray  # (2, 3) px -> px of the crop, 256 a side
    borders_xyxy: FloatArray  # (4,) px of the picture, outside of which it is black
    box_xyxy: FloatArray  # (4,) px of the picture, what is visible of the person
    square: FloatArray  # xywh, px of the picture, before it is turned
    turn_rad: float  # by which the picture is turned, counterclockwise
    is_mirrored: bool


class LabelledCrops:
    """Draws batches from a folder that `pear-ros annotate` wrote."""

    def __init__(self, folder: Path, seed: int) -> None:
        """Reads the labels.

        Raises:
            LabelError: If they cannot be used.
        """
        labels = read_labels(folder)
        useful = np.flatnonzero(labels.is_accepted)
        if not len(useful):
            raise LabelError(
                f"{folder}: none of its {len(labels)} labels is accepted: annotate other pictures "
                "with `pear-ros annotate`, or train without --labels"
            )
        self._labels = labels.rows(useful)
        self._pictures = [_read_picture(folder / CROPS_FOLDER / name) for name in self._labels.file]
        # Clips count equally, however long they are.
        _, clip, count = np.unique(
            self._labels.source_input, return_inverse=True, return_counts=True
        )
        self._chance = 1 / (len(count) * count[clip])
        self.restart(seed)

    def restart(self, seed: int) -> None:
        """Draws other crops from now on."""
        self._random = np.random.default_rng(seed)

    def __len__(self) -> int:
        return len(self._labels)

    def batch(self, count: int) -> LabelledBatch:
        """Draws `count` crops; each is cut, turned, mirrored and coloured anew."""
        random = self._random
        rows = random.choice(len(self._labels), count, p=self._chance)
        labels = self._labels.rows(rows)
        crops, near, cuts = [], [], []
        for i, row in enumerate(rows):
            cut = _random_cut(labels, i, random)
            crops.append(_cut_crop(self._pictures[row], cut, random))
            near.append(_tokens_near(cut))
            cuts.append(cut)
        return _with_labels(labels, cuts, np.stack(crops), np.stack(near))


def _read_picture(path: Path) -> bytes:
    """The content of a JPEG file. Raises LabelError if it is damaged."""
    data = path.read_bytes()
    pixels = np.frombuffer(data, np.uint8)
    if not data or cv2.imdecode(pixels, cv2.IMREAD_REDUCED_COLOR_8) is None:
        raise LabelError(f"{path} is not a picture: write it again with `pear-ros annotate`")
    return data


class LabelledPairs:
    """Draws pairs of frames of one person from a folder that `pear-ros annotate` wrote.

    The boxes are used, but not the labels.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        """Reads the labels.

        Raises:
            LabelError: If they cannot be used.
        """
        labels = read_labels(folder)
        self._labels = labels
        names = zip(labels.source_input, labels.source_person, strict=True)
        _, track = np.unique(["\t".join(name) for name in names], return_inverse=True)
        near = [
            np.flatnonzero(
                (track == track[i])
                & (np.abs(labels.source_frame - labels.source_frame[i] - sum(PAIR_FRAMES) / 2)
                   <= (PAIR_FRAMES[1] - PAIR_FRAMES[0]) / 2)
            )
            for i in range(len(labels))
        ]  # fmt: skip
        self._sources = [i for i, others in enumerate(near) if len(others)]
        self._later = near
        if not self._sources:
            raise LabelError(f"{folder}: nobody is in two frames; annotate videos for --clips")
        self._pictures = [_read_picture(folder / CROPS_FOLDER / name) for name in labels.file]
        self.restart(seed)

    def restart(self, seed: int) -> None:
        """Draws other pairs from now on."""
        self._random = np.random.default_rng(seed)

    def batch(self, count: int) -> Pairs:
        """Draws `count` pairs; the crops are cut as the node cuts them."""
        random = self._random
        first = random.choice(self._sources, count)
        second = [random.choice(self._later[i]) for i in first]
        rows = np.concatenate((first, second))
        crops, known, near, squares = [], [], [], []
        for i in rows:
            labels = self._labels
            pixels = np.frombuffer(self._pictures[i], np.uint8)
            picture = cv2.imdecode(pixels, cv2.IMREAD_COLOR)[..., ::-1]
            box, borders = labels.box[i], labels.picture_xyxy[i]
            square = _square(box.astype(float))
            cut = _Cut(_affine(square), borders, box, square, 0.0, is_mirrored=False)
            crop, inside = _warped(picture, cut)
            crops.append(crop[:, NETWORK_COLUMNS])
            known.append(inside[:, NETWORK_COLUMNS] > 0)
            near.append(_tokens_near(cut))
            squares.append(square)
        intrinsics = torch.from_numpy(self._labels.intrinsics[rows]).float()
        return Pairs(
            torch.from_numpy(np.stack(crops)),
            TrueCameras(torch.from_numpy(np.stack(squares)), intrinsics),
            torch.from_numpy(np.stack(known)),
            None,
            torch.from_numpy(np.stack(near)),
        )


def _square(box: NDArray[np.float64]) -> FloatArray:
    """The square xywh around a box xyxy, as the node cuts it."""
    side = CROP_MARGIN * (box[2:] - box[:2]).max()
    return np.append((box[:2] + box[2:] - side) / 2, (side, side)).astype(np.float32)


def _affine(square: FloatArray) -> FloatArray:
    """(2, 3) maps pixels of the picture to pixels of the crop `square`."""
    zoom = CROP_SIZE / square[2]
    return np.hstack((zoom * np.eye(2), -zoom * square[:2, None])).astype(np.float32)


def _random_cut(labels: Labels, i: int, random: Random) -> _Cut:
    borders, box = labels.picture_xyxy[i].astype(float), labels.box[i].astype(float)
    box = np.concatenate((np.maximum(box[:2], borders[:2]), np.minimum(box[2:], borders[2:])))
    size = box[2:] - box[:2]
    if random.random() < CUT:
        kept = random.uniform(*CUT_HEIGHT)
        borders[3] = min(borders[3], box[1] + kept * size[1])
        if random.random() < 0.25:
            side = int(random.integers(2))  # left or right
            inward = random.uniform(0, 0.3) * size[0]
            borders[2 * side] = box[2 * side] + (inward if side == 0 else -inward)
    box = np.concatenate((np.maximum(box[:2], borders[:2]), np.minimum(box[2:], borders[2:])))
    extent = (box[2:] - box[:2]).max()
    jitter = np.clip(random.normal(0, BOX_JITTER / 2, 4), -BOX_JITTER, BOX_JITTER)
    seen = box + jitter * extent
    centre, side_px = (seen[:2] + seen[2:]) / 2, CROP_MARGIN * (seen[2:] - seen[:2]).max()
    side_px *= random.uniform(0.92, 1.12)
    turn = np.radians(random.normal(0, TURN_DEG)) if random.random() < 0.5 else 0.0
    is_mirrored = bool(random.random() < 0.5)
    zoom = CROP_SIZE / side_px
    c, s = zoom * np.cos(turn), zoom * np.sin(turn)
    linear = np.array(((c, s), (-s, c)))  # y points down
    if is_mirrored:
        linear[0] *= -1
    offset = CROP_SIZE / 2 - linear @ centre
    square = np.concatenate((centre - side_px / 2, (side_px, side_px)))
    return _Cut(
        np.hstack((linear, offset[:, None])).astype(np.float32),
        borders.astype(np.float32),
        box.astype(np.float32),
        square.astype(np.float32),
        float(turn),
        is_mirrored,
    )


def _cut_crop(data: bytes, cut: _Cut, random: Random) -> ImageArray:
    """The crop (256, 192, 3) RGB, with the errors of a camera."""
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    crop, inside = _warped(picture[..., ::-1], cut)
    side = np.float32(cut.square[2])
    whole = np.array((0, 0, side, side), np.float32)
    crop = with_camera_effects(crop, whole, (int(np.ceil(side)), int(np.ceil(side))), random)
    return np.asarray(crop * inside[..., None], np.uint8)[:, NETWORK_COLUMNS]


def _warped(picture: ImageArray, cut: _Cut) -> tuple[ImageArray, ImageArray]:
    """The crop (256, 256, 3), black outside of the borders, and (256, 256) 1 inside of them."""
    inside = np.zeros(picture.shape[:2], np.uint8)
    left, top, right, bottom = cut.borders_xyxy.round().astype(int).clip(0)
    inside[top:bottom, left:right] = 1
    size = (CROP_SIZE, CROP_SIZE)
    mask = cv2.warpAffine(inside, cut.crop_from_picture, size, flags=cv2.INTER_NEAREST)
    crop = cv2.warpAffine(
        np.ascontiguousarray(picture), cut.crop_from_picture, size, flags=cv2.INTER_LINEAR
    )
    return np.asarray(crop * mask[..., None], np.uint8), np.asarray(mask, np.uint8)


def _tokens_near(cut: _Cut) -> NDArray[np.bool_]:
    """(192,) whether a token's centre is inside or near the box."""
    y, x = np.mgrid[:ROWS, :COLUMNS] * TOKEN_PX + TOKEN_PX / 2
    centres = np.stack((x + (CROP_SIZE - COLUMNS * TOKEN_PX) / 2, y), -1).reshape(-1, 2)
    linear, offset = cut.crop_from_picture[:, :2], cut.crop_from_picture[:, 2]
    in_picture = (centres - offset) @ np.linalg.inv(linear).T  # (192, 2) px
    low, high = cut.box_xyxy[:2], cut.box_xyxy[2:]
    return np.asarray(((in_picture >= low) & (in_picture <= high)).all(1))


def _with_labels(
    labels: Labels, cuts: list[_Cut], crops: ImageArray, near: NDArray[np.bool_]
) -> LabelledBatch:
    """The labels of N crops, in the axes of their crop cameras."""
    matrices = np.stack([cut.crop_from_picture for cut in cuts])  # (N, 2, 3)
    points = labels.keypoints  # (N, 133, 3)
    in_crop = (
        np.einsum("nij,nkj->nki", matrices[:, :, :2], points[..., :2]) + matrices[:, None, :, 2]
    )
    uv = torch.from_numpy(in_crop / (CROP_SIZE / 2) - 1).float()
    borders = np.stack([cut.borders_xyxy for cut in cuts])[:, None]  # (N, 1, 4)
    inside = ((points[..., :2] >= borders[..., :2]) & (points[..., :2] <= borders[..., 2:])).all(-1)
    confidence = torch.from_numpy(points[..., 2] * np.where(inside, 1.0, OUTSIDE)).float()

    squares = torch.from_numpy(np.stack([cut.square for cut in cuts]))
    crop_from_camera = camera_from_crop(squares, torch.from_numpy(labels.intrinsics).float()).mT
    turns = _about_optical_axis(torch.tensor([cut.turn_rad for cut in cuts]))
    to_crop = turns @ crop_from_camera  # (N, 3, 3)
    parameters = rotated(labels.parameters, to_crop)
    relative = torch.from_numpy(labels.joints - labels.joints[:, :1]).float()
    joints = relative @ to_crop.mT  # (N, 55, 3)
    joint_confidence = torch.from_numpy(labels.joint_confidence).float()
    body = torch.from_numpy(labels.confidence_body).float()
    hands = torch.from_numpy(
        np.stack((labels.confidence_left_hand, labels.confidence_right_hand), -1)
    ).float()
    face = torch.from_numpy(labels.confidence_face).float()

    is_mirrored = torch.tensor([cut.is_mirrored for cut in cuts])
    rows = torch.arange(len(cuts))
    points_order = torch.where(
        is_mirrored[:, None], torch.from_numpy(MIRRORED), torch.arange(NUM_LANDMARKS)
    )
    joint_order = torch.where(
        is_mirrored[:, None], torch.tensor(MIRRORED_JOINTS), torch.arange(len(JOINT_NAMES))
    )
    rows = rows[:, None]
    sign = torch.where(is_mirrored[:, None, None], -1.0, 1.0) * torch.tensor((1.0, 0, 0))
    sign = sign + torch.tensor((0.0, 1, 1))  # (N, 1, 3)
    return LabelledBatch(
        torch.from_numpy(crops),
        torch.from_numpy(near),
        uv[rows, points_order],
        confidence[rows, points_order],
        _chosen(is_mirrored, mirrored(parameters), parameters),
        joints[rows, joint_order] * sign,
        joint_confidence[rows, joint_order],
        body,
        torch.where(is_mirrored[:, None], hands.flip(1), hands),
        face * ~is_mirrored,  # expressions are not symmetric
    )


def mirrored(parameters: EhmParameters) -> EhmParameters:
    """The parameters of N people in the mirror images of their pictures.

    Only rotations of body and hands are mirrored; the face keeps its values.
    """
    names = JOINT_NAMES[1 : 1 + parameters.body_pose.shape[1]]
    order = [JOINT[JOINT_NAMES[MIRRORED_JOINTS[JOINT[name]]]] - 1 for name in names]
    values = dict(vars(parameters))
    values["global_orient"] = MIRROR @ parameters.global_orient @ MIRROR
    values["body_pose"] = MIRROR @ parameters.body_pose[:, order] @ MIRROR
    values["left_hand_pose"] = MIRROR @ parameters.right_hand_pose @ MIRROR
    values["right_hand_pose"] = MIRROR @ parameters.left_hand_pose @ MIRROR
    return EhmParameters(**values)


def _chosen(where: Tensor, first: EhmParameters, second: EhmParameters) -> EhmParameters:
    """Rows of `first` where `where` (N,) is true, else of `second`."""
    values = {
        name: torch.where(where.reshape(-1, *[1] * (value.ndim - 1)), value, getattr(second, name))
        for name, value in vars(first).items()
    }
    return EhmParameters(**values)


def _about_optical_axis(turn_rad: Tensor) -> Tensor:
    """(N,) counterclockwise as seen in the picture -> (N, 3, 3)."""
    c, s, zero = turn_rad.cos(), turn_rad.sin(), torch.zeros_like(turn_rad)
    rows = (c, s, zero, -s, c, zero, zero, zero, zero + 1)
    return torch.stack(rows, -1).unflatten(-1, (3, 3)).float()
