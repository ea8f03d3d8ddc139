"""Headers of images: what is counted, dropped, repaired, and published nevertheless."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: rclpy and the generated messages")
pytest.importorskip("pear_ros.msg", reason="needs the generated messages: `make venv`")

from node_in_process import an_image
from std_msgs.msg import Header

from pear_ros.problems import Problems
from pear_ros.ros.arrivals import FAR_IMAGES, Arrival, Arrivals, publishable

pytestmark = pytest.mark.ros

NOW_S = 1_700_000_000
OUTPUTS = {"humans", "tf", "markers", "skeletons", "points", "overlay"}


class Camera:
    """Lets images arrive when the node's clock shows NOW_S."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.problems = Problems(self.told.append)
        self._arrivals = Arrivals("front", "/front/image", self.problems)

    def __call__(
        self,
        stamp_s: float = NOW_S,
        frame_id: str = "camera",
        needs_stamp: bool = False,
        now_s: float = NOW_S,
    ) -> Arrival | None:
        image = an_image(stamp_s)
        image.header.frame_id = frame_id
        return self._arrivals(image, round(now_s * 1e9), needs_stamp)


@pytest.fixture
def camera() -> Camera:
    return Camera()


def test_a_good_header_stays_as_it_is(camera: Camera) -> None:
    arrival = camera(NOW_S + 0.25)
    assert arrival.header == arrival.message.header
    assert arrival.taken_ns == 1_700_000_000_250_000_000
    assert publishable(OUTPUTS, arrival.header) == OUTPUTS
    assert not camera.told


@pytest.mark.parametrize("frame_id", ["", "/", "//"])
def test_without_a_frame_there_is_nothing_that_needs_one(camera: Camera, frame_id: str) -> None:
    headers = [camera(NOW_S + i, frame_id).header for i in range(3)]
    assert {header.frame_id for header in headers} == {""}
    assert publishable(OUTPUTS, headers[0]) == {"humans", "overlay"}
    assert camera.problems.counts() == {"frame_ids_empty": 3}
    (line,) = camera.told
    assert line.startswith("/front/image: header.frame_id is empty")
    assert "camera driver" in line


@pytest.mark.parametrize("frame_id", ["/camera", "//camera"])
def test_a_leading_slash_is_removed(camera: Camera, frame_id: str) -> None:
    header = camera(NOW_S, frame_id).header
    assert header == Header(frame_id="camera", stamp=header.stamp)
    assert publishable(OUTPUTS, header) == OUTPUTS
    assert camera.problems.counts() == {"frame_ids_with_slash": 1}
    assert repr(frame_id) in camera.told[0]
    assert camera(NOW_S, "robot/camera").header.frame_id == "robot/camera"
    assert camera.problems.counts() == {"frame_ids_with_slash": 1}


def test_images_without_stamps_are_taken_when_they_arrive(camera: Camera) -> None:
    arrivals = [camera(0.0, now_s=NOW_S + i) for i in range(3)]
    assert [a.taken_ns for a in arrivals] == [(NOW_S + i) * 10**9 for i in range(3)]
    assert {a.header.stamp.sec for a in arrivals} == {0}
    assert publishable(OUTPUTS, arrivals[0].header) == OUTPUTS - {"tf"}
    assert camera.problems.counts() == {"stamps_unset": 3}
    assert "no TF is published" in camera.told[0]


def test_images_without_stamps_cannot_be_matched_to_detections(camera: Camera) -> None:
    assert camera(0.0, needs_stamp=True) is None
    assert camera.problems.counts() == {"stamps_unset": 1}
    assert "cannot be matched to detections" in camera.told[0]


@pytest.mark.parametrize(
    ("offset_s", "text"),
    [
        pytest.param(-400.0, "400 s behind the node's clock", id="a bag without sim time"),
        pytest.param(-10.5, "behind", id="just behind"),
        pytest.param(11.0, "11 s ahead of the node's clock", id="a camera of the future"),
        pytest.param(5.0 - NOW_S, "s behind the node's clock", id="a camera that counts from 0"),
    ],
)
def test_stamps_far_from_the_clock(camera: Camera, offset_s: float, text: str) -> None:
    for i in range(FAR_IMAGES + 4):
        arrival = camera(NOW_S + offset_s + i / 100, now_s=NOW_S + i / 100)
        assert publishable(OUTPUTS, arrival.header) == OUTPUTS  # they fit to others of that clock
    assert camera.problems.counts() == {"stamps_far_from_clock": 5}
    (line,) = camera.told
    assert text in line
    assert "use_sim_time" in line


@pytest.mark.parametrize(
    ("stamps_s", "now_s"),
    [
        pytest.param([NOW_S - 9.0] * 20, NOW_S, id="a slow transport"),
        pytest.param([NOW_S + i for i in range(20)], 0.0, id="the simulation's clock has no time"),
        pytest.param(
            ([NOW_S] + [NOW_S - 3600.0] * (FAR_IMAGES - 1)) * 3, NOW_S, id="a clock that lags"
        ),
    ],
)
def test_stamps_near_the_clock(camera: Camera, stamps_s: list[float], now_s: float) -> None:
    for stamp_s in stamps_s:
        camera(stamp_s, now_s=now_s)
    assert "stamps_far_from_clock" not in camera.problems.counts()


def test_late_images_and_restarts_are_counted(camera: Camera) -> None:
    stamps_s = [NOW_S + s for s in (0.0, 0.1, 0.05, 0.2, 0.0, 0.1)]
    arrivals = [camera(stamp_s) for stamp_s in stamps_s]
    assert [a and a.run for a in arrivals] == [0, 0, None, 0, 1, 1]
    assert camera.problems.counts() == {"stamps_backwards": 1, "clock_restarts": 1}
    late, restart = camera.told
    assert "0.050 s older" in late
    assert "jumped back by 0.2 s" in restart


@pytest.mark.parametrize(
    ("sec", "nanosec"), [(-100, 0), (-1, 999_999_999), (NOW_S, 1_000_000_000), (0, 3_000_000_000)]
)
def test_a_stamp_that_is_no_time_is_not_passed_on(camera: Camera, sec: int, nanosec: int) -> None:
    image = an_image(NOW_S)
    image.header.stamp.sec, image.header.stamp.nanosec = sec, nanosec
    arrival = camera._arrivals(image, NOW_S * 10**9, False)
    assert arrival.header.stamp == Header().stamp
    assert arrival.taken_ns == NOW_S * 10**9
    assert publishable(OUTPUTS, arrival.header) == OUTPUTS - {"tf"}
    assert camera.problems.counts() == {"stamps_unset": 1}
    assert "is no time" in camera.told[0]
    assert camera._arrivals(image, NOW_S * 10**9, True) is None
