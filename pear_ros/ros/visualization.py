"""What one sees of the people: skeletons, meshes, points and overlay, each where one is watched."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np
from std_msgs.msg import Header

from pear_ros.body.body_model import BodyModel
from pear_ros.people import Frame, People
from pear_ros.problems import Problems
from pear_ros.rendering.overlay import draw_people
from pear_ros.ros.markers import mesh_markers, skeleton_markers
from pear_ros.ros.to_messages import cloud_message, image_message

NEED_MESHES = frozenset({"markers", "points", "overlay"})


class Visualization:
    """Of one camera; remembers whose markers are shown, and when the next overlay is due."""

    def __init__(
        self, publishers: Mapping[str, Any], body_model: BodyModel, problems: Problems
    ) -> None:
        self._publishers = publishers
        self._body_model = body_model
        self._problems = problems
        self._shown: dict[str, set[str]] = {}  # ids with a marker, by topic
        self._overlay_due_s = -np.inf  # of the monotonic clock

    def publish(
        self,
        wanted: Collection[str],
        frame: Frame,
        people: People,
        header: Header,
        overlay_rate_hz: float,
    ) -> None:
        faces, bones = self._body_model.faces, self._body_model.bones
        if "skeletons" in wanted:
            gone = self._gone("skeletons", people.ids)
            message = skeleton_markers(people, bones, header, gone)
            self._publishers["skeletons"].publish(message)
        if "markers" in wanted:
            gone = self._gone("markers", people.ids)
            message = mesh_markers(people, faces, header, gone)
            self._publishers["markers"].publish(message)
        if "points" in wanted:
            self._publish_points(people, header)
        if "overlay" in wanted and self._is_overlay_due(1 / overlay_rate_hz):
            drawn = draw_people(frame.image, people, faces, frame.camera)
            self._publishers["overlay"].publish(image_message(drawn, header))

    def _gone(self, output: str, ids: Iterable[str]) -> set[str]:
        """Whose marker was shown and must go."""
        before = self._shown.get(output, set())
        self._shown[output] = set(ids)
        return before - self._shown[output]

    def _publish_points(self, people: People, header: Header) -> None:
        try:
            self._publishers["points"].publish(cloud_message(people, header))
        except ImportError:
            self._problems.count(
                "points_unavailable",
                "the topic points needs the ROS package sensor_msgs_py, which is not installed",
            )

    def _is_overlay_due(self, period_s: float) -> bool:
        now_s = time.monotonic()
        if now_s < self._overlay_due_s:
            return False
        # A period of credit, or jitter would halve a rate near the camera's own.
        self._overlay_due_s = max(self._overlay_due_s, now_s - period_s) + period_s
        return True
