"""Assigns the boxes of an image to the people of the previous images."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import linear_sum_assignment

from pear_ros.geometry.boxes import box_iou_batch
from pear_ros.people import FloatArray


@dataclass(frozen=True)
class Track:
    """One person's last box."""

    id: str
    xyxy: FloatArray  # (4,) px
    seen_s: float


class Tracker:
    """Tracks the people of one camera by the overlap of their boxes.

    The assignment maximises the sum of the intersections over union; pairs below `min_iou` do not
    match. A person who was not seen for `timeout_s` is forgotten. Ids are never reused.
    """

    def __init__(self, prefix: str, min_iou: float, timeout_s: float) -> None:
        self._min_iou = min_iou
        self._timeout_s = timeout_s
        self._tracks: list[Track] = []
        self._names: Iterator[str] = (f"{prefix}{i}" for i in itertools.count(1))

    def __call__(self, xyxy: FloatArray, stamp_s: float) -> tuple[str, ...]:
        """Returns the ids of N boxes (N, 4), px; stamps must not decrease from call to call."""
        known = [t for t in self._tracks if stamp_s - t.seen_s <= self._timeout_s]
        before = np.array([track.xyxy for track in known], np.float32).reshape(-1, 4)
        overlap = box_iou_batch(before, xyxy)  # (tracks, N)
        overlap[overlap < self._min_iou] = 0
        matched: dict[int, int] = {
            box: track
            for track, box in zip(*linear_sum_assignment(overlap, maximize=True), strict=True)
            if overlap[track, box] > 0
        }
        seen = [
            replace(known[matched[i]], xyxy=box, seen_s=stamp_s)
            if i in matched
            else Track(next(self._names), box, stamp_s)
            for i, box in enumerate(xyxy)
        ]
        unseen = [track for i, track in enumerate(known) if i not in matched.values()]
        self._tracks = seen + unseen
        return tuple(track.id for track in seen)

    def forget(self) -> None:
        """Drops all tracks, for example when time has jumped back; ids continue."""
        self._tracks = []
