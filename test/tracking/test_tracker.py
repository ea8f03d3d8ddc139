"""Boxes keep their ids from image to image."""

from __future__ import annotations

import numpy as np
import pytest

from pear_ros.tracking.tracker import Tracker


def xyxy(*boxes: tuple[float, ...]) -> np.ndarray:
    return np.array(boxes, np.float32).reshape(-1, 4)


def at(*lefts: float) -> np.ndarray:
    """Boxes 10 px wide and 20 px high."""
    return xyxy(*((left, 0, left + 10, 20) for left in lefts))


# A sequence of images: time, boxes, the ids that the boxes get.
RUNS = {
    "one stays": [(0, at(0), "p1"), (1, at(1), "p1"), (2, at(2), "p1")],
    "nobody": [(0, at(), ""), (1, at(), "")],
    "two in another order": [(0, at(0, 50), "p1 p2"), (1, at(51, 1), "p2 p1")],
    "one comes, one goes": [
        (0, at(0), "p1"), (1, at(0, 50), "p1 p2"), (2, at(50), "p2"), (3, at(50, 90), "p2 p3"),
    ],
    "too far": [(0, at(0), "p1"), (1, at(8), "p2")],
    "comes back in time": [(0, at(0), "p1"), (1, at(), ""), (2, at(0), "p1")],
    "comes back too late": [(0, at(0), "p1"), (1, at(), ""), (2.1, at(0), "p2")],
    "seen again in time": [(0, at(0), "p1"), (2, at(0), "p1"), (4, at(0), "p1")],
    "the last box is compared": [
        (0, at(0), "p1"), (1, at(4), "p1"), (2, at(8), "p1"), (3, at(0), "p2"),
    ],
    # 3 is nearest to 2 (p2), but then 6 is too far from 0 (p1). Both match if 3 is p1 and 6 is p2.
    "greatest overlap in total": [(0, at(0, 2), "p1 p2"), (1, at(3, 6), "p1 p2")],
    "another box is a new person": [(0, at(0, 50), "p1 p2"), (1, at(50), "p2"), (2, at(90), "p3")],
}  # fmt: skip


@pytest.mark.parametrize("images", RUNS.values(), ids=RUNS)
def test_ids(images: list[tuple[float, np.ndarray, str]]) -> None:
    tracker = Tracker("p", min_iou=0.3, timeout_s=2)
    for stamp_s, boxes, ids in images:
        assert tracker(boxes, stamp_s) == tuple(ids.split())


def test_boxes_without_overlap_never_match() -> None:
    tracker = Tracker("p", min_iou=0.0, timeout_s=2)
    assert tracker(at(0), 0) != tracker(at(500), 1)


@pytest.mark.parametrize(
    ("min_iou", "same"), [(0.33, True), (0.34, False)], ids=["enough", "too little"]
)
def test_least_overlap(min_iou: float, same: bool) -> None:
    tracker = Tracker("p", min_iou, timeout_s=2)
    before = tracker(at(0), 0)
    assert (tracker(at(5), 1) == before) is same  # an overlap of 1/3


def test_forgotten_ids_are_not_used_again() -> None:
    tracker = Tracker("cam_p", min_iou=0.3, timeout_s=2)
    assert tracker(at(0, 50), 10) == ("cam_p1", "cam_p2")
    tracker.forget()
    assert tracker(at(0, 50), 0) == ("cam_p3", "cam_p4")


def test_each_tracker_has_ids_of_its_own() -> None:
    a, b = Tracker("a_p", 0.3, 2), Tracker("b_p", 0.3, 2)
    assert a(at(0, 50), 0) == ("a_p1", "a_p2")
    assert b(at(0), 0) == ("b_p1",)
