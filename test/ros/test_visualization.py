"""Skeletons, meshes, points and the overlay, published to recorders."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: rclpy and the generated messages")
pytest.importorskip("pear_ros.msg", reason="needs the generated messages: `make venv`")

from crowd import some_people
from node_in_process import Recorder
from rclpy.serialization import deserialize_message
from std_msgs.msg import Header
from visualization_msgs.msg import Marker, MarkerArray

from pear_ros.body.body_model import BodyModel
from pear_ros.people import Camera, Frame
from pear_ros.problems import Problems
from pear_ros.ros.markers import mesh_markers, skeleton_markers
from pear_ros.ros.visualization import NEED_MESHES, Visualization

pytestmark = pytest.mark.ros

HEADER = Header(frame_id="camera_optical_frame")
HEADER.stamp.sec, HEADER.stamp.nanosec = 1_700_000_000, 123_456_789
FRAME = Frame(np.full((48, 64, 3), 99, np.uint8), Camera(60, 60, 32, 24), 0.0)
OUTPUTS = ("skeletons", "markers", "points", "overlay")


class Shown:
    """A Visualization and what it has published."""

    def __init__(self, body_model: BodyModel) -> None:
        self._body_model = body_model
        self.problems = Problems(lambda message: None)
        self.published = {name: Recorder() for name in OUTPUTS}
        self._visualization = Visualization(self.published, body_model, self.problems)

    def __call__(
        self, *wanted: str, ids: tuple[str, ...] = ("p1", "p2"), overlay_rate_hz: float = 10.0
    ) -> None:
        people = some_people(ids, self._body_model.num_vertices)
        self._visualization.publish(set(wanted), people, HEADER)
        self._visualization.publish_overlay(set(wanted), FRAME, people, HEADER, overlay_rate_hz)

    def messages(self, name: str) -> list:
        return self.published[name].messages


@pytest.fixture
def shown(small_body_model: BodyModel, monkeypatch: pytest.MonkeyPatch) -> Shown:
    """sensor_msgs_py has no wheel: its function returns its arguments."""
    point_cloud2 = ModuleType("sensor_msgs_py.point_cloud2")
    point_cloud2.create_cloud_xyz32 = lambda header, points: (header, points)
    monkeypatch.setitem(sys.modules, "sensor_msgs_py", ModuleType("sensor_msgs_py"))
    monkeypatch.setitem(sys.modules, "sensor_msgs_py.point_cloud2", point_cloud2)
    return Shown(small_body_model)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the monotonic clock."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def set_to(seconds: float) -> None:
        now[0] = 1000.0 + seconds

    return set_to


@pytest.mark.parametrize("wanted", OUTPUTS)
def test_only_what_is_wanted_is_published(shown: Shown, wanted: str) -> None:
    shown(wanted)
    assert {name for name in OUTPUTS if shown.messages(name)} == {wanted}


def test_all_have_the_header_of_the_image(shown: Shown) -> None:
    shown(*OUTPUTS)
    ((points_header, points),) = shown.messages("points")
    (overlay,) = shown.messages("overlay")
    headers = [points_header, overlay.header]
    for name in ("skeletons", "markers"):
        (message,) = shown.messages(name)
        headers += [marker.header for marker in deserialize_message(message, MarkerArray).markers]
    assert headers == [HEADER] * 6
    assert points.shape[1] == 3
    assert (overlay.width, overlay.height) == (64, 48)


def test_markers_of_people_who_left_are_deleted(shown: Shown) -> None:
    deleted = []
    for ids in (("p1", "p2", "p3"), ("p2",), ("p2", "p4"), ()):
        shown("markers", ids=ids)
        message = deserialize_message(shown.messages("markers")[-1], MarkerArray)
        deleted.append({m.ns for m in message.markers if m.action == Marker.DELETE})
    assert deleted == [set(), {"p1", "p3"}, set(), {"p2", "p4"}]


@pytest.mark.parametrize(
    ("rate_hz", "count"),
    [pytest.param(10.0, 20, id="10 Hz"), pytest.param(5.0, 10, id="5 Hz")],
)
def test_the_overlay_has_its_own_rate(
    shown: Shown, clock: Callable[[float], None], rate_hz: float, count: int
) -> None:
    """Of a camera with 60 Hz, for two seconds; skeletons are of every image."""
    for i in range(120):
        clock(i / 60)
        shown("overlay", "skeletons", overlay_rate_hz=rate_hz)
    assert len(shown.messages("overlay")) == pytest.approx(count, abs=1)
    assert len(shown.messages("skeletons")) == 120


def test_a_slow_camera_has_every_overlay(shown: Shown, clock: Callable[[float], None]) -> None:
    for i in range(20):
        clock(0.1 * i + 0.01 * (i % 2))  # with jitter
        shown("overlay", overlay_rate_hz=10.0)
    assert len(shown.messages("overlay")) == 20


def test_points_without_sensor_msgs_py_are_counted(
    shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("sensor_msgs_py", "sensor_msgs_py.point_cloud2"):
        monkeypatch.setitem(sys.modules, name, None)
    shown("points")
    assert not shown.messages("points")
    assert shown.problems.counts() == {"points_unavailable": 1}


def test_skeletons_need_no_mesh() -> None:
    assert set(OUTPUTS) - NEED_MESHES == {"skeletons"}


def test_who_is_only_predicted_is_translucent() -> None:
    people = dataclasses.replace(some_people(("p1", "p2")), visible=(True, False))
    corners = np.array([(0, 1, 2)])
    for message in (
        mesh_markers(people, corners, HEADER),
        skeleton_markers(people, corners[:, :2], HEADER),
    ):
        markers = deserialize_message(message, MarkerArray).markers
        assert [marker.color.a for marker in markers] == pytest.approx([1.0, 0.35])
