"""Holds a camera's images until their calibration and detections have arrived."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Generic, TypeVar

from pear_ros.people import Boxes

Image = TypeVar("Image")
MOST_HELD = 64  # waiting images, and waiting detections; the oldest are dropped first


@dataclass(frozen=True)
class Released(Generic[Image]):
    """The newest complete image, if there is one, and what was dropped."""

    image: Image | None = None
    boxes: Boxes | None = None
    superseded: int = 0  # images dropped because a newer one is complete
    without_boxes: int = 0  # images dropped because their detections did not arrive in time


class Synchronizer(Generic[Image]):
    """Synchronizes one camera. `now_s` is on any steady clock; stamps are in nanoseconds.

    All images wait for the first calibration, at most `calibration_timeout_s` after the first
    image. If `needs_boxes`, each image also waits for the detections with its stamp, at most
    `boxes_timeout_s`.
    """

    def __init__(
        self, calibration_timeout_s: float, needs_boxes: bool, boxes_timeout_s: float
    ) -> None:
        self._calibration_timeout_s = calibration_timeout_s
        self._needs_boxes = needs_boxes
        self._boxes_timeout_s = boxes_timeout_s
        self._has_calibration = False
        self._first_image_s: float | None = None
        self._images: OrderedDict[int, tuple[Image, float]] = OrderedDict()  # by stamp
        self._boxes: OrderedDict[int, Boxes] = OrderedDict()  # by stamp
        self._superseded = 0
        self._without_boxes = 0

    def put_image(self, stamp_ns: int, image: Image, now_s: float) -> None:
        """Adds an image that arrived at `now_s`."""
        if self._first_image_s is None:
            self._first_image_s = now_s
        if self._images.pop(stamp_ns, None) is not None:
            self._superseded += 1
        self._images[stamp_ns] = (image, now_s)
        if not self._needs_boxes and len(self._images) > 1:  # only the newest will be released
            self._images.popitem(last=False)
            self._superseded += 1
        elif len(self._images) > MOST_HELD:
            self._images.popitem(last=False)
            self._without_boxes += 1

    def put_boxes(self, stamp_ns: int, boxes: Boxes) -> None:
        """Adds the detections for the image with this stamp."""
        self._boxes[stamp_ns] = boxes
        if len(self._boxes) > MOST_HELD:
            self._boxes.popitem(last=False)

    def put_calibration(self) -> None:
        """Says that a calibration has arrived."""
        self._has_calibration = True

    def drop_all(self) -> int:
        """Drops all images; returns their number and that of those which no release returned."""
        dropped = len(self._images) + self._superseded + self._without_boxes
        self._images.clear()
        self._superseded = self._without_boxes = 0
        return dropped

    def release(self, now_s: float) -> Released[Image]:
        """Returns the newest complete image and drops images that waited too long.

        Call it after every put, and periodically because of the timeouts.
        """
        if not self._has_calibration and self._first_image_s is not None:
            self._has_calibration = now_s - self._first_image_s >= self._calibration_timeout_s
        if not self._has_calibration:
            return Released()

        complete = [s for s in self._images if not self._needs_boxes or s in self._boxes]
        image: Image | None = None
        boxes: Boxes | None = None
        if complete:
            image, _ = self._images[complete[-1]]
            boxes = self._boxes.get(complete[-1])
            while complete[-1] in self._images:  # removes it and the images that arrived before it
                self._boxes.pop(self._images.popitem(last=False)[0], None)
                self._superseded += 1
            self._superseded -= 1  # the loop counted the released image, too

        late = [s for s, (_, t) in self._images.items() if now_s - t > self._boxes_timeout_s]
        for stamp_ns in late:
            del self._images[stamp_ns]
        released = Released(image, boxes, self._superseded, self._without_boxes + len(late))
        self._superseded = self._without_boxes = 0
        return released
