"""The detectors without a network, and the choice of one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pear_ros.config import DETECTORS, DetectionSettings
from pear_ros.detection.detector import full_frame, given_boxes, make_detector
from pear_ros.detection.nanodet_detector import NanoDetDetector
from pear_ros.errors import SettingError
from pear_ros.people import Boxes, Camera, Frame

CPU = torch.device("cpu")
NOBODY = np.zeros((0, 4), np.float32)


def frame(height: int, width: int, boxes: Boxes | None = None) -> Frame:
    image = np.full((height, width, 3), 200, np.uint8)
    return Frame(image, Camera(600, 600, 320, 240), 0.0, boxes=boxes)


def test_full_frame() -> None:
    first, second = full_frame([frame(48, 64), frame(5, 4)], [NOBODY, NOBODY])
    assert first.xyxy.tolist() == [[0, 0, 64, 48]]
    assert second.xyxy.tolist() == [[0, 0, 4, 5]]
    assert first.scores.tolist() == second.scores.tolist() == [1]


def test_given_boxes() -> None:
    (boxes,) = full_frame([frame(4, 4)], [NOBODY])
    given, none = given_boxes([frame(9, 9, boxes), frame(9, 9)], [NOBODY, NOBODY])
    assert given is boxes
    assert len(none) == 0


def test_detectors_by_name() -> None:
    """All but onnx, which needs a file: test_onnx_detector.py."""
    names = [name for name in DETECTORS if name != "onnx"]
    made = {name: make_detector(DetectionSettings(detector=name), CPU) for name in names}
    assert made["full_frame"] is full_frame
    assert made["topic"] is given_boxes
    assert isinstance(made["nanodet"], NanoDetDetector)


def test_detectors_that_cannot_be_made() -> None:
    with pytest.raises(SettingError, match=f"'yolo' is not one of {', '.join(DETECTORS)}"):
        DetectionSettings(detector="yolo")
    with pytest.raises(SettingError, match=r"detection.model is not set"):
        make_detector(DetectionSettings(detector="onnx"), CPU)
