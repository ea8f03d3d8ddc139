"""Person detectors: functions from frames to boxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch

from pear_ros.config import DETECTORS, DetectionSettings
from pear_ros.detection.nanodet import NanoDetDetector
from pear_ros.errors import SettingError
from pear_ros.people import Boxes, Frame
from pear_ros.system.installed import shared_file


class Detector(Protocol):
    """Finds the people in each frame: boxes in pixels of its image, scores from 0 to 1."""

    def __call__(self, frames: Sequence[Frame]) -> list[Boxes]: ...


def full_frame(frames: Sequence[Frame]) -> list[Boxes]:
    """Returns one box per frame, the whole image, with score 1."""
    sizes = [frame.image.shape[:2] for frame in frames]
    return [
        Boxes(np.array([[0, 0, width, height]], np.float32), np.ones(1, np.float32))
        for height, width in sizes
    ]


def given_boxes(frames: Sequence[Frame]) -> list[Boxes]:
    """Returns the boxes that came with the frames, from a detector outside this process."""
    return [Boxes.empty() if frame.boxes is None else frame.boxes for frame in frames]


def make_detector(settings: DetectionSettings, device: torch.device) -> Detector:
    """Returns the detector that `settings` name; a network runs on `device`.

    Raises:
        AssetError: If the weights of NanoDet are not installed.
        SettingError: If the detector is unknown or its file cannot be used.
    """
    if settings.detector == "nanodet":
        return NanoDetDetector(shared_file("detector/nanodet_g.npz"), settings.input_px, device)
    if settings.detector == "full_frame":
        return full_frame
    if settings.detector == "topic":
        return given_boxes
    raise SettingError(
        f"detection.detector: {settings.detector!r} is not one of {', '.join(DETECTORS)}"
    )
