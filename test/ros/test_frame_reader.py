"""Messages of a camera -> frames: stamps, their unit, and when people are forgotten."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: rclpy and the generated messages")
pytest.importorskip("pear_ros.msg", reason="needs the generated messages: `make venv`")

from node_in_process import an_image
from sensor_msgs.msg import CameraInfo, Image

from pear_ros.config import CameraSettings, Config
from pear_ros.people import Camera, Frame, Lens
from pear_ros.problems import Problems
from pear_ros.ros.arrivals import Arrival, Arrivals
from pear_ros.ros.frame_reader import MOST_CAUSES, FrameReader

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


# --- Lenses ---------------------------------------------------------------------------------------

K = (500.0, 0.0, 310.0, 0.0, 510.0, 230.0, 0.0, 0.0, 1.0)
P = (400.0, 0.0, 300.0, 0.0, 0.0, 410.0, 220.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def camera_of(reader: Reader, model: str, d: Sequence[float], rectified: bool = False) -> Camera:
    image = an_image(START_S)
    info = CameraInfo(
        width=image.width, height=image.height, distortion_model=model, d=list(d), k=K, p=P
    )
    config = Config(camera=CameraSettings(rectified=rectified))
    arrival = reader._arrive(image, 0, False)
    assert arrival is not None
    frame = reader._read(arrival, info, None, config)
    assert frame is not None
    return frame.camera


@pytest.mark.parametrize(
    ("model", "d", "lens"),
    [
        ("plumb_bob", (0.1, 0.2, 0.3, 0.4, 0.5), Lens(False, (0.1, 0.2, 0.3, 0.4, 0.5, 0, 0, 0))),
        ("rational_polynomial", range(1, 9), Lens(False, (1, 2, 3, 4, 5, 6, 7, 8))),
        ("equidistant", (0.1, 0.2, 0.3, 0.4), Lens(True, (0.1, 0.2, 0.3, 0.4, 0, 0, 0, 0))),
        ("plumb_bob", (0.0,) * 5, None),
        ("", (), None),
    ],
    ids=["plumb_bob", "rational_polynomial", "equidistant", "zeros", "no model"],
)  # fmt: skip
def test_raw_images_have_the_lens_of_camera_info(
    reader: Reader, model: str, d: Sequence[float], lens: Lens | None
) -> None:
    assert camera_of(reader, model, d) == Camera(500, 510, 310, 230, lens=lens)
    assert not reader.problems.counts()


def test_rectified_images_have_none(reader: Reader) -> None:
    found = camera_of(reader, "plumb_bob", (0.1, -0.2, 0.01, 0.02, 0.3), rectified=True)
    assert found == Camera(400, 410, 300, 220)


@pytest.mark.parametrize(
    ("model", "d"),
    [
        ("thin_prism_fisheye", (0.1,) * 8),
        ("plumb_bob", (0.1,) * 3),
        ("equidistant", (math.nan,) * 4),
    ],
    ids=["model", "count", "nan"],
)
def test_an_unknown_lens_is_not_metric(reader: Reader, model: str, d: Sequence[float]) -> None:
    expected = Camera(500, 510, 310, 230, is_metric=False)
    assert camera_of(reader, model, d) == expected
    assert reader.problems.counts() == {"lenses_unknown": 1}


# --- What is told ---------------------------------------------------------------------------------


def told_for(*images: Image) -> list[str]:
    told: list[str] = []
    problems = Problems(told.append)
    read = FrameReader("front", "/front/image", problems, lambda source: None)
    for number, image in enumerate(images):
        read(Arrival(image, image.header, number, 0), None, None, Config())
    assert problems.counts()["bad_images"] == len(images)
    return told


def bad_image(encoding: str, step: int = 0) -> Image:
    image = an_image(START_S)
    image.encoding, image.step = encoding, step
    return image


def test_each_cause_is_told_once() -> None:
    told = told_for(
        bad_image("rgb8", 1), bad_image("rgb8", 2), bad_image("h264"), bad_image("h264")
    )
    assert ["step 1" in line for line in told] == [True, False]
    assert "h264" in told[1]


def test_a_sender_cannot_fill_the_log() -> None:
    letters = "abcdefghijklmnopqrstuvwxyz"
    assert (
        len(told_for(*(bad_image(f"{a}{b}") for a in letters for b in letters))) <= MOST_CAUSES + 1
    )


def test_a_calibration_that_does_not_fit_is_told_after_a_missing_one() -> None:
    told: list[str] = []
    read = FrameReader("front", "/front/image", Problems(told.append), lambda source: None)
    image = an_image(START_S)
    for info in (None, CameraInfo(width=1, height=1, k=K, p=P)):
        read(Arrival(image, image.header, 0, 0), info, None, Config())
    assert "no camera_info received" in told[0]
    assert "is not a valid calibration" in told[1]
