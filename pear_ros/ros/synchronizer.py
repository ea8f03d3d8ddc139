"""Holds a camera's images until their calibration, detections and depth have arrived."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Generic, TypeVar

from pear_ros.people import Boxes
from pear_ros.ros.depth_matcher import Depth, DepthMatcher

Image = TypeVar("Image")
MOST_HELD = 64  # waiting images, and waiting detections


@dataclass(frozen=True)
class Released(Generic[Image, Depth]):
    """The newest complete image, if there is one, and what was dropped."""

    image: Image | None = None
    boxes: Boxes | None = None
    depth: Depth | None = None
    superseded: int = 0  # images dropped because a newer one is complete
    without_boxes: int = 0  # images dropped because their detections did not arrive in time
    depth_gap_s: float | None = None  # without depth: the nearest one in time, if there is one


@dataclass(frozen=True)
class _Waiting(Generic[Image]):
    image: Image
    arrived_s: float
    has_stamp: bool


class Synchronizer(Generic[Image, Depth]):
    """Synchronizes one camera. `now_s` is on any steady clock; stamps are in nanoseconds.

    All images wait for the first calibration, at most `calibration_timeout_s` after the first
    image. If `needs_boxes`, each image also waits for the detections with its stamp, at most
    `boxes_timeout_s`. With `depths` it also waits for its depth image as `DepthMatcher` says; it is
    released without, if there is none.
    """

    def __init__(
        self,
        calibration_timeout_s: float,
        needs_boxes: bool,
        boxes_timeout_s: float,
        depths: DepthMatcher[Depth] | None = None,
    ) -> None:
        self._calibration_timeout_s = calibration_timeout_s
        self._needs_boxes = needs_boxes
        self._boxes_timeout_s = boxes_timeout_s
        self._depths = depths
        self._has_calibration = False
        self._first_image_s: float | None = None
        self._images: OrderedDict[int, _Waiting[Image]] = OrderedDict()  # by stamp
        self._boxes: OrderedDict[int, Boxes] = OrderedDict()  # by stamp
        self._superseded = 0
        self._without_boxes = 0

    def put_image(self, stamp_ns: int, image: Image, now_s: float, has_stamp: bool = True) -> None:
        """Adds an image that arrived at `now_s`; one without a stamp of its own gets no depth."""
        if self._first_image_s is None:
            self._first_image_s = now_s
        if self._images.pop(stamp_ns, None) is not None:
            self._superseded += 1
        self._images[stamp_ns] = _Waiting(image, now_s, has_stamp)
        waits = self._needs_boxes or self._depths is not None
        if len(self._images) > (MOST_HELD if waits else 1):  # 1: only the newest will be released
            # Once calibrated, the oldest has waited longest and would be complete first.
            which = -2 if waits and self._has_calibration else 0
            del self._images[list(self._images)[which]]
            self._without_boxes += self._needs_boxes
            self._superseded += not self._needs_boxes

    def put_boxes(self, stamp_ns: int, boxes: Boxes) -> None:
        """Adds the detections for the image with this stamp."""
        self._boxes[stamp_ns] = boxes
        if len(self._boxes) > MOST_HELD:
            self._boxes.popitem(last=False)

    def put_depth(self, stamp_ns: int, depth: Depth, now_s: float) -> None:
        """Adds a depth image that arrived at `now_s`."""
        if self._depths is not None:
            self._depths.put(stamp_ns, depth, now_s)

    def put_calibration(self) -> None:
        """Says that a calibration has arrived."""
        self._has_calibration = True

    def drop_all(self) -> int:
        """Drops all images; returns their number and that of those which no release returned."""
        dropped = len(self._images) + self._superseded + self._without_boxes
        self._images.clear()
        self._superseded = self._without_boxes = 0
        return dropped

    def release(self, now_s: float) -> Released[Image, Depth]:
        """Returns the newest complete image and drops images that waited too long.

        Call it after every put, and periodically because of the timeouts.
        """
        if not self._has_calibration and self._first_image_s is not None:
            self._has_calibration = now_s - self._first_image_s >= self._calibration_timeout_s
        if not self._has_calibration:
            return Released()

        image, boxes, depth, gap_s = None, None, None, None
        complete = [s for s in self._images if self._is_complete(s, now_s)]
        if complete:
            newest = complete[-1]
            image, boxes = self._images[newest].image, self._boxes.get(newest)
            if self._depths is not None and self._images[newest].has_stamp:
                gap_s = self._depths.gap_s(newest)
                depth = self._depths.take(newest, self._images[newest].arrived_s)
            while newest in self._images:  # removes it and the images that arrived before it
                self._boxes.pop(self._images.popitem(last=False)[0], None)
                self._superseded += 1
            self._superseded -= 1  # the loop counted the released image, too

        late = [s for s in self._images if self._is_late(s, now_s)]
        for stamp_ns in late:
            del self._images[stamp_ns]
        without_boxes = self._without_boxes + len(late)
        released = Released(image, boxes, depth, self._superseded, without_boxes, gap_s)
        self._superseded = self._without_boxes = 0
        return released

    def _is_complete(self, stamp_ns: int, now_s: float) -> bool:
        if self._needs_boxes and stamp_ns not in self._boxes:
            return False
        waiting = self._images[stamp_ns]
        return (
            self._depths is None
            or not waiting.has_stamp
            or not self._depths.is_awaited(stamp_ns, waiting.arrived_s, now_s)
        )

    def _is_late(self, stamp_ns: int, now_s: float) -> bool:
        """Whether the image has waited too long for its boxes."""
        lacks_boxes = self._needs_boxes and stamp_ns not in self._boxes
        return lacks_boxes and now_s - self._images[stamp_ns].arrived_s > self._boxes_timeout_s
