"""Person detectors: functions from frames to boxes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from pear_ros.config import DETECTORS, DetectionSettings
from pear_ros.detection.nanodet_detector import NanoDetDetector
from pear_ros.detection.onnx_detector import OnnxDetector
from pear_ros.errors import SettingError
from pear_ros.people import Boxes, FloatArray, Frame
from pear_ros.system.installed import shared_file


class Detector(Protocol):
    """Finds the people in each frame: boxes in pixels of its image, scores from 0 to 1.

    `known` are the boxes (T, 4), px, where people are expected, for each frame; a detector may use
    them to decide whether an unclear box is a person.
    """

    def __call__(self, frames: Sequence[Frame], known: Sequence[FloatArray]) -> list[Boxes]: ...


def full_frame(frames: Sequence[Frame], known: Sequence[FloatArray]) -> list[Boxes]:
    """Returns one box per frame, the whole image, with score 1."""
    sizes = [frame.image.shape[:2] for frame in frames]
    return [
        Boxes(np.array([[0, 0, width, height]], np.float32), np.ones(1, np.float32))
        for height, width in sizes
    ]


def given_boxes(frames: Sequence[Frame], known: Sequence[FloatArray]) -> list[Boxes]:
    """Returns the boxes that came with the frames, from a detector outside this process."""
    return [Boxes.empty() if frame.boxes is None else frame.boxes for frame in frames]


def make_detector(
    settings: DetectionSettings, device: torch.device, dtype: torch.dtype = torch.float32
) -> Detector:
    """Returns the detector that `settings` name; a network runs on `device` in `dtype`.

    Raises:
        AssetError: If the weights of NanoDet are not installed.
        SettingError: If the detector is unknown, its file cannot be used or onnxruntime is missing.
    """
    if settings.detector == "nanodet":
        return NanoDetDetector(
            shared_file("detector/nanodet_g.npz"), settings.input_px, device, dtype
        )
    if settings.detector == "full_frame":
        return full_frame
    if settings.detector == "topic":
        return given_boxes
    if settings.detector == "onnx":
        if not settings.model:
            raise SettingError("detection.model is not set; give the ONNX file of the detector")
        return OnnxDetector(Path(settings.model), settings.family, settings.person_index, device)
    raise SettingError(
        f"detection.detector: {settings.detector!r} is not one of {', '.join(DETECTORS)}"
    )
