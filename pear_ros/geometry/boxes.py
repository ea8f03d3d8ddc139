"""Boxes of people in an image, px: clip, square, overlap."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pear_ros.geometry.crop_camera import CROP_MARGIN
from pear_ros.people import Boxes, FloatArray


def clip_boxes(xyxy: FloatArray, width: int, height: int) -> FloatArray:
    """Clips boxes (N, 4) xyxy, px, to an image: (N, 4) corners of their first and last pixels.

    This clips as PEAR does: the first corner is clipped and the size is kept, so a box that begins
    left of the image is shifted to the right, not cut.
    """
    size = np.maximum(xyxy[:, 2:] - xyxy[:, :2], 0)
    first = np.maximum(xyxy[:, :2], 0)
    last = np.minimum(first + np.maximum(size - 1, 0), (width - 1, height - 1))
    return np.concatenate((first, last), 1).astype(np.float32)


def usable(xyxy: FloatArray, width: int, height: int) -> NDArray[np.bool_]:
    """(N,) whether boxes (N, 4) xyxy, px, can be cropped.

    They must be finite, overlap the image and be wider and higher than a pixel after clipping.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        inside = np.minimum(xyxy[:, 2:], (width, height)) - np.maximum(xyxy[:, :2], 0)
        clipped = clip_boxes(xyxy, width, height)
        area = (clipped[:, 2:] - clipped[:, :2]).min(1, initial=np.inf)
    is_usable: NDArray[np.bool_] = np.isfinite(xyxy).all(1) & (inside > 0).all(1) & (area > 0)
    return is_usable


def square_boxes(xyxy: FloatArray, width: int, height: int) -> FloatArray:
    """Boxes of people (N, 4) xyxy, px -> the squares (N, 4) xywh, px, that the network sees."""
    clipped = clip_boxes(xyxy, width, height).astype(np.float64)
    centre = (clipped[:, :2] + clipped[:, 2:]) / 2
    side = CROP_MARGIN * (clipped[:, 2:] - clipped[:, :2]).max(1, keepdims=True, initial=0)
    return np.concatenate((centre - side / 2, side, side), 1).astype(np.float32)


def box_iou_batch(a_xyxy: FloatArray, b_xyxy: FloatArray) -> NDArray[np.float64]:
    """Intersection over union (N, M) of boxes (N, 4) and (M, 4) xyxy."""
    a, b = a_xyxy[:, None].astype(np.float64), b_xyxy[None].astype(np.float64)
    corner = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    intersection = corner.clip(0).prod(-1)
    areas = [(box[..., 2:] - box[..., :2]).prod(-1) for box in (a, b)]
    iou: NDArray[np.float64] = intersection / np.maximum(areas[0] + areas[1] - intersection, 1e-9)
    return iou


def boxes_inside(boxes: Boxes, image_size: tuple[int, int]) -> Boxes:
    """Boxes clipped to an image of `image_size` (height, width) px, without those outside of it."""
    height, width = image_size
    clipped = boxes.xyxy.clip(0, (width, height, width, height))
    seen = np.flatnonzero((clipped[:, 2:] > clipped[:, :2]).all(1))
    return Boxes(clipped, boxes.scores)[seen]


def suppress_overlaps(boxes: Boxes, max_iou: float) -> Boxes:
    """Non-maximum suppression: drops boxes that overlap a better one by more than `max_iou`."""
    order = np.argsort(-boxes.scores, kind="stable")
    left, top, right, bottom = boxes.xyxy[order].astype(np.float64).T.copy()
    area = (right - left) * (bottom - top)
    kept = np.ones(len(order), bool)
    for i in range(len(order)):
        if kept[i]:
            rest = slice(i + 1, None)
            width = np.minimum(right[rest], right[i]) - np.maximum(left[rest], left[i])
            height = np.minimum(bottom[rest], bottom[i]) - np.maximum(top[rest], top[i])
            shared = width.clip(0) * height.clip(0)
            kept[rest] &= shared <= max_iou * (area[rest] + area[i] - shared)
    return boxes[order[kept]]


def boxes_around(joints_xyxy: FloatArray, margins: FloatArray) -> FloatArray:
    """Boxes (T, 4), px, around the extent of people's joints (T, 4), px.

    `margins` (T, 4) are the distances of the sides, relative to the extent's longer side, from
    `margins_of`.
    """
    size = (joints_xyxy[:, 2:] - joints_xyxy[:, :2]).max(1, keepdims=True)
    return (joints_xyxy + margins * size).astype(np.float32)


def margins_of(xyxy: FloatArray, joints_xyxy: FloatArray) -> FloatArray:
    """The margins (T, 4) of detected boxes (T, 4), px, around the extent of people's joints.

    A detector sees hair and clothes, and not the legs behind a desk, which have joints as well.
    """
    size = (joints_xyxy[:, 2:] - joints_xyxy[:, :2]).max(1, keepdims=True)
    return ((xyxy - joints_xyxy) / np.maximum(size, 1e-6)).astype(np.float32)
