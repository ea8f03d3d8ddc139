"""Where the people are in an image: a detector is a function from a frame to boxes."""

from __future__ import annotations

from typing import Protocol

import cv2
import numpy as np

from pear_ros.errors import SettingError
from pear_ros.people import Boxes, Frame

HOG_LONG_SIDE = (
    640  # px; the detector's smallest person is 128 px high, and its time grows with area
)
# Where in its window the detector sees a person: left, top, right, bottom. The window has a border;
# these are the shares that OpenCV's sample peopledetect leaves.
HOG_PERSON = np.array((0.1, 0.07, 0.9, 0.87), np.float32)


class Detector(Protocol):
    """Finds people: boxes in pixels of the frame's image, scores from 0 to 1."""

    def __call__(self, frame: Frame) -> Boxes: ...


def full_frame(frame: Frame) -> Boxes:
    """The whole image is one person."""
    height, width = frame.image.shape[:2]
    return Boxes(np.array([[0, 0, width, height]], np.float32), np.ones(1, np.float32))


def given_boxes(frame: Frame) -> Boxes:
    """What a detector outside of this process found, come with the frame."""
    return frame.boxes if frame.boxes is not None else Boxes.empty()


class HogDetector:
    """OpenCV's people detector: histograms of oriented gradients, upright people seen whole.

    Dalal and Triggs, CVPR 2005. It needs no weights, misses many and runs on the CPU.
    Raises SettingError where OpenCV lacks it.
    """

    def __init__(self) -> None:
        if not hasattr(cv2, "HOGDescriptor"):
            raise SettingError(
                f"detector 'hog' is not in OpenCV {cv2.__version__}: install "
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
        margins = np.asarray(weights, np.float64).reshape(-1)  # distances to the SVM's plane
        scores = (1 / (1 + np.exp(-4 * margins))).astype(np.float32)
        keep = cv2.dnn.NMSBoxes(xywh.tolist(), scores.tolist(), 0.0, 0.5)
        return Boxes(xyxy, scores)[np.asarray(keep, np.int64).reshape(-1)]


DETECTORS = ("full_frame", "hog", "topic")


def make_detector(name: str) -> Detector:
    """The detector of a name in DETECTORS. Raises SettingError for another."""
    if name == "hog":
        return HogDetector()
    if name == "full_frame":
        return full_frame
    if name == "topic":
        return given_boxes
    raise SettingError(f"detector {name!r} is none of {', '.join(DETECTORS)}")
