"""Publishes skeletons, meshes, points and overlay, each only if it has subscribers."""

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
    """Visualization of one camera's people."""

    def __init__(
        self, publishers: Mapping[str, Any], body_model: BodyModel, problems: Problems
    ) -> None:
        self._publishers = publishers
        self._body_model = body_model
        self._problems = problems
        self._shown: dict[str, set[str]] = {}  # ids whose marker RViz shows, by topic
        self._overlay_due_s = -np.inf  # on the monotonic clock

    def publish(self, wanted: Collection[str], people: People, header: Header) -> None:
        """Publishes skeletons, meshes and points, if in `wanted`; people in the header's frame."""
        faces, bones = self._body_model.faces, self._body_model.bones
        if "skeletons" in wanted:
            deleted_ids = self._replace_shown("skeletons", people.ids)
            message = skeleton_markers(people, bones, header, deleted_ids)
            self._publishers["skeletons"].publish(message)
        if "markers" in wanted:
            deleted_ids = self._replace_shown("markers", people.ids)
            message = mesh_markers(people, faces, header, deleted_ids)
            self._publishers["markers"].publish(message)
        if "points" in wanted:
            self._publish_points(people, header)

    def publish_overlay(
        self,
        wanted: Collection[str],
        frame: Frame,
        people: People,  # in the camera's frame
        header: Header,  # of the image
        rate_hz: float,
    ) -> None:
        """Publishes the overlay, if in `wanted`, at most at `rate_hz`."""
        if "overlay" in wanted and self._is_overlay_due(1 / rate_hz):
            drawn = draw_people(frame.image, people, self._body_model.faces, frame.camera)
            self._publishers["overlay"].publish(image_message(drawn, header))

    def _replace_shown(self, output: str, ids: Iterable[str]) -> set[str]:
        """Stores the ids shown from now on; returns those whose markers must be deleted."""
        before = self._shown.get(output, set())
        self._shown[output] = set(ids)
        return before - self._shown[output]

    def _publish_points(self, people: People, header: Header) -> None:
        try:
            self._publishers["points"].publish(cloud_message(people, header))
        except ImportError:
            self._problems.count(
                "points_unavailable",
                "the topic points needs the ROS package sensor_msgs_py: "
                "apt install ros-$ROS_DISTRO-sensor-msgs-py",
            )

    def _is_overlay_due(self, period_s: float) -> bool:
        now_s = time.monotonic()
        if now_s < self._overlay_due_s:
            return False
        # Allows one period of lag; without it, jitter would halve a rate close to the camera's.
        self._overlay_due_s = max(self._overlay_due_s, now_s - period_s) + period_s
        return True
