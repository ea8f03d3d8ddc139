"""A node that runs gets depth images: where people are, and what is said about bad ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: rclpy and the generated messages")
pytest.importorskip("pear_ros.msg", reason="needs the generated messages: `make venv`")

from depth_camera_driver import DepthCameraDriver, halved, zeros
from depth_images import depth_image
from harness import System, running, stamp_ns
from pear_ros.msg import HumanArray
from samples import demo_settings

from pear_ros.people import JOINT
from pear_ros.synthetic.held_out import REPERTOIRES
from pear_ros.synthetic.scene import Cast, Scene, Shot

pytestmark = pytest.mark.ros

TIMES = 5
PARAMETERS = {
    **demo_settings(),
    "smoothing.depth_cutoff_hz": 0.0,  # each image by itself
    "smoothing.position_cutoff_hz": 0.0,
    "camera.depth_timeout_s": 5.0,  # depth comes, however slow the machine is
}


@pytest.fixture(scope="module")
def shot(cast: Cast) -> Shot:
    return Scene(cast, REPERTOIRES["held_out"], 3, 1).shot(2.0, visibility=False)


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    pytest.importorskip("vision_msgs.msg", reason="no wheel; `make venv` builds it")
    parameters = {**PARAMETERS, "camera.depth": "raw"}
    with running(tmp_path_factory.mktemp("depth"), **parameters) as system:
        yield system


@pytest.fixture(scope="module")
def driver(system: System, shot: Shot) -> DepthCameraDriver:
    driver = DepthCameraDriver(system)
    driver.picture = shot.image
    camera = shot.camera
    driver.k = [camera.fx, 0.0, camera.cx, 0.0, camera.fy, camera.cy, 0.0, 0.0, 1.0]
    return driver


@pytest.fixture
def camera(driver: DepthCameraDriver, shot: Shot, cast: Cast) -> DepthCameraDriver:
    """With a perfect depth image."""
    driver.depth_m = depth_image(shot, cast)
    driver.is_depth_compressed = False
    driver.spoil = lambda message: None
    return driver


def boxes(shot: Shot) -> list[tuple[float, ...]]:
    return [(*map(float, xyxy), 0.9) for xyxy in shot.people.boxes.xyxy]


def pelvis_m(answer: HumanArray) -> float:
    """How far the person's pelvis is away."""
    (human,) = answer.humans
    joints = np.reshape(human.joints, (-1, 3))  # m
    return float(np.linalg.norm(joints[JOINT["pelvis"]]))


def true_m(shot: Shot) -> float:
    people = shot.people
    return float(np.linalg.norm(people.joints[0, JOINT["pelvis"]] + people.translation[0]))


@pytest.mark.parametrize("transport", ["raw", "compressed"])
def test_people_are_where_the_depth_image_says(
    system: System, camera: DepthCameraDriver, shot: Shot, transport: str
) -> None:
    camera.is_depth_compressed = transport == "compressed"
    system.reconfigure(**PARAMETERS, **{"camera.depth": transport})
    since = system.process.log()
    camera.get_ready(boxes(shot))
    depth_m = camera.depth_m
    assert depth_m is not None
    for factor in (1.0, 0.85, 1.15):
        camera.depth_m = factor * depth_m
        found_m = pelvis_m(camera.ask(None, boxes(shot)))
        assert found_m == pytest.approx(factor * true_m(shot), abs=0.08)
    assert not [line for line in system.new_log(since) if "depth" in line]


def frame_of_depth(message: Any) -> None:
    message.header.frame_id = "camera_depth_optical_frame"


def encoding_of_colour(message: Any) -> None:
    message.encoding = "8UC1"


def earlier(message: Any) -> None:
    """Taken 30 ms before the image, beyond the tolerance."""
    early_ns = stamp_ns(message) - 30_000_000
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(early_ns, 10**9)


BAD: list[tuple[str, Callable[[Any], None], str, str]] = [
    ("another size", halved, "depth_sizes_differ", "320x240 px, the image 640x480"),
    ("another frame", frame_of_depth, "depth_frames_differ", "'camera_depth_optical_frame'"),
    ("another encoding", encoding_of_colour, "bad_depth_images", "'8UC1' is none of depth images"),
    ("all zero", zeros, "depth_images_empty", "nothing was measured"),
]


@pytest.mark.parametrize(
    ("spoil", "kind", "text"),
    [pytest.param(spoil, kind, text, id=name) for name, spoil, kind, text in BAD],
)
def test_bad_depth_is_said_once_and_every_image_answered(
    system: System,
    camera: DepthCameraDriver,
    shot: Shot,
    spoil: Callable[[Any], None],
    kind: str,
    text: str,
) -> None:
    system.reconfigure(**PARAMETERS, **{"camera.depth": "raw"})
    since = system.process.log()
    camera.get_ready(boxes(shot))
    with_depth_m = pelvis_m(camera.ask(None, boxes(shot)))
    before = system.count(kind)
    depth_m = camera.depth_m
    assert depth_m is not None
    # If it were used, the person would be nearer. Without it, the height that was learned counts.
    camera.depth_m, camera.spoil = 0.85 * depth_m, spoil
    answers = [camera.ask(None, boxes(shot)) for _ in range(TIMES)]
    assert [answer.dropped for answer in answers] == [0] * TIMES
    assert all(pelvis_m(answer) == pytest.approx(with_depth_m, rel=0.05) for answer in answers)
    assert system.count(kind) - before == TIMES
    (line,) = (line for line in system.new_log(since) if "depth" in line)
    assert text in line
    assert "/depth: an image is processed without depth" in line

    camera.depth_m, camera.spoil = depth_m, lambda message: None
    assert pelvis_m(camera.ask(None, boxes(shot))) == pytest.approx(with_depth_m, abs=0.02)


@pytest.mark.parametrize("is_off", [True, False], ids=["off", "another time"])
def test_missing_depth_is_said_once_and_every_image_answered(
    system: System, camera: DepthCameraDriver, shot: Shot, is_off: bool
) -> None:
    since = system.process.log()
    system.reconfigure(**PARAMETERS | {"camera.depth": "raw", "camera.depth_timeout_s": 0.5})
    camera.get_ready(boxes(shot))
    before = system.count("images_without_depth")
    depth_m = camera.depth_m
    if is_off:
        camera.depth_m = None
    else:
        camera.spoil = earlier
    answers = [camera.ask(None, boxes(shot)) for _ in range(TIMES)]
    assert [answer.dropped for answer in answers] == [0] * TIMES
    assert system.count("images_without_depth") - before == TIMES
    reason = (
        "check that the depth camera publishes" if is_off else "the nearest one differs by 0.03"
    )
    assert len([line for line in system.new_log(since) if reason in line]) == 1

    camera.depth_m, camera.spoil = depth_m, lambda message: None
    found_m = system.peer.wait(
        lambda: abs(pelvis_m(camera.ask(None, boxes(shot))) - true_m(shot)) < 0.08,
        "depth is used again",
    )
    assert found_m
