"""Messages of a camera -> frames: stamps, their unit, and when people are forgotten."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: rclpy and the generated messages")
pytest.importorskip("pear_ros.msg", reason="needs the generated messages: `make venv`")

from node_in_process import an_image

from pear_ros.config import Config
from pear_ros.people import Frame
from pear_ros.problems import Problems
from pear_ros.ros.arrivals import Arrivals
from pear_ros.ros.frame_reader import FrameReader

pytestmark = pytest.mark.ros

START_S = 1_700_000_000.0


class Reader:
    """Reads images with these stamps."""

    def __init__(self) -> None:
        self.problems = Problems(lambda message: None)
        self.forgotten: list[str] = []
        self._arrive = Arrivals("front", "/front/image", self.problems)
        self._read = FrameReader("front", "/front/image", self.problems, self.forgotten.append)

    def __call__(self, *stamps_s: float) -> list[Frame | None]:
        arrivals = [self._arrive(an_image(START_S + s), 0, False) for s in stamps_s]
        return [a and self._read(a, None, None, Config()) for a in arrivals]


@pytest.fixture
def reader() -> Reader:
    return Reader()


def test_stamps_are_in_seconds(reader: Reader) -> None:
    """Predictions and timeouts of people are in seconds of these stamps."""
    frames = reader(0.0, 0.125, 2.5)
    assert [frame.stamp_s for frame in frames] == pytest.approx(
        [START_S + s for s in (0, 0.125, 2.5)]
    )
    assert {frame.source for frame in frames} == {"front"}


def test_an_image_that_is_a_little_late_is_dropped(reader: Reader) -> None:
    frames = reader(0.0, 0.1, 0.05, 0.2)
    assert [frame is None for frame in frames] == [False, False, True, False]
    assert reader.problems.counts()["stamps_backwards"] == 1
    assert not reader.forgotten


@pytest.mark.parametrize("back_s", [3.0, 30.0, 3600.0])
def test_a_clock_that_restarts_forgets_everybody(reader: Reader, back_s: float) -> None:
    frames = reader(0.0, -back_s, 0.1 - back_s)
    assert None not in frames
    assert reader.forgotten == ["front"]
    assert reader.problems.counts()["clock_restarts"] == 1
    assert "stamps_backwards" not in reader.problems.counts()
