"""Images of any size -> inputs of a fixed size, and the boxes found there -> pixels of the image.

Detectors of the YOLO kind see a letterbox: the image keeps its aspect ratio and the rest of the
input is grey. Detectors of the DETR kind see the image stretched to the input.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from pear_ros.people import Boxes, FloatArray, ImageArray

Size = tuple[int, int]  # height, width, px

PADDING = 114  # grey level of a letterbox, the one that YOLOX was trained with
LEAST_SCORE = 0.05  # weaker boxes are not people


def letterboxed(image: ImageArray, size: Size) -> ImageArray:
    """Scales an image to fit `size`, and pads right and bottom with grey: (*size, 3)."""
    height, width = _fitted(image.shape[:2], size)
    canvas = np.full((*size, 3), PADDING, np.uint8)
    # Bilinear without a low-pass filter, as in YOLOX's training.
    canvas[:height, :width] = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    return canvas


def letterbox_scale(image_size: Size, size: Size) -> FloatArray:
    """(2,) px of the letterbox per px of the image, along x and y; they differ by rounding."""
    height, width = _fitted(image_size, size)
    return np.array([width / image_size[1], height / image_size[0]], np.float32)


def _fitted(image_size: Size, size: Size) -> Size:
    """The size of the scaled image inside the letterbox."""
    # In integers: with a float ratio, 640 * (640 / 641) * 641 / 640 can round to 639.
    if size[0] * image_size[1] <= size[1] * image_size[0]:  # the height limits
        return size[0], max(image_size[1] * size[0] // image_size[0], 1)
    return max(image_size[0] * size[1] // image_size[1], 1), size[1]


def stretched(image: ImageArray, size: Size) -> ImageArray:
    """Resizes an image to `size`, whatever its aspect ratio: (*size, 3)."""
    # Bilinear with a low-pass filter, as Pillow resizes, which the DETR kind was trained with.
    copy = np.array(image, order="C")  # torch warns of arrays that cannot be written
    planes = torch.from_numpy(copy).permute(2, 0, 1)[None]  # (1, 3, H, W)
    resized = F.interpolate(planes, size, mode="bilinear", antialias=True)
    as_array: ImageArray = resized[0].permute(1, 2, 0).numpy()
    return as_array


def corners(cxcywh: FloatArray) -> FloatArray:
    """Boxes (N, 4) as centre and size -> xyxy."""
    half = cxcywh[:, 2:] / 2
    return np.concatenate((cxcywh[:, :2] - half, cxcywh[:, :2] + half), 1)


def best(scores: FloatArray, limit: int) -> NDArray[np.int64]:
    """The rows of the `limit` highest scores from LEAST_SCORE on, and all rows of NaN.

    NaN is kept, so that it is counted as a bad box and not taken for an image without people.
    """
    order = np.argsort(-scores, kind="stable")
    likely = order[scores[order] >= LEAST_SCORE][:limit]
    return np.concatenate((likely, np.flatnonzero(np.isnan(scores))))


def cut_to_image(boxes: Boxes, image_size: Size) -> Boxes:
    """Cuts boxes, px of the image, at its border; boxes that are not finite stay as they are."""
    height, width = image_size
    limits = np.array([width, height, width, height], np.float32)
    finite = np.isfinite(boxes.xyxy).all(1, keepdims=True)
    return Boxes(np.where(finite, boxes.xyxy.clip(0, limits), boxes.xyxy), boxes.scores)
