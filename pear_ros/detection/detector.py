"""Person detectors: functions from a frame to boxes."""

from __future__ import annotations

from typing import Protocol

import cv2
import numpy as np

from pear_ros.config import DETECTORS
from pear_ros.errors import SettingError
from pear_ros.people import Boxes, Frame

# px, longer side of the image that HOG searches. The smallest person that it finds is 128 px high,
# and its run time grows with the image's area.
HOG_LONG_SIDE = 640
# The person inside the detection window, which has a border: left, top, right, bottom as fractions
# of the window's size. Source: OpenCV's sample peopledetect.
HOG_PERSON = np.array((0.1, 0.07, 0.9, 0.87), np.float32)


class Detector(Protocol):
    """Finds the people in a frame: boxes in pixels of its image, scores from 0 to 1."""

    def __call__(self, frame: Frame) -> Boxes: ...


def full_frame(frame: Frame) -> Boxes:
    """Returns one box, the whole image, with score 1."""
    height, width = frame.image.shape[:2]
    return Boxes(np.array([[0, 0, width, height]], np.float32), np.ones(1, np.float32))


def given_boxes(frame: Frame) -> Boxes:
    """Returns the boxes that came with the frame, from a detector outside this process."""
    return frame.boxes if frame.boxes is not None else Boxes.empty()


class HogDetector:
    """OpenCV's people detector: histograms of oriented gradients (Dalal and Triggs, CVPR 2005).

    It finds upright people who are completely visible, and misses many. It needs no weights and
    runs on the CPU.

    Raises:
        SettingError: If this version of OpenCV does not have it.
    """

    def __init__(self) -> None:
        if not hasattr(cv2, "HOGDescriptor"):
            raise SettingError(
                f"detection.detector: 'hog' is not in OpenCV {cv2.__version__}; install "
                "opencv-python-headless<5 or choose another detector"
            )
        self._hog = cv2.HOGDescriptor()
        self._hog.setSVMDetector(cv2.HOGDescriptor_getDefaultPeopleDetector())

    def __call__(self, frame: Frame) -> Boxes:
        height, width = frame.image.shape[:2]
        scale = min(1.0, HOG_LONG_SIDE / max(height, width))
        size = (max(round(width * scale), 1), max(round(height * scale), 1))
        gray = cv2.cvtColor(frame.image, cv2.COLOR_RGB2GRAY)
        small = cv2.resize(gray, size, interpolation=cv2.INTER_AREA)
        if size[0] < self._hog.winSize[0] or size[1] < self._hog.winSize[1]:
            return Boxes.empty()
        found, weights = self._hog.detectMultiScale(small, winStride=(8, 8), scale=1.05)
        if not len(found):
            return Boxes.empty()
        xywh = np.asarray(found, np.float32).reshape(-1, 4) / scale
        person = HOG_PERSON * np.tile(xywh[:, 2:], 2)  # (M, 4) px from the window's corner
        xyxy = np.tile(xywh[:, :2], 2) + person
        margins = np.asarray(weights, np.float64).reshape(-1)  # from the SVM's hyperplane
        scores = (1 / (1 + np.exp(-4 * margins))).astype(np.float32)
        keep = cv2.dnn.NMSBoxes(xywh.tolist(), scores.tolist(), 0.0, 0.5)
        return Boxes(xyxy, scores)[np.asarray(keep, np.int64).reshape(-1)]


def make_detector(name: str) -> Detector:
    """Returns the detector with this name.

    Raises:
        SettingError: If `name` is not in DETECTORS, or OpenCV does not have the HOG detector.
    """
    if name == "hog":
        return HogDetector()
    if name == "full_frame":
        return full_frame
    if name == "topic":
        return given_boxes
    raise SettingError(f"detection.detector: {name!r} is not one of {', '.join(DETECTORS)}")
