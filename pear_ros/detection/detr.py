"""RT-DETR, RT-DETRv2, D-FINE and RF-DETR as their export tools write them: a box per query.

Nothing is suppressed: these networks are trained to find each person once.

- RT-DETR and RT-DETRv2, https://github.com/lyuwenyu/RT-DETR: inputs and outputs are those of
  tools/export_onnx.py (of rtdetr_pytorch and of rtdetrv2_pytorch).
- D-FINE, https://github.com/Peterande/D-FINE: tools/deployment/export_onnx.py; the same.
- RF-DETR, https://github.com/roboflow/rf-detr: inputs and outputs are those of `model.export()`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pear_ros.detection.classes import COCO_CLASSES, COCO_SLOTS, person_among
from pear_ros.detection.letterbox import Size, best, corners, cut_to_image, stretched
from pear_ros.errors import SettingError
from pear_ros.people import Boxes, FloatArray, ImageArray

CANDIDATES = 300  # boxes per image
RTDETR_PERSON = 0  # of COCO's 80 classes
# Index by number of classes. Fine-tuned weights count their classes from 0 and have the background
# last, so only the published weights have a default.
RFDETR_PERSON = {COCO_SLOTS: 1}
MEAN_RGB = np.array((0.485, 0.456, 0.406), np.float32)  # of ImageNet, for RF-DETR
STD_RGB = np.array((0.229, 0.224, 0.225), np.float32)


# --- RT-DETR and D-FINE --------------------------------------------------------------------------


def prepare_rtdetr(
    images: Sequence[ImageArray], size: Size
) -> list[NDArray[np.float32] | NDArray[np.int64]]:
    """Images (H, W, 3) RGB -> (B, 3, *size) RGB, 0 to 1, and (B, 2) the images' width, height."""
    batch = np.stack([stretched(image, size) for image in images])  # (B, *size, 3)
    planes = np.ascontiguousarray(batch.transpose(0, 3, 1, 2), np.float32) / np.float32(255)
    sizes = np.array([(image.shape[1], image.shape[0]) for image in images], np.int64)
    return [planes, sizes]


@dataclass(frozen=True)
class RtDetrDecoder:
    """Labels, boxes and scores of one image -> the boxes of its people."""

    person: int  # label

    def __call__(self, outputs: Sequence[FloatArray], image_size: Size) -> Boxes:
        """Decodes labels (N,), boxes (N, 4) xyxy, px of the image, and scores (N,)."""
        labels, xyxy, scores = outputs
        people = labels == self.person
        xyxy, scores = xyxy[people], scores[people]
        rows = best(scores, CANDIDATES)
        return cut_to_image(Boxes(xyxy[rows], scores[rows]), image_size)


def make_rtdetr_decoder(
    outputs: Sequence[FloatArray], size: Size, person_index: int
) -> RtDetrDecoder:
    """Returns the decoder for the outputs for an image: labels, boxes and scores.

    Args:
        outputs: Labels (B, N), boxes (B, N, 4) and scores (B, N).
        size: Height and width of the input, px.
        person_index: Label of people; -1: that of COCO.

    Raises:
        SettingError: If the outputs are not those of RT-DETR, or the classes are not COCO's and
            `person_index` is -1.
    """
    labels, xyxy, scores = outputs
    if labels.ndim != 2 or scores.shape != labels.shape or xyxy.shape != (*labels.shape, 4):
        raise SettingError(
            f"its labels, boxes and scores have the shapes {labels.shape}, {xyxy.shape} and "
            f"{scores.shape}, not (images, boxes), (images, boxes, 4) and (images, boxes)"
        )
    if not ((scores >= 0) & (scores <= 1)).all():
        raise SettingError("its scores are not within 0 ... 1")
    # The number of classes is not in the outputs; a label that COCO does not have betrays others.
    if person_index == -1 and labels.max(initial=0) >= COCO_CLASSES:
        raise SettingError(
            f"it has a class {labels.max():.0f}, and COCO has {COCO_CLASSES} classes; set "
            "detection.person_index to the index of person"
        )
    return RtDetrDecoder(RTDETR_PERSON if person_index == -1 else person_index)


# --- RF-DETR -------------------------------------------------------------------------------------


def prepare_rfdetr(images: Sequence[ImageArray], size: Size) -> list[NDArray[np.float32]]:
    """Images (H, W, 3) RGB -> the input (B, 3, *size): RGB, normalised with ImageNet's values."""
    batch = np.stack([stretched(image, size) for image in images])  # (B, *size, 3)
    normalised = batch * (1 / (255 * STD_RGB)) - MEAN_RGB / STD_RGB
    return [np.ascontiguousarray(normalised.transpose(0, 3, 1, 2), np.float32)]


@dataclass(frozen=True)
class RfDetrDecoder:
    """Boxes and logits of one image -> the boxes of its people."""

    person: int  # index among the logits

    def __call__(self, outputs: Sequence[FloatArray], image_size: Size) -> Boxes:
        """Decodes boxes (N, 4), centre and size from 0 to 1, and logits (N, classes)."""
        cxcywh, logits = outputs
        with np.errstate(over="ignore"):  # exp(100) is infinite in float32, and its score 0
            scores = (1 / (1 + np.exp(-logits[:, self.person]))).astype(np.float32)
        rows = best(scores, CANDIDATES)
        height, width = image_size
        xyxy = corners(cxcywh[rows]) * np.array([width, height, width, height], np.float32)
        return cut_to_image(Boxes(xyxy, scores[rows]), image_size)


def make_rfdetr_decoder(
    outputs: Sequence[FloatArray], size: Size, person_index: int
) -> RfDetrDecoder:
    """Returns the decoder for the outputs for an image: boxes and logits.

    Args:
        outputs: Boxes (B, N, 4) and logits (B, N, classes).
        size: Height and width of the input, px.
        person_index: Index of person among the logits; -1: that of COCO.

    Raises:
        SettingError: If the outputs are not those of RF-DETR, or the classes are not COCO's and
            `person_index` is -1.
    """
    cxcywh, logits = outputs
    if logits.ndim != 3 or cxcywh.shape != (*logits.shape[:2], 4):
        raise SettingError(
            f"its dets and labels have the shapes {cxcywh.shape} and {logits.shape}, not "
            "(images, boxes, 4) and (images, boxes, classes)"
        )
    return RfDetrDecoder(person_among(logits.shape[2], person_index, RFDETR_PERSON))
