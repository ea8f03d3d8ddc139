"""Depth images on their way through the node, in this process and without a network."""

from __future__ import annotations

import array
import threading
import time

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: rclpy and the generated messages")
pytest.importorskip("pear_ros.msg", reason="needs the generated messages: `make venv`")

import rclpy
from node_in_process import NodeInProcess, StandInPipeline, an_image, node_in_process
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image

from pear_ros.body.body_model import BodyModel
from pear_ros.ros import depth_input
from pear_ros.ros.graph import advice

pytestmark = pytest.mark.ros

START_S = 1_700_000_000.0
DEPTH = {"camera.depth": "raw", "camera.info_timeout_s": 0.0}
ACCOUNTED = ("images_answered", "images_dropped", "images_unwatched")


@pytest.fixture
def pipeline(small_body_model: BodyModel) -> StandInPipeline:
    return StandInPipeline(small_body_model)


def a_depth_image(stamp_s: float, millimetres: int = 2500) -> Image:
    message = an_image(stamp_s)
    message.encoding, message.step = "16UC1", 2 * message.width
    values = np.full((message.height, message.width), millimetres, "<u2")
    message.data = array.array("B", values.tobytes())
    return message


def is_accounted(running: NodeInProcess, count: int) -> bool:
    if not running.diagnostics.messages:
        return False
    values = running.diagnostics_values()
    return sum(int(values.get(name, 0)) for name in ACCOUNTED) == count


@pytest.mark.parametrize("depth_first", [True, False], ids=["depth first", "image first"])
def test_an_image_gets_its_depth(pipeline: StandInPipeline, depth_first: bool) -> None:
    with node_in_process(pipeline, **DEPTH, **{"camera.depth_timeout_s": 10.0}) as running:
        for is_depth in (depth_first, not depth_first):
            if is_depth:
                running.camera._on_depth(a_depth_image(START_S + 0.01))
            else:
                running.camera._on_image(an_image(START_S))
        running.spin(lambda: pipeline.frames, timeout_s=5.0)
        depth_m = pipeline.frames[0].depth_m
        assert depth_m is not None
        np.testing.assert_allclose(depth_m, np.full((48, 64), 2.5), rtol=1e-6)
        assert "images_without_depth" not in running.node._problems.counts()


def test_a_depth_image_without_a_stamp_is_ignored(pipeline: StandInPipeline) -> None:
    with node_in_process(pipeline, **DEPTH, **{"camera.depth_timeout_s": 10.0}) as running:
        running.camera._on_depth(a_depth_image(START_S))
        running.camera._on_depth(a_depth_image(0.0))
        running.camera._on_image(an_image(START_S))
        running.spin(lambda: pipeline.frames, timeout_s=5.0)
        assert pipeline.frames[0].depth_m is not None
        assert running.node._problems.counts()["depth_stamps_unset"] == 1


def test_depth_is_read_in_the_worker_thread_for_processed_images_only(
    pipeline: StandInPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []
    read = depth_input.depth_from_raw

    def recorded(*arguments: object) -> object:
        threads.append(threading.current_thread().name)
        return read(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(depth_input, "depth_from_raw", recorded)
    waiting = {**DEPTH, "camera.info_timeout_s": 0.3}  # one of five images remains
    with node_in_process(pipeline, **waiting) as running:
        for i in range(5):
            running.camera._on_depth(a_depth_image(START_S + i))
            running.camera._on_image(an_image(START_S + i))
        running.spin(lambda: is_accounted(running, 5))
    assert threads == ["pear worker"]
    assert len(pipeline.frames) == 1


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0], ids="depth for {}".format)
def test_every_image_is_accounted_for(pipeline: StandInPipeline, share: float) -> None:
    random = np.random.default_rng(0)
    count = 40
    with node_in_process(pipeline, **DEPTH, **{"camera.depth_timeout_s": 0.1}) as running:
        for i in range(count):
            if random.random() < share:
                running.camera._on_depth(a_depth_image(START_S + i / 30))
            running.camera._on_image(an_image(START_S + i / 30))
            end_s = time.monotonic() + 1 / 30
            running.spin(lambda end_s=end_s: time.monotonic() >= end_s)  # type: ignore[misc]
        running.spin(lambda: is_accounted(running, count))
        values = running.diagnostics_values()
        assert int(values["images_received"]) == count
        assert int(values["images_answered"]) == len(running.humans.messages)
        with_depth = sum(frame.depth_m is not None for frame in pipeline.frames)
        without = running.node._problems.counts().get("images_without_depth", 0)
        assert (with_depth > 0, without > 0) == (share > 0, share < 1)


def test_waiting_images_are_dropped_when_the_node_is_deactivated(pipeline: StandInPipeline) -> None:
    with node_in_process(pipeline, **DEPTH, **{"camera.depth_timeout_s": 10.0}) as running:
        for i in range(10):
            running.camera._on_image(an_image(START_S + i / 30))
        running.node.trigger_deactivate()
        before = len(running.diagnostics.messages)
        running.spin(lambda: len(running.diagnostics.messages) > before)
        assert running.diagnostics_values()["images_dropped"] == "10"
        assert not running.humans.messages


def test_an_image_without_a_stamp_gets_no_depth(pipeline: StandInPipeline) -> None:
    with node_in_process(pipeline, **DEPTH, **{"camera.depth_timeout_s": 10.0}) as running:
        running.camera._on_depth(a_depth_image(time.time()))
        running.camera._on_image(an_image(0.0))
        running.spin(lambda: pipeline.frames, timeout_s=5.0)
        assert pipeline.frames[0].depth_m is None
        assert running.node._problems.counts()["images_without_depth"] == 1


# --- Topics --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("remaps", "transport", "topic"),
    [
        ({}, "raw", "/depth"),
        ({}, "compressed", "/depth/compressedDepth"),
        ({"depth": "/cam/depth"}, "raw", "/cam/depth"),
        ({"depth": "/cam/depth"}, "compressed", "/cam/depth/compressedDepth"),
        ({"depth/compressedDepth": "/cam/rvl"}, "compressed", "/cam/rvl"),
        ({"__ns": "/robot"}, "raw", "/robot/depth"),
        ({}, "none", None),
    ],
)
def test_topic_of_the_depth_images(
    pipeline: StandInPipeline, remaps: dict[str, str], transport: str, topic: str | None
) -> None:
    arguments = [part for a, b in remaps.items() for part in ("-r", f"{a}:={b}")]
    with node_in_process(pipeline, *arguments, **{"camera.depth": transport}) as running:
        found = [s.topic_name for s in running.camera._subscriptions]
        assert [name for name in found if "image" not in name and "info" not in name] == (
            [topic] if topic else []
        )


def test_the_qos_can_be_overridden(pipeline: StandInPipeline) -> None:
    policy = {"qos_overrides./depth.subscription.depth": 17}
    with node_in_process(pipeline, **DEPTH, **policy) as running:
        assert running.camera._subscriptions[-1].qos_profile.depth == 17


def test_another_type_on_the_topic_is_said(pipeline: StandInPipeline) -> None:
    with node_in_process(pipeline, **{"camera.depth": "compressed"}) as running:
        context = rclpy.Context()
        rclpy.init(context=context, domain_id=running.node.context.get_domain_id())
        try:
            driver = Node("driver", context=context)
            driver.create_publisher(Image, "/depth/compressedDepth", 1)
            running.spin(lambda: "wrong_types" in running.node._problems.counts())
        finally:
            rclpy.shutdown(context=context)


@pytest.mark.parametrize(
    ("kind", "found", "is_depth", "text"),
    [
        (Image, "CompressedImage", False, "compressed and remap image/compressed to /x"),
        (CompressedImage, "Image", False, "camera.image_transport to raw and remap image to /x"),
        (Image, "CompressedImage", True, "compressed and remap depth/compressedDepth to /x"),
        (CompressedImage, "Image", True, "set camera.depth to raw and remap depth to /x"),
        (Image, "PointCloud2", True, "remap it to a topic of the type sensor_msgs/msg/Image"),
    ],
)  # fmt: skip
def test_advice_about_types(kind: type, found: str, is_depth: bool, text: str) -> None:
    assert text in advice("/x", kind, f"sensor_msgs/msg/{found}", is_depth)
