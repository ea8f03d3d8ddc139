"""NanoDet's detector: boxes in pixels of the image, the second look, real people, empty rooms."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from real_people import REAL, read_rgb
from torch import Tensor, nn

from pear_ros.detection import nanodet_detector
from pear_ros.detection.nanodet_detector import (
    LEAST_UNSURE,
    MOST_UNSURE,
    NMS_IOU,
    SURE,
    WORKING_POINT,
    NanoDetDetector,
    calibrated,
    resized_and_padded,
)
from pear_ros.geometry.boxes import box_iou_batch
from pear_ros.people import Boxes, Camera, FloatArray, Frame, ImageArray
from pear_ros.synthetic.background import draw_background
from pear_ros.system.installed import shared_file

WEIGHTS = shared_file("detector/nanodet_g.npz")
CPU = torch.device("cpu")
NOBODY = np.zeros((0, 4), np.float32)


def boxes_in(detector: NanoDetDetector, image: ImageArray, known: FloatArray = NOBODY) -> Boxes:
    (boxes,) = detector([Frame(image, Camera(600, 600, 320, 240), 0.0)], [known])
    return boxes


@pytest.fixture(scope="module")
def detector() -> NanoDetDetector:
    return NanoDetDetector(WEIGHTS, 320, CPU, torch.float32)


# --- Scores and inputs ----------------------------------------------------------------------------


@pytest.mark.parametrize("working_point", [0.2, 0.4, 0.5, 0.9])
def test_scores_keep_their_order_and_the_working_point_is_a_half(working_point: float) -> None:
    scores = np.linspace(0, 1, 101, dtype=np.float32)
    mapped = calibrated(scores, working_point)
    assert mapped.dtype == np.float32
    assert (np.diff(mapped) > 0).all()
    ends = calibrated(np.array([0, working_point, 1], np.float32), working_point)
    np.testing.assert_allclose(ends, [0, 0.5, 1], atol=1e-6)


@pytest.mark.parametrize(
    ("size", "padded"), [((480, 640), (256, 320)), ((1, 2000), (32, 320)), ((90, 30), (320, 128))]
)
def test_input_is_padded_to_a_multiple_of_32(
    size: tuple[int, int], padded: tuple[int, int]
) -> None:
    image, scale = resized_and_padded(np.full((*size, 3), 200, np.uint8), 320)
    assert image.shape == (*padded, 3)
    assert scale == 320 / max(size)
    height, width = (max(round(side * scale), 1) for side in size)
    assert (image[:height, :width] == 200).all()
    assert not image[height:].any()
    assert not image[:, width:].any()


def test_no_frames(detector: NanoDetDetector) -> None:
    assert detector([], []) == []


# --- The second look, with a network that sees white rectangles -----------------------------------

FIRST_PX = 320  # longer side of the input of the first look


class SeesWhite(nn.Module):
    """Reports what is white in each image, with one NanoDet score in the first look, one again."""

    def __init__(self, first: float, again: float) -> None:
        super().__init__()
        self.first, self.again = first, again
        self.looked_again: list[Tensor] = []

    def forward(self, images: Tensor, least_score: float) -> Tensor:
        is_first = max(images.shape[2:]) == FIRST_PX
        if not is_first:
            self.looked_again += images
        cells = []
        for i, image in enumerate(images):
            parts = cv2.connectedComponentsWithStats((image[0] > 1).numpy().astype(np.uint8))[2]
            for left, top, width, height, _ in parts[1:]:
                box = left, top, left + width, top + height
                cells.append((i, *box, self.first if is_first else self.again))
        found = torch.tensor(cells, dtype=torch.float32).reshape(-1, 6)
        return found[found[:, 5] >= least_score]


def seeing_white(
    monkeypatch: pytest.MonkeyPatch, first: float, again: float
) -> tuple[NanoDetDetector, SeesWhite]:
    network = SeesWhite(first, again)
    monkeypatch.setattr(nanodet_detector, "load_nanodet", lambda path: network)
    return NanoDetDetector(Path(), FIRST_PX, CPU, torch.float32), network


def picture(*boxes: tuple[int, int, int, int]) -> ImageArray:
    """White rectangles in an image of 640x480 px."""
    image = np.full((480, 640, 3), 60, np.uint8)
    for left, top, right, bottom in boxes:
        image[top:bottom, left:right] = 255
    return image


WHITE = 400, 120, 480, 360  # not in the middle: the mirrored crops must be mapped back
# Near the edge, small, large, and so large that its crops are scaled down by more than two.
WHITES = [WHITE, (6, 6, 80, 300), (590, 430, 634, 474), (20, 60, 44, 100), (10, 10, 620, 470)]
# NanoDet's scores whose calibrated values are unsure, one below and one above 0.5.
LOW, HIGH = 0.3, 0.5
assert calibrated(np.array([LOW, HIGH], np.float32), WORKING_POINT).min() > LEAST_UNSURE
assert calibrated(np.array([LOW, HIGH], np.float32), WORKING_POINT).max() < SURE


def test_the_scores_of_these_tests_are_unsure() -> None:
    low, high = calibrated(np.array([LOW, HIGH], np.float32), WORKING_POINT)
    assert LEAST_UNSURE <= low < 0.5 < high < SURE


@pytest.mark.parametrize("white", WHITES, ids=str)
@pytest.mark.parametrize("first", [LOW, HIGH], ids=["low", "high"])
def test_who_is_found_again_is_a_person(
    monkeypatch: pytest.MonkeyPatch, first: float, white: tuple[int, int, int, int]
) -> None:
    detector, network = seeing_white(monkeypatch, first, again=0.9)
    (found,) = (boxes := boxes_in(detector, picture(white))).xyxy
    np.testing.assert_allclose(found, white, atol=3)
    assert boxes.scores[0] > 0.5
    assert len(network.looked_again) > 0


@pytest.mark.parametrize("again", [0.0, 0.09], ids=["not at all", "with a low score"])
def test_who_is_not_found_again_is_no_person(monkeypatch: pytest.MonkeyPatch, again: float) -> None:
    boxes = boxes_in(seeing_white(monkeypatch, HIGH, again)[0], picture(WHITE))
    assert len(boxes) == 1
    assert 0 < boxes.scores[0] < 0.5


def test_something_else_nearby_is_not_the_person(monkeypatch: pytest.MonkeyPatch) -> None:
    """A crop also shows what is beside the box."""
    detector, network = seeing_white(monkeypatch, HIGH, again=0.9)
    image = picture(WHITE)
    monkeypatch.setattr(network, "forward", beside(network.forward))
    assert boxes_in(detector, image).scores[0] < 0.5


def beside(forward: Callable[[Tensor, float], Tensor]) -> Callable[[Tensor, float], Tensor]:
    """The network's answers, but those of the second look are moved by their own size."""

    def moved(images: Tensor, least_score: float) -> Tensor:
        cells = forward(images, least_score)
        if max(images.shape[2:]) != FIRST_PX:
            cells[:, 1:5] += (cells[:, 3:5] - cells[:, 1:3]).repeat(1, 2)
        return cells

    return moved


@pytest.mark.parametrize(
    ("score", "again"), [(0.9, 0.0), (0.1, 0.9)], ids=["sure", "surely nobody"]
)
def test_who_is_sure_is_not_looked_at_again(
    monkeypatch: pytest.MonkeyPatch, score: float, again: float
) -> None:
    detector, network = seeing_white(monkeypatch, score, again)
    boxes = boxes_in(detector, picture(WHITE))
    expected = calibrated(np.array([score], np.float32), WORKING_POINT)
    np.testing.assert_allclose(boxes.scores, expected)
    assert not network.looked_again


@pytest.mark.parametrize("score", [LOW, HIGH])
def test_known_people_are_accepted_with_a_low_score(
    monkeypatch: pytest.MonkeyPatch, score: float
) -> None:
    detector, network = seeing_white(monkeypatch, score, again=0.0)
    near = np.array([WHITE], np.float32) + 10
    boxes = boxes_in(detector, picture(WHITE), near)
    assert boxes.scores[0] >= 0.5
    assert boxes.scores[0] >= calibrated(np.float32(score), WORKING_POINT)
    assert not network.looked_again
    far = np.array([WHITE], np.float32) - 100
    assert boxes_in(detector, picture(WHITE), far).scores[0] < 0.5


def test_a_very_low_score_is_not_accepted_even_of_known_people(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    detector, _ = seeing_white(monkeypatch, 0.1, again=0.0)
    known = np.array([WHITE], np.float32)
    assert boxes_in(detector, picture(WHITE), known).scores[0] < 0.5


def test_boxes_are_looked_at_separately(monkeypatch: pytest.MonkeyPatch) -> None:
    """One is known, one is found again; the order stays."""
    detector, _ = seeing_white(monkeypatch, HIGH, again=0.0)
    whites = [(20, 100, 100, 300), (250, 100, 330, 300), (500, 100, 580, 300)]
    boxes = boxes_in(detector, picture(*whites), np.array([whites[1]], np.float32))
    is_known = box_iou_batch(np.array([whites[1]], np.float32), boxes.xyxy)[0] > 0.5
    np.testing.assert_array_equal(boxes.scores >= 0.5, is_known)
    assert is_known.sum() == 1


def test_a_crowd_is_looked_at_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the time is limited; the others keep their scores."""
    detector, network = seeing_white(monkeypatch, HIGH, again=0.0)
    crowd = [
        (20 + 50 * x, 20 + 150 * y, 50 + 50 * x, 120 + 150 * y) for x in range(9) for y in (0, 1, 2)
    ]
    boxes = boxes_in(detector, picture(*crowd))
    assert len(boxes) == len(crowd) > MOST_UNSURE
    assert (boxes.scores < 0.5).sum() == MOST_UNSURE
    kept = boxes.scores[boxes.scores >= 0.5]
    np.testing.assert_allclose(kept, calibrated(np.array([HIGH]), WORKING_POINT)[0], rtol=1e-6)
    assert len(network.looked_again) <= 3 * MOST_UNSURE


# --- Nobody ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(480, 640), (1, 1), (7, 3000), (2000, 5)], ids=str)
@pytest.mark.parametrize("grey", [0, 128, 255])
def test_nobody_on_a_wall(detector: NanoDetDetector, size: tuple[int, int], grey: int) -> None:
    boxes = boxes_in(detector, np.full((*size, 3), grey, np.uint8))
    assert not (boxes.scores >= 0.5).any()


@pytest.mark.slow
def test_nobody_in_random_rooms(detector: NanoDetDetector) -> None:
    random = np.random.default_rng(0)
    found = [boxes_in(detector, draw_background(640, 480, random)) for _ in range(60)]
    assert not any((boxes.scores >= 0.5).any() for boxes in found)


# --- Real people, ../shared/real, which is not in the repository ----------------------------------


@pytest.fixture(scope="module")
def person() -> ImageArray:
    return read_rgb("asl_walk_50.jpg")


def test_image_sizes_and_batches_do_not_matter(
    detector: NanoDetDetector, person: ImageArray
) -> None:
    alone = boxes_in(detector, person)
    larger = cv2.resize(person, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    small = np.zeros((90, 90, 3), np.uint8)
    images = [larger, small, person, person[:, ::-1]]
    frames = [Frame(image, Camera(600, 600, 320, 240), 0.0) for image in images]
    found = detector(frames, [NOBODY] * 4)
    best = alone.xyxy[alone.scores.argmax()]
    for boxes, expected in (
        (found[0], 2 * best),
        (found[2], best),
        (found[3], [640 - best[2], best[1], 640 - best[0], best[3]]),
    ):
        likely = boxes[boxes.scores >= 0.5]
        assert len(likely) == 1
        expected_xyxy = np.asarray(expected, np.float32)[None]
        assert box_iou_batch(likely.xyxy, expected_xyxy) > 0.9
    np.testing.assert_allclose(found[2].xyxy, alone.xyxy, atol=0.01)
    assert not (found[1].scores >= 0.5).any()


def test_bfloat16_finds_the_same_person(detector: NanoDetDetector, person: ImageArray) -> None:
    narrow = NanoDetDetector(WEIGHTS, 320, CPU, torch.bfloat16)
    expected, found = (boxes_in(kind, person) for kind in (detector, narrow))
    expected, found = (boxes[boxes.scores >= 0.5] for boxes in (expected, found))
    assert len(expected) == len(found) == 1
    assert box_iou_batch(expected.xyxy, found.xyxy) > 0.95
    np.testing.assert_allclose(found.scores, expected.scores, atol=0.05)


def test_boxes_are_those_of_the_best_scores(detector: NanoDetDetector, person: ImageArray) -> None:
    boxes = boxes_in(detector, person)
    assert len(boxes) >= 1
    overlaps = box_iou_batch(boxes.xyxy, boxes.xyxy) - np.eye(len(boxes))
    assert overlaps.max() <= NMS_IOU


@pytest.mark.slow
def test_recall_and_precision(detector: NanoDetDetector) -> None:
    """Of the score alone, without the checks of the pipeline."""
    read_rgb("asl_walk_50.jpg")  # skips the test where the pictures are missing
    people = hits = 0
    false: list[str] = []
    for name, entry in json.loads((REAL / "truth.json").read_text())["images"].items():
        found = boxes_in(detector, read_rgb(name))
        found = found[found.scores >= 0.5]
        marked = np.array([p["box"] for p in entry["people"]], np.float32).reshape(-1, 4)
        ignored = np.array(entry["ignore"], np.float32).reshape(-1, 4)
        is_hit = box_iou_batch(marked, found.xyxy) >= 0.5
        is_ignored = box_iou_batch(ignored, found.xyxy).max(0, initial=0) >= 0.5
        people += len(marked)
        hits += int(is_hit.any(1).sum())
        false += [name] * int((~is_hit.any(0) & ~is_ignored).sum())
    assert people == 45
    assert hits >= 43
    assert not false


@pytest.mark.slow
def test_time(detector: NanoDetDetector, person: ImageArray) -> None:
    """A bound that a loaded machine keeps, too; docs/detection_and_tracking.md has the time."""
    times_s = []
    for _ in range(10):
        began_s = time.process_time()
        boxes_in(detector, person)
        times_s.append(time.process_time() - began_s)
    assert np.median(times_s) < 0.15
