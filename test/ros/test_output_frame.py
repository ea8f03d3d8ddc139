"""People in the robot's frame: a node in its own process, TF and images over DDS.

All images are equal and nothing is smoothed, so that people have the same joints in the camera's
frame each time. In odom they must be where the pose of the camera puts them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: rclpy and the generated messages")
pytest.importorskip("pear_ros.msg", reason="needs the generated messages: `make venv`")

import torch
from camera_driver import CameraDriver
from harness import System, running, stamp_ns
from node_in_process import Recorder, StandInPipeline, an_image, node_in_process
from pear_ros.msg import HumanArray
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import Image
from tf2_msgs.msg import TFMessage
from tf_sender import LATCHED, DrivingRobot, matrix_of, stamped
from visualization_msgs.msg import MarkerArray

from pear_ros.assets.body_assets import load_assets
from pear_ros.body.body_model import BodyModel
from pear_ros.people import Frame, People
from pear_ros.ros.from_messages import people_from_message

pytestmark = pytest.mark.ros

UNSMOOTHED = {
    **{f"smoothing.{name}_cutoff_hz": 0.0 for name in ("rotation", "position", "depth")},
    "smoothing.expression_cutoff_hz": 0.0,
    "smoothing.shape": False,
}
TIMEOUT_S = 0.3
SETTINGS = UNSMOOTHED | {
    "placement.output_frame": "odom",
    "placement.ground_frame": "base_link",
    "placement.tf_timeout_s": TIMEOUT_S,
}
STEP_NS = 100_000_000


class Scene:
    """A node that wants people in odom, a camera and the robot that carries it."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.camera = CameraDriver(system)
        self.robot = DrivingRobot(system.peer.node, self.camera.frame_id)
        # The node's own transforms would reach us, too: they are in the same topic.
        self.tf: list[TFMessage] = system.peer.collect(TFMessage, "/tf")
        self.markers = system.peer.collect(MarkerArray, "/pear/markers")
        self.skeletons = system.peer.collect(MarkerArray, "/pear/skeletons")
        self.overlay = system.peer.collect(Image, "/pear/overlay")
        system.peer.wait(self.robot.listeners, "the node's subscription of TF")
        self.robot.send_static()
        self.camera.get_ready()

    def ask_in_camera(self) -> HumanArray:
        """An answer in a frame of its own, so that there is no transform."""
        message = self.camera.message()
        message.header.frame_id = "somewhere"
        return self.camera.ask(message)

    def counted(self, *kinds: str) -> dict[str, int]:
        """How often problems were counted."""
        values = self.system.counts()
        return {kind: int(values.get(kind, 0)) for kind in kinds}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, files: dict[str, Any]) -> Iterator[Scene]:
    with running(tmp_path_factory.mktemp("robot"), **SETTINGS, **files) as system:
        yield Scene(system)


def joints_of(message: HumanArray) -> np.ndarray:
    (human,) = message.humans
    return np.asarray(human.joints, np.float64).reshape(-1, 3)


def applied(pose: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ pose[:3, :3].T + pose[:3, 3]


MISSING = ("transforms_missing", "floor_missing")


def test_a_moving_camera_sees_people_where_they_are_in_odom(
    scene: Scene, files: dict[str, Any]
) -> None:
    """TF has other stamps than the images: the node interpolates."""
    optical = joints_of(scene.ask_in_camera())
    before = scene.counted(*MISSING)
    body_model = BodyModel(load_assets(Path(files["body.assets"])))
    for _ in range(5):
        image = scene.camera.message()
        stamp = stamp_ns(image)
        scene.robot.send(stamp - 4_000_000, stamp + 4_000_000)
        message = scene.camera.ask(image)
        assert message.header.frame_id == "odom"
        expected = applied(scene.robot.odom_from_camera(stamp), optical)
        # Between the samples the robot is on a straight line instead of a circle.
        np.testing.assert_allclose(joints_of(message), expected, rtol=0, atol=1e-4)
        with torch.inference_mode():
            people = people_from_message(message, body_model)
        posed = people.joints[0] + people.translation[0]
        np.testing.assert_allclose(posed, expected, rtol=0, atol=2e-4)
    assert scene.counted(*MISSING) == before

    def of_image(arrays: list[MarkerArray]) -> Any:
        found = (marker for array in arrays for marker in array.markers)
        return next((marker for marker in found if stamp_ns(marker) == stamp), None)

    (human,) = message.humans
    for arrays in (scene.markers, scene.skeletons):
        marker = scene.system.peer.wait(lambda a=arrays: of_image(a), "markers")
        assert marker.header.frame_id == "odom"
    points = np.array([(p.x, p.y, p.z) for p in marker.points])  # of the skeleton
    distance = np.linalg.norm(points[:, None] - expected, axis=-1).min(1)
    assert distance.max() < 2e-4
    found = [t for m in scene.tf for t in m.transforms if t.child_frame_id == f"body_{human.id}"]
    (body,) = [t for t in found if stamp_ns(t) == stamp]
    assert body.header.frame_id == "odom"
    np.testing.assert_allclose(matrix_of(body)[:3, 3], expected[1:3].mean(0), atol=2e-4)
    scene.system.peer.wait(lambda: scene.overlay, "overlay")
    assert {picture.header.frame_id for picture in scene.overlay} <= {
        scene.camera.frame_id, "somewhere"
    }  # fmt: skip


def test_transforms_that_arrive_after_the_image(scene: Scene) -> None:
    optical = joints_of(scene.ask_in_camera())
    before = scene.counted(*MISSING)
    for _ in range(5):
        image = scene.camera.message()
        stamp = scene.camera.publish(image)
        time.sleep(0.05)
        assert stamp not in {stamp_ns(message) for message in scene.camera.humans}
        scene.robot.send(stamp)
        sent_s = time.monotonic()
        message = scene.camera.answer(stamp)
        assert time.monotonic() - sent_s < 0.9 * TIMEOUT_S + message.processing_time
        assert message.header.frame_id == "odom"
        expected = applied(scene.robot.odom_from_camera(stamp), optical)
        np.testing.assert_allclose(joints_of(message), expected, rtol=0, atol=1e-4)
    assert scene.counted(*MISSING) == before


def test_stale_transforms(scene: Scene) -> None:
    """The last one is 0.2 s older than the image: it is not extrapolated."""
    optical = joints_of(scene.ask_in_camera())
    before = scene.counted(*MISSING)
    image = scene.camera.message()
    scene.robot.send(stamp_ns(image) - 2 * STEP_NS)
    message = scene.camera.ask(image)
    assert message.header.frame_id == scene.camera.frame_id
    np.testing.assert_allclose(joints_of(message), optical, rtol=0, atol=1e-4)
    # The floor is known from the static transform alone.
    assert scene.counted(*MISSING) == before | {
        "transforms_missing": before["transforms_missing"] + 1
    }
    assert "of 'base_link' in 'odom' end 0.200 s before the stamp" in scene.system.process.log()


def test_every_image_of_a_stream_is_answered(scene: Scene) -> None:
    """20 images, of which each third has no transform."""
    scene.ask_in_camera()
    scene.camera.humans.clear()
    before = scene.counted(*MISSING)
    frames = {}
    for i in range(20):
        image = scene.camera.message()
        stamp = stamp_ns(image)
        frames[stamp] = scene.camera.frame_id if i % 3 == 2 else "odom"
        scene.camera.publish(image)
        if i % 3 == 1:  # the next image's stamp stays ahead of TF
            scene.robot.send(stamp - STEP_NS, stamp)
        if i % 3 == 2:
            scene.camera.answer(stamp)  # nothing newer came: it waits until the timeout
        time.sleep(0.02)
    scene.robot.send(stamp - STEP_NS, stamp)
    scene.camera.answer(stamp)
    answered = [stamp_ns(message) for message in scene.camera.humans]
    dropped = sum(message.dropped for message in scene.camera.humans)
    assert answered == sorted(set(answered) & set(frames))
    assert len(answered) + dropped == 20
    for message in scene.camera.humans:
        assert message.header.frame_id == frames[stamp_ns(message)]
    assert scene.counted(*MISSING)["transforms_missing"] == before["transforms_missing"] + 6


def test_deactivated_and_activated_again(scene: Scene) -> None:
    """The transforms of before are forgotten; static ones come again, as they are latched."""
    assert scene.system.change("deactivate")
    scene.system.peer.wait(lambda: not scene.robot.listeners(), "the end of the subscriptions")
    assert scene.system.change("activate")
    scene.system.peer.wait(scene.robot.listeners, "the node's subscription of TF")
    scene.camera.get_ready()
    image = scene.camera.message()
    scene.robot.send(stamp_ns(image))
    assert scene.camera.ask(image).header.frame_id == "odom"


# --- Without DDS ---------------------------------------------------------------------------------


class CountingPipeline(StandInPipeline):
    """Keeps how many images each step had."""

    def step(self, frames: Sequence[Frame], mesh: bool = False) -> list[People]:
        self.sizes = [*getattr(self, "sizes", []), len(frames)]
        return super().step(frames, mesh)


def test_cameras_with_and_without_a_transform_in_one_step(small_body_model: BodyModel) -> None:
    pipeline = CountingPipeline(small_body_model, seconds=0.5)
    settings = {
        "camera.names": ["front", "rear"],
        "camera.info_timeout_s": 0.0,
        "placement.output_frame": "odom",
        "placement.tf_timeout_s": 0.1,
    }
    with node_in_process(pipeline, **settings) as running_node:
        turn, place = Rotation.from_euler("z", 0.3), np.array((1.0, 2.0, 3.0))
        running_node.node._transforms._tree.put(
            "odom", "front_optical", 0, place, turn.as_quat(), is_static=True
        )
        outputs = {name: Recorder() for name in ("front", "rear")}
        for name, recorder in outputs.items():
            running_node.node._cameras[name]._publishers["humans"] = recorder
        for name, stamp_s in (("front", 1.0), ("front", 2.0), ("rear", 2.0)):
            image = an_image(1_700_000_000.0 + stamp_s)
            image.header.frame_id = f"{name}_optical"
            running_node.node._cameras[name]._on_image(image)
            time.sleep(0.1)  # the worker has taken the first image
        running_node.spin(lambda: outputs["rear"].messages and len(outputs["front"].messages) == 2)
        assert pipeline.sizes == [1, 2]
        front, rear = outputs["front"].messages[1], outputs["rear"].messages[0]
        assert (front.header.frame_id, rear.header.frame_id) == ("odom", "rear_optical")
        for in_odom, optical in zip(front.humans, rear.humans, strict=True):
            expected = turn.apply(np.reshape(optical.joints, (-1, 3))) + place
            np.testing.assert_allclose(np.reshape(in_odom.joints, (-1, 3)), expected, atol=1e-5)
        counts = running_node.node._problems.counts()
        assert counts["transforms_missing"] == 1


# --- One node each -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("output_frame", "transforms", "is_known", "text"),
    [
        pytest.param("odom", [], False, "no transform was received, so 'odom' is not known",
                     id="no TF"),
        pytest.param("odum", ["odom camera_optical_frame"], False,
                     "no frame 'odum'; similar names are 'odom'", id="unknown frame"),
        pytest.param("map", ["map odom", "odom base", "base map", "base camera_optical_frame"],
                     False, "TF has a loop, each in the next: base in odom in map in base",
                     id="loop"),
        pytest.param("odom", ["odom base", "base camera_optical_frame"], True, "", id="static TF"),
        pytest.param("camera_optical_frame", [], True, "", id="the camera's own frame"),
    ],
)  # fmt: skip
def test_one_node(
    tmp_path: Path,
    files: dict[str, Any],
    output_frame: str,
    transforms: list[str],
    is_known: bool,
    text: str,
) -> None:
    settings = {"placement.output_frame": output_frame, "placement.tf_timeout_s": TIMEOUT_S}
    with running(tmp_path, **settings, **files) as system:
        camera = CameraDriver(system)
        sender = system.peer.node.create_publisher(TFMessage, "/tf_static", LATCHED)
        system.peer.wait(sender.get_subscription_count, "the node's subscription of TF")
        pose = (np.array((1.0, 0, 0)), Rotation.from_euler("z", 90, degrees=True))
        if transforms:
            sender.publish(
                TFMessage(transforms=[stamped(*pair.split(), 0, *pose) for pair in transforms])
            )
        camera.get_ready()
        since = camera.ask()
        before = system.count("transforms_missing")
        answers = [camera.ask() for _ in range(3)]
        assert since.humans[0].joints[0] != 0
        frame = output_frame if is_known else camera.frame_id
        assert {answer.header.frame_id for answer in answers} == {frame}
        after = system.count("transforms_missing")
        assert after - before == (0 if is_known else 3)
        assert not text or system.process.log().count(text) == 1
        assert system.count("internal_errors") == 0
