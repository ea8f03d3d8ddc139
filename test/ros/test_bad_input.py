"""Bad images, boxes, calibrations and checkpoints, sent to one node, which must keep running.

Each fault is sent five times. It is reported once and counted, and the next good image is answered.
"""

from __future__ import annotations

import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: rclpy and the generated messages")
pytest.importorskip("pear_ros.msg", reason="needs the generated messages: `make venv`")

import torch
from camera_driver import HEIGHT, WIDTH, CameraDriver
from harness import System, running, stamp_ns

pytestmark = pytest.mark.ros

NAN, INF = float("nan"), float("inf")
GOOD_BOX = (100, 50, 300, 450, 0.9)
TIMES = 5


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, files: dict[str, Any]) -> Iterator[System]:
    parameters = {**files, "camera.names": "[front, rear]"}
    with running(tmp_path_factory.mktemp("bad_input"), **parameters) as system:
        yield system


@pytest.fixture(scope="module")
def cameras(system: System) -> dict[str, tuple[CameraDriver, CameraDriver]]:
    """A camera with faults and one without, by transport."""
    return {
        transport: (
            CameraDriver(system, "front", transport == "compressed"),
            CameraDriver(system, "rear", transport == "compressed"),
        )
        for transport in ("raw", "compressed")
    }


@pytest.fixture
def node(system: System, files: dict[str, Any]) -> Callable[..., str]:
    """Configures the node; returns the log up to that moment."""

    def configure(**parameters: Any) -> str:
        defaults = {**files, "camera.image_transport": "raw", "detection.detector": "full_frame"}
        since = system.process.log()
        system.reconfigure(**{**defaults, **parameters})
        return since

    return configure


def check_reported_once(system: System, since: str, *texts: str) -> None:
    """One warning since then, which contains all texts; besides that about full_frame."""
    lines = [line for line in system.new_log(since) if "is full_frame" not in line]
    assert len(lines) == 1, lines
    for text in texts:
        assert text in lines[0]


def set_fields(**fields: Any) -> Callable[[Any], None]:
    def change(message: Any) -> None:
        for name, value in fields.items():
            setattr(message, name, value)

    return change


def cut(size: int) -> Callable[[Any], None]:
    def change(message: Any) -> None:
        message.data = message.data[:size]

    return change


NO_BYTES = array.array("B")
NO_IMAGE = array.array("B", b"this is not an image")
DROPPED = [
    ("no pixels", "raw", set_fields(height=0, width=0, step=0, data=NO_BYTES), "empty"),
    ("no width", "raw", set_fields(width=0), f"0x{HEIGHT}"),
    ("step too short", "raw", set_fields(step=100), f"step 100 is less than {WIDTH} px"),
    ("data too short", "raw", cut(1000), "1000 bytes of data, but 640x480 rgb8 needs 921600"),
    ("size too large", "raw", set_fields(height=2**32 - 1), "more pixels than camera.max_pixels"),
    ("unknown encoding", "raw", set_fields(encoding="nv99"), "'nv99'"),
    ("truncated JPEG", "compressed", cut(3000), "is truncated or damaged"),
    ("no JPEG", "compressed", set_fields(data=NO_IMAGE), "it is a text file"),
    ("no bytes", "compressed", set_fields(data=NO_BYTES), "it is an empty file"),
]


@pytest.mark.parametrize(
    ("transport", "spoil", "text"),
    [pytest.param(t, spoil, text, id=name) for name, t, spoil, text in DROPPED],
)
def test_bad_images_are_dropped(
    system: System,
    cameras: dict[str, tuple[CameraDriver, CameraDriver]],
    node: Callable[..., str],
    transport: str,
    spoil: Callable[[Any], None],
    text: str,
) -> None:
    front, rear = cameras[transport]
    since = node(**{"camera.image_transport": transport})
    rear.get_ready()
    front.get_ready()
    before = system.count("bad_images")
    front.humans.clear()
    for _ in range(TIMES):
        message = front.message()
        spoil(message)
        front.publish(message)
        rear.ask()  # when this is answered, the worker has processed the bad image
    answer = front.ask()

    assert len(answer.humans) == 1
    assert sum(message.dropped for message in front.humans) == TIMES
    check_reported_once(system, since, front.topic, text, "check")
    assert system.count("bad_images") - before == TIMES


def test_images_of_another_camera_on_the_topic_are_dropped(
    system: System, cameras: dict[str, tuple[CameraDriver, CameraDriver]], node: Callable[..., str]
) -> None:
    """Each has a stamp between the last two of this camera."""
    front, _ = cameras["raw"]
    since = node()
    front.get_ready()
    before = system.count("stamps_backwards")
    front.humans.clear()
    for _ in range(TIMES):
        message = front.message()
        stamp = message.header.stamp
        stamp.sec, stamp.nanosec = divmod(stamp_ns(message) - 150_000_000, 10**9)
        front.publish(message)
        assert front.ask().dropped == 1
    assert len(front.humans) == TIMES
    check_reported_once(system, since, front.topic, "older than the one before", "check")
    assert system.count("stamps_backwards") - before == TIMES


@pytest.mark.parametrize(
    "box",
    [
        pytest.param((WIDTH + 10, 50, WIDTH + 200, 300), id="beside the image"),
        pytest.param((-300, 50, -10, 300), id="left of the image"),
        pytest.param((300, 450, 100, 50), id="inverted"),
        pytest.param((100, 50, 100, 50), id="empty"),
        pytest.param((NAN, 50, 300, 450), id="not a number"),
        pytest.param((100, 50, INF, 450), id="infinite"),
        pytest.param((100, 50, 1e300, 450), id="beyond float32"),
    ],
)
def test_bad_boxes_are_ignored(
    system: System,
    cameras: dict[str, tuple[CameraDriver, CameraDriver]],
    node: Callable[..., str],
    box: tuple[float, ...],
) -> None:
    pytest.importorskip("vision_msgs.msg", reason="no wheel; `make venv` builds it")
    front, _ = cameras["raw"]
    since = node(**{"detection.detector": "topic"})
    front.get_ready([GOOD_BOX])
    before = system.count("bad_boxes")
    for _ in range(TIMES):
        assert len(front.ask(None, [(*box, 0.9), GOOD_BOX]).humans) == 1
    assert front.ask(None, [(*box, NAN)]).humans == []
    assert len(front.ask(None, [GOOD_BOX]).humans) == 1
    check_reported_once(system, since, "front", "check the detector")
    assert system.count("bad_boxes") - before == TIMES + 1


def test_images_without_detections_are_dropped(
    system: System, cameras: dict[str, tuple[CameraDriver, CameraDriver]], node: Callable[..., str]
) -> None:
    pytest.importorskip("vision_msgs.msg", reason="no wheel; `make venv` builds it")
    front, _ = cameras["raw"]
    since = node(**{"detection.detector": "topic", "detection.timeout_s": 0.3})
    front.get_ready([GOOD_BOX])
    before = system.count("images_without_detections")
    front.humans.clear()
    for _ in range(TIMES):
        front.publish()
    system.peer.wait(
        lambda: int(system.diagnostics_values().get("images_without_detections", 0)) > before,
        "timeout of the detections",
    )
    answer = front.ask(None, [GOOD_BOX])
    assert len(answer.humans) == 1
    assert answer.dropped == TIMES
    check_reported_once(system, since, front.topic, "check that the detector is running")
    assert system.count("images_without_detections") - before == TIMES


@pytest.mark.parametrize(
    "k", [pytest.param([NAN] * 9, id="NaN"), pytest.param([0.0] * 9, id="zeros")]
)
def test_bad_intrinsics_are_replaced_by_assumed_ones(
    system: System,
    cameras: dict[str, tuple[CameraDriver, CameraDriver]],
    node: Callable[..., str],
    k: list[float],
) -> None:
    front, _ = cameras["raw"]
    since = node()
    front.k = k
    front.get_ready()
    before = system.count("images_uncalibrated")
    for _ in range(TIMES):
        assert not front.ask().humans[0].is_metric
    assert system.count("images_uncalibrated") - before == TIMES
    check_reported_once(system, since, front.topic, "camera_info", "calibrate the camera")

    front.k = None
    front.publish_info()
    system.peer.wait(lambda: front.ask().humans[0].is_metric, "a good camera_info is used")


def test_a_clock_that_restarts_gives_new_ids(
    system: System, cameras: dict[str, tuple[CameraDriver, CameraDriver]], node: Callable[..., str]
) -> None:
    front, _ = cameras["raw"]
    since = node()
    front.get_ready()
    before = system.count("clock_restarts")
    first = front.ask().humans[0].id
    assert front.ask().humans[0].id == first
    front.humans.clear()
    front.stamp_ns -= 5 * 10**9
    answers = [front.ask() for _ in range(TIMES)]
    assert [message.dropped for message in answers] == [0] * TIMES
    (again,) = {human.id for message in answers for human in message.humans}
    assert again != first
    check_reported_once(system, since, front.topic, "tracking restarts")
    assert system.count("clock_restarts") - before == 1


def test_people_who_cannot_be_placed_are_left_out(
    system: System,
    cameras: dict[str, tuple[CameraDriver, CameraDriver]],
    node: Callable[..., str],
    tmp_path: Path,
    files: dict[str, Any],
) -> None:
    tree = torch.load(files["network.checkpoint"], weights_only=True)
    tree["head"]["cam_decoder.bias"][2] = -3.0  # the distance
    torch.save(tree, tmp_path / "bad.pt")
    front, _ = cameras["raw"]
    since = node(**{"network.checkpoint": str(tmp_path / "bad.pt")})
    front.get_ready()
    before = system.count("not_placeable")
    answers = [front.ask() for _ in range(TIMES)]
    assert [(answer.humans, answer.dropped) for answer in answers] == [([], 0)] * TIMES
    check_reported_once(system, since, "front", "behind the camera")
    assert system.count("not_placeable") - before == TIMES

    node()
    front.get_ready()
    assert len(front.ask().humans) == 1
