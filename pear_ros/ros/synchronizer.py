"""Holds a camera's images until what belongs to them is there: calibration, detections."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Generic, TypeVar

from pear_ros.people import Boxes

Image = TypeVar("Image")
MOST_HELD = 64  # images, and detections, that wait; older ones go first


@dataclass(frozen=True)
class Released(Generic[Image]):
    """What a gate lets through: at most one image, the newest that is complete."""

    image: Image | None = None
    boxes: Boxes | None = None
    superseded: int = 0  # images that will not come any more, as a newer one came
    without_boxes: int = 0  # images whose detections did not come in time


class Synchronizer(Generic[Image]):
    """For one camera. Times are seconds of any steady clock, stamps are nanoseconds.

    Images wait for the first calibration (`put_calibration`) for `calibration_timeout_s` from the
    first image on, and, if `needs_boxes`, each for the detections of its stamp.
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

    def __len__(self) -> int:
        """How many images wait."""
        return len(self._images)

    def put_image(self, stamp_ns: int, image: Image, now_s: float) -> None:
        if self._first_image_s is None:
            self._first_image_s = now_s
        if stamp_ns in self._images:
            self._superseded += 1
        self._images[stamp_ns] = (image, now_s)
        if not self._needs_boxes and len(self._images) > 1:  # only the newest will be released
            self._images.popitem(last=False)
            self._superseded += 1
        elif len(self._images) > MOST_HELD:
            self._images.popitem(last=False)
            self._without_boxes += 1

    def put_boxes(self, stamp_ns: int, boxes: Boxes) -> None:
        self._boxes[stamp_ns] = boxes
        if len(self._boxes) > MOST_HELD:
            self._boxes.popitem(last=False)

    def put_calibration(self) -> None:
        self._has_calibration = True

    def release(self, now_s: float) -> Released[Image]:
        """Call after every put, and now and then, as waiting ends by time."""
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
            while complete[-1] in self._images:  # what arrived before it is late
                self._boxes.pop(self._images.popitem(last=False)[0], None)
                self._superseded += 1
            self._superseded -= 1  # itself

        late = [s for s, (_, t) in self._images.items() if now_s - t > self._boxes_timeout_s]
        for stamp_ns in late:
            del self._images[stamp_ns]
        released = Released(image, boxes, self._superseded, self._without_boxes + len(late))
        self._superseded = self._without_boxes = 0
        return released
