"""The node in the test's own process, with a pipeline that is given; no data passes DDS."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import rclpy
from crowd import some_people
from harness import own_domain
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image

from pear_ros.body.body_model import BodyModel
from pear_ros.config import Config
from pear_ros.people import Frame, People
from pear_ros.ros.node import PearNode


class Recorder:
    """In place of a publisher: keeps the messages and has a subscriber."""

    def __init__(self) -> None:
        self.messages: list[Any] = []

    def publish(self, message: Any) -> None:
        self.messages.append(message)

    def get_subscription_count(self) -> int:
        return 1


class StandInPipeline:
    """Sees the same two people in each image, after `seconds`."""

    description = "stand-in"

    def __init__(self, body_model: BodyModel, seconds: float = 0.0) -> None:
        self.config = Config()
        self.body_model = body_model
        self._seconds = seconds
        self.frames: list[Frame] = []
        self.forgotten: list[str] = []

    def step(self, frames: Sequence[Frame], mesh: bool = False) -> list[People]:
        time.sleep(self._seconds)
        self.frames += frames
        return [some_people(("p1", "p2"), self.body_model.num_vertices) for _ in frames]

    def forget(self, source: str) -> None:
        self.forgotten.append(source)


class NodeInProcess:
    """An active node; `camera` is its first, `humans` and `diagnostics` are what it publishes."""

    def __init__(self, node: PearNode, executor: SingleThreadedExecutor) -> None:
        self.node = node
        self._executor = executor
        self.camera = next(iter(node._cameras.values()))
        self.humans, self.diagnostics = Recorder(), Recorder()
        self.camera._publishers["humans"] = self.humans
        node._diagnostics._publisher = self.diagnostics

    def spin(self, until: Callable[[], Any], timeout_s: float = 20.0) -> None:
        """Runs timers and callbacks until `until()` is true."""
        end_s = time.monotonic() + timeout_s
        while not until():
            assert time.monotonic() < end_s, "it did not happen"
            self._executor.spin_once(0.05)

    def diagnostics_values(self) -> dict[str, str]:
        """The values of the last diagnostic status."""
        (status,) = self.diagnostics.messages[-1].status
        return {value.key: value.value for value in status.values}


@contextmanager
def node_in_process(
    pipeline: StandInPipeline, *arguments: str, **parameters: Any
) -> Iterator[NodeInProcess]:
    """A node that was configured and activated; `arguments` follow `--ros-args`."""
    with own_domain() as domain:
        context = rclpy.Context()
        rclpy.init(args=["--ros-args", *arguments], context=context, domain_id=domain)
        node = PearNode(
            lambda config, problems: pipeline,
            context=context,
            parameter_overrides=[Parameter(name, value=v) for name, v in parameters.items()],
        )
        executor = SingleThreadedExecutor(context=context)
        executor.add_node(node)
        try:
            node.start()
            assert node.state == "active"
            yield NodeInProcess(node, executor)
        finally:
            node.stop()
            executor.shutdown()
            node.destroy_node()
            rclpy.shutdown(context=context)


def an_image(stamp_s: float = 1_700_000_000.0) -> Image:
    """A grey image of 64x48 px."""
    message = Image(height=48, width=64, encoding="rgb8", step=3 * 64, data=bytes([99]) * 9216)
    message.header.frame_id = "camera_optical_frame"
    message.header.stamp.sec, nanoseconds = int(stamp_s), stamp_s % 1 * 1e9
    message.header.stamp.nanosec = round(nanoseconds)
    return message
