"""The node from start to end: its lifecycle, parameters and ways to fail, as a process over DDS."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: rclpy and the generated messages")
pytest.importorskip("pear_ros.msg", reason="needs the generated messages: `make venv`")

from harness import (
    BOXES,
    NodeProcess,
    System,
    TestCamera,
    own_domain,
    running,
    stamp_ns,
)
from pear_ros.msg import HumanArray
from sensor_msgs.msg import PointCloud2

pytestmark = pytest.mark.ros


# Lifecycle, parameters, calibration: one process, every test configures it anew


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, files: dict[str, Any]) -> Iterator[System]:
    missing = {**files, "network.checkpoint": "/nowhere/pear_model.pt"}
    with running(tmp_path_factory.mktemp("lifecycle"), **missing) as system:
        yield system


@pytest.fixture
def node(system: System, files: dict[str, Any]) -> Iterator[System]:
    """Active, with default parameters."""
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
    """Runs first of the tests with this process."""
    assert system.state() == "unconfigured"
    system.counts()  # it lives
    told = [line for line in system.new_log("") if "/nowhere/pear_model.pt" in line]
    assert len(told) == 1
    assert "cannot configure: no checkpoint at" in told[0]
    assert "docs/assets.md" in told[0]
    assert not system.change("configure")
    assert system.state() == "unconfigured"
    assert system.set_parameters(**{"network.checkpoint": files["network.checkpoint"]}) == []
    assert system.change("configure", "activate")
    TestCamera(system).get_ready()


def test_lifecycle_twice_through(node: System) -> None:
    camera = TestCamera(node)
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


def test_what_nobody_subscribes_to_is_not_computed(node: System) -> None:
    camera = TestCamera(node)
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
    camera = TestCamera(node)
    since = node.process.log()
    node.peer.collect(PointCloud2, "/pear/points")
    camera.get_ready()
    node.peer.wait(lambda: camera.ask() and node.new_log(since), "warning")
    for _ in range(3):
        camera.ask()
    (line,) = node.new_log(since)
    assert "sensor_msgs_py" in line


@pytest.mark.parametrize(
    ("k", "said"),
    [
        pytest.param(None, None, id="calibrated"),
        pytest.param("none", "/image: no camera_info came", id="no camera_info"),
        pytest.param([0.0] * 9, "is no calibration", id="K of zeros"),
        pytest.param([float("nan")] * 9, "is no calibration", id="K not a number"),
    ],
)
def test_without_calibration_nothing_is_metric(node: System, k: Any, said: str | None) -> None:
    camera = TestCamera(node)
    camera.k = None if k == "none" else k
    since = node.process.log()
    camera.get_ready(info=k != "none")
    for _ in range(5):
        message = camera.ask()
        assert [human.is_metric for human in message.humans] == [said is None]
    told = node.new_log(since)
    assert len(told) == (said is not None), told
    assert all(said in line and "camera_info" in line for line in told)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        pytest.param({"detection.min_score": 2.0}, "min_score", id="out of bounds"),
        pytest.param({"detection.max_people": 0}, "max_people", id="too few"),
        pytest.param({"detection.min_score": "high"}, "Wrong parameter type", id="wrong type"),
        pytest.param({"network.checkpoint": "x.pt"}, "cleanup", id="not while configured"),
        pytest.param({"detection.detector": "hog"}, "cleanup", id="not while configured, other"),
    ],
)
def test_refused_parameters(node: System, values: dict[str, Any], reason: str) -> None:
    (refusal,) = node.set_parameters(**values)
    assert reason in refusal


def test_refused_parameters_while_unconfigured(node: System) -> None:
    assert node.change("deactivate", "cleanup")
    (refusal,) = node.set_parameters(**{"detection.detector": "dog"})
    assert "detection.detector: 'dog' is none of full_frame, hog, topic" in refusal
    (refusal,) = node.set_parameters(**{"camera.names": ["a", "a"]})
    assert "names one camera twice" in refusal


def test_live_parameters_take_effect(node: System) -> None:
    pytest.importorskip("vision_msgs.msg", reason="no wheel; `make venv` builds it")
    node.reconfigure(**{"detection.detector": "topic"})
    camera = TestCamera(node)
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


# Start and end of the process


def test_autostart_false_waits_and_sigint_ends(tmp_path: Path, files: dict[str, Any]) -> None:
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
    """Processes that start at the same time, as each takes a while to import."""
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
    ("name", "said"),
    [
        ("out of bounds", "min_score"),
        ("not a choice", "detection.detector: 'dog' is none of full_frame, hog, topic"),
        ("of another type", "max_people"),
        ("of a file", "camera.names: '1b' is not a valid name"),
    ],
)
def test_bad_parameters_end_the_process(
    bad_starts: dict[str, NodeProcess], name: str, said: str
) -> None:
    process = bad_starts[name]
    try:
        code = process.process.wait(60)
    except subprocess.TimeoutExpired:
        pytest.fail(f"it runs with a bad parameter:\n{process.log()}")
    (line,) = process.log().strip().splitlines()
    assert line.startswith("[FATAL]")
    assert said in line
    assert code == 1


# What must not go unseen


def test_what_waits_when_the_node_is_deactivated_is_dropped(
    node: System, files: dict[str, Any]
) -> None:
    pytest.importorskip("vision_msgs.msg", reason="needs vision_msgs")
    node.reconfigure(**files, **{"detection.detector": "topic", "detection.timeout_s": 60.0})
    camera = TestCamera(node)
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


def test_failures_of_ros_itself_are_told_and_leave_nothing(
    tmp_path: Path, files: dict[str, Any]
) -> None:
    misspelt = {"qos_overrides./pear/markers.publisher.reliability": "best_efort"}
    with running(tmp_path, **files, **misspelt) as system:
        assert system.state() == "unconfigured"
        assert not system.change("configure")
        assert system.state() == "unconfigured"
        told = [line for line in system.new_log("") if "cannot configure" in line]
        assert len(told) == 2
        for topic in ("/tf", "/pear/humans"):
            system.peer.wait(lambda t=topic: not system.peer.node.count_publishers(t), topic)


def test_images_do_not_wait_for_a_clock_that_stands(tmp_path: Path, files: dict[str, Any]) -> None:
    with running(tmp_path, **files, use_sim_time=True) as system:
        camera = TestCamera(system)
        humans = system.peer.collect(HumanArray, "/pear/humans")
        system.peer.wait(camera.subscribers, "subscription of images")
        system.peer.wait(lambda: camera.publish() and humans, "an answer without camera_info")
        assert not humans[0].humans[0].is_metric
