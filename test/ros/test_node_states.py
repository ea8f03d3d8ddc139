"""Lifecycle, parameters and failures of the node, running as a process, over DDS."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: rclpy and the generated messages")
pytest.importorskip("pear_ros.msg", reason="needs the generated messages: `make venv`")

from camera_driver import BOXES, CameraDriver
from harness import NodeProcess, System, own_domain, running, stamp_ns
from pear_ros.msg import HumanArray
from sensor_msgs.msg import PointCloud2

pytestmark = pytest.mark.ros


# --- Lifecycle, parameters, calibration: one process that each test configures anew ---------------


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, files: dict[str, Any]) -> Iterator[System]:
    missing = {**files, "network.checkpoint": "/nowhere/pear_model.pt"}
    with running(tmp_path_factory.mktemp("lifecycle"), **missing) as system:
        yield system


@pytest.fixture
def node(system: System, files: dict[str, Any]) -> Iterator[System]:
    """The node, active, with default parameters."""
    defaults = {
        "detection.detector": "full_frame",
        "detection.min_score": 0.5,
        "camera.info_timeout_s": 1.0,
    }
    system.reconfigure(**files, **defaults)
    yield system
    system.peer.forget()
    system.watch_diagnostics()


def test_missing_checkpoint_leaves_the_node_unconfigured(
    system: System, files: dict[str, Any]
) -> None:
    """Must be the first test with this process."""
    assert system.state() == "unconfigured"
    system.counts()  # it runs
    (line,) = [line for line in system.new_log("") if "/nowhere/pear_model.pt" in line]
    assert "cannot configure: no checkpoint at" in line
    assert "docs/how_to/get_weights.md" in line
    assert not system.change("configure")
    assert system.state() == "unconfigured"
    assert system.set_parameters(**{"network.checkpoint": files["network.checkpoint"]}) == []
    assert system.change("configure", "activate")
    CameraDriver(system).get_ready()


def test_the_lifecycle_can_be_repeated(node: System) -> None:
    camera = CameraDriver(node)
    unanswered = []
    for _ in range(2):
        camera.get_ready()
        assert node.state() == "active"
        for down, state in (("deactivate", "inactive"), ("cleanup", "unconfigured")):
            assert node.change(down)
            assert node.state() == state
            node.peer.wait(lambda: not camera.subscribers(), "end of subscription")
            unanswered += [camera.publish() for _ in range(3)]
        assert node.change("configure", "activate")
    camera.get_ready()
    answered = {stamp_ns(message) for message in camera.humans}
    assert answered
    assert not answered & set(unanswered)


def test_without_subscribers_nothing_is_computed(node: System) -> None:
    camera = CameraDriver(node)
    before = node.counts()
    node.peer.wait(camera.subscribers, "subscription of images")

    def unwatched() -> int:
        camera.publish()
        counts = node.diagnostics_values()
        return int(counts.get("images_unwatched", 0)) - int(before.get("images_unwatched", 0)) >= 3

    node.peer.wait(unwatched, "unwatched images")
    assert node.count("images_answered") == int(before.get("images_answered", 0))


def test_points_name_the_missing_package(node: System) -> None:
    try:
        import sensor_msgs_py  # noqa: F401
    except ImportError:
        pass
    else:
        pytest.skip("sensor_msgs_py is installed")
    camera = CameraDriver(node)
    since = node.process.log()
    node.peer.collect(PointCloud2, "/pear/points")
    camera.get_ready()
    node.peer.wait(lambda: camera.ask() and node.new_log(since), "warning")
    for _ in range(3):
        camera.ask()
    (line,) = node.new_log(since)
    assert "sensor_msgs_py" in line


@pytest.mark.parametrize(
    ("k", "text"),
    [
        pytest.param(None, None, id="calibrated"),
        pytest.param("none", "/image: no camera_info received", id="no camera_info"),
        pytest.param([0.0] * 9, "is not a valid calibration", id="K of zeros"),
        pytest.param([float("nan")] * 9, "is not a valid calibration", id="K not a number"),
    ],
)
def test_people_are_metric_only_with_a_calibration(node: System, k: Any, text: str | None) -> None:
    camera = CameraDriver(node)
    camera.k = None if k == "none" else k
    since = node.process.log()
    camera.get_ready(info=k != "none")
    for _ in range(5):
        message = camera.ask()
        assert [human.is_metric for human in message.humans] == [text is None]
    lines = node.new_log(since)
    assert len(lines) == (text is not None), lines
    assert all(text in line and "camera_info" in line for line in lines)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        pytest.param({"detection.min_score": 2.0}, "min_score", id="out of bounds"),
        pytest.param({"detection.max_people": 0}, "max_people", id="too few"),
        pytest.param({"detection.min_score": "high"}, "Wrong parameter type", id="wrong type"),
        pytest.param(
            {"network.checkpoint": "x.pt"}, "cleanup", id="not while configured: checkpoint"
        ),
        pytest.param(
            {"detection.detector": "nanodet"}, "cleanup", id="not while configured: detector"
        ),
    ],
)
def test_refused_parameters(node: System, values: dict[str, Any], reason: str) -> None:
    (refusal,) = node.set_parameters(**values)
    assert reason in refusal


def test_refused_parameters_while_unconfigured(node: System) -> None:
    assert node.change("deactivate", "cleanup")
    (refusal,) = node.set_parameters(**{"detection.detector": "dog"})
    assert "detection.detector: 'dog' is not one of nanodet, topic, full_frame" in refusal
    (refusal,) = node.set_parameters(**{"camera.names": ["a", "a"]})
    assert "has the same name twice" in refusal


def test_live_parameters_take_effect(node: System) -> None:
    pytest.importorskip("vision_msgs.msg", reason="no wheel; `make venv` builds it")
    node.reconfigure(**{"detection.detector": "topic"})
    camera = CameraDriver(node)
    camera.get_ready(BOXES)
    assert len(camera.ask(None, BOXES).humans) == 3
    assert node.set_parameters(**{"detection.min_score": 0.75}) == []
    assert len(camera.ask(None, BOXES).humans) == 2
    assert node.set_parameters(**{"detection.max_people": 1}) == []
    assert len(camera.ask(None, BOXES).humans) == 1
    assert node.set_parameters(**{"detection.person_class": "dog"}) == []
    assert camera.ask(None, BOXES).humans == []
    assert (
        node.set_parameters(
            **{"detection.min_score": 0.5, "detection.max_people": 16, "detection.person_class": ""}
        )
        == []
    )


# --- Start and end of the process ----------------------------------------------------------------


def test_without_autostart_the_node_waits_until_sigint(
    tmp_path: Path, files: dict[str, Any]
) -> None:
    with running(tmp_path, autostart=False, **files) as system:
        assert system.state() == "unconfigured"
        system.counts()
        assert system.state() == "unconfigured"
        assert system.process.interrupt(signal.SIGINT) == 0
        assert "Traceback" not in system.process.log()


BAD_STARTS = {
    "out of bounds": ("-p", "detection.min_score:=7.0"),
    "not a choice": ("-p", "detection.detector:=dog"),
    "of another type": ("-p", "detection.max_people:=many"),
    "of a file": ("--params-file", "bad.yaml"),
}


@pytest.fixture(scope="module")
def bad_starts(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, NodeProcess]]:
    """Processes that start at the same time, because importing takes seconds."""
    folder = tmp_path_factory.mktemp("bad")
    (folder / "bad.yaml").write_text(
        "/**:\n  ros__parameters:\n    camera:\n      names: [a, 1b]\n"
    )
    with own_domain() as domain:
        processes = {}
        for name, arguments in BAD_STARTS.items():
            paths = [a.replace("bad.yaml", str(folder / "bad.yaml")) for a in arguments]
            processes[name] = NodeProcess(folder, domain, paths)
        yield processes
        for process in processes.values():
            process.end()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("out of bounds", "min_score"),
        ("not a choice", "detection.detector: 'dog' is not one of nanodet, topic, full_frame"),
        ("of another type", "max_people"),
        ("of a file", "camera.names: '1b' is not a valid name"),
    ],
)
def test_bad_parameters_end_the_process(
    bad_starts: dict[str, NodeProcess], name: str, text: str
) -> None:
    process = bad_starts[name]
    try:
        code = process.process.wait(60)
    except subprocess.TimeoutExpired:
        pytest.fail(f"the node runs with a bad parameter:\n{process.log()}")
    (line,) = process.log().strip().splitlines()
    assert line.startswith("[FATAL]")
    assert text in line
    assert code == 1


# --- Images and errors that must be counted or reported ------------------------------------------


def test_deactivating_drops_waiting_images(node: System, files: dict[str, Any]) -> None:
    pytest.importorskip("vision_msgs.msg", reason="needs vision_msgs")
    node.reconfigure(**files, **{"detection.detector": "topic", "detection.timeout_s": 60.0})
    camera = CameraDriver(node)
    camera.get_ready(boxes=[])
    before = node.counts()
    for _ in range(5):
        camera.publish()  # without boxes

    def more(*names: str) -> int:
        values = node.diagnostics_values()
        return sum(int(values.get(name, 0)) - int(before.get(name, 0)) for name in names)

    node.peer.wait(lambda: more("images_received") == 5, "images received")
    assert node.change("deactivate")
    outcomes = ("images_answered", "images_dropped", "images_unwatched")
    node.peer.wait(lambda: more(*outcomes) == 5, "an outcome of each image")
    assert more("images_answered") == 0


def test_an_error_of_ros_while_configuring_leaves_no_publisher(
    tmp_path: Path, files: dict[str, Any]
) -> None:
    misspelt = {"qos_overrides./pear/markers.publisher.reliability": "best_efort"}
    with running(tmp_path, **files, **misspelt) as system:
        assert system.state() == "unconfigured"
        assert not system.change("configure")
        assert system.state() == "unconfigured"
        errors = [line for line in system.new_log("") if "cannot configure" in line]
        assert len(errors) == 2
        for topic in ("/tf", "/pear/humans"):
            system.peer.wait(lambda t=topic: not system.peer.node.count_publishers(t), topic)


def test_images_do_not_wait_for_a_paused_clock(tmp_path: Path, files: dict[str, Any]) -> None:
    with running(tmp_path, **files, use_sim_time=True) as system:
        camera = CameraDriver(system)
        humans = system.peer.collect(HumanArray, "/pear/humans")
        system.peer.wait(camera.subscribers, "subscription of images")
        system.peer.wait(lambda: camera.publish() and humans, "an answer without camera_info")
        assert not humans[0].humans[0].is_metric


def test_removed_cameras_leave_nothing(tmp_path: Path, files: dict[str, Any]) -> None:
    with running(tmp_path, **{"camera.names": "[a, b]"}, **files) as system:
        assert system.change("deactivate", "cleanup")
        assert system.set_parameters(**{"camera.names": ["b"]}) == []
        assert system.change("configure", "activate")
        node = system.peer.node
        system.peer.wait(lambda: node.count_subscribers("/b/image"), "subscription of b")
        system.peer.wait(lambda: not node.count_subscribers("/a/image"), "no subscription of a")
        for topic in ("/pear/a/humans", "/pear/a/overlay"):
            system.peer.wait(lambda t=topic: not node.count_publishers(t), f"no {topic}")


def test_a_failed_activation_leaves_the_node_inactive(
    tmp_path: Path, files: dict[str, Any]
) -> None:
    misspelt = {"qos_overrides./camera_info.subscription.reliability": "best_efort"}
    with running(tmp_path, **files, **misspelt) as system:
        assert system.state() == "inactive"
        assert any("cannot activate" in line for line in system.new_log(""))
        node = system.peer.node
        system.peer.wait(lambda: not node.count_subscribers("/image"), "no subscription")
        assert system.change("cleanup")
        assert system.state() == "unconfigured"
