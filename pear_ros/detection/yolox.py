"""YOLOX as its export tool writes it: letterboxed images -> cells -> boxes of people.

YOLOX by Megvii, https://github.com/Megvii-BaseDetection/YOLOX (Ge et al., arXiv 2107.08430). Input
and output are those of its tools/export_onnx.py, with and without --decode_in_inference. Models
from before its version 0.1.1 have other inputs and are not supported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pear_ros.detection.classes import COCO_CLASSES, person_among
from pear_ros.detection.letterbox import (
    Size,
    best,
    corners,
    cut_to_image,
    letterbox_scale,
    letterboxed,
)
from pear_ros.errors import SettingError
from pear_ros.geometry.boxes import suppress_overlaps
from pear_ros.people import Boxes, FloatArray, ImageArray

STRIDES = ((8, 16, 32), (8, 16, 32, 64))  # px of the input per cell; models P5 and P6
CLASSES = 5  # columns of a cell: box (4), objectness, then the classes
PERSON = {COCO_CLASSES: 0, 1: 0}  # index by number of classes
NMS_IOU = 0.65  # YOLOX's, with which its accuracy is measured
CANDIDATES = 300  # boxes that are compared with each other


def prepare(images: Sequence[ImageArray], size: Size) -> list[NDArray[np.float32]]:
    """Images (H, W, 3) RGB -> the input (B, 3, *size): BGR, 0 to 255, letterboxed."""
    batch = np.stack([letterboxed(image, size) for image in images])  # (B, *size, 3)
    return [np.ascontiguousarray(batch[..., ::-1].transpose(0, 3, 1, 2), np.float32)]


@dataclass(frozen=True)
class YoloxDecoder:
    """The cells of one image -> the boxes of its people."""

    size: Size  # height and width of the input, px
    strides: tuple[int, ...]  # of its cells, px
    person: int  # index of the class person
    is_decoded: bool  # whether the file computes boxes in px of the input itself

    def __call__(self, outputs: Sequence[FloatArray], image_size: Size) -> Boxes:
        """Decodes the output (N, 5 + classes) of an image of `image_size` (height, width) px.

        A score is that of person alone: a box may be likely a person and likelier something else.
        """
        (cells,) = outputs
        scores = cells[:, 4] * cells[:, CLASSES + self.person]
        rows = best(scores, CANDIDATES)
        cxcywh = cells[rows, :4]
        if not self.is_decoded:
            corner, stride = (values[rows] for values in cell_grid(self.size, self.strides))
            with np.errstate(over="ignore"):  # an infinite box is counted as a bad one
                centre, sides = corner + cxcywh[:, :2] * stride, np.exp(cxcywh[:, 2:]) * stride
            cxcywh = np.concatenate((centre, sides), 1)
        scale = np.tile(letterbox_scale(image_size, self.size), 2)
        boxes = cut_to_image(Boxes(corners(cxcywh) / scale, scores[rows]), image_size)
        finite = np.isfinite(boxes.xyxy).all(1) & np.isfinite(boxes.scores)
        kept, bad = suppress_overlaps(boxes[finite], NMS_IOU), boxes[~finite]
        return Boxes(
            np.concatenate((kept.xyxy, bad.xyxy)), np.concatenate((kept.scores, bad.scores))
        )


def cell_grid(size: Size, strides: Sequence[int]) -> tuple[FloatArray, FloatArray]:
    """(N, 2) the cells' upper left corners, px, row by row for each stride, and (N, 1) strides."""
    corner, width = [], []
    for stride in strides:
        y, x = np.mgrid[: size[0] // stride, : size[1] // stride]
        level = stride * np.stack((x, y), -1).reshape(-1, 2)
        corner.append(level)
        width.append(np.full((len(level), 1), stride))
    return np.concatenate(corner).astype(np.float32), np.concatenate(width).astype(np.float32)


def make_decoder(outputs: Sequence[FloatArray], size: Size, person_index: int) -> YoloxDecoder:
    """Returns the decoder for the outputs (B, N, 5 + classes) of an image without people.

    Args:
        outputs: What the file computes for the image.
        size: Height and width of the input, px.
        person_index: Index of the class person; -1: that of COCO.

    Raises:
        SettingError: If the output is not one of YOLOX or has no such class.
    """
    (cells,) = outputs
    if cells.ndim != 3 or cells.shape[2] <= CLASSES:
        raise SettingError(
            f"its output has the shape {cells.shape}, not (images, cells, 5 + classes)"
        )
    counts = {sum((size[0] // s) * (size[1] // s) for s in levels): levels for levels in STRIDES}
    if cells.shape[1] not in counts:
        raise SettingError(
            f"its output has {cells.shape[1]} cells; a YOLOX for {size[1]}x{size[0]} px has "
            f"{' or '.join(map(str, counts))}"
        )
    strides = counts[cells.shape[1]]
    sure = cells[..., 4:]
    if not ((sure >= 0) & (sure <= 1)).all():
        raise SettingError("its scores are not within 0 ... 1")
    person = person_among(cells.shape[2] - CLASSES, person_index, PERSON)
    return YoloxDecoder(size, strides, person, _is_decoded(cells[0], size, strides))


def _is_decoded(cells: FloatArray, size: Size, strides: Sequence[int]) -> bool:
    """Whether the centres of the boxes are in px of the input, not relative to their cells.

    The boxes of most cells are near their cells. In px, their centres are therefore as far from
    each other as the cells are, hundreds of pixels; relative to the cells, they are small numbers.
    """
    centres, sides = cells[:, :2], cells[:, 2:4]
    corner, stride = cell_grid(size, strides)
    from_px = np.median(np.abs((centres - corner) / stride - 0.5))
    from_cells = np.median(np.abs(centres - 0.5))
    return bool(from_px < from_cells and (sides >= 0).all())
