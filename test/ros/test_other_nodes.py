"""What other nodes publish, over DDS: kept calibrations, wrong types, unusable headers, loops."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: rclpy and the generated messages")
pytest.importorskip("pear_ros.msg", reason="needs the generated messages: `make venv`")

from camera_driver import BOXES, FOCAL_PX, HEIGHT, WIDTH, CameraDriver
from diagnostic_msgs.msg import DiagnosticStatus
from harness import AS_SEEN, System, arguments_of, own_domain, running
from pear_ros.msg import HumanArray
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import MarkerArray

pytestmark = pytest.mark.ros

KEPT = QoSProfile(
    depth=1,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
    reliability=ReliabilityPolicy.RELIABLE,
)
VOLATILE = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, files: dict[str, Any]) -> Iterator[System]:
    with running(tmp_path_factory.mktemp("other_nodes"), **files) as system:
        yield system


@pytest.fixture
def node(system: System) -> Iterator[System]:
    """The active node; the test's publishers and subscriptions end with the test."""
    defaults = {"camera.image_transport": "raw", "detection.detector": "full_frame"}
    system.reconfigure(**defaults, **{"camera.info_timeout_s": 1.0})
    yield system
    system.peer.forget()
    for publisher in list(system.peer.node.publishers):
        if not publisher.topic_name.startswith(("/rosout", "/parameter_events")):
            system.peer.node.destroy_publisher(publisher)
    system.watch_diagnostics()


def calibration(width: int = WIDTH, focal_px: float = FOCAL_PX) -> CameraInfo:
    k = [focal_px, 0.0, WIDTH / 2, 0.0, focal_px, HEIGHT / 2, 0.0, 0.0, 1.0]
    return CameraInfo(width=width, height=HEIGHT, k=k)


def is_metric(answer: HumanArray) -> bool:
    return answer.humans[0].is_metric


# --- Calibrations that were published before -----------------------------------------------------


def test_a_calibration_that_was_published_once_before_the_node_started(
    tmp_path: Path, files: dict[str, Any]
) -> None:
    with own_domain() as domain:
        # Images wait longer than discovery takes on a busy machine.
        parameters = AS_SEEN | files | {"camera.info_timeout_s": 30.0}
        system = System(tmp_path, domain, arguments_of(parameters))
        try:
            publisher = system.peer.node.create_publisher(CameraInfo, "/camera_info", KEPT)
            publisher.publish(calibration())
            camera = CameraDriver(system)
            camera.get_ready(info=False)
            assert all(is_metric(answer) for answer in camera.humans)
            lines = [line for line in system.new_log("") if "is full_frame" not in line]
            assert lines == []  # and no warning about QoS
        finally:
            system.close()


@pytest.mark.parametrize("first", [KEPT, VOLATILE], ids=["kept, then volatile", "volatile first"])
def test_calibrations_of_both_kinds_are_received(node: System, first: QoSProfile) -> None:
    """A publisher that comes later has another QoS and another calibration."""
    second = VOLATILE if first is KEPT else KEPT
    camera = CameraDriver(node)
    once = node.peer.node.create_publisher(CameraInfo, "/camera_info", first)
    once.publish(calibration())
    camera.humans = node.peer.collect(HumanArray, "/pear/humans")
    node.peer.wait(camera.subscribers, "subscription of images")

    def distance_m() -> float:
        answer = camera.ask()
        return answer.humans[0].translation[2] if is_metric(answer) else 0.0

    near = node.peer.wait(lambda: once.publish(calibration()) or distance_m(), "first calibration")
    later = node.peer.node.create_publisher(CameraInfo, "/camera_info", second)
    if second is KEPT:
        later.publish(calibration(focal_px=2 * FOCAL_PX))

    def is_far() -> bool:
        if second is VOLATILE:
            later.publish(calibration(focal_px=2 * FOCAL_PX))
        return distance_m() > 1.5 * near

    node.peer.wait(is_far, "second calibration")


def test_durability_can_be_overridden(tmp_path: Path, files: dict[str, Any]) -> None:
    overrides = {
        "qos_overrides./image.subscription.durability": "transient_local",
        "qos_overrides./image.subscription.reliability": "reliable",
    }
    with running(tmp_path, **files, **overrides) as system:
        peer = system.peer.node
        system.peer.wait(lambda: peer.count_subscribers("/image"), "subscription")
        (info,) = peer.get_subscriptions_info_by_topic("/image")
        assert info.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL
        assert info.qos_profile.reliability == ReliabilityPolicy.RELIABLE


# --- Wrong types ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("transport", "topic", "kind", "advice"),
    [
        pytest.param(
            "raw",
            "/image",
            CompressedImage,
            "set camera.image_transport to compressed and remap image/compressed to /image",
            id="compressed images",
        ),
        pytest.param(
            "compressed",
            "/image/compressed",
            Image,
            "set camera.image_transport to raw and remap image to /image/compressed",
            id="raw images",
        ),
        pytest.param(
            "raw", "/image", String, "a topic of the type sensor_msgs/msg/Image", id="text"
        ),
        pytest.param(
            "raw",
            "/camera_info",
            Image,
            "a topic of the type sensor_msgs/msg/CameraInfo",
            id="images as calibration",
        ),
    ],
)
def test_a_wrong_type_on_a_topic_is_told(
    node: System, transport: str, topic: str, kind: Any, advice: str
) -> None:
    node.reconfigure(**{"camera.image_transport": transport})
    since = node.process.log()
    before = node.count("wrong_types")
    node.peer.node.create_publisher(kind, topic, 10)
    node.peer.wait(
        lambda: int(node.diagnostics_values().get("wrong_types", 0)) > before + 1, "counter", 20
    )
    assert node.diagnostics[-1].status[0].level == DiagnosticStatus.WARN
    (line,) = node.new_log(since)[-1:]
    assert f"{topic}: somebody publishes {kind.__module__.split('.')[0]}/msg/" in line
    assert advice in line
    assert "counted as wrong_types" in line
    assert sum("wrong_types" in line for line in node.new_log(since)) == 1


# --- Headers -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame_id", "published", "counter"),
    [
        pytest.param("", None, "frame_ids_empty", id="empty"),
        pytest.param("/camera", "camera", "frame_ids_with_slash", id="slash"),
    ],
)
def test_frames_that_tf2_refuses(
    node: System, frame_id: str, published: str | None, counter: str
) -> None:
    transforms = node.peer.collect(TFMessage, "/tf")
    markers = node.peer.collect(MarkerArray, "/pear/markers")
    skeletons = node.peer.collect(MarkerArray, "/pear/skeletons")
    camera = CameraDriver(node)
    camera.get_ready()
    node.peer.wait(lambda: transforms and markers and skeletons, "all outputs")
    since, before = node.process.log(), node.count(counter)
    camera.frame_id = frame_id
    first = camera.ask()
    for _ in range(4):
        last = camera.ask()
    assert len(first.humans) == len(last.humans) == 1
    assert last.header.frame_id == (published or "")
    assert node.count(counter) - before == 5

    camera.frame_id = "afterwards"
    camera.ask()  # its messages come after all others

    def frames(of: str) -> set[str]:
        headers = {
            "tf": [t.header for m in transforms for t in m.transforms],
            "markers": [m.header for a in markers for m in a.markers],
            "skeletons": [m.header for a in skeletons for m in a.markers],
        }
        return {header.frame_id for header in headers[of]}

    for output in ("tf", "markers", "skeletons"):
        node.peer.wait(lambda o=output: "afterwards" in frames(o), output)
        expected = {"camera_optical_frame", "afterwards", published} - {None}
        assert frames(output) == expected
    (line,) = node.new_log(since)
    assert "set it" in line
    assert counter in line


def test_images_without_stamps(node: System) -> None:
    transforms = node.peer.collect(TFMessage, "/tf")
    camera = CameraDriver(node)
    camera.get_ready()
    camera.humans.clear()
    before = node.count("stamps_unset")
    for k in range(3):
        message = camera.message()
        message.header.stamp.sec = message.header.stamp.nanosec = 0
        camera.publish(message)
        node.peer.wait(lambda k=k: len(camera.humans) > k, "answer")
    camera.ask()
    assert [len(message.humans) for message in camera.humans] == [1] * 4
    assert len({human.id for message in camera.humans for human in message.humans}) == 1
    assert node.count("stamps_unset") - before == 3
    assert all(t.header.stamp.sec for m in transforms for t in m.transforms)


def test_stamps_far_from_the_clock_are_told(node: System) -> None:
    camera = CameraDriver(node)
    camera.get_ready()
    since = node.process.log()
    camera.stamp_ns -= 400 * 10**9
    for _ in range(12):
        assert len(camera.ask().humans) == 1
    (line,) = [line for line in node.new_log(since) if "stamps_far_from_clock" in line]
    assert "behind the node's clock" in line
    assert node.count("stamps_far_from_clock") > 0


# --- Bags that are played in a loop --------------------------------------------------------------


@pytest.mark.parametrize("length", [2, 6, 12])
def test_every_image_of_every_loop_is_answered(node: System, length: int) -> None:
    """Periods of 0.1 s: loops shorter and longer than a second."""
    camera = CameraDriver(node)
    camera.get_ready()
    before = node.count("clock_restarts")
    begin_ns = camera.stamp_ns + 10**9
    loops, ids = 24 // length, []
    for _ in range(loops):
        camera.stamp_ns = begin_ns
        camera.humans.clear()  # the stamps of the loop before are the same
        answers = [camera.ask() for _ in range(length)]
        assert [message.dropped for message in answers] == [0] * length
        (id_,) = {human.id for message in answers for human in message.humans}
        ids.append(id_)
    assert len(set(ids)) == loops
    assert node.count("clock_restarts") - before == loops - 1


# --- Detections ----------------------------------------------------------------------------------


def test_the_classes_of_a_detector_are_told(node: System) -> None:
    """The detector says `person`; the user asks for `0`."""
    pytest.importorskip("vision_msgs.msg", reason="no wheel; `make venv` builds it")
    node.reconfigure(**{"detection.detector": "topic", "detection.person_class": "0"})
    since, before = node.process.log(), node.count("person_class_unseen")
    camera = CameraDriver(node)
    try:
        camera.get_ready(BOXES)
        assert camera.ask(None, BOXES).humans == []
        (line,) = [line for line in node.new_log(since) if "person_class_unseen" in line]
        assert "the class '0' yet, only 'person'" in line
        assert node.count("person_class_unseen") > before
        assert node.diagnostics[-1].status[0].level == DiagnosticStatus.WARN
    finally:
        assert node.set_parameters(**{"detection.person_class": "PERSON"}) == []
    assert len(camera.ask(None, BOXES).humans) == 3
    assert node.set_parameters(**{"detection.person_class": ""}) == []


# --- Two nodes -----------------------------------------------------------------------------------


def test_two_nodes_share_no_tf_frame(tmp_path: Path, files: dict[str, Any]) -> None:
    """Two robots with default settings in one TF tree."""
    with own_domain() as domain:
        arguments = arguments_of(AS_SEEN | files)
        system = System(tmp_path, domain, [*arguments, "-r", "__ns:=/robot1"])
        other = System(tmp_path, domain, [*arguments, "-r", "__ns:=/robot2"])
        try:
            transforms = system.peer.collect(TFMessage, "/tf")
            publishers = {
                name: system.peer.node.create_publisher(Image, f"/{name}/image", 10)
                for name in ("robot1", "robot2")
            }
            camera = CameraDriver(system)

            def parents() -> dict[str, set[str]]:
                found: dict[str, set[str]] = {}
                for message in list(transforms):
                    for t in message.transforms:
                        found.setdefault(t.child_frame_id, set()).add(t.header.frame_id)
                return found

            def both_published() -> bool:
                for name, publisher in publishers.items():
                    message = camera.message()
                    message.header.frame_id = f"{name}_camera"
                    publisher.publish(message)
                time.sleep(0.2)
                return len(set().union(*parents().values())) == 2

            system.peer.wait(both_published, "TF of both", 90)
            assert {len(of) for of in parents().values()} == {1}
            assert len(parents()) == 8
        finally:
            other.close()
            system.close()
