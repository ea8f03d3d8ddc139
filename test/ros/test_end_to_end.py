"""The messages that the node publishes, running as a process, over DDS."""

from __future__ import annotations

import signal
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
from camera_driver import BOXES, FOCAL_PX, CameraDriver
from harness import System, running, stamp_ns
from pear_ros.msg import Human
from rclpy.qos import ReliabilityPolicy
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import Image
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import Marker, MarkerArray

from pear_ros.assets.body_assets import load_assets
from pear_ros.body.body_model import BodyModel
from pear_ros.people import JOINT, EhmParameters
from pear_ros.ros.from_messages import rgb_from_message

pytestmark = pytest.mark.ros

TZ_M = 16.0  # of every crop, from the network of these tests


# --- All outputs for the same people -------------------------------------------------------------


@pytest.fixture(scope="module")
def scene(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, Any]
) -> Iterator[tuple[System, CameraDriver, dict[str, list[Any]]]]:
    """A node with boxes from a topic and subscribers for all of its outputs."""
    pytest.importorskip("vision_msgs.msg", reason="no wheel; `make venv` builds it")
    with running(
        tmp_path_factory.mktemp("scene"), **{"detection.detector": "topic"}, **files
    ) as system:
        camera = CameraDriver(system)
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
    scene: tuple[System, CameraDriver, dict[str, list[Any]]], files: dict[str, Any], count: int
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
    assert len(ids) == 1, "ids change although boxes do not"

    last = camera.humans[-1]
    for human, box in zip(last.humans, boxes, strict=True):
        assert human.is_metric
        assert human.score == pytest.approx(box[4])
        region = human.region
        corners = (region.x_offset, region.y_offset)
        assert (*corners, corners[0] + region.width, corners[1] + region.height) == box[:4]
        side_px = 1.25 * (max(box[2] - box[0], box[3] - box[1]) - 1)
        by_size_m = FOCAL_PX * TZ_M / (12 * side_px)
        assert human.translation[2] == pytest.approx(
            by_size_m, rel=0.2
        )  # the person is near, so perspective matters

    def of_last(name: str) -> Any:
        """The output for the last image; it may arrive after the HumanArray."""
        return system.peer.wait(
            lambda: next((m for m in outputs[name] if _is_of(m, stamp_ns(last))), None), name
        )

    if count:
        check_transforms(of_last("tf"), last.humans, camera.frame_id)
        check_skeletons(of_last("skeletons"), last.humans)
        check_meshes(
            of_last("markers"), last.humans, BodyModel(load_assets(Path(files["body.assets"])))
        )
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
    """The triangles are those of the body model for the parameters in the message."""
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
    """The parameters of a message as inputs of the body model, one row."""
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
    scene: tuple[System, CameraDriver, dict[str, list[Any]]],
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


# --- Overload ------------------------------------------------------------------------------------


def test_older_images_are_dropped_and_counted(tmp_path: Path, files: dict[str, Any]) -> None:
    """At 60 Hz, faster than the node. Then the node is interrupted while it works."""
    pytest.importorskip("vision_msgs.msg", reason="no wheel; `make venv` builds it")
    crowd = [(x, 30, x + 100, 400, 0.9) for x in range(0, 480, 32)]
    # A busy machine may stop the node for longer than the queue of 5 images lasts, and images that
    # the middleware drops are not the node's to count.
    deep_queue = {"qos_overrides./image.subscription.depth": 200}
    with running(tmp_path, **{"detection.detector": "topic"}, **deep_queue, **files) as system:
        camera = CameraDriver(system)
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


def at_60_hz(camera: CameraDriver, count: int, boxes: Any) -> list[int]:
    """Publishes images at 60 Hz and returns their stamps."""
    stamps = []
    start_s = time.monotonic()
    for i in range(count):
        stamps.append(camera.publish(None, boxes))
        time.sleep(max(0, start_s + (i + 1) / 60 - time.monotonic()))
    return stamps


def test_images_lost_in_transport_are_counted_and_reported(
    tmp_path: Path, files: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the defaults of Fast DDS, almost all are lost between two processes."""
    monkeypatch.setitem(harness.ENVIRONMENT, "FASTDDS_BUILTIN_TRANSPORTS", "DEFAULT")
    with running(tmp_path, **files) as system:
        camera = CameraDriver(system)

        def is_reported() -> bool:
            camera.publish()
            return "images_lost" in system.process.log()

        system.peer.wait(is_reported, "a lost image")
        (line,) = [line for line in system.new_log("") if "is full_frame" not in line]
        assert "/image: images were lost in transport" in line
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
        assert 25 <= lost + received <= 35  # a loss is noticed when the next image arrives


# --- Several cameras, compressed images, QoS by parameter ----------------------------------------


def test_two_cameras_with_compressed_images(tmp_path: Path, files: dict[str, Any]) -> None:
    overrides = (
        *("-p", "qos_overrides./front/image/compressed.subscription.reliability:=reliable"),
        *("-p", "qos_overrides./pear/front/overlay.publisher.reliability:=best_effort"),
        *("-p", "qos_overrides./pear/front/humans.publisher.depth:=3"),
    )
    with running(
        tmp_path,
        *overrides,
        **{"camera.names": "[front, rear]", "camera.image_transport": "compressed"},
        **files,
    ) as system:
        cameras = [CameraDriver(system, name, compressed=True) for name in ("front", "rear")]
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
            assert stamps_of == {camera.stamp_ns % 10**8}, (
                "an answer to an image of the other camera"
            )
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
