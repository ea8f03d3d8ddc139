"""ONNX files: which family they are, what they get and what their answers become."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto
from onnx_detectors import (
    CENTRED,
    Graph,
    Probe,
    colour,
    load,
    rfdetr_logits,
    save_rfdetr,
    save_rtdetr,
    save_yolox,
    yolox_cells,
)

from pear_ros.config import FAMILIES as CHOICES
from pear_ros.detection.onnx_detector import FAMILIES
from pear_ros.errors import SettingError

QUARTER = np.array([[0.25, 0.75, 0.5, 0.25]], np.float32)  # centre and size, from 0 to 1


# --- Families ------------------------------------------------------------------------------------


def test_the_setting_lists_the_families() -> None:
    assert ("auto", *FAMILIES) == CHOICES


@pytest.mark.parametrize("channel", [0, 1, 2], ids=["B", "G", "R"])
def test_yolox_sees_bgr_from_0_to_255(tmp_path: Path, channel: int) -> None:
    """The objectness is a thousandth of a channel's mean; the image fills its letterbox."""
    cells = yolox_cells()
    cells[0, :6] = 1, 1, 1, 1, 0, 1
    path = save_yolox(tmp_path / "x.onnx", cells, Probe(0, 4, channel, 1e-3))
    (boxes,) = load(path)([colour((128, 192), (200, 100, 50))])
    assert boxes.scores == pytest.approx([(0.05, 0.1, 0.2)[channel]], rel=1e-5)


@pytest.mark.parametrize("channel", [0, 1, 2], ids=["R", "G", "B"])
def test_rtdetr_sees_rgb_from_0_to_1(tmp_path: Path, channel: int) -> None:
    path = save_rtdetr(tmp_path / "x.onnx", np.zeros(1), CENTRED, np.zeros(1), Probe(0, 0, channel))
    (boxes,) = load(path)([colour((48, 96), (200, 100, 50))])
    assert boxes.scores == pytest.approx([(200, 100, 50)[channel] / 255], rel=1e-5)


@pytest.mark.parametrize("channel", [0, 1, 2], ids=["R", "G", "B"])
def test_rfdetr_sees_normalised_rgb(tmp_path: Path, channel: int) -> None:
    path = save_rfdetr(tmp_path / "x.onnx", CENTRED, rfdetr_logits(), Probe(0, 1, channel))
    (boxes,) = load(path)([colour((48, 96), (200, 100, 50))])
    mean, deviation = (0.485, 0.456, 0.406)[channel], (0.229, 0.224, 0.225)[channel]
    seen = ((200, 100, 50)[channel] / 255 - mean) / deviation
    assert boxes.scores == pytest.approx([1 / (1 + np.exp(-seen))], rel=1e-5)


@pytest.mark.parametrize("size", [(480, 640), (640, 360)], ids=["landscape", "upright"])
def test_boxes_of_rtdetr_are_in_pixels_of_the_image(tmp_path: Path, size: tuple[int, int]) -> None:
    height, width = size
    path = save_rtdetr(tmp_path / "x.onnx", np.zeros(1), QUARTER, np.ones(1))
    (boxes,) = load(path)([colour(size, (0, 0, 0))])
    expected = [0, 0.625 * height, 0.5 * width, 0.875 * height]
    assert boxes.xyxy[0].tolist() == pytest.approx(expected)


@pytest.mark.parametrize("size", [(480, 640), (640, 360)], ids=["landscape", "upright"])
def test_boxes_of_rfdetr_are_in_pixels_of_the_image(tmp_path: Path, size: tuple[int, int]) -> None:
    height, width = size
    table = rfdetr_logits()
    table[0, 1] = 20
    (boxes,) = load(save_rfdetr(tmp_path / "x.onnx", QUARTER, table))([colour(size, (0, 0, 0))])
    expected = [0, 0.625 * height, 0.5 * width, 0.875 * height]
    assert boxes.xyxy[0].tolist() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        # Cell (x 1, y 1) of stride 16: centre (24, 24) px, width and height 16 px.
        pytest.param((128, 192), [32, 32, 64, 64], id="fits"),
        pytest.param((320, 240), [80, 80, 160, 160], id="padded right"),
        pytest.param((80, 240), [40, 40, 80, 80], id="padded below"),
    ],
)
def test_boxes_of_yolox_are_in_pixels_of_the_image(
    tmp_path: Path, size: tuple[int, int], expected: list[float]
) -> None:
    cells = yolox_cells()
    row = 96 + 6 + 1
    cells[row, :6] = 0.5, 0.5, 0, 0, 1, 1
    (boxes,) = load(save_yolox(tmp_path / "x.onnx", cells))([colour(size, (0, 0, 0))])
    assert boxes.xyxy[0].tolist() == pytest.approx(expected, rel=1e-5)


def test_a_decoded_yolox(tmp_path: Path) -> None:
    grid = [(s, x, y) for s in (8, 16, 32) for y in range(64 // s) for x in range(96 // s)]
    cells = yolox_cells()
    cells[:, :4] = [((x + 0.5) * s, (y + 0.5) * s, s, s) for s, x, y in grid]
    cells[0, :6] = 40, 30, 20, 10, 1, 1
    (boxes,) = load(save_yolox(tmp_path / "x.onnx", cells))([colour((64, 96), (0, 0, 0))])
    assert boxes.xyxy.tolist() == [[30, 25, 50, 35]]


def test_masks_of_a_segmentation_model_are_ignored(tmp_path: Path) -> None:
    table = rfdetr_logits()
    table[0, 1] = 20
    path = save_rfdetr(tmp_path / "x.onnx", CENTRED, table, masks=True)
    (boxes,) = load(path)([colour((40, 80), (0, 0, 0))])
    assert boxes.xyxy.tolist() == [[20, 10, 60, 30]]


def test_a_yolox_with_other_names_must_be_named(tmp_path: Path) -> None:
    cells = yolox_cells()
    cells[0, :6] = 2, 2, 0, 0, 1, 1
    path = save_yolox(tmp_path / "x.onnx", cells, names=("in", "out"))
    with pytest.raises(SettingError, match=r"for a YOLOX with other names set detection.family to"):
        load(path)
    (boxes,) = load(path, "yolox")([colour((64, 96), (0, 0, 0))])
    assert boxes.xyxy.tolist() == [[12, 12, 20, 20]]


def test_half_precision(tmp_path: Path) -> None:
    cells = yolox_cells()
    cells[0, :6] = 2, 2, 0, 0, 1, 0.75
    path = save_yolox(tmp_path / "x.onnx", cells, kind=TensorProto.FLOAT16)
    (boxes,) = load(path)([colour((64, 96), (0, 0, 0))])
    assert boxes.scores.tolist() == [0.75]
    assert boxes.xyxy.dtype == boxes.scores.dtype == np.float32


# --- Sizes and batches ---------------------------------------------------------------------------

FRAMES = [
    colour((64, 96), (0, 0, 51)),
    colour((128, 192), (0, 0, 102)),
    colour((640, 960), (0, 0, 153)),
]


@pytest.mark.parametrize("batch", [1, 2, 3, 5, "N"], ids=str)
@pytest.mark.parametrize("count", [0, 1, 3])
def test_each_frame_gets_its_own_boxes(tmp_path: Path, batch: int | str, count: int) -> None:
    """The score is the mean of blue."""
    cells = yolox_cells()
    cells[0, :6] = 3, 3, 0, 0, 0, 1
    path = save_yolox(tmp_path / "x.onnx", cells, Probe(0, 4, 0, 1 / 255), shape=(batch, 3, 64, 96))
    found = load(path)(FRAMES[:count])
    assert [boxes.scores.tolist() for boxes in found] == [
        pytest.approx([score]) for score in (0.2, 0.4, 0.6)[:count]
    ]
    for boxes, scale in zip(found, (1, 2, 10)[:count], strict=True):
        assert boxes.xyxy[0].tolist() == pytest.approx([scale * side for side in (20, 20, 28, 28)])


@pytest.mark.parametrize(
    ("batch", "runs"),
    [(1, [1, 1, 1]), (2, [2, 2]), (5, [5]), ("N", [3])],
    ids=["one", "two", "five", "open"],
)
def test_frames_are_run_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int | str, runs: list[int]
) -> None:
    """As many as the file takes; a fixed number is filled up."""
    detector = load(save_yolox(tmp_path / "x.onnx", yolox_cells(), shape=(batch, 3, 64, 96)))
    session, seen = detector._session, []

    def run(names: list[str], feeds: dict[str, Any]) -> Any:
        seen.append(len(feeds["images"]))
        return session.run(names, feeds)

    monkeypatch.setattr(detector, "_session", SimpleNamespace(run=run))
    assert len(detector(FRAMES)) == 3
    assert seen == runs


def test_several_frames_of_different_sizes_for_rtdetr(tmp_path: Path) -> None:
    path = save_rtdetr(tmp_path / "x.onnx", np.zeros(1), CENTRED, np.ones(1))
    found = load(path)(FRAMES)
    assert [boxes.xyxy[0].tolist() for boxes in found] == [
        [24, 16, 72, 48],
        [48, 32, 144, 96],
        [240, 160, 720, 480],
    ]


def test_a_batch_that_is_open_in_name_only(tmp_path: Path) -> None:
    """Some exports say that they take any number of images, and reshape to one."""
    graph = Graph()
    cells = yolox_cells()
    cells[0, :6] = 3, 3, 0, 0, 1, 1
    one = graph.constant(np.array([1, 3, 64, 96], np.int64))
    graph.add("Identity", graph.table(graph.add("Reshape", "images", one), cells), output="output")
    path = graph.save(
        tmp_path / "x.onnx",
        {"images": (TensorProto.FLOAT, ("N", 3, 64, 96))},
        {"output": (TensorProto.FLOAT, ("N", *cells.shape))},
    )
    assert [len(boxes) for boxes in load(path)(FRAMES)] == [1, 1, 1]


def test_a_size_that_is_open_is_640(tmp_path: Path) -> None:
    cells = yolox_cells(6400 + 1600 + 400)
    cells[-1, :6] = 0, 0, 0, 0, 1, 1  # its corner is at 608 px
    path = save_yolox(tmp_path / "x.onnx", cells, shape=("N", 3, "height", "width"))
    (boxes,) = load(path)([colour((640, 640), (0, 0, 0))])
    assert boxes.xyxy.tolist() == [[592, 592, 624, 624]]
    rtdetr = save_rtdetr(
        tmp_path / "y.onnx", np.zeros(1), CENTRED, np.ones(1), shape=("N", 3, "h", "w")
    )
    assert load(rtdetr)._size == (640, 640)


# --- Bad answers ---------------------------------------------------------------------------------


def test_ten_thousand_boxes_are_fast(tmp_path: Path) -> None:
    """The largest of RT-DETR has 300; the boxes have equal scores and are in different places."""
    rng = np.random.default_rng(0)
    cxcywh = np.concatenate((rng.uniform(0, 1, (10_000, 2)), np.full((10_000, 2), 0.02)), 1)
    path = save_rtdetr(tmp_path / "x.onnx", np.zeros(10_000), cxcywh, np.ones(10_000))
    detector = load(path)
    began_s = time.process_time()
    (boxes,) = detector([colour((480, 640), (0, 0, 0))])
    assert time.process_time() - began_s < 1
    assert len(boxes) == 300


def test_ten_thousand_people_in_cells_are_fast(tmp_path: Path) -> None:
    """No box overlaps another, the worst case of the suppression."""
    cells = yolox_cells(10_080)  # 768x640
    cells[:, 4:6] = 1
    cells[:, 2:4] = -3
    path = save_yolox(tmp_path / "x.onnx", cells, shape=(1, 3, 768, 640))
    detector = load(path)
    began_s = time.process_time()
    (boxes,) = detector([colour((768, 640), (0, 0, 0))])
    assert time.process_time() - began_s < 2
    assert len(boxes) == 300


def test_scores_of_nan_are_passed_on(tmp_path: Path) -> None:
    """The score is NaN for dark images; the pipeline counts such boxes."""
    path = save_rtdetr(
        tmp_path / "x.onnx",
        np.zeros(2),
        np.tile(CENTRED, (2, 1)),
        np.array([0, 0.5]),
        Probe(0, 0, 0, offset=-0.1, root=True),
    )
    (boxes,) = load(path)([colour((48, 96), (0, 0, 0))])
    np.testing.assert_array_equal(boxes.scores, np.array([0.5, np.nan], np.float32))


@pytest.mark.parametrize("value", [np.nan, np.inf], ids=str)
def test_a_file_whose_answers_are_never_finite(tmp_path: Path, value: float) -> None:
    boxes = np.full((1, 4), value, np.float32)
    with pytest.raises(SettingError, match="its outputs for an empty image are not finite"):
        load(save_rfdetr(tmp_path / "x.onnx", boxes, rfdetr_logits()))
