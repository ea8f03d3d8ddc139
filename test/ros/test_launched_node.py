"""The names in the launch files against those of the real nodes, in this process.

ROS's launch packages are stand-ins (`support/launch_files.py`). Nodes and names are ROS's own.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: rclpy and the generated messages")
pytest.importorskip("pear_ros.msg", reason="needs the generated messages: `make venv`")
pytest.importorskip("vision_msgs.msg", reason="no wheel; `make venv` builds it")

import rclpy
from harness import own_domain
from launch_files import LaunchContext, Launched, Node, stand_ins
from node_in_process import StandInPipeline, node_in_process
from samples import ROOT

from pear_ros.body.body_model import BodyModel
from pear_ros.ros.synthetic_camera import SyntheticCamera

pytestmark = pytest.mark.ros


@pytest.fixture
def launch(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Node]]:
    for name, module in stand_ins().items():
        monkeypatch.setitem(sys.modules, name, module)

    def launch(file: str, **arguments: str) -> dict[str, Node]:
        return Launched(ROOT / "launch" / file, monkeypatch, LaunchContext(), **arguments).nodes

    return launch


def ros_arguments(node: Node) -> list[str]:
    """What launch_ros passes to the node's process, without parameters."""
    remappings = dict(node.remappings)
    remappings |= {"__ns": f"/{node.namespace}"} if node.namespace else {}
    remappings |= {"__node": node.name} if node.name else {}
    return [part for a, b in remappings.items() for part in ("-r", f"{a}:={b}")]


def subscribed(
    body_model: BodyModel, node: Node, parameters: dict[str, Any]
) -> tuple[str, set[str]]:
    """The full name of the launched node, and the topics that it subscribes to."""
    pipeline = StandInPipeline(body_model)
    with node_in_process(pipeline, *ros_arguments(node), **parameters) as running:
        topics = {subscription.topic_name for subscription in running.camera._subscriptions}
        return running.node.get_fully_qualified_name(), topics


@pytest.mark.parametrize(
    ("transport", "image", "depth"),
    [
        ("raw", "/a/image", "/a/depth"),
        ("compressed", "/a/image/compressed", "/a/depth/compressedDepth"),
    ],
)
def test_the_node_subscribes_to_the_given_topics(
    launch: Callable[..., dict[str, Node]],
    small_body_model: BodyModel,
    transport: str,
    image: str,
    depth: str,
) -> None:
    topics = {"image": "/a/image", "camera_info": "/a/info", "detections": "/a/boxes"}
    node = launch("pear.launch.py", **topics, depth="/a/depth", namespace="robot1")["pear_node"]
    parameters = {
        "camera.image_transport": transport,
        "camera.depth": transport,
        "detection.detector": "topic",
    }
    name, found = subscribed(small_body_model, node, parameters)
    assert name == "/robot1/pear"
    assert found == {image, "/a/info", "/a/boxes", depth}


def test_the_demo_connects_the_node_to_the_camera(
    launch: Callable[..., dict[str, Node]], small_body_model: BodyModel
) -> None:
    nodes = launch("demo.launch.py")
    _, parameters = nodes["pear_node"].parameters
    _, inputs = subscribed(small_body_model, nodes["pear_node"], parameters)
    arguments = ["--ros-args", *ros_arguments(nodes["synthetic_camera"])]
    with own_domain() as domain:
        rclpy.init(args=arguments, domain_id=domain)
        try:
            camera = SyntheticCamera()
            outputs = {publisher.topic_name for publisher in camera.publishers}
            camera.destroy_node()
        finally:
            rclpy.shutdown()
    assert len(inputs) == 3
    assert inputs <= outputs
