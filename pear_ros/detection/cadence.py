"""Runs the detector on every n-th image; in between, people are where they are expected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pear_ros.detection.detector import Detector
from pear_ros.people import Boxes, FloatArray, Frame


@dataclass(frozen=True)
class Expected:
    """The people who are followed in a camera, as expected in its next image."""

    seen: Boxes  # of those seen in the last image, with their last scores
    all_xyxy: FloatArray  # (T, 4) px, of everybody
    is_unclear: bool  # in the last image somebody was lost, or somebody new is to be confirmed


class Cadence:
    """A detector that is not needed for each image. Not thread-safe.

    The detector runs if nobody is followed, if somebody was lost or somebody new was seen in the
    last image, and otherwise on every n-th image of a camera. In the other images the boxes are
    those of the people who are followed, where they are expected, so no image waits for the
    detector.
    """

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self._since: dict[str, int] = {}  # images of each camera since its last detection

    def __call__(
        self, frames: Sequence[Frame], expected: Sequence[Expected], every_nth: int
    ) -> tuple[list[Boxes], list[bool]]:
        """Returns the boxes in each frame, and whether the detector found them."""
        is_due = [self._is_due(*pair, every_nth) for pair in zip(frames, expected, strict=True)]
        due = [i for i, now in enumerate(is_due) if now]
        boxes = [people.seen for people in expected]
        found = self._detector([frames[i] for i in due], [expected[i].all_xyxy for i in due])
        for i, in_frame in zip(due, found, strict=True):
            boxes[i] = in_frame
        return boxes, is_due

    def forget(self, source: str) -> None:
        """Forgets a camera."""
        self._since.pop(source, None)

    def _is_due(self, frame: Frame, expected: Expected, every_nth: int) -> bool:
        if frame.source not in self._since:
            # Cameras take turns: each starts to count at another number.
            self._since[frame.source] = -(len(self._since) % every_nth)
            return True
        since = self._since[frame.source] + 1
        is_due = since >= every_nth or not len(expected.seen) or expected.is_unclear
        is_due |= frame.boxes is not None  # they cost nothing
        self._since[frame.source] = 0 if is_due else since
        return is_due
