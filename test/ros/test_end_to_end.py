"""The node as users run it: a process of its own, over DDS."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: rclpy and the generated messages")
pytest.importorskip("pear_ros.msg", reason="needs the generated messages: `make venv`")

import harness
import torch
from harness import (
    FOCAL_PX,
    NodeProcess,
    System,
    TestCamera,
    own_domain,
    running,
    stamp_ns,
)
from pear_ros.msg import Human, HumanArray
from rclpy.qos import ReliabilityPolicy
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import Image, PointCloud2
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import Marker, MarkerArray

from pear_ros.assets import load_assets
from pear_ros.body_model import BodyModel
from pear_ros.convert import rgb_from_message
from pear_ros.people import JOINT, EhmParameters

pytestmark = pytest.mark.ros

BOXES = [  # x0, y0, x1, y1 px, score
    (20, 40, 180, 440, 0.9),
    (240, 100, 400, 460, 0.8),
    (450, 20, 630, 300, 0.7),
]
TZ_M = 16.0  # of every crop, by the network of these tests


# People, in all the forms they are published


@pytest.fixture(scope="module")
def scene(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, Any]
) -> Iterator[tuple[System, TestCamera, dict[str, list[Any]]]]:
    """A node whose boxes come by topic, all of its outputs subscribed."""
    pytest.importorskip("vision_msgs.msg", reason="no wheel; `make venv` builds it")
    with running(tmp_path_factory.mktemp("scene"), detector="topic", **files) as system:
        camera = TestCamera(system)
        outputs = {
            "tf": system.peer.collect(TFMessage, "/tf"),
            "markers": system.peer.collect(MarkerArray, "/pear/markers"),
            "skeletons": system.peer.collect(MarkerArray, "/pear/skeletons"),
            "overlay": system.peer.collect(Image, "/pear/overlay"),
        }
        camera.get_ready(BOXES)
        while not all(outputs.values()):
            camera.ask(None, BOXES)
        yield system, camera, outputs


@pytest.mark.parametrize("count", [0, 1, 3], ids=["nobody", "one", "three"])
def test_every_image_is_answered_and_all_outputs_agree(
    scene: tuple[System, TestCamera, dict[str, list[Any]]], files: dict[str, Any], count: int
) -> None:
    system, camera, outputs = scene
    boxes = BOXES[:count]
    camera.ask(None, boxes)
    camera.humans.clear()
    for messages in outputs.values():
        messages.clear()

    stamps = []
    start_s = time.monotonic()
    for i in range(12):  # at 10 Hz
        stamps.append(camera.publish(None, boxes))
        time.sleep(max(0, start_s + (i + 1) / 10 - time.monotonic()))
    camera.answer(stamps[-1])

    answered = [stamp_ns(message) for message in camera.humans]
    dropped = sum(message.dropped for message in camera.humans)
    assert answered == sorted(set(answered) & set(stamps))
    assert len(answered) + dropped == len(stamps)
    assert {message.header.frame_id for message in camera.humans} == {camera.frame_id}
    assert {len(message.humans) for message in camera.humans} == {count}
    ids = {tuple(human.id for human in message.humans) for message in camera.humans}
    assert len(ids) == 1, "boxes that stay are people that stay"

    last = camera.humans[-1]
    for human, box in zip(last.humans, boxes, strict=True):
        assert human.is_metric
        assert human.score == pytest.approx(box[4])
        region = human.region
        corners = (region.x_offset, region.y_offset)
        assert (*corners, corners[0] + region.width, corners[1] + region.height) == box[:4]
        side_px = 1.25 * (max(box[2] - box[0], box[3] - box[1]) - 1)
        by_size_m = FOCAL_PX * TZ_M / (12 * side_px)
        assert human.translation[2] == pytest.approx(by_size_m, rel=0.2)  # perspective is near

    def of_last(name: str) -> Any:
        """The output about the last image, which comes after its HumanArray, by another way."""
        return system.peer.wait(
            lambda: next((m for m in outputs[name] if _is_of(m, stamp_ns(last))), None), name
        )

    if count:
        check_transforms(of_last("tf"), last.humans, camera.frame_id)
        check_skeletons(of_last("skeletons"), last.humans)
        check_meshes(of_last("markers"), last.humans, BodyModel(load_assets(Path(files["assets"]))))
    else:
        assert not outputs["tf"]
        shown = [
            m for name in ("markers", "skeletons") for array in outputs[name] for m in array.markers
        ]
        assert not any(stamp_ns(marker) in stamps for marker in shown)
    overlay = system.peer.wait(lambda: outputs["overlay"], "overlay")[0]
    drawn = rgb_from_message(overlay)
    assert overlay.header.frame_id == camera.frame_id
    assert (drawn != camera.picture).any() == bool(count)


def _is_of(message: Any, stamp: int) -> bool:
    parts = message.transforms if isinstance(message, TFMessage) else message.markers
    return {stamp_ns(part) for part in parts} == {stamp}


def joints_of(human: Human) -> np.ndarray:
    return np.asarray(human.joints).reshape(-1, 3)


def points_of(marker: Marker) -> np.ndarray:
    return np.array([(p.x, p.y, p.z) for p in marker.points])


def check_transforms(message: TFMessage, humans: list[Human], frame_id: str) -> None:
    origins = {
        "body": ("left_hip", "right_hip"),
        "head": ("left_eye", "right_eye"),
        "left_hand": ("left_wrist",),
        "right_hand": ("right_wrist",),
    }
    found = {transform.child_frame_id: transform for transform in message.transforms}
    assert found.keys() == {f"{name}_{human.id}" for name in origins for human in humans}
    for human in humans:
        for name, joints in origins.items():
            transform = found[f"{name}_{human.id}"]
            assert transform.header.frame_id == frame_id
            t, q = transform.transform.translation, transform.transform.rotation
            middle = joints_of(human)[[JOINT[joint] for joint in joints]].mean(0)
            np.testing.assert_allclose([t.x, t.y, t.z], middle, atol=1e-5)
            assert np.linalg.norm([q.x, q.y, q.z, q.w]) == pytest.approx(1)
        # model axes x left, y up, z forward; the frame's x forward, y left, z up
        optical_from_model = Rotation.from_rotvec(human.parameters.global_orient).as_matrix()
        q = found[f"body_{human.id}"].transform.rotation
        optical_from_body = Rotation.from_quat([q.x, q.y, q.z, q.w]).as_matrix()
        np.testing.assert_allclose(optical_from_body, optical_from_model[:, [2, 0, 1]], atol=1e-5)


def check_skeletons(message: MarkerArray, humans: list[Human]) -> None:
    assert [marker.ns for marker in message.markers] == [human.id for human in humans]
    for marker, human in zip(message.markers, humans, strict=True):
        assert (marker.type, marker.action) == (Marker.LINE_LIST, Marker.ADD)
        ends = points_of(marker)
        assert len(ends) == 2 * 54  # each joint but the root is joined to its parent
        distance = np.linalg.norm(ends[:, None] - joints_of(human), axis=-1)  # (108, 55) m
        np.testing.assert_allclose(distance.min(1), 0, atol=1e-6)
        assert set(distance.argmin(1)) == set(range(55))


def check_meshes(message: MarkerArray, humans: list[Human], body_model: BodyModel) -> None:
    """The triangles are those of the mesh that the message's own parameters give."""
    assert [marker.ns for marker in message.markers] == [human.id for human in humans]
    for marker, human in zip(message.markers, humans, strict=True):
        assert (marker.type, marker.action) == (Marker.TRIANGLE_LIST, Marker.ADD)
        bodies = body_model(parameters_of(human), mesh=True)
        translation = np.asarray(human.translation)
        vertices = bodies.vertices[0].numpy() + translation
        triangles = vertices[body_model.faces.reshape(-1)]
        np.testing.assert_allclose(points_of(marker), triangles, atol=1e-4)
        np.testing.assert_allclose(
            joints_of(human), bodies.joints[0].numpy() + translation, atol=1e-4
        )


def parameters_of(human: Human) -> EhmParameters:
    """The message's parameters as the body model takes them, one row."""
    p = human.parameters

    def row(field: Any) -> torch.Tensor:
        return torch.from_numpy(np.array(field, np.float32))[None]

    def matrices(field: Any) -> torch.Tensor:
        return row(Rotation.from_rotvec(np.asarray(field).reshape(-1, 3)).as_matrix())

    return EhmParameters(
        global_orient=matrices(p.global_orient),
        body_pose=matrices(p.body_pose),
        left_hand_pose=matrices(p.left_hand_pose),
        right_hand_pose=matrices(p.right_hand_pose),
        betas=row(p.betas),
        expression=row(p.expression),
        hand_scale=row(p.hand_scale),
        head_scale=row(p.head_scale),
        flame_eye_pose=row(p.eye_pose),
        flame_global_pose=torch.zeros(1, 3),
        flame_jaw_pose=row(p.jaw_pose),
        flame_eyelids=row(p.eyelids),
        flame_betas=row(p.flame_betas),
        flame_expression=row(p.flame_expression),
        camera_t=torch.zeros(1, 3),
    )


def test_markers_of_people_who_left_are_deleted(
    scene: tuple[System, TestCamera, dict[str, list[Any]]],
) -> None:
    system, camera, outputs = scene
    before = camera.ask(None, BOXES)
    for messages in outputs.values():
        messages.clear()
    stamp = stamp_ns(camera.ask(None, BOXES[:1]))
    gone = {human.id for human in before.humans[1:]}
    for name in ("markers", "skeletons"):
        message = system.peer.wait(
            lambda name=name: next((m for m in outputs[name] if _is_of(m, stamp)), None), name
        )
        deleted = {marker.ns for marker in message.markers if marker.action == Marker.DELETE}
        assert deleted == gone


# What comes too fast


def test_the_newest_image_wins_and_the_others_are_counted(
    tmp_path: Path, files: dict[str, Any]
) -> None:
    """60 Hz to a node that cannot follow; then it is interrupted in the midst of its work."""
    pytest.importorskip("vision_msgs.msg", reason="no wheel; `make venv` builds it")
    crowd = [(x, 30, x + 100, 400, 0.9) for x in range(0, 480, 32)]
    with running(tmp_path, detector="topic", **files) as system:
        camera = TestCamera(system)
        camera.get_ready(crowd)
        camera.humans.clear()
        stamps = at_60_hz(camera, 90, crowd)
        camera.answer(stamps[-1])

        answered = [stamp_ns(message) for message in camera.humans]
        dropped = sum(message.dropped for message in camera.humans)
        assert answered == sorted(answered)
        assert dropped > 0, "the node was not too slow"
        assert len(answered) + dropped == len(stamps)

        since = system.process.log()
        at_60_hz(camera, 20, crowd)
        assert system.process.interrupt() == 0
        assert "Traceback" not in system.process.log()
        assert system.new_log(since) == []


def at_60_hz(camera: TestCamera, count: int, boxes: Any) -> list[int]:
    """Publishes, and gives the stamps."""
    stamps = []
    start_s = time.monotonic()
    for i in range(count):
        stamps.append(camera.publish(None, boxes))
        time.sleep(max(0, start_s + (i + 1) / 60 - time.monotonic()))
    return stamps


def test_images_lost_on_the_way_are_counted_and_told(
    tmp_path: Path, files: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With Fast DDS's defaults nearly all are, between two processes."""
    monkeypatch.setitem(harness.ENVIRONMENT, "FASTDDS_BUILTIN_TRANSPORTS", "DEFAULT")
    with running(tmp_path, **files) as system:
        camera = TestCamera(system)

        def is_told() -> bool:
            camera.publish()
            return "images_lost" in system.process.log()

        system.peer.wait(is_told, "a lost image")
        (line,) = system.new_log("")
        assert "/image: images got lost" in line
        assert "FASTDDS_BUILTIN_TRANSPORTS='DEFAULT?sockets_size=16MB'" in line

        before = system.counts()
        for _ in range(30):
            camera.publish()
            time.sleep(0.03)
        after = system.counts()
        lost, received = (
            int(after.get(key, 0)) - int(before.get(key, 0))
            for key in ("images_lost", "images_received")
        )
        assert lost > 0
        assert 25 <= lost + received <= 35  # the last ones' loss shows when another arrives


# Several cameras, compressed images, QoS by parameter


def test_two_cameras_with_compressed_images(tmp_path: Path, files: dict[str, Any]) -> None:
    overrides = (
        *("-p", "qos_overrides./front/image/compressed.subscription.reliability:=reliable"),
        *("-p", "qos_overrides./pear/front/overlay.publisher.reliability:=best_effort"),
        *("-p", "qos_overrides./pear/front/humans.publisher.depth:=3"),
    )
    with running(
        tmp_path, *overrides, cameras="[front, rear]", image_transport="compressed", **files
    ) as system:
        cameras = [TestCamera(system, name, compressed=True) for name in ("front", "rear")]
        cameras[1].stamp_ns += 12_345_678
        for camera in cameras:
            camera.get_ready()
        ids = {}
        for _ in range(5):
            stamps = [camera.publish() for camera in cameras]
            for camera, stamp in zip(cameras, stamps, strict=True):
                message = camera.answer(stamp)
                assert message.header.frame_id == camera.frame_id
                assert message.humans[0].is_metric
                ids.setdefault(camera.frame_id, set()).update(human.id for human in message.humans)
        for camera in cameras:
            stamps_of = {stamp_ns(message) % 10**8 for message in camera.humans}
            assert stamps_of == {camera.stamp_ns % 10**8}, "an answer to the other camera's image"
        front, rear = ids.values()
        assert len(front) == len(rear) == 1
        assert not front & rear

        node = system.peer.node
        reliable, best_effort = ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT
        for name, image, overlay in (
            ("front", reliable, best_effort),
            ("rear", best_effort, reliable),
        ):
            (subscription,) = node.get_subscriptions_info_by_topic(f"/{name}/image/compressed")
            (publisher,) = node.get_publishers_info_by_topic(f"/pear/{name}/overlay")
            assert subscription.qos_profile.reliability == image
            assert publisher.qos_profile.reliability == overlay

        assert system.process.interrupt(signal.SIGTERM) == 0
        assert "Traceback" not in system.process.log()


# Lifecycle, parameters, calibration: one process, every test configures it anew


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, files: dict[str, Any]) -> Iterator[System]:
    missing = {**files, "checkpoint": "/nowhere/pear_model.pt"}
    with running(tmp_path_factory.mktemp("lifecycle"), **missing) as system:
        yield system


@pytest.fixture
def node(system: System, files: dict[str, Any]) -> Iterator[System]:
    """Active, with default parameters."""
    defaults = {"detector": "full_frame", "min_score": 0.5, "camera_info_timeout_s": 1.0}
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
    assert system.set_parameters(checkpoint=files["checkpoint"]) == []
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
        pytest.param({"min_score": 2.0}, "min_score", id="out of bounds"),
        pytest.param({"max_people": 0}, "max_people", id="too few"),
        pytest.param({"min_score": "high"}, "Wrong parameter type", id="wrong type"),
        pytest.param({"checkpoint": "x.pt"}, "cleanup", id="not while configured"),
        pytest.param({"detector": "hog"}, "cleanup", id="not while configured, other"),
    ],
)
def test_refused_parameters(node: System, values: dict[str, Any], reason: str) -> None:
    (refusal,) = node.set_parameters(**values)
    assert reason in refusal


def test_refused_parameters_while_unconfigured(node: System) -> None:
    assert node.change("deactivate", "cleanup")
    (refusal,) = node.set_parameters(detector="dog")
    assert "detector: 'dog' is none of full_frame, hog, topic" in refusal
    (refusal,) = node.set_parameters(cameras=["a", "a"])
    assert "names one camera twice" in refusal


def test_live_parameters_take_effect(node: System) -> None:
    pytest.importorskip("vision_msgs.msg", reason="no wheel; `make venv` builds it")
    node.reconfigure(detector="topic")
    camera = TestCamera(node)
    camera.get_ready(BOXES)
    assert len(camera.ask(None, BOXES).humans) == 3
    assert node.set_parameters(min_score=0.75) == []
    assert len(camera.ask(None, BOXES).humans) == 2
    assert node.set_parameters(max_people=1) == []
    assert len(camera.ask(None, BOXES).humans) == 1
    assert node.set_parameters(person_class="dog") == []
    assert camera.ask(None, BOXES).humans == []
    assert node.set_parameters(min_score=0.5, max_people=16, person_class="") == []


# Start and end of the process


def test_autostart_false_waits_and_sigint_ends(tmp_path: Path, files: dict[str, Any]) -> None:
    with running(tmp_path, autostart=False, **files) as system:
        assert system.state() == "unconfigured"
        system.counts()
        assert system.state() == "unconfigured"
        assert system.process.interrupt(signal.SIGINT) == 0
        assert "Traceback" not in system.process.log()


BAD_STARTS = {
    "out of bounds": ("-p", "min_score:=7.0"),
    "not a choice": ("-p", "detector:=dog"),
    "of another type": ("-p", "max_people:=many"),
    "of a file": ("--params-file", "bad.yaml"),
}


@pytest.fixture(scope="module")
def bad_starts(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, NodeProcess]]:
    """Processes that start at the same time, as each takes a while to import."""
    folder = tmp_path_factory.mktemp("bad")
    (folder / "bad.yaml").write_text("/**:\n  ros__parameters:\n    cameras: [a, 1b]\n")
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
        ("not a choice", "detector: 'dog' is none of full_frame, hog, topic"),
        ("of another type", "max_people"),
        ("of a file", "cameras: '1b' is no name"),
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
    node.reconfigure(**files, detector="topic", detections_timeout_s=60.0)
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
