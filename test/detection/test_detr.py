"""RT-DETR, D-FINE and RF-DETR: their inputs and their boxes."""

from __future__ import annotations

import numpy as np
import pytest

from pear_ros.detection.detr import (
    RfDetrDecoder,
    RtDetrDecoder,
    make_rfdetr_decoder,
    make_rtdetr_decoder,
    prepare_rfdetr,
    prepare_rtdetr,
)
from pear_ros.errors import SettingError
from pear_ros.people import FloatArray

SIZE = (32, 48)
COLOUR = (200, 100, 50)


def values(*rows: object) -> FloatArray:
    return np.array(rows, np.float32)


# --- Inputs --------------------------------------------------------------------------------------


def test_rtdetr_sees_rgb_from_0_to_1_and_gets_width_before_height() -> None:
    images = [np.full((10, 30, 3), COLOUR, np.uint8), np.full((70, 20, 3), 255, np.uint8)]
    planes, sizes = prepare_rtdetr(images, SIZE)
    assert planes.shape == (2, 3, *SIZE)
    assert planes.dtype == np.float32
    assert sizes.dtype == np.int64
    assert sizes.tolist() == [[30, 10], [20, 70]]
    np.testing.assert_allclose(planes[0].min((1, 2)), np.divide(COLOUR, 255), rtol=1e-6)
    np.testing.assert_allclose(planes[0].max((1, 2)), np.divide(COLOUR, 255), rtol=1e-6)
    assert (planes[1] == 1).all()  # the image fills the input: no padding


def test_rfdetr_sees_normalised_rgb() -> None:
    (planes,) = prepare_rfdetr([np.full((10, 30, 3), COLOUR, np.uint8)], SIZE)
    assert planes.shape == (1, 3, *SIZE)
    assert planes.dtype == np.float32
    mean, deviation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, RGB
    for channel in range(3):
        expected = (COLOUR[channel] / 255 - mean[channel]) / deviation[channel]
        np.testing.assert_allclose(planes[0, channel], expected, rtol=1e-5)


# --- Boxes ---------------------------------------------------------------------------------------


def test_rtdetr_boxes_are_those_of_people() -> None:
    labels = values(0, 2, 0, 0)
    xyxy = values((1, 2, 30, 40), (0, 0, 9, 9), (-3, -4, 70, 40), (5, 5, 6, 6))
    scores = values(0.4, 0.9, 0.8, 0.01)
    boxes = RtDetrDecoder(0)([labels, xyxy, scores], (48, 64))
    assert boxes.xyxy.tolist() == [[0, 0, 64, 40], [1, 2, 30, 40]]
    assert boxes.scores.tolist() == pytest.approx([0.8, 0.4])
    assert RtDetrDecoder(2)([labels, xyxy, scores], (48, 64)).xyxy.tolist() == [[0, 0, 9, 9]]
    assert len(RtDetrDecoder(7)([labels, xyxy, scores], (48, 64))) == 0


def test_rfdetr_boxes_are_scaled_and_logits_become_scores() -> None:
    cxcywh = values((0.5, 0.25, 0.25, 0.5), (0.1, 0.1, 0.1, 0.1), (0.9, 0.5, 0.4, 0.2))
    logits = np.full((3, 91), -20, np.float32)
    logits[0, 1], logits[1, 0], logits[2, 1] = 0, 20, np.log(3)
    boxes = RfDetrDecoder(1)([cxcywh, logits], (400, 800))
    np.testing.assert_allclose(boxes.scores, [0.75, 0.5], rtol=1e-6)
    np.testing.assert_allclose(boxes.xyxy, [[560, 160, 800, 240], [300, 0, 500, 200]], rtol=1e-6)
    assert boxes.xyxy.dtype == boxes.scores.dtype == np.float32


def test_rfdetr_scores_of_extreme_logits() -> None:
    logits = values((-1000,), (1000,), (-np.inf,))
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        boxes = RfDetrDecoder(0)([np.full((3, 4), 0.5, np.float32), logits], SIZE)
    assert boxes.scores.tolist() == [1]


def test_what_is_not_finite_is_passed_on() -> None:
    """The pipeline counts it as bad boxes."""
    nan = np.nan
    labels, scores = values(0, 0, 0), values(0.9, nan, 0.8)
    xyxy = values((0, 0, 9, 9), (0, 0, 9, 9), (0, nan, np.inf, 9))
    boxes = RtDetrDecoder(0)([labels, xyxy, scores], (48, 64))
    np.testing.assert_array_equal(boxes.scores, values(0.9, 0.8, nan))
    np.testing.assert_array_equal(boxes.xyxy[1], values(0, nan, np.inf, 9))
    boxes = RfDetrDecoder(0)([values((nan, 0, 1, 1), (0.5, 0.5, 1, 1)), values((0,), (nan,))], SIZE)
    np.testing.assert_array_equal(boxes.scores, values(0.5, nan))
    assert np.isnan(boxes.xyxy[0, 0])


def test_equal_boxes_are_not_suppressed() -> None:
    xyxy = np.tile(values(0, 0, 9, 9), (5, 1))
    assert len(RtDetrDecoder(0)([np.zeros(5), xyxy, np.full(5, 0.9)], SIZE)) == 5


# --- Other files ---------------------------------------------------------------------------------


def rtdetr(labels: object = 0, scores: float = 0.5, count: int = 4) -> list[FloatArray]:
    full = np.full((1, count), labels, np.float32)
    return [full, np.zeros((1, count, 4), np.float32), np.full((1, count), scores, np.float32)]


def test_rtdetr_classes() -> None:
    assert make_rtdetr_decoder(rtdetr([[0, 79, 3, 5]]), SIZE, -1).person == 0
    assert make_rtdetr_decoder(rtdetr([[0, 364, 3, 5]]), SIZE, 1).person == 1
    assert make_rtdetr_decoder(rtdetr(count=0), SIZE, -1).person == 0
    with pytest.raises(SettingError, match="it has a class 80, and COCO has 80 classes; set"):
        make_rtdetr_decoder(rtdetr([[0, 80, 3, 5]]), SIZE, -1)


@pytest.mark.parametrize("outputs", [rtdetr(scores=1.5), rtdetr(scores=-0.5)], ids=["high", "low"])
def test_rtdetr_scores(outputs: list[FloatArray]) -> None:
    with pytest.raises(SettingError, match=r"scores are not within 0 ... 1"):
        make_rtdetr_decoder(outputs, SIZE, -1)


@pytest.mark.parametrize(
    ("index", "shape"),
    [(0, (1, 4, 1)), (0, (1, 5)), (1, (1, 4, 5)), (1, (1, 3, 4)), (2, (1, 3)), (2, (1, 4, 80))],
    ids=str,
)
def test_rtdetr_shapes(index: int, shape: tuple[int, ...]) -> None:
    outputs = rtdetr()
    outputs[index] = np.zeros(shape, np.float32)
    with pytest.raises(SettingError, match="its labels, boxes and scores have the shapes"):
        make_rtdetr_decoder(outputs, SIZE, -1)


def rfdetr(slots: int) -> list[FloatArray]:
    return [np.zeros((1, 6, 4), np.float32), np.zeros((1, 6, slots), np.float32)]


def test_rfdetr_classes() -> None:
    assert make_rfdetr_decoder(rfdetr(91), SIZE, -1).person == 1
    assert make_rfdetr_decoder(rfdetr(2), SIZE, 0).person == 0
    with pytest.raises(SettingError, match=r"it has 2 classes and not 91; set"):
        make_rfdetr_decoder(rfdetr(2), SIZE, -1)  # the second is the background
    with pytest.raises(SettingError, match=r"it has 2 classes; detection.person_index is 2"):
        make_rfdetr_decoder(rfdetr(2), SIZE, 2)


@pytest.mark.parametrize(
    ("dets", "labels"),
    [((1, 6, 5), (1, 6, 91)), ((1, 5, 4), (1, 6, 91)), ((1, 6, 4), (1, 91)), ((6, 4), (1, 6, 91))],
    ids=str,
)
def test_rfdetr_shapes(dets: tuple[int, ...], labels: tuple[int, ...]) -> None:
    with pytest.raises(SettingError, match="its dets and labels have the shapes"):
        make_rfdetr_decoder([np.zeros(dets), np.zeros(labels)], SIZE, -1)
