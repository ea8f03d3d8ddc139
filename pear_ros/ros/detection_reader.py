"""Detections of one camera -> boxes; tells if nobody can be in them."""

from __future__ import annotations

from typing import Any

from pear_ros.config import DetectionSettings
from pear_ros.people import Boxes
from pear_ros.problems import Problems
from pear_ros.ros.from_messages import boxes_from_detections, classes_of

MOST_NAMED = 10  # classes in the message


class DetectionReader:
    """Reads the detections of one camera, `source`; counts problems."""

    def __init__(self, source: str, topic: str, problems: Problems) -> None:
        self._source = source
        self._topic = topic
        self._problems = problems
        self._person_class = ""
        self._has_seen_class = False  # a detection of this class came
        self._other_classes: set[str] = set()

    def __call__(self, detections: Any, settings: DetectionSettings) -> Boxes:
        """Returns the boxes of a vision_msgs/Detection2DArray."""
        if settings.person_class != self._person_class:
            self._person_class = settings.person_class
            self._has_seen_class = False
            self._other_classes.clear()
        boxes = boxes_from_detections(detections, settings.person_class)
        self._has_seen_class |= len(boxes) > 0
        if not self._has_seen_class and detections.detections:
            self._count_others(detections)
        unset = int((boxes.scores == 0).sum())
        if unset and settings.min_score > 0:
            self._problems.count(
                "scores_unset",
                f"{self._topic}: ignored a person with score 0, as if the score was never set; let "
                "the detector set results[].hypothesis.score, or set detection.min_score and "
                "tracking.confirm_score to 0",
                self._source,
                times=unset,
            )
        return boxes

    def _count_others(self, detections: Any) -> None:
        """A detector of many classes is in order once it has found a person."""
        if len(self._other_classes) < MOST_NAMED:
            self._other_classes |= classes_of(detections)
        classes = ", ".join(map(repr, sorted(self._other_classes)[:MOST_NAMED])) or "none at all"
        self._problems.count(
            "person_class_unseen",
            f"{self._topic}: no detection has had the class {self._person_class!r} yet, only "
            f"{classes}; if there was a person, set detection.person_class to the class of people",
            f"{self._source} {self._person_class}",
            times=len(detections.detections),
        )
