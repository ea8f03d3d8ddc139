"""The status on /diagnostics, from a node that is a fake."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: rclpy and the generated messages")
pytest.importorskip("pear_ros.msg", reason="needs the generated messages: `make venv`")

from diagnostic_msgs.msg import DiagnosticStatus
from node_in_process import Recorder
from rclpy.clock import Clock

from pear_ros.problems import Problems
from pear_ros.ros.diagnostics import LATENCIES, Diagnostics, Statistics

pytestmark = pytest.mark.ros

OK, WARN = DiagnosticStatus.OK, DiagnosticStatus.WARN


class Status:
    """Publishes and returns the status."""

    def __init__(self) -> None:
        self.statistics, self.problems = Statistics(), Problems(lambda message: None)
        self._recorder = Recorder()
        node = SimpleNamespace(
            create_publisher=lambda kind, topic, qos: self._recorder,
            get_fully_qualified_name=lambda: "/robot1/pear",
            get_clock=Clock,
        )
        self._diagnostics = Diagnostics(node, self.statistics, self.problems)

    def __call__(self, state: str = "active", dropped: int = 0) -> DiagnosticStatus:
        self._diagnostics.publish(state, dropped)
        (status,) = self._recorder.messages[-1].status
        return status


@pytest.fixture
def status() -> Status:
    return Status()


def values(status: DiagnosticStatus) -> dict[str, str]:
    return {value.key: value.value for value in status.values}


def test_a_working_node_is_ok(status: Status) -> None:
    found = status()
    assert (found.level, found.message, found.name) == (OK, "active", "/robot1/pear")


def test_new_problems_are_warned_of_once(status: Status) -> None:
    levels = []
    for problems in (0, 2, 0, 1, 0):
        for _ in range(problems):
            status.problems.count("bad_images", "text")
        levels.append(status().level)
    assert levels == [OK, WARN, OK, WARN, OK]
    assert values(status())["bad_images"] == "3"


@pytest.mark.parametrize(
    ("state", "level"), [("unconfigured", WARN), ("inactive", OK), ("active", OK)]
)
def test_a_node_that_is_not_configured_warns(status: Status, state: str, level: bytes) -> None:
    found = status(state)
    assert (found.level, found.message) == (level, state)


def test_counters(status: Status) -> None:
    status.statistics.count("images_received", 4)
    status.statistics.count_answer(people=2, latency_s=0.01)
    status.statistics.count_answer(people=1, latency_s=0.01)
    assert values(status(dropped=7)) == {
        "images_received": "4",
        "images_answered": "2",
        "people": "3",
        "images_dropped": "7",
        "median_processing_time_ms": "10.0",
    }


def test_the_median_is_that_of_the_last_images(status: Status) -> None:
    assert "median_processing_time_ms" not in values(status())
    for _ in range(LATENCIES):
        status.statistics.count_answer(people=1, latency_s=9.0)
    for latency_s in (0.0204, 0.5, 0.0204):
        for _ in range(LATENCIES // 3 + 1):
            status.statistics.count_answer(people=1, latency_s=latency_s)
    assert values(status())["median_processing_time_ms"] == "20.4"
