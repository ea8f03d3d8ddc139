"""Detectors: the boxes that they find, in pixels of the given image."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from pear_ros.detection import detector as detector_module
from pear_ros.detection.detector import (
    DETECTORS,
    HogDetector,
    full_frame,
    given_boxes,
    make_detector,
)
from pear_ros.errors import SettingError
from pear_ros.geometry.boxes import box_iou_batch
from pear_ros.people import Boxes, Camera, Frame, ImageArray


def frame(image: ImageArray, boxes: Boxes | None = None) -> Frame:
    return Frame(image, Camera(600, 600, 320, 240), 0.0, boxes=boxes)


def gray(height: int, width: int) -> ImageArray:
    return np.full((height, width, 3), 200, np.uint8)


def draw_person(image: ImageArray, x: float, y: float, height: float) -> None:
    """Draws the silhouette of a person; (x, y) is the top of the head."""
    unit, color = height / 8, (60, 50, 40)

    def point(right: float, down: float) -> tuple[int, int]:
        return round(x + right * unit), round(y + down * unit)

    cv2.circle(image, point(0, 0.6), round(unit / 2), color, -1)
    cv2.rectangle(image, point(-0.9, 1.3), point(0.9, 4.2), color, -1)
    for side in (-1, 1):
        cv2.line(image, point(0.9 * side, 1.5), point(1.2 * side, 4.2), color, round(unit / 2))
        cv2.line(image, point(0.45 * side, 4), point(0.6 * side, 8), color, round(0.7 * unit))


@pytest.fixture(scope="module")
def hog() -> HogDetector:
    return HogDetector()


@pytest.fixture(scope="module")
def person() -> ImageArray:
    image = gray(480, 640)
    draw_person(image, 450, 150, 220)
    return cv2.GaussianBlur(image, (5, 5), 0)


# The person with a margin: the detector was trained with such boxes.
FOUND = np.array([(380, 130, 520, 390)], np.float32)


@pytest.mark.parametrize("scale", [1, 3], ids=["small image", "scaled image"])
def test_hog_finds_a_person(hog: HogDetector, person: ImageArray, scale: int) -> None:
    boxes = hog(frame(cv2.resize(person, None, fx=scale, fy=scale)))
    assert boxes.xyxy.dtype == boxes.scores.dtype == np.float32
    assert box_iou_batch(FOUND * scale, boxes.xyxy).shape == (1, 1)
    assert box_iou_batch(FOUND * scale, boxes.xyxy) > 0.6
    assert 0.9 < boxes.scores[0] <= 1


@pytest.mark.parametrize("shape", [(480, 640), (127, 640), (300, 63), (1, 1), (5000, 40)], ids=str)
def test_hog_finds_nobody(hog: HogDetector, shape: tuple[int, int]) -> None:
    boxes = hog(frame(gray(*shape)))
    assert boxes.xyxy.shape == (0, 4)
    assert boxes.scores.shape == (0,)


def test_hog_keeps_one_of_several_boxes_around_a_person(
    hog: HogDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Fake:
        winSize = (64, 128)  # noqa: N815

        def detectMultiScale(self, *_: Any, **__: Any) -> Any:  # noqa: N802
            return [(10, 10, 50, 100), (12, 12, 50, 100), (200, 10, 50, 100)], [0.2, 0.9, 0.0]

    monkeypatch.setattr(hog, "_hog", Fake())
    boxes = hog(frame(gray(960, 1280)))  # the detector searches half this size
    windows = np.array([(24, 24, 124, 224), (400, 20, 500, 220)])
    assert boxes.xyxy.shape == windows.shape  # a box is somewhat smaller than the detector's window
    np.testing.assert_allclose(boxes.xyxy[:, ::2].sum(1), windows[:, ::2].sum(1))
    assert (boxes.xyxy[:, :2] >= windows[:, :2]).all()
    assert (boxes.xyxy[:, 2:] <= windows[:, 2:]).all()
    assert (box_iou_batch(boxes.xyxy, windows).diagonal() > 0.6).all()
    np.testing.assert_allclose(boxes.scores, [1 / (1 + np.exp(-3.6)), 0.5], rtol=1e-6)


def test_opencv_without_hog(monkeypatch: pytest.MonkeyPatch) -> None:
    class Without:
        __version__ = "5.0"

    monkeypatch.setattr(detector_module, "cv2", Without)
    with pytest.raises(SettingError, match=r"'hog' is not in OpenCV 5.0"):
        make_detector("hog")


def test_full_frame() -> None:
    boxes = full_frame(frame(gray(48, 64)))
    assert boxes.xyxy.tolist() == [[0, 0, 64, 48]]
    assert boxes.scores.tolist() == [1]


def test_given_boxes() -> None:
    boxes = full_frame(frame(gray(4, 4)))
    assert given_boxes(frame(gray(9, 9), boxes)) is boxes
    assert len(given_boxes(frame(gray(9, 9)))) == 0


def test_detectors_by_name() -> None:
    made = {name: make_detector(name) for name in DETECTORS}
    assert made["full_frame"] is full_frame
    assert made["topic"] is given_boxes
    assert isinstance(made["hog"], HogDetector)
    with pytest.raises(SettingError, match="'yolo' is not one of full_frame, hog, topic"):
        make_detector("yolo")
