"""Finds people with NanoDet-g: prepares images, looks again where the network is unsure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from pear_ros.detection.nanodet import load_nanodet
from pear_ros.geometry.boxes import box_iou_batch, suppress_overlaps
from pear_ros.people import Boxes, FloatArray, Frame, ImageArray

MULTIPLE = 32  # the input's sides are multiples of it
MEAN_BGR = (103.53, 116.28, 123.675)
STD_BGR = (57.375, 57.12, 58.395)
# NanoDet's score is trained to be the box's IoU, so it is lower than a probability. At this score
# precision and recall balance (docs/detection_and_tracking.md); it is mapped to 0.5.
WORKING_POINT = 0.4
LEAST_SCORE = 0.08  # NanoDet's; weaker boxes are not people
NMS_IOU = 0.6
# Boxes with a score in between are looked at again, see `NanoDetDetector`.
LEAST_UNSURE, SURE = 0.3, 0.8
AGAIN_PX = 128  # side of the crops
AGAIN_MARGINS = (1.4, 2.0)  # sides of the crops relative to the box's longer side
AGAIN_WORKING_POINT = 0.545  # of the mean score of all three looks; it is mapped to 0.5
SAME_PERSON_IOU = 0.5
# An unsure box is the same person's as a better one if so much of it is inside, or they overlap so.
INSIDE, DOUBLE_IOU = 0.7, 0.4
MOST_UNSURE = 8  # people of an image who are looked at again; the others keep their scores


def calibrated(scores: FloatArray, working_point: float) -> FloatArray:
    """Maps scores from 0 to 1, in the same order, so that `working_point` becomes 0.5."""
    below = 0.5 * scores / working_point
    above = 0.5 + 0.5 * (scores - working_point) / (1 - working_point)
    return np.where(scores < working_point, below, above).astype(np.float32)


class NanoDetDetector:
    """Finds people with NanoDet-g; images of the same size are one batch.

    A box whose score is neither high nor low is looked at again, mirrored and at two other
    scales: a person is found again, a false box rarely. The mean score decides. Boxes of `known`
    people need no second look: for them a low score is enough.

    Args:
        weights: File of the weights, assets/detector/nanodet_g.npz.
        input_px: Longer side of the images that the network sees.
        device: Where it runs.
        dtype: Precision of the network.

    Raises:
        SettingError: If the file is missing or damaged.
    """

    def __init__(
        self, weights: Path, input_px: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        network = load_nanodet(weights).to(device, dtype)
        self._dtype = dtype
        self._network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._input_px = input_px
        self._device = device
        self._mean = torch.tensor(MEAN_BGR, device=device)
        self._scale = 1 / torch.tensor(STD_BGR, device=device)

    @torch.inference_mode()
    def __call__(self, frames: Sequence[Frame], known: Sequence[FloatArray]) -> list[Boxes]:
        """Returns the boxes in each frame, with scores whose working point is 0.5.

        Args:
            frames: The images.
            known: Boxes (T, 4) xyxy, px, where people are expected, for each frame.
        """
        found = self._look([frame.image for frame in frames])
        return [
            self._looked_again(frame.image, boxes, expected)
            for frame, boxes, expected in zip(frames, found, known, strict=True)
        ]

    def _look(self, images: Sequence[ImageArray]) -> list[Boxes]:
        """The boxes in each image, with scores mapped so that WORKING_POINT becomes 0.5."""
        inputs = [resized_and_padded(image, self._input_px) for image in images]
        found: list[Boxes] = [Boxes.empty() for _ in images]
        for size in {image.shape for image, _ in inputs}:
            batch = [i for i, (image, _) in enumerate(inputs) if image.shape == size]
            boxes_of_batch = self._look_at_inputs(np.stack([inputs[i][0] for i in batch]))
            for i, boxes in zip(batch, boxes_of_batch, strict=True):
                found[i] = Boxes(boxes.xyxy / inputs[i][1], boxes.scores)
        return found

    def _look_at_inputs(self, images: ImageArray) -> list[Boxes]:  # (N, H, W, 3)
        bgr = torch.from_numpy(images).to(self._device).flip(-1)
        normalised = ((bgr - self._mean) * self._scale).permute(0, 3, 1, 2)
        cells = self._network(normalised.to(self._dtype), LEAST_SCORE).cpu().numpy()  # (K, 6)
        found = []
        for i in range(len(images)):
            xyxy, scores = np.split(cells[cells[:, 0] == i, 1:], (4,), 1)
            boxes = Boxes(xyxy, calibrated(scores[:, 0], WORKING_POINT))
            found.append(suppress_overlaps(boxes, NMS_IOU))
        return found

    def _looked_again(self, image: ImageArray, found: Boxes, known: FloatArray) -> Boxes:
        """Decides about the boxes with a score between LEAST_UNSURE and SURE."""
        scores = found.scores.copy()
        is_known = np.zeros(len(scores), bool)
        is_known[_same_people(known, found.xyxy)] = True
        is_unsure = (scores >= LEAST_UNSURE) & (scores < SURE)
        scores[is_unsure & is_known] = np.maximum(scores[is_unsure & is_known], 0.5)
        is_new = is_unsure & ~is_known
        # A part of a person, or a person and something else, looks like a person, too.
        rank = np.where(is_new | (scores < LEAST_UNSURE), scores, scores + 1)
        is_double = is_new & _is_double(found.xyxy, rank)
        scores[is_double] = 0
        unsure = np.flatnonzero(is_new & ~is_double)[:MOST_UNSURE]
        if len(unsure):
            boxes = np.repeat(found.xyxy[unsure], len(AGAIN_MARGINS), 0)
            margins = np.tile(AGAIN_MARGINS, len(unsure))
            again = self._scores_in_crops(image, boxes, margins).reshape(len(unsure), -1)
            mean = np.concatenate((scores[unsure, None], again), 1).mean(1)
            scores[unsure] = calibrated(mean, AGAIN_WORKING_POINT)
        return Boxes(found.xyxy, scores)

    def _scores_in_crops(
        self, image: ImageArray, xyxy: FloatArray, margins: NDArray[np.float64]
    ) -> FloatArray:
        """The scores (U,) of boxes (U, 4), px, in mirrored crops around them; 0: not found."""
        centre = (xyxy[:, :2] + xyxy[:, 2:]) / 2
        longer = (xyxy[:, 2:] - xyxy[:, :2]).max(1)
        scale = (AGAIN_PX / (margins * longer))[:, None]
        offset = AGAIN_PX / 2 - scale * centre  # (U, 2): a pixel x is at scale * x + offset
        crops = [_mirrored_crop(image, *row) for row in zip(scale[:, 0], offset, strict=True)]
        left, top, right, bottom = (xyxy * scale + np.tile(offset, 2)).T
        mirrored = np.stack((AGAIN_PX - right, top, AGAIN_PX - left, bottom), 1)
        found = self._look_at_inputs(np.stack(crops))
        scores = [
            (again.scores * (box_iou_batch(box[None], again.xyxy)[0] >= SAME_PERSON_IOU)).max(
                initial=0
            )
            for box, again in zip(mirrored, found, strict=True)
        ]
        return np.array(scores, np.float32)


def _same_people(known: FloatArray, found: FloatArray) -> NDArray[np.int64]:
    """The rows of `found` (N, 4) that are the people expected at `known` (T, 4): one for each."""
    overlap = box_iou_batch(known, found)
    people, rows = linear_sum_assignment(overlap, maximize=True)
    same: NDArray[np.int64] = rows[overlap[people, rows] >= SAME_PERSON_IOU]
    return same


def _is_double(xyxy: FloatArray, rank: FloatArray) -> NDArray[np.bool_]:
    """(N,) whether a box with a higher rank, of at least LEAST_UNSURE, is the same person's."""
    corner = np.minimum(xyxy[:, None, 2:], xyxy[None, :, 2:])
    shared = (corner - np.maximum(xyxy[:, None, :2], xyxy[None, :, :2])).clip(0).prod(-1)
    area = np.maximum((xyxy[:, 2:] - xyxy[:, :2]).prod(1), 1e-6)
    is_better = (rank[None] > rank[:, None]) & (rank >= LEAST_UNSURE)[None]
    is_same = (shared / area[:, None] > INSIDE) | (box_iou_batch(xyxy, xyxy) > DOUBLE_IOU)
    double: NDArray[np.bool_] = (is_better & is_same).any(1)
    return double


def resized_and_padded(image: ImageArray, input_px: int) -> tuple[ImageArray, float]:
    """Scales the longer side to `input_px` and pads right and bottom with black.

    Returns the image, whose sides are multiples of 32, and the scale.
    """
    height, width = image.shape[:2]
    scale = input_px / max(height, width)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small = cv2.resize(image, size, interpolation=method)
    padded = [-(-side // MULTIPLE) * MULTIPLE for side in small.shape[:2]]
    canvas = np.zeros((*padded, 3), np.uint8)
    canvas[: small.shape[0], : small.shape[1]] = small
    return canvas, scale


def _mirrored_crop(image: ImageArray, scale: float, offset: NDArray[np.float64]) -> ImageArray:
    """The square crop that maps a pixel x of the image to scale * x + offset, mirrored."""
    matrix = np.array([[scale, 0, offset[0]], [0, scale, offset[1]]], np.float64)
    # warpAffine does not average, so a large crop is scaled down first.
    if scale < 0.5:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        matrix[:, :2] = np.eye(2)
    crop = cv2.warpAffine(
        image, matrix, (AGAIN_PX, AGAIN_PX), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.ascontiguousarray(crop[:, ::-1])
